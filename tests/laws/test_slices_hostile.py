"""Laws for what strangers send: nothing raises, every message's counts close, the line goes on."""

from dataclasses import replace
from functools import cache
from struct import pack
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builders import GATE, MINUTE, T0, arrival, count_meter, ground, keyed, sequenced, usage
from golden import avro_oracle, scenes
from pipeline.collect.batch import MeterScale, Mode, Reversal, UsageBatch, WideValue, heartbeat
from pipeline.collect.letters import DeadLetter, Refusal
from pipeline.collect.limits import READ_BYTES_MAX
from pipeline.core.errors import Code, Rejection
from pipeline.dedupe.claims import ClaimBook, Judged
from pipeline.meter.place import NeedsTick, Opened, Told, look
from pipeline.meter.sift import contribution, delivery
from pipeline.meter.slices import Slice
from pipeline.meter.ticks import NO_TICK, Tick
from pipeline.stores.codec import Unreadable, decode, encode_batch
from pipeline.stores.records import (
    encode_letter,
    encode_slices,
    encode_tick,
    letter_of,
    open_message,
    slices_of,
)

OF_1 = ground(count_meter("calls", MINUTE, "region"), gate=GATE)
OF_2 = replace(OF_1, partitions=2)
ROWS: dict[int, Tick | None] = {1: Tick(1, T0, 1), 2: Tick(2, T0 + MINUTE, 1)}

headers = st.none() | st.integers(0, 5) | st.integers(0, 10**9 - 1)
ticks = st.sampled_from([NO_TICK, Tick(1, T0, 1)])


def metered(opened: Opened, header: int | None, tick: Tick, message: bytes) -> Slice | None:
    """Look, claim, fold, encode, as the worker does; None where it waits for a tick."""
    here = arrival(header, tick=tick)
    ground_in_force = OF_2 if header == 2 else OF_1
    looked = look(opened, here, ground_in_force, ROWS)
    if isinstance(looked, NeedsTick):
        assert isinstance(opened, Tick)
        looked = look(opened, here, ground_in_force, ROWS | {looked.serial: None})
        assert isinstance(looked, Told)
    piece, refusals = told(looked, here)
    assert_conserved(piece, refusals, header)
    letter = DeadLetter("usage.events.v1", 0, piece.offset, piece.log_time, refusals, message)
    assert letter_of(encode_letter(letter)).message == message
    assert slices_of(decode(encode_slices([piece]))[1])[0].counts == piece.counts
    return piece


def told(looked: Any, here: Any) -> tuple[Slice, list[Refusal]]:
    if isinstance(looked, Told):
        return looked.piece, list(looked.refusals)
    claim = delivery(looked, here, 0, GATE)
    judged = None if claim is None else ClaimBook(here.offset).claim(claim)
    assert judged is None or isinstance(judged, Judged)
    piece, refusals = contribution(looked, here, judged)
    return piece, list(refusals)


def assert_conserved(piece: Slice, refusals: list[Refusal], header: int | None) -> None:
    """Offered is the header's figure; what was refused is refused for a reason, once."""
    counts = piece.counts
    assert counts.closed
    assert counts.offered == (1 if header is None else header)
    assert min(counts.fresh, counts.duplicate, counts.conflict, counts.late, counts.rejected) >= 0
    reasons = {code: 0 for code in Code}
    for refusal in refusals:
        reasons[refusal.rejection.code] += refusal.event_count
    assert counts.late == reasons.pop(Code.LATE)
    assert counts.conflict == reasons.pop(Code.CONFLICT)
    assert counts.rejected == sum(reasons.values())
    rows_count = sum(piece.rows.count[i] for i in range(0, len(piece.rows.count), 8))
    assert rows_count + len(piece.minuses) == counts.fresh  # at most 255 events here


# ---- batches that are records, but lie ------------------------------------------------------

TRUTHS = [
    keyed(usage(id="1", region="eu"), usage(id="2", value="1.5"), usage(id="1", region="eu")),
    keyed(usage(id="1"), usage(id="1", value="2"), usage("globex", id="1")),
    sequenced(0, usage(value=scenes.WIDE), usage(time=T0 - 10 * GATE.horizon), usage(meter="x")),
    sequenced(7, usage(time=T0 + 2 * GATE.tolerance), usage(time=T0 + MINUTE)),
    heartbeat("host-1", "e1", 3, end=True),
    scenes.keyed_batch(),
]
names = st.one_of(
    st.sampled_from(["", "acme", "calls", "globex", "a\nb", "\x00", "é" * 300, "\u202e"]),
    st.text(max_size=4),
)
columns = st.one_of(
    st.binary(max_size=40),
    st.integers(0, 4).map(lambda n: pack(f"<{n}q", *[2**63 - 1] * n)),
    st.integers(0, 4).map(lambda n: pack(f"<{n}H", *range(n))),
)
LIES: dict[str, st.SearchStrategy[Any]] = {
    "mode": st.sampled_from(Mode),
    "producer": names,
    "epoch": names,
    "gate_pass": names,
    "first_sequence": st.integers(-(2**63), 2**63 - 1),
    "event_count": st.integers(-3, 6) | st.integers(-(2**31), 2**31 - 1),
    "end": st.booleans(),
    "customers": st.lists(names, max_size=4),
    "meters": st.lists(st.builds(MeterScale, names, st.integers(-2, 20)), max_size=4),
    "dimensions": st.lists(st.dictionaries(names, names, max_size=3), max_size=4),
    "wide": st.lists(
        st.builds(WideValue, st.integers(-2, 4), names | st.from_regex(r"-?[0-9]{1,39}")),
        max_size=3,
    ),
    "reversals": st.lists(
        st.builds(Reversal, st.integers(-1, 3), st.sampled_from([T0, T0 + MINUTE, 0, 2**63 - 1])),
        max_size=2,
    ),
    **dict.fromkeys(
        (
            "key",
            "fingerprint",
            "customer_index",
            "meter_index",
            "dimensions_index",
            "time",
            "mantissa",
        ),
        columns,
    ),
}
lies = st.lists(st.sampled_from([*LIES]), max_size=3, unique=True).flatmap(
    lambda chosen: st.fixed_dictionaries({name: LIES[name] for name in chosen})
)


