"""A backfill is exact: foretold to the minor unit, then billed as if in time, or as if never sent.

Worlds as in `test_corrections`: usage of some days, cut day by day. A unit of more such usage
comes behind all cuts, by the keys that it is read with. What was foretold of it is what its notes
come to. Taken back it leaves every invoice as it was; sent once more, mended, it is what the
mended usage in time had made.

EXAMPLES=10000 tries as many worlds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import HOUR, T0, Decision, named
from laws.test_corrections import (
    CUSTOMERS,
    DECISIONS,
    EXAMPLES,
    ONE_PAYER,
    STEP,
    STEPS,
    Ledger,
    Sent,
    World,
    document_of,
    events,
    in_time,
    live,
)
from pipeline.book.booking import Cut
from pipeline.collect.event import UsageEvent
from pipeline.collect.keyed import KeyedEvent, pack_again
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.invoice.notes import is_note
from pipeline.invoice.usage import UsageRequest, Used
from pipeline.replay.amending import taken_back
from pipeline.replay.backfill import come_again
from pipeline.replay.foretold import moves
from pipeline.replay.usage_ahead import UsageAhead
from pipeline.workers.correcting import Corrector

NO_CUT = 1 << 62
END = T0 + (STEPS + 2) * STEP


def unit_of(sent: Sequence[Sent]) -> list[UsageEvent]:
    """The usage of a unit: keys of its own, and times, for levels of one instant go by key."""
    return [
        replace(each.event, id=f"unit-{each.event.id}", time=each.event.time + 1 + number)
        for number, each in enumerate(sent)
    ]


def send(world: World, batch_events: Iterable[KeyedEvent]) -> None:
    for batch in pack_again(batch_events):
        world.line.send(batch)


@dataclass
class Ahead(Ledger):
    """What the books would hold, were a unit booked."""

    unit: UsageAhead | None = None

    def read_usage(
        self, requests: Iterable[UsageRequest], below_cut: int = NO_CUT
    ) -> Mapping[UsageRequest, Sequence[Used]]:
        asked = [*requests]
        assert self.unit is not None
        ahead = self.unit.usage(asked)
        known = super().read_usage(asked, below_cut)
        return {each: [*known[each], *ahead.get(each, ())] for each in asked}

    def late_usage(
        self, payer: str, currency: str, below: int, *, carried: bool = False
    ) -> list[tuple[int, Instant]]:
        assert self.unit is not None
        found = super().late_usage(payer, currency, below, carried=carried)
        first = self.unit.first.get(payer)
        return found if first is None else [*found, (below - 1, first)]

    def moved_since(self, asked: Sequence[tuple[UsageRequest, int]], below_cut: int) -> list[bool]:
        assert self.unit is not None
        booked = Ledger(self.facts, self.books, self.ticks).moved_since(asked, below_cut)
        ahead = self.unit.usage(request for request, _ in asked)
        return [moved or of in ahead for moved, (of, _) in zip(booked, asked, strict=True)]


def notes_with(world: World, unit: Sequence[KeyedEvent]) -> dict[str, int]:
    """What notes would come to were a unit booked: by the document that they correct."""
    tick = max(world.ticks.values(), key=lambda each: each.serial)
    ahead = UsageAhead.of(unit, 1, tick, world.log.at)
    ledger = Ahead(world.log, world.books, world.ticks, world.ledger.prepared, unit=ahead)
    found: list[Mapping[str, Json]] = []
    for payer in CUSTOMERS:
        cut = Cut(payer, "EUR", END, NO_CUT)
        made = Corrector(ledger, world.log.at).at(cut, world.log.at(world.log.head))
        found += [each.document.content for each in made]
    return {each.corrects: each.difference_minor for each in moves([], found)}


def notes_since(world: World, count: int) -> dict[str, int]:
    """What the notes made since come to, by the document that they correct."""
    new = [document_of(each) for each in world.ledger.prepared[count:]]
    moved = moves([], [content for content in new if is_note(content)])
    return {each.corrects: each.difference_minor for each in moved}


def correct_again(world: World) -> None:
    """Ask once more for the notes of whoever has no next cut."""
    world.tick(max(tick.time for tick in world.ticks.values()) + HOUR)
    world.correct()


def stands(world: World, like: Mapping[str, object]) -> dict[str, object]:
    """The invoices with their notes that are also among others: days go by meanwhile."""
    found = world.stands()
    return {document: found[document] for document in like}


def started(sent: Sequence[Sent], decisions: Sequence[Decision]) -> World:
    world = live(sent, decisions)
    correct_again(world)
    return world


@pytest.mark.timeout(3 * EXAMPLES)
@settings(max_examples=EXAMPLES // 10, deadline=None)
@given(events(), events(), st.sampled_from([DECISIONS, ONE_PAYER]))
def test_what_is_foretold_is_what_its_notes_come_to(
    before: list[Sent], unit: list[Sent], decisions: Sequence[Decision]
) -> None:
    world = started(before, decisions)
    sent = [*map(named, unit_of(unit))]
    foretold, count = notes_with(world, sent), len(world.ledger.prepared)

    send(world, sent)
    correct_again(world)

    assert foretold == notes_since(world, count)
    usage_in_time = [Sent(event, 0, None, None) for event in unit_of(unit)]
    oracle = in_time([*before, *usage_in_time], decisions).stands()
    assert stands(world, oracle) == oracle


@pytest.mark.timeout(3 * EXAMPLES)
@settings(max_examples=EXAMPLES // 10, deadline=None)
@given(events(), events(), st.sampled_from(["1", "3", "0.125"]))
def test_taken_back_it_was_never_sent_and_mended_it_came_in_time(
    before: list[Sent], unit: list[Sent], value: str
) -> None:
    world = started(before, DECISIONS)
    untouched, sent = world.stands(), [*map(named, unit_of(unit))]
    send(world, sent)
    correct_again(world)

    at = max(tick.time for tick in world.ticks.values())
    send(world, (taken_back(event, at) for event in sent))
    world.match()
    correct_again(world)
    assert stands(world, untouched) == untouched

    mended = [replace(event, value=Decimal(value)) for event in unit_of(unit)]
    send(world, (come_again(named(event), "unit") for event in mended))
    correct_again(world)
    usage_in_time = [Sent(event, 0, None, None) for event in mended]
    oracle = in_time([*before, *usage_in_time]).stands()
    assert stands(world, oracle) == oracle
