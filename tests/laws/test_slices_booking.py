"""Laws of booking: slices that come again change nothing, a missing one is named, order is free.

A story is told over two days: who used what, between which ticks it reached the log. However it
is batched, repeated, interrupted or spread over partitions, the invoices are the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import (
    HOUR,
    T0,
    Books,
    Line,
    UsageRow,
    customer_of,
    fact_log,
    flat,
    graduated,
    issuer_of,
    keyed,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    sequenced,
    subscription_of,
    usage,
)
from pipeline.book.booking import Cursor, Gap
from pipeline.catalog.catalog import FactLog
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import DAY, Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json, partition_of
from pipeline.core.quantity import quantity_text
from pipeline.invoice.compose import compose
from pipeline.invoice.planned import Carried, carried_by_all, planned_lines
from pipeline.invoice.usage import UsagePart
from pipeline.ledger.seal import content_bytes
from pipeline.meter.slices import Slice
from pipeline.meter.ticks import Tick

CUSTOMERS = ["acme", "globex", "initech"]
SLOT = 6 * HOUR
SLOTS = 10


@cache
def facts(partitions: int) -> FactLog:
    """Three customers on a daily plan: calls by the piece, the peak in tiers, a fee."""
    return fact_log(
        log_of(partitions),
        rules_of(grace_s=3600),
        issuer_of(),
        meter_of("calls", dimensions=["region"]),
        meter_of("peak", "max", window_s=3600),
        meter_of("level", "time_weighted", window_s=3600, dimensions=["region"], per_s=3600),
        plan_of(
            "basic",
            price_of("calls", per_unit("0.0333"), "calls"),
            price_of("peak", graduated(("10", "1", "0"), (None, "0.5", "3")), "peak"),
            price_of("level", per_unit("0.01"), "level", group_by=["region"]),
            price_of("fee", flat("9.99")),
            cycle="P1D",
        ),
        *(customer_of(name) for name in CUSTOMERS),
        *(
            subscription_of(f"sub-{name}", name, "basic", "2026-03-01T00:00:00Z")
            for name in CUSTOMERS
        ),
    )


@dataclass(frozen=True)
class Sent:
    """An event and the slot, between two ticks, in which it reached the log."""

    slot: int
    event: UsageEvent


@st.composite
def stories(draw: st.DrawFn) -> list[Sent]:
    """Each event once, under its own id, up to two days after it happened."""
    story = []
    for number in range(draw(st.integers(1, 25))):
        slot = draw(st.integers(0, SLOTS - 1))
        event = usage(
            draw(st.sampled_from(CUSTOMERS)),
            draw(st.sampled_from(["1", "2.5", "-1", "0.001", "9007199254740993", "1e19"])),
            meter=draw(st.sampled_from(["calls", "peak", "level"])),
            time=T0 + draw(st.integers(0, slot * (SLOT // HOUR))) * HOUR,
            id=str(number),
            region=draw(st.sampled_from(["eu", "us"])),
        )
        story.append(Sent(slot, event))
    return story


def cut_up(events: Sequence[UsageEvent], chance: Random) -> Iterator[list[UsageEvent]]:
    """The events in batches of any size and order."""
    rest = list(events)
    chance.shuffle(rest)
    while rest:
        size = chance.randint(1, 5)
        yield rest[:size]
        rest = rest[size:]


def lines_of(story: Sequence[Sent], partitions: int, chance: Random) -> list[Line]:
    """The log of each partition, with resends here and there, as its worker read it."""
    log, lines = facts(partitions), []
    ticks = [Tick(n + 1, T0 + n * SLOT, log.head) for n in range(SLOTS + 1)]
    for partition in range(partitions):
        line = Line(log, partition=partition)
        sent = []
        for slot, tick in enumerate(ticks):
            line.tick(tick)
            now = [s.event for s in story if s.slot == slot]
            own = [e for e in now if partition_of(e.customer, partitions) == partition]
            for batch in cut_up(own, chance):
                sent.append(keyed(*batch))
                line.send(sent[-1])
                if chance.random() < 0.3:
                    line.send(chance.choice(sent))
        lines.append(line)
    return lines


def booked(line: Line, chance: Random | None = None) -> Books:
    """The books of one partition; with chance: in flushes, with repeats and restarts."""
    books = Books(line.facts, line.partition)
    if chance is None:
        books.book(line.slices)
        return books
    at = 0
    while at < len(line.slices):
        at = max(0, at - chance.randint(0, 4))
        end = at + chance.randint(1, 6)
        books.book(line.slices[at:end])
        at = books.partition.cursor.offset + 1
        if chance.random() < 0.3:
            books.restart()
    return books


def documents(all_books: Sequence[Books]) -> dict[tuple[str, Instant], bytes]:
    """The content of every document, composed at its cut from its own partition's books."""
    found = {}
    for books in all_books:
        catalog = books.facts.at(books.facts.head)
        contents: dict[str, list[dict[str, Json]]] = {}
        for cut in books.cuts:
            issued = contents.setdefault(cut.payer, [])
            carried: Carried = carried_by_all(issued)
            lines = planned_lines(catalog, cut.payer, cut.currency, cut.instant, carried)
            used = books.used([each.request for each in lines if each.request], cut.serial)
            for document in compose(catalog, cut.payer, cut.currency, cut.instant, lines, used):
                found[cut.payer, cut.instant] = content_bytes(document.content)
                issued.append(document.content)
    return found


