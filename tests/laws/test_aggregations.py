"""Laws of every aggregation: whatever the order, the batches, the flushes and the scales, the
same usage comes to the same quantity, which is the oracle's.

The oracle knows no columns, no points, no windows but those it is told of.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import (
    HOUR,
    MINUTE,
    T0,
    Books,
    Line,
    customer_of,
    fact_log,
    keyed,
    log_of,
    meter_of,
    rules_of,
    sequenced,
)
from oracle import Oracle
from pipeline.collect.event import UsageEvent
from pipeline.invoice.usage import UsageRequest, groups, quantity
from pipeline.meter.meters import Aggregation
from pipeline.meter.scope import EVERYTHING, Scope
from pipeline.meter.ticks import Tick
from pipeline.stores.codec import decode
from pipeline.stores.records import encode_slices, slices_of

REGIONS = ["region"]
FACTS = fact_log(
    log_of(),
    rules_of(),
    customer_of("acme"),
    *(
        meter_of(name, name, window_s=900, dimensions=REGIONS)
        for name in ("sum", "count", "min", "max", "average", "latest", "time_weighted")
    ),
    meter_of("unique_count", "unique_count", window_s=900, dimensions=REGIONS, of="user"),
    meter_of("percentile", "percentile", window_s=900, dimensions=REGIONS, percent="62.5"),
    meter_of("window_percentile", "window_percentile", window_s=900, dimensions=REGIONS,
             percent="95"),
    meter_of("level_hours", "time_weighted", window_s=900, dimensions=REGIONS, per_s=3600),
)  # fmt: skip
METERS = FACTS.at(FACTS.head).meters
ASKED = {
    **{name: name for name in METERS},
    "unique_count": "unique_count user",
    "percentile": "percentile 62.5",
    "window_percentile": f"window_percentile 95 {15 * MINUTE}",
    "level_hours": f"time_weighted {HOUR}",
}
START, END = T0 - 2 * HOUR, T0 + HOUR
"""The period asked for; usage begins before it."""

few = settings(max_examples=40)
VALUES = st.one_of(
    st.integers(-3, 9).map(Decimal),
    st.decimals(-100, 100, places=3),
    st.sampled_from(["9007199254740993", "-1e19", "12345678901234567890.000000000000000001"]).map(
        Decimal
    ),
)
TOLD = st.builds(
    UsageEvent,
    customer=st.just("acme"),
    meter=st.just(""),
    time=st.integers(-240, 0).map(lambda minute: T0 + minute * MINUTE)
    | st.sampled_from([START - 1, START, T0 - 1, T0]),
    value=VALUES,
    dimensions=st.fixed_dictionaries(
        {},
        optional={
            "region": st.sampled_from(["eu", "us", ""]),
            "user": st.sampled_from(["ann", "ben", ""]),
        },
    ),
)
STREAMS = st.lists(TOLD, max_size=9).map(
    lambda told: [replace(event, meter=meter) for event in told for meter in METERS]
)
"""What is told is told to every meter."""


def kept(event: UsageEvent) -> UsageEvent:
    """An event with what its meter keeps of it, as the oracle hears it."""
    names = ("region", "user") if event.meter == "unique_count" else ("region",)
    given = {name: event.dimensions[name] for name in names if name in event.dimensions}
    return replace(event, dimensions=given)


def booked(line: Line, chance: Random) -> Books:
    """The books of a line whose slices travelled, in flushes of any size."""
    books, rest = Books(FACTS), slices_of(decode(encode_slices(line.slices))[1])
    while rest:
        size = chance.randint(1, 4)
        books.book(rest[:size])
        rest = rest[size:]
    return books


def cut_up(events: Sequence[UsageEvent], chance: Random) -> list[list[UsageEvent]]:
    bites, rest = [], list(events)
    while rest:
        size = chance.randint(1, 9)
        bites.append(rest[:size])
        rest = rest[size:]
    return bites


def told(books: Books, scope: Scope = EVERYTHING) -> dict[str, dict[tuple[str, ...], Fraction]]:
    """The quantity of every meter and group."""
    found = {}
    for name, meter in METERS.items():
        request = UsageRequest("acme", name, START, END, meter.aggregation.grain, scope)
        used = books.used([request], 1 << 62)[request]
        found[name] = {
            tuple(value for _, value in group): quantity(meter, request, rows)
            for group, rows in groups(request, used)
        }
    return found


def of_oracle(oracle: Oracle, **where: str) -> dict[str, Fraction]:
    return {name: oracle.quantity("acme", name, START, END, **where) for name in METERS}


def named(stream: Sequence[UsageEvent]) -> list[UsageEvent]:
    return [replace(event, id=str(number)) for number, event in enumerate(stream)]


def by_key(stream: Sequence[UsageEvent], chance: Random) -> Books:
    """The events in any order and batches."""
    line, mixed = Line(FACTS), list(stream)
    chance.shuffle(mixed)
    line.tick(Tick(1, T0, FACTS.head))
    for bite in cut_up(mixed, chance):
        line.send(keyed(*bite))
    return booked(line, chance)


def in_sequence(stream: Sequence[UsageEvent], chance: Random) -> Books:
    """The events at their places, the batches in any order."""
    line, at, batches = Line(FACTS), 0, []
    for bite in cut_up(stream, chance):
        batches.append(sequenced(at, *bite))
        at += len(bite)
    chance.shuffle(batches)
    line.tick(Tick(1, T0, FACTS.head))
    for batch in batches:
        line.send(batch)
    return booked(line, chance)


def test_every_aggregation_is_among_them() -> None:
    assert {meter.aggregation for meter in METERS.values()} == set(Aggregation)


@few
@given(STREAMS, st.randoms(use_true_random=False))
def test_keyed_usage_in_any_order_comes_to_what_the_oracle_counts(
    stream: list[UsageEvent], chance: Random
) -> None:
    events, oracle = named(stream), Oracle(ASKED)
    oracle.hears([kept(event) for event in events])

    assert told(by_key(events, chance)) == {k: {(): v} for k, v in of_oracle(oracle).items()}


@few
@given(STREAMS, st.randoms(use_true_random=False))
def test_sequences_in_any_cut_come_to_what_the_oracle_counts(
    stream: list[UsageEvent], chance: Random
) -> None:
    oracle = Oracle(ASKED)
    oracle.hears_sequence("host-1", "e1", 0, 0, [kept(event) for event in stream])

    found = told(in_sequence(stream, chance))
    assert found == {k: {(): v} for k, v in of_oracle(oracle).items()}


@few
@given(STREAMS, st.randoms(use_true_random=False))
def test_groups_and_filters_are_the_oracle_s(stream: list[UsageEvent], chance: Random) -> None:
    events, oracle = named(stream), Oracle(ASKED)
    oracle.hears([kept(event) for event in events])
    books = by_key(events, chance)
    grouped = told(books, Scope(group_by=("region",)))

    for value in ("eu", "us", ""):
        expected = of_oracle(oracle, region=value)
        for name, found in grouped.items():
            if (value,) in found:
                assert found[value,] == expected[name]
        filtered = told(books, Scope(where=(("region", (value,)),)))
        assert {name: found[()] for name, found in filtered.items()} == expected


@few
@given(STREAMS, st.randoms(use_true_random=False))
def test_groups_of_what_adds_up_add_up(stream: list[UsageEvent], chance: Random) -> None:
    books = by_key(named(stream), chance)
    whole, grouped = told(books), told(books, Scope(group_by=("region",)))

    for name in ("sum", "count", "time_weighted", "level_hours"):
        assert sum(grouped[name].values(), Fraction(0)) == whole[name][()]


@few
@given(STREAMS, st.integers(-8, 4))
def test_periods_that_meet_have_the_level_hours_of_the_one_that_spans_them(
    stream: list[UsageEvent], quarter: int
) -> None:
    meter, books = METERS["level_hours"], by_key(named(stream), Random(0))
    middle = T0 + quarter * 15 * MINUTE

    def hours(start: int, end: int) -> Fraction:
        request = UsageRequest("acme", meter.id, start, end, meter.aggregation.grain)
        return quantity(meter, request, books.used([request], 1 << 62)[request])

    assert hours(START, middle) + hours(middle, END) == hours(START, END)


@pytest.mark.parametrize("name", [*METERS])
def test_no_usage_is_nothing(name: str) -> None:
    assert told(Books(FACTS))[name] == {(): 0}


def test_points_cost_nothing_where_no_meter_keeps_them() -> None:
    line = Line(FACTS)
    line.tick(Tick(1, T0, FACTS.head))
    event = UsageEvent("acme", "sum", T0, Decimal(1), "a", "", {})

    assert encode_slices([line.send(keyed(event))])[:10] == encode_slices([])[:10]
    pointed = line.send(keyed(replace(event, meter="latest", id="b")))
    assert encode_slices([pointed])[:10] != encode_slices([])[:10]
