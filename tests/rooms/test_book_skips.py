"""Skips: what a worker that stalled before the pause made of a message is never booked."""

import pytest

from builders import HOUR, T0, Books, Line, fact_log, keyed, log_of, meter_of, rules_of, usage
from pipeline.book.booking import Gap
from pipeline.catalog.facts import FactKind, skip_fact, skips_of
from pipeline.core.errors import Code
from pipeline.meter.place import SKIPPED
from pipeline.meter.slices import Counts
from pipeline.meter.ticks import Tick
from pipeline.replay.chain import ChainGap, chain_gap, offsets_of

FACTS = fact_log(log_of(), rules_of(), meter_of("calls"))
POISON = keyed(usage(id="p1", time=T0), usage(id="p2", time=T0))
BEHIND = keyed(usage(id="p1", time=T0), usage(id="b", time=T0))
AT = 1
"""The offset of the poison, right behind the first tick."""


def walked(*, skipping: bool) -> Line:
    """One partition: a tick, the poison, usage that repeats a key of the poison's."""
    story = Line(FACTS)
    story.tick(Tick(1, T0 + HOUR, FACTS.head))
    if skipping:
        story.read(SKIPPED, POISON.event_count)
    else:
        story.send(POISON)
    story.send(BEHIND)
    return story


def skipping_books() -> Books:
    books = Books(FACTS)
    books.partition.skips = {AT}
    return books


def test_a_skipped_message_is_rejected_whole_and_claims_nothing() -> None:
    story = walked(skipping=True)
    books = skipping_books()
    flush = books.book(story.slices)

    assert [refusal.rejection.code for refusal in story.refusals] == [Code.SKIPPED]
    assert books.partition.cursor.counts == Counts(offered=4, fresh=2, rejected=2)
    assert flush.skipped == {AT}


@pytest.mark.parametrize("seen", [1, 2], ids=["the poison", "and what is behind it"])
def test_slices_of_a_worker_that_knows_no_skip_are_a_gap(seen: int) -> None:
    """It may have acked them before the skip was decided: nobody makes them anew, but healing."""
    zombie, worker = walked(skipping=False).slices, walked(skipping=True).slices
    books = skipping_books()
    books.book(worker[:1])
    for piece in zombie[1 : 1 + seen]:
        with pytest.raises(Gap, match=f"but {AT} is next: offsets {AT} to {AT} are missing"):
            books.book([piece])

    assert books.partition.cursor.offset == AT - 1

    books.book(worker[1:])
    told = Books(FACTS)
    told.book(worker)
    assert books.partition.cursor.counts == told.partition.cursor.counts
    assert books.store == told.store


def test_a_skipped_message_came_once_it_is_refused_whole() -> None:
    zombie, worker = walked(skipping=False).slices, walked(skipping=True).slices

    assert chain_gap(0, AT, offsets_of(zombie[1:], {AT})) == ChainGap(0, AT, AT)
    assert chain_gap(0, AT, offsets_of([*zombie[1:], *worker[1:]], {AT})) is None
    assert chain_gap(0, AT, offsets_of(zombie[1:], {AT + 5})) is None


def test_without_a_skip_a_hole_stays_a_hole() -> None:
    zombie = walked(skipping=False).slices
    with pytest.raises(Gap):
        Books(FACTS).book([zombie[0], zombie[2]])


def test_a_skip_is_a_fact_about_a_position() -> None:
    fact = skip_fact(3, 17)

    assert (fact.kind, fact.subject) == (FactKind.SKIP, "3/17")
    assert skips_of([fact.body]) == {(3, 17)}


def test_a_skip_changes_nothing_in_the_catalog() -> None:
    body = dict(skip_fact(3, 17).body)
    skipped = fact_log(log_of(), rules_of(), meter_of("calls"), (FactKind.SKIP, "3/17", body))

    assert skipped.at(4).meters == skipped.at(3).meters
    assert skipped.at(4).position == 4