chances = st.randoms(use_true_random=False)
few = settings(max_examples=25)
"""An example is a log of a hundred messages."""


@few
@given(stories(), chances, chances, st.sampled_from([1, 2, 5]))
def test_batching_order_resends_and_partitions_leave_every_invoice_the_same_bytes(
    story: list[Sent], one: Random, other: Random, partitions: int
) -> None:
    first = documents([booked(line) for line in lines_of(story, 1, one)])
    second = documents([booked(line, other) for line in lines_of(story, partitions, other)])

    assert first == second
    assert len(first) == 2 * len(CUSTOMERS)


@few
@given(stories(), chances)
def test_usage_rows_hold_what_was_used_under_the_cut_it_came_after(
    story: list[Sent], chance: Random
) -> None:
    (line,) = lines_of(story, 1, chance)
    found: dict[tuple[str, str, Instant, int], Fraction] = {}
    for (series, window, cut), part in booked(line).store.items():
        key = (series.customer, series.meter, window, cut)
        found[key] = found.get(key, Fraction(0)) + Fraction(part.sum, 10**series.scale)
    naive: dict[tuple[str, str, Instant, int], Fraction] = {}
    for sent in story:
        event = sent.event
        window = event.time - event.time % (15 * HOUR // 60 if event.meter == "calls" else HOUR)
        # a day ends at slot 4 and 8; grace puts its cut to the tick after: serials 6 and 10
        cut = 10 if sent.slot >= 9 else 6 if sent.slot >= 5 else 0
        key = (event.customer, event.meter, window, cut)
        naive[key] = naive.get(key, Fraction(0)) + Fraction(event.value)

    assert found == naive


@few
@given(stories(), chances)
def test_the_counts_of_the_books_are_those_of_the_log(story: list[Sent], chance: Random) -> None:
    (line,) = lines_of(story, 1, chance)
    counts = booked(line, chance).partition.cursor.counts

    assert counts.fresh == len(story)
    assert counts.offered == sum(piece.counts.offered for piece in line.slices)
    assert counts.offered == counts.fresh + counts.duplicate
    assert counts.closed


@few
@given(stories(), chances)
def test_repeats_and_restarts_change_neither_rows_nor_cursor_nor_cuts(
    story: list[Sent], chance: Random
) -> None:
    (line,) = lines_of(story, 1, chance)
    plain, shaken = booked(line), booked(line, chance)

    assert shaken.store == plain.store
    assert shaken.points == plain.points
    assert shaken.cuts == plain.cuts
    at_the_end = plain.partition.cursor
    assert replace(shaken.partition.cursor, metered_offset=at_the_end.metered_offset) == at_the_end
    ticks = [seen for flush in shaken.booked for seen in flush.ticks]
    assert ticks == plain.booked[0].ticks


@few
@given(stories(), chances, st.integers(0, 99), st.integers(1, 3))
def test_a_missing_slice_is_named_and_nothing_after_it_booked(
    story: list[Sent], chance: Random, missing: int, count: int
) -> None:
    (line,) = lines_of(story, 1, chance)
    missing %= len(line.slices) - count
    books = Books(line.facts)
    with pytest.raises(Gap) as gap:
        books.book([*line.slices[:missing], *line.slices[missing + count :]])

    assert (gap.value.expected, gap.value.got) == (missing, missing + count)
    assert books.partition.cursor.offset == missing - 1
    assert f"offsets {missing} to {missing + count - 1} are missing" in str(gap.value)


@few
@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1), chances)
def test_a_sequence_is_booked_once_in_any_order_with_any_resends(
    values: list[list[int]], chance: Random
) -> None:
    place, batches = 0, []
    for part in values:
        batches.append(sequenced(place, *(usage(value=str(value)) for value in part)))
        place += len(part)
    line = Line(facts(1))
    line.tick(Tick(1, T0, line.facts.head))
    sent = batches + chance.choices(batches, k=4)
    chance.shuffle(sent)
    for batch in sent:
        line.send(batch)
    books = booked(line, chance)

    assert sum(part.sum for part in books.store.values()) == sum(map(sum, values))
    assert sum(part.count for part in books.store.values()) == place
    counts = books.partition.cursor.counts
    assert (counts.fresh, counts.fresh + counts.duplicate) == (place, counts.offered)


