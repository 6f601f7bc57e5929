"""Draft: rate the payers whose books changed, at one named position.

Owns: load -> compose -> store, in bites.  Does not own: composing (invoice), rating (rate).
Law: everything a draft rests on is read in one snapshot, so its position is exact.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import structlog

from pipeline.catalog.catalog import Catalog
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.invoice.compose import (
    Carried,
    PlannedLine,
    RatingFailed,
    carried_by_all,
    compose,
    planned_lines,
    with_lines,
)
from pipeline.invoice.drafts import Closing, open_closings
from pipeline.invoice.usage import UsageRequest, Used
from pipeline.stores.postgres.connection import Overtaken
from pipeline.stores.postgres.drafts import Draft, DraftPosition
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


class DraftStore(CursorSource, UsageSource, Protocol):
    """Drafts, the marks of payers to rate anew, and all that a draft rests on."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Run a transaction that sees one state of everything, or is Overtaken."""
        ...

    def dirty_payers(
        self, partitions: Iterable[int], count_max: int
    ) -> list[tuple[str, int, int]]: ...

    def closings_cut(self, payer: str) -> frozenset[tuple[str, Instant]]: ...

    def contents_of(self, payer: str, currency: str) -> list[dict[str, Json]]: ...

    def unprepared_cuts(self, payer: str, currency: str) -> list[Instant]: ...

    def drop_drafts(self, payers: Sequence[str], keep: Sequence[Draft]) -> None: ...

    def store_drafts(self, drafts: Iterable[Draft]) -> None: ...

    def clean(self, rated: Sequence[tuple[str, int, int]]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Plan:
    payer: str
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
        dirty = store.dirty_payers(partitions, bite)
        if not dirty:
            return 0
        cursors = store.load_cursors()
        plans, drafts = [], []
        for payer, partition, _ in dirty:
            cursor, _anchor = cursors[partition]
            catalog = known.catalog(cursor.tick.fact_position)
            plans += [
                (_Plan(payer, closing, lines), catalog, partition)
                for closing, lines in _closings(store, catalog, payer, cursor.log_time)
            ]
        requests = [line.request for plan, _, _ in plans for line in plan.lines if line.request]
        usage = store.read_usage(requests)
        for plan, catalog, partition in plans:
            cursor, _anchor = cursors[partition]
            position = DraftPosition(partition, cursor.offset, cursor.log_time)
            currency, instant = plan.closing
            try:
                documents = compose(catalog, plan.payer, currency, instant, plan.lines, usage)
            except RatingFailed as failed:
                _log.error("a draft cannot be rated", payer=plan.payer, why=str(failed))
                continue
            drafts += [
                Draft(plan.payer, currency, instant, position, document.content)
                for document in documents
            ]
        store.drop_drafts([payer for payer, _, _ in dirty], drafts)
        store.store_drafts(drafts)
        store.clean(dirty)
        return len(dirty)


def _closings(
    store: DraftStore, catalog: Catalog, payer: str, log_time: int
) -> list[tuple[Closing, list[PlannedLine]]]:
    """Return the open closings of a payer with the lines each would carry."""
    if payer not in catalog.customers:
        return []
    closed = store.closings_cut(payer)
    carried: dict[str, Carried] = {}
    found = []
    for currency, instant in open_closings(catalog, payer, log_time, closed):
        if currency not in carried:
            carried[currency] = _carried(store, catalog, payer, currency)
        lines = planned_lines(catalog, payer, currency, instant, carried[currency])
        carried[currency] = with_lines(carried[currency], lines)
        found.append(((currency, instant), lines))
    return found


def _carried(store: DraftStore, catalog: Catalog, payer: str, currency: str) -> Carried:
    """Return what documents carry, and what the finalizer is about to make of booked cuts."""
    carried = carried_by_all(store.contents_of(payer, currency))
    for instant in store.unprepared_cuts(payer, currency):
        lines = planned_lines(catalog, payer, currency, instant, carried)
        carried = with_lines(carried, lines)
    return carried
