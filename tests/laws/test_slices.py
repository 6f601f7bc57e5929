"""Laws of slices: however the same events are cut into batches, the same usage comes out.

The model is a dictionary and Fractions: it knows no columns, no numpy, no mantissas.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from random import Random
from struct import unpack

from hypothesis import example, given, settings
from hypothesis import strategies as st

from builders import HOUR, MINUTE, T0, arrival, ground, usage
from pipeline.collect.batch import Mode, UsageBatch, pack_events
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.event import UsageEvent
from pipeline.core.quantity import from_mantissa, quantity_text
from pipeline.invoice.usage import UsagePart, UsageRequest, quantity
from pipeline.meter.meters import Aggregation, Grain, Meter
from pipeline.meter.place import look
from pipeline.meter.sift import Sifted, contribution
from pipeline.meter.slices import Rows, Slice
from pipeline.stores.codec import decode, encode_batch
from pipeline.stores.records import encode_slices, open_message, slices_of

METERS = {
    meter.id: meter
    for meter in (
        Meter("calls", Aggregation.SUM, "call", 15 * MINUTE, ("region",)),
        Meter("peak", Aggregation.MAX, "B", HOUR, ("tier", "region")),
        Meter("hits", Aggregation.COUNT, "hit", 5_000_000),
    )
}
GROUND = ground(*METERS.values())

Key = tuple[str, str, tuple[tuple[str, str], ...], int]
Figures = tuple[int, Fraction, Fraction, Fraction]
"""Count, sum, minimum, maximum."""

WIDE = Decimal("12345678901234567890.123456789012345678")
few = settings(max_examples=50)
values = st.one_of(
    st.integers(-5, 5).map(Decimal),
    st.decimals(-1000, 1000, places=3),
    st.integers(2**52 - 2, 2**52 + 2).map(Decimal),
    st.integers(-(2**63), 2**63).map(Decimal),
    st.sampled_from([WIDE, -WIDE, Decimal(10) ** 19, Decimal("-0.000000000000000001")]),
)
spread = st.builds(
    UsageEvent,
    customer=st.sampled_from(["acme", "globex", "café"]),
    meter=st.sampled_from([*METERS]),
    time=st.integers(T0 - 2 * HOUR, T0),
    value=values,
    dimensions=st.dictionaries(
        st.sampled_from(["region", "tier", "undeclared"]), st.sampled_from(["a", "b", ""])
    ),
)
crowded = st.builds(  # few rows, each of many events
    UsageEvent,
    customer=st.just("acme"),
    meter=st.sampled_from(["calls", "peak"]),
    time=st.sampled_from([T0, T0 - 1, T0 - HOUR]),
    value=st.sampled_from([-1, 0, 1, 2**52 - 1, 2**52, -(2**70)]).map(Decimal),
)
events = st.one_of(spread, crowded)
streams = st.lists(events, min_size=1, max_size=40) | st.lists(crowded, min_size=3, max_size=12)


def modelled(stream: Iterable[UsageEvent]) -> dict[Key, Figures]:
    """What the events come to, the long way."""
    found: dict[Key, list[Fraction]] = {}
    for event in stream:
        meter = METERS[event.meter]
        kept = tuple(
            (n, event.dimensions[n]) for n in sorted(meter.dimensions) if n in event.dimensions
        )
        key = (event.customer, event.meter, kept, event.time - event.time % meter.window_us)
        found.setdefault(key, []).append(Fraction(event.value))
    return {
        key: (len(all_), sum(all_, Fraction(0)), min(all_), max(all_))
        for key, all_ in found.items()
    }


def packed(stream: Sequence[UsageEvent]) -> UsageBatch:
    return pack_events(stream, Mode.SEQUENCED, "host-1", "e1", 0)


def sliced(batch: UsageBatch) -> Slice:
    here = arrival(batch.event_count)
    sifted = look(batch, here, GROUND, {})
    assert isinstance(sifted, Sifted)
    piece, refusals = contribution(sifted, here, None)
    assert not refusals
    return piece


def read(rows: Rows) -> Iterable[tuple[Key, Figures]]:
    """The rows of a slice, read without numpy."""
    count = len(rows.window_start) // 8
    wide = {row.row: row for row in rows.wide}
    for row in range(count):
        c, m, d = (
            unpack("<H", column[2 * row : 2 * row + 2])[0]
            for column in (rows.customer_index, rows.meter_index, rows.dimensions_index)
        )
        window, n, total, low, high = (
            unpack("<q", column[8 * row : 8 * row + 8])[0]
            for column in (rows.window_start, rows.count, rows.sum, rows.minimum, rows.maximum)
        )
        if row in wide:
            assert (total, low, high) == (0, 0, 0)
            total, low, high = (
                int(text) for text in (wide[row].sum, wide[row].minimum, wide[row].maximum)
            )
        meter = rows.meters[m]
        dimensions = tuple(sorted(rows.dimensions[d].items()))
        figures = (from_mantissa(mantissa, meter.scale) for mantissa in (total, low, high))
        yield (rows.customers[c], meter.meter, dimensions, window), (n, *figures)


def merged(pieces: Iterable[Slice]) -> dict[Key, Figures]:
    """All rows of all slices, as the usage table and the invoice add them."""
    found: dict[Key, Figures] = {}
    for piece in pieces:
        for key, (n, total, low, high) in read(piece.rows):
            n0, total0, low0, high0 = found.get(key, (0, Fraction(0), low, high))
            found[key] = (n + n0, total + total0, min(low, low0), max(high, high0))
    return found


@few
@given(streams)
def test_a_slice_is_what_the_events_come_to(stream: list[UsageEvent]) -> None:
    piece = sliced(packed(stream))

    assert merged([piece]) == modelled(stream)
    assert (piece.counts.offered, piece.counts.fresh) == (len(stream), len(stream))


@few
@given(streams, st.randoms(use_true_random=False), st.lists(st.integers(1, 9), min_size=1))
def test_any_cut_and_order_of_the_same_events_come_to_the_same(
    stream: list[UsageEvent], chance: Random, sizes: list[int]
) -> None:
    mixed = list(stream)
    chance.shuffle(mixed)
    pieces: list[Slice] = []
    at = 0
    while at < len(mixed):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(sliced(packed(mixed[at : at + size])))
        at += size

    assert merged(pieces) == modelled(stream)


@few
@given(streams)
def test_a_row_stands_once_in_its_slice(stream: list[UsageEvent]) -> None:
    """At one scale: the scale is part of the series."""
    rows = sliced(packed(stream)).rows
    keys = [
        (rows.customer_index[2 * i : 2 * i + 2], rows.meter_index[2 * i : 2 * i + 2],
         rows.dimensions_index[2 * i : 2 * i + 2], rows.window_start[8 * i : 8 * i + 8])
        for i in range(len(rows.count) // 8)
    ]  # fmt: skip

    assert len(keys) == len(set(keys))
    assert len({tuple(entry.items()) for entry in rows.dimensions}) == len(rows.dimensions)


@few
@given(streams)
def test_packed_events_come_back_to_the_last_digit(stream: list[UsageEvent]) -> None:
    batch = packed(stream)
    again = open_message(encode_batch(batch))
    assert again == batch
    columns = read_columns(batch)
    assert isinstance(columns, Columns)

    for index, event in enumerate(stream):
        entry = batch.meters[columns.meter[index]]
        mantissa = columns.wide.get(index, int(columns.mantissa[index]))
        assert batch.customers[columns.customer[index]] == event.customer
        assert entry.meter == event.meter
        assert from_mantissa(mantissa, entry.scale) == Fraction(event.value)
        assert batch.dimensions[columns.dimensions[index]] == event.dimensions
        assert columns.time[index] == event.time


MANY = [usage(f"c{number}", "-0.5", time=T0 - number * MINUTE) for number in range(130)]


@few
@given(st.lists(streams, max_size=3))
@example([])
@example([MANY[:64], MANY, [*MANY, usage("wide", "9" * 20)], MANY[:1]])
def test_slices_travel_unchanged(parts: list[list[UsageEvent]]) -> None:
    pieces = [replace(sliced(packed(part)), offset=at) for at, part in enumerate(parts)]
    message = encode_slices(pieces)
    again = slices_of(decode(message)[1])

    assert again == pieces
    assert encode_slices(again) == message


parts = st.builds(
    UsagePart,
    scale=st.integers(0, 6),
    count=st.integers(1, 9),
    sum=st.integers(-(10**20), 10**20),
    minimum=st.integers(-9, 0),
    maximum=st.integers(-(10**20), 10**20),
)


ADDITIVE = [each for each in Aggregation if each.grain is Grain.TOTALS]


def total(aggregation: Aggregation, rows: Iterable[UsagePart]) -> Fraction:
    """The quantity of rows."""
    meter = Meter("m", aggregation, "call", HOUR)
    return quantity(meter, UsageRequest("acme", "m", T0, T0 + HOUR), rows)


def combined(one: UsagePart, other: UsagePart) -> UsagePart:
    """Two rows as one, at the finer scale."""
    scale = max(one.scale, other.scale)
    a, b = 10 ** (scale - one.scale), 10 ** (scale - other.scale)
    return UsagePart(
        scale,
        one.count + other.count,
        a * one.sum + b * other.sum,
        min(a * one.minimum, b * other.minimum),
        max(a * one.maximum, b * other.maximum),
    )


@few
@given(st.lists(parts, min_size=2, max_size=8), st.sampled_from(ADDITIVE))
def test_any_split_into_rows_gives_the_same_quantity(
    rows: list[UsagePart], aggregation: Aggregation
) -> None:
    whole = total(aggregation, rows)

    assert total(aggregation, reversed(rows)) == whole
    assert total(aggregation, [combined(rows[0], rows[1]), *rows[2:]]) == whole
    if aggregation is not Aggregation.AVERAGE:
        assert Fraction(quantity_text(whole)) == whole


def as_parts(found: Mapping[Key, Figures]) -> list[UsagePart]:
    whole = 10**18
    return [
        UsagePart(18, n, int(total * whole), int(low * whole), int(high * whole))
        for n, total, low, high in found.values()
    ]


@few
@given(st.lists(events, max_size=30), st.sampled_from(ADDITIVE))
def test_the_quantity_of_events(stream: list[UsageEvent], aggregation: Aggregation) -> None:
    values = [Fraction(event.value) for event in stream]
    naive = {
        Aggregation.SUM: sum(values, Fraction(0)),
        Aggregation.COUNT: Fraction(len(values)),
        Aggregation.MIN: min(values, default=Fraction(0)),
        Aggregation.MAX: max(values, default=Fraction(0)),
        Aggregation.AVERAGE: sum(values, Fraction(0)) / max(len(values), 1),
    }

    assert total(aggregation, as_parts(modelled(stream))) == naive[aggregation]