def forged(piece: Slice) -> Slice:
    return replace(piece, counts=replace(piece.counts, rejected=piece.counts.rejected + 1))


def test_a_slice_whose_outcomes_do_not_add_up_stops_the_partition() -> None:
    line = Line(facts(1))
    line.tick(Tick(1, T0, line.facts.head))
    books = Books(line.facts)

    with pytest.raises(BrokenInvariant, match="do not add up"):
        books.book([forged(line.slices[0])])
    assert books.partition.cursor == Cursor(0)
    assert books.store == dict[UsageRow, UsagePart]()


def test_the_story_of_this_file_has_the_figures_it_should() -> None:
    """One invoice by hand: 2.5 calls at 0.0333, a peak of 12 in two tiers, the fee."""
    story = [
        Sent(1, usage(value="2.5", id="1", time=T0, region="eu")),
        Sent(2, usage(value="12", meter="peak", id="2", time=T0 + HOUR)),
        Sent(4, usage(value="1000", id="3", time=T0 + DAY)),  # tomorrow's
        Sent(9, usage(value="1000", id="4", time=T0 + 2 * HOUR)),  # after the cut
    ]
    books = booked(lines_of(story, 1, Random(0))[0])
    content = documents([books])["acme", T0 + DAY].decode()

    # 0.08 + (10 x 1 + 2 x 0.5 + 3) + 9.99
    assert '"total_minor":2407}' in content
    assert f'"quantity":"{quantity_text(Fraction(5, 2))}"' in content


def test_a_level_told_after_the_cut_is_the_next_document_s() -> None:
    """10 from the first hour on; 99 for noon of day one, but told after its cut."""
    story = [
        Sent(1, usage(value="10", meter="level", id="1", time=T0 + HOUR)),
        Sent(6, usage(value="99", meter="level", id="2", time=T0 + 12 * HOUR)),
    ]
    found = documents([booked(lines_of(story, 1, Random(0))[0])])

    assert '"quantity":"230"' in found["acme", T0 + DAY].decode()  # 10 x 23 h
    assert '"quantity":"2376"' in found["acme", T0 + 2 * DAY].decode()  # 99 x 24 h