@given(st.sampled_from(TRUTHS), lies, st.just("true") | headers, ticks)
def test_every_lying_batch_is_told_and_its_counts_close(
    truth: UsageBatch, lie: dict[str, Any], header: int | str | None, tick: Tick
) -> None:
    batch = replace(truth, **lie)
    counted = max(0, batch.event_count) if isinstance(header, str) else header
    metered(batch, counted, tick, b"any bytes")


@given(st.sampled_from(TRUTHS), ticks)
def test_a_batch_with_its_true_header_and_without_one(truth: UsageBatch, tick: Tick) -> None:
    message = encode_batch(truth)
    for header in (truth.event_count, None):
        metered(open_message(message), header, tick, message)


# ---- bytes that may be no record at all -----------------------------------------------------


@cache
def messages() -> list[bytes]:
    """One of everything that a record can be, in this log or not."""
    line = scenes.line()
    return [
        *(encode_batch(batch) for batch in TRUTHS),
        encode_tick(Tick(2, T0 + MINUTE, 1), 1),
        encode_tick(Tick(-1, -(2**63), 2**63 - 1), -1),
        encode_slices(line.slices),
        encode_letter(scenes.LETTER),
    ]


def survives(message: bytes, header: int | None = 0) -> None:
    opened = open_message(message)
    metered(opened, header, Tick(1, T0, 1), message)


@given(st.binary(max_size=200), headers)
@example(b"", None)
@example(b"\xc3\x01", 0)
def test_random_bytes(message: bytes, header: int | None) -> None:
    opened = open_message(message)

    assert isinstance(opened, Rejection)
    assert opened.code is Code.UNREADABLE
    survives(message, header)


@given(st.sampled_from(["UsageBatch.v1", "Tick.v1"]), st.binary(max_size=300), headers)
def test_random_bytes_behind_a_true_header(name: str, body: bytes, header: int | None) -> None:
    survives(avro_oracle.header(name) + body, header)


@given(st.integers(0, 9), st.integers(0, 10**4), st.binary(min_size=1, max_size=3), headers)
def test_flipped_bytes(which: int, at: int, junk: bytes, header: int | None) -> None:
    message = messages()[which]
    at %= len(message)
    survives(message[:at] + junk + message[at + len(junk) :], header)


def test_every_truncation_of_every_message_is_unreadable() -> None:
    looked = 0
    for message in messages():
        for end in range(len(message)):
            opened = open_message(message[:end])
            assert isinstance(opened, Rejection), end
            assert opened.code is Code.UNREADABLE
            looked += 1
    assert looked > 1000


@pytest.mark.parametrize("which", range(10))
def test_one_byte_too_many_is_unreadable(which: int) -> None:
    opened = open_message(messages()[which] + b"\0")

    assert isinstance(opened, Rejection)
    assert opened.code is Code.UNREADABLE


def test_a_message_of_another_topic_does_not_belong_here() -> None:
    for message in messages()[-2:]:
        opened = open_message(message)
        assert isinstance(opened, Rejection)
        assert "does not belong" in opened.message


# A varint that promises more than there is: a count or length of any size and sign.
BOMBS = [
    *(avro_oracle.whole(n) for n in (2**40, 2**62, 2**63 - 1, -(2**63), -1, -(2**40))),
    b"\xff" * 64,
]
PLACES = {
    "symbol of the mode": b"",
    "length of the producer": b"\0",
    "entries of customers": bytes(7),
    "length of a customer": bytes(7) + b"\2",
    "entries of dimensions": bytes(9),
    "entries of one dimension set": bytes(9) + b"\2",
    "bytes of the keys": bytes(10),
}


@pytest.mark.parametrize("bomb", BOMBS, ids=bytes.hex)
@pytest.mark.parametrize("place", PLACES)
def test_a_length_that_lies_is_unreadable(bomb: bytes, place: str) -> None:
    message = avro_oracle.header("UsageBatch.v1") + PLACES[place] + bomb + bytes(40)
    opened = open_message(message)

    assert isinstance(opened, Rejection)
    assert opened.code is Code.UNREADABLE
    survives(message, None)


def test_a_message_above_the_limit_is_not_looked_into() -> None:
    huge = encode_batch(replace(TRUTHS[0], key=bytes(READ_BYTES_MAX)))
    opened = open_message(huge)

    assert isinstance(opened, Rejection)
    assert opened.code is Code.TOO_LARGE


@pytest.mark.parametrize("filler", [b"\0", b"\x01", b"\x02", b"\xff", b"\x02\0", b"\x80\x80\x01"])
def test_a_megabyte_of_anything_is_read_or_refused(filler: bytes) -> None:
    head = avro_oracle.header("UsageBatch.v1")
    body = filler * ((READ_BYTES_MAX - 10) // len(filler))

    survives(head + body, None)


def test_unreadable_is_one_exception() -> None:
    with pytest.raises(Unreadable):
        decode(b"")
