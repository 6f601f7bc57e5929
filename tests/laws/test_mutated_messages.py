"""No message is a poison: whatever stands in the usage log, a worker tells what it is and goes on.

Valid messages are broken at random, in their bytes and in their fields; each must come out as a
slice whose counts are closed, with a letter that can be sent.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import GATE, MINUTE, T0, TICK_1, arrival, count_meter, ground, keyed, sequenced, usage
from pipeline.collect import limits
from pipeline.collect.batch import MeterScale, Reversal, UsageBatch, WideValue, heartbeat
from pipeline.collect.letters import DeadLetter, Refusal
from pipeline.core.identity import partition_of
from pipeline.dedupe.claims import Judged
from pipeline.meter.place import NeedsTick, Told, look
from pipeline.meter.sift import contribution, delivery
from pipeline.meter.slices import Slice
from pipeline.meter.ticks import Tick
from pipeline.stores.codec import decode, encode_batch
from pipeline.stores.records import (
    encode_letter,
    encode_slices,
    encode_tick,
    open_message,
    slices_of,
)
from pipeline.topology import MESSAGE_BYTES_MAX

NEXT = Tick(2, T0 + MINUTE, 1)
ROWS = {1: TICK_1, 2: NEXT}
GROUND = ground(count_meter("calls", 15 * MINUTE, "region"))
INT64 = range(-(1 << 63), 1 << 63)

BATCHES = [
    keyed(
        usage(id="1", value="99999999999999999999.123456789", region="eu"),
        usage(id="2", region="us"),
        usage("bob", id="3"),
    ),
    sequenced(5, usage(), usage(value="2.5"), usage("zoë")),
    heartbeat("p", "e", 0, end=True),
]
MESSAGES = [*map(encode_batch, BATCHES), encode_tick(NEXT, 1)]

VARINTS = [b"\xff" * 9 + b"\x01", b"\xfe" + b"\xff" * 8 + b"\x01", b"\xff" * 20, b"\x80" * 12]
SPLINTERS = [*VARINTS, b"\0", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xef\xbf\xbf"]


def worked(message: bytes, header: int | None) -> tuple[Slice, list[Refusal]] | None:
    """What the metering worker makes of a message; None where it asks for a tick's row."""
    here = arrival(header)
    looked = look(open_message(message), here, GROUND, ROWS)
    if isinstance(looked, NeedsTick):
        assert looked.serial in INT64  # a row is asked for in SQL
        return None
    if isinstance(looked, Told):
        return looked.piece, list(looked.refusals)
    delivery(looked, here, 0, GATE)
    piece, refusals = contribution(looked, here, Judged([]))
    return piece, list(refusals)


def hold(message: bytes, header: int | None) -> None:
    """Hold that a message is told, whatever it is, in records that every topic takes."""
    found = worked(message, header)
    if found is None:
        return
    piece, refusals = found
    assert piece.counts.closed
    assert piece.counts.offered == (1 if header is None else header)
    record = encode_slices([piece])
    assert encode_slices(slices_of(decode(record)[1])) == record
    assert len(record) < MESSAGE_BYTES_MAX
    if refusals:
        letter = encode_letter(DeadLetter("usage.events.v1", 0, 7, T0, refusals, message))
        assert len(letter) < MESSAGE_BYTES_MAX
        assert decode(letter)[1]["message"] == message[: limits.READ_BYTES_MAX]


def broken(random: Random, message: bytes) -> bytes:
    """The message with one to eight splinters of bytes replaced, put in or taken out."""
    found = bytearray(message)
    for _ in range(random.choice([1, 1, 1, 2, 3, 8])):
        at = random.randrange(min(random.choice([0, 10, 10, 10]), len(found)), len(found) + 1)
        gone = random.choice([0, 0, 1, 1, 2, 8, 100])
        other = random.choice(MESSAGES)
        start = random.randrange(len(other))
        found[at : at + gone] = random.choice(
            [
                b"",
                random.randbytes(random.choice([1, 1, 2, 9])),
                random.choice(SPLINTERS),
                other[start : start + 8],
            ]
        )
    return bytes(found)


@given(st.randoms(use_true_random=False), st.sampled_from(MESSAGES))
def test_broken_bytes_are_told(random: Random, message: bytes) -> None:
    for _ in range(20):
        hold(broken(random, message), random.choice([None, 0, 1, 2, 3]))


longs = st.integers(min_value=INT64[0], max_value=INT64[-1])
ints = st.integers(min_value=-(1 << 31), max_value=(1 << 31) - 1)
words = st.text(max_size=5) | st.sampled_from(["calls", "acme", "\0", "x" * 300, "͸" * 256])
columns = st.binary(max_size=60) | st.lists(longs, min_size=3, max_size=3).map(
    lambda values: pack("<3q", *values)
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "producer": words,
    "epoch": words,
    "first_sequence": longs,
    "gate_pass": words,
    "event_count": ints,
    "end": st.booleans(),
    "customers": st.lists(words, max_size=3),
    "meters": st.lists(st.builds(MeterScale, words, ints | st.integers(0, 18)), max_size=3),
    "dimensions": st.lists(st.dictionaries(words, words, max_size=3), max_size=3),
    **dict.fromkeys(["key", "fingerprint", "time", "mantissa"], columns),
    **dict.fromkeys(["customer_index", "meter_index", "dimensions_index"], columns),
    "wide": st.lists(st.builds(WideValue, ints | st.integers(0, 3), words), max_size=3),
    "reversals": st.lists(st.builds(Reversal, ints, longs), max_size=1),
}


@given(st.sampled_from(BATCHES), st.fixed_dictionaries({}, optional=FIELDS), ints)
def test_fields_that_lie_are_told(batch: UsageBatch, lies: dict[str, object], header: int) -> None:
    few = dict(sorted(lies.items())[header % 7 : header % 7 + 2])
    hold(encode_batch(replace(batch, **few)), header % 5)  # type: ignore[arg-type]


@given(longs, longs, longs, ints)
def test_a_tick_of_any_figures_is_told(serial: int, time: int, facts: int, partitions: int) -> None:
    hold(encode_tick(Tick(serial, time, facts), partitions), 0)


LONGEST: dict[str, Callable[[int], UsageBatch]] = {
    "customers of other partitions": lambda n: sequenced(
        0, *(usage(stranger(i)) for i in range(n))
    ),
    "meters nobody knows": lambda n: sequenced(
        0, *(usage(meter=f"{i:05}" + "͸" * 120) for i in range(n))
    ),
}


def stranger(number: int) -> str:
    """A customer of another partition, of the characters that a message escapes at most."""
    name = next(
        name
        for tail in range(99)
        if partition_of(name := f"{number:05}" + "͸" * 246 + f"{tail:02}", 8) != 0
    )
    return name


@pytest.mark.parametrize("what", LONGEST)
def test_a_reason_for_every_event_still_makes_a_letter_that_is_sent(what: str) -> None:
    batch = LONGEST[what](1900)
    message = encode_batch(batch)
    assert len(message) <= limits.READ_BYTES_MAX
    by = ground(count_meter(), partition=0, partitions=8)
    here = arrival(1900)
    looked = look(batch, here, by, ROWS)
    assert not isinstance(looked, NeedsTick | Told)
    _, refusals = contribution(looked, here, None)

    assert len(refusals) == 1900
    room = MESSAGE_BYTES_MAX - len(
        encode_letter(DeadLetter("usage.events.v1", 0, 7, T0, refusals, message))
    )
    assert room > MESSAGE_BYTES_MAX // 2
