"""Packing: what goes into the columns comes out of them, to the last digit."""

from collections.abc import Mapping
from decimal import Decimal
from struct import unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.collect import limits
from pipeline.collect.batch import (
    PACKED_BYTES_MAX,
    Mode,
    Packer,
    UsageBatch,
    heartbeat,
    pack_events,
)
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import EARLIEST, LATEST
from pipeline.core.identity import event_key, fingerprint
from pipeline.core.quantity import decimal_text, mantissa_scale
from pipeline.stores.codec import batch_of, decode, encode_batch

words = st.text(
    st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12
) | st.sampled_from(["acme", "globex"])
values = st.builds(
    lambda mantissa, scale: Decimal(decimal_text(mantissa, scale, keep_zeros=True)),
    st.integers(-(10**38) + 1, 10**38 - 1)
    | st.integers(-1000, 1000)
    | st.sampled_from([2**52 - 1, 2**52, -(2**52)]),
    st.integers(0, 18),
)
instants = st.integers(EARLIEST, LATEST - 1)
events = st.builds(
    UsageEvent,
    customer=words,
    meter=words,
    time=instants,
    value=values,
    id=words,
    source=words,
    dimensions=st.dictionaries(words, words | st.just(""), max_size=3),
    reversed_at=st.none() | instants,
)


def unpacked(batch: UsageBatch) -> list[UsageEvent]:
    """Read a batch back the slow, plain way: one struct a column, one event a place."""
    count = batch.event_count
    shorts, longs = f"<{count}H", f"<{count}q"
    wide = {entry.index: int(entry.mantissa) for entry in batch.wide}
    reversals = {entry.index: entry.time for entry in batch.reversals}
    rows = zip(
        unpack(shorts, batch.customer_index),
        unpack(shorts, batch.meter_index),
        unpack(shorts, batch.dimensions_index),
        unpack(longs, batch.time),
        unpack(longs, batch.mantissa),
        strict=True,
    )
    found = []
    for index, (who, what, place, time, mantissa) in enumerate(rows):
        digits = Decimal(wide.get(index, mantissa)).as_tuple()
        meter = batch.meters[what]
        found.append(
            UsageEvent(
                customer=batch.customers[who],
                meter=meter.meter,
                time=time,
                value=Decimal((digits.sign, digits.digits, -meter.scale)),
                dimensions=batch.dimensions[place],
                reversed_at=reversals.get(index),
            )
        )
    return found


def bare(event: UsageEvent) -> tuple[object, ...]:
    """Return what a batch keeps of an event in the open; id and source go into the key."""
    dimensions: Mapping[str, str] = dict(event.dimensions)
    value = mantissa_scale(event.value)
    return event.customer, event.meter, event.time, value, dimensions, event.reversed_at


def through_the_wire(batch: UsageBatch) -> UsageBatch:
    name, record = decode(encode_batch(batch))
    assert name == "UsageBatch.v1"
    return batch_of(record)


@given(st.lists(events, min_size=1, max_size=30), st.sampled_from(Mode))
def test_pack_encode_decode_unpack_gives_back_each_event(
    offered: list[UsageEvent], mode: Mode
) -> None:
    batch = pack_events(offered, mode, "me", "e1", 7)
    arrived = through_the_wire(batch)
    assert arrived == batch
    assert [bare(event) for event in unpacked(arrived)] == [bare(event) for event in offered]
    assert (arrived.mode, arrived.producer, arrived.epoch) == (mode, "me", "e1")
    assert (arrived.first_sequence, arrived.event_count) == (7, len(offered))


@given(st.lists(events, min_size=1, max_size=20))
def test_keys_and_fingerprints_are_those_of_identity_byte_for_byte(
    offered: list[UsageEvent],
) -> None:
    packer = Packer(Mode.KEYED)
    for _ in range(2):  # the second time everything is remembered
        for event in offered:
            packer.add(event)
        batch = packer.take("me", "e1", 0)
        assert batch.key == b"".join(event_key(e.customer, e.source, e.id) for e in offered)
        assert batch.fingerprint == b"".join(
            fingerprint(e.meter, e.time, *mantissa_scale(e.value), e.dimensions, e.reversed_at)
            for e in offered
        )


