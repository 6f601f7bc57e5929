"""Draft: rate the payers whose books changed, at one named position.

Owns: load -> compose -> store, in bites.  Does not own: composing (invoice), rating (rate).
Law: everything a draft rests on is read in one snapshot, so its position is exact.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import structlog

from pipeline.book.booking import Cursor
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.cuts import horizon_at
from pipeline.core.calendar import Instant
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.drafts import Closing, open_closings
from pipeline.invoice.planned import Carried, PlannedLine, planned_lines, requests_of, with_lines
from pipeline.invoice.published import DraftPosition
from pipeline.invoice.usage import Usage, UsageRequest, Used
from pipeline.stores.postgres.books import Anchor
from pipeline.stores.postgres.connection import Overtaken
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.usage import NO_CUT
from pipeline.workers.catchup import CursorSource
from pipeline.workers.knowledge import Knowledge

_log = structlog.get_logger()

BITE = 500
"""Payers rated in one transaction."""


class UsageSource(Protocol):
    """Usage as documents ask for it."""

    def read_usage(
        self, requests: Iterable[UsageRequest], below_cut: int = NO_CUT
    ) -> Mapping[UsageRequest, Sequence[Used]]: ...


class OpenBooks(UsageSource, Protocol):
    """All that a draft rests on."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Run a transaction that sees one state of everything, or is Overtaken."""
        ...

    def load_cursors(self) -> dict[int, tuple[Cursor, Anchor]]: ...

    def closings_cut(
        self, payers: Sequence[str], after: Instant
    ) -> Mapping[str, Container[Closing]]: ...

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]: ...

    def unprepared_cuts(
        self, payers: Sequence[str]
    ) -> Mapping[tuple[str, str], Sequence[tuple[Instant, int]]]: ...


class DraftStore(CursorSource, OpenBooks, Protocol):
    """Drafts, and the marks of payers to rate anew."""

    def take_dirty(
        self, partitions: Iterable[int], count_max: int
    ) -> Sequence[tuple[str, int]]: ...

    def drop_drafts(self, payers: Sequence[str], keep: Sequence[Draft]) -> None: ...

    def store_drafts(self, drafts: Iterable[Draft]) -> None: ...


@dataclass(frozen=True, slots=True)
class Payer:
    """Who is rated, where the books of their partition stand, up to when periods were cut."""

    name: str
    cursor: Cursor
    catalog: Catalog
    passed: Instant


@dataclass(frozen=True, slots=True)
class _Plan:
    payer: Payer
    closing: Closing
    lines: Sequence[PlannedLine]


def rate_dirty(
    store: DraftStore, known: Knowledge, partitions: Sequence[int], bite: int = BITE
) -> int:
    """Rate up to `bite` dirty payers; return how many there were."""
    while True:
        try:
            return _rate_bite(store, known, partitions, bite)
        except Overtaken:
            _log.info("the finalizer took a draft that was being rated: rating anew")


def _rate_bite(store: DraftStore, known: Knowledge, partitions: Sequence[int], bite: int) -> int:
    with store.snapshot():
        dirty = store.take_dirty(partitions, bite)
        if not dirty:
            return 0
        drafts = [*would_be(store, known.catalog, _payers(store, known, dirty))]
        store.drop_drafts([payer for payer, _ in dirty], drafts)
        store.store_drafts(drafts)
        return len(dirty)


def would_be(
    books: OpenBooks, catalog_at: Callable[[int], Catalog], payers: Sequence[Payer]
) -> Iterator[Draft]:
    """Yield the documents of payers whose cut is still ahead; call it within a snapshot."""
    plans = _plans(books, catalog_at, payers)
    usage = books.read_usage(requests_of(line for plan in plans for line in plan.lines))
    for plan in plans:
        yield from _drafts(plan, usage)


def _payers(store: DraftStore, known: Knowledge, dirty: Iterable[tuple[str, int]]) -> list[Payer]:
    """Return the dirty payers that are customers by now."""
    cursors = store.load_cursors()
    payers = []
    for name, partition in dirty:
        cursor, _anchor = cursors[partition]
        catalog = known.catalog(cursor.tick.fact_position)
        if name in catalog.customers:
            payers.append(Payer(name, cursor, catalog, horizon_at(catalog, cursor.tick)))
    return payers


def _plans(
    books: OpenBooks, catalog_at: Callable[[int], Catalog], payers: Sequence[Payer]
) -> list[_Plan]:
    """Return the open closings of payers with the lines that each would carry."""
    if not payers:
        return []
    names = [payer.name for payer in payers]
    closed = books.closings_cut(names, min(payer.passed for payer in payers))
    carried_by, unprepared = books.carried_by(names), books.unprepared_cuts(names)
    plans = []
    for payer in payers:
        catalog, name = payer.catalog, payer.name
        open_ones = open_closings(
            catalog, name, payer.passed, payer.cursor.log_time, closed.get(name, ())
        )
        for currency in sorted({currency for currency, _ in open_ones}):
            carried = carried_by.get((name, currency), {})
            # What the finalizer is about to make of booked cuts is carried by then: by the facts
            # that were in force at each cut, for an end may have been moved since.
            for instant, position in unprepared.get((name, currency), ()):
                lines = planned_lines(catalog_at(position), name, currency, instant, carried)
                carried = with_lines(carried, lines)
            for closing in open_ones:
                if closing[0] == currency:
                    lines = planned_lines(catalog, name, *closing, carried)
                    carried = with_lines(carried, lines)
                    plans.append(_Plan(payer, closing, lines))
    return plans


def _drafts(plan: _Plan, usage: Usage) -> Sequence[Draft]:
    """Return the would-be documents of a plan, with what is wrong with them."""
    payer, (currency, instant) = plan.payer, plan.closing
    position = DraftPosition(payer.cursor.partition, payer.cursor.offset, payer.cursor.log_time)
    return [
        draft_of(payer.name, currency, instant, position, document)
        for document in compose(payer.catalog, payer.name, currency, instant, plan.lines, usage)
    ]


def draft_of(
    payer: str, currency: str, instant: Instant, position: DraftPosition, composed: Composed
) -> Draft:
    """Return a composed document as a draft."""
    issues = [issue.json() for issue in composed.issues]
    return Draft(payer, currency, instant, position, composed.content, issues)