def test_more_words_than_are_remembered_change_no_key() -> None:
    packer = Packer(Mode.KEYED)
    offered = [
        UsageEvent(f"c{i}", f"m{i}", EARLIEST + i, Decimal(i), "x", "s", {"d": str(i)})
        for i in range(9000)
    ]
    keys = b"".join(event_key(e.customer, e.source, e.id) for e in offered)
    prints = b"".join(fingerprint(e.meter, e.time, int(e.value), 0, e.dimensions) for e in offered)
    for event in offered:
        packer.add(event)
    assert (
        (packer._keys, packer._prints)
        == (  # too many for one batch, so read from inside
            [keys[i : i + 16] for i in range(0, len(keys), 16)],
            [prints[i : i + 4] for i in range(0, len(prints), 4)],
        )
    )


def test_a_sequence_carries_neither_keys_nor_fingerprints() -> None:
    event = UsageEvent("acme", "calls", EARLIEST, Decimal(1))
    batch = pack_events([event], Mode.SEQUENCED, "me", "e1", 0)
    assert (batch.key, batch.fingerprint) == (b"", b"")


def test_equal_values_of_another_scale_are_one_payload() -> None:
    batches = [
        pack_events(
            [UsageEvent("acme", "calls", EARLIEST, Decimal(text), "1", "s")], Mode.KEYED, "", "", 0
        )
        for text in ("1.5", "1.50")
    ]
    assert batches[0] == batches[1]


@pytest.mark.parametrize("mantissa", [2**52 - 1, 2**52, -(2**52) + 1, -(2**52), 10**38 - 1])
def test_the_int64_column_ends_below_two_to_the_fifty_second(mantissa: int) -> None:
    event = UsageEvent("acme", "calls", EARLIEST, Decimal(mantissa))
    batch = pack_events([event], Mode.SEQUENCED, "me", "e1", 0)
    fits = abs(mantissa) < 2**52
    assert unpack("<q", batch.mantissa) == ((mantissa if fits else 0),)
    assert [entry.mantissa for entry in batch.wide] == ([] if fits else [str(mantissa)])


@given(st.lists(events, min_size=1, max_size=30), st.sampled_from(Mode))
def test_the_bytes_bound_is_never_below_the_encoded_size(
    offered: list[UsageEvent], mode: Mode
) -> None:
    packer = Packer(mode)
    for event in offered:
        packer.add(event)
    bound = packer.bytes_bound
    assert len(encode_batch(packer.take("", "", 0))) <= bound + 256


def test_the_largest_event_still_fits_a_packer_that_may_take_one_more() -> None:
    wide = "\U0001f40c"  # four bytes in UTF-8
    chars = limits.DIMENSION_CHARS_MAX
    largest = UsageEvent(
        customer=wide * limits.ID_CHARS_MAX,
        meter=wide * limits.METER_CHARS_MAX,
        time=LATEST - 1,
        value=-Decimal("9" * 20 + "." + "9" * 18),
        dimensions={
            wide * (chars - 1) + chr(0x1F400 + i): wide * chars
            for i in range(limits.DIMENSIONS_MAX)
        },
        reversed_at=LATEST - 1,
    )
    packer = Packer(Mode.KEYED)
    number = 0
    while packer.bytes_bound <= PACKED_BYTES_MAX - 2000:
        packer.add(UsageEvent(f"{number}" + "x" * 200, "calls", LATEST - 1, Decimal(number)))
        number += 1
    packer.add(largest)
    name = wide * limits.ID_CHARS_MAX
    message = encode_batch(packer.take(name, name, 2**62, gate_pass=name))
    assert len(message) <= limits.BATCH_BYTES_MAX


def test_a_heartbeat_has_no_events_and_says_how_far_the_sequence_got() -> None:
    mark = through_the_wire(heartbeat("me", "e1", 12, end=True))
    assert (mark.mode, mark.event_count, mark.first_sequence, mark.end) == (
        Mode.SEQUENCED,
        0,
        12,
        True,
    )
    assert unpacked(mark) == []
