"""Draft: rate the payers whose books changed, at one named position.

Owns: load -> compose -> store, in bites.  Does not own: composing (invoice), rating (rate).
Law: everything a draft rests on is read in one snapshot, so its position is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from pipeline.catalog.catalog import Catalog
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
from pipeline.stores.postgres.books import load_cursors
from pipeline.stores.postgres.database import Connection, Overtaken
from pipeline.stores.postgres.documents import closings_cut, contents_of, unprepared_cuts
from pipeline.stores.postgres.drafts import (
    Draft,
    DraftPosition,
    clean,
    dirty_payers,
    drop_drafts,
    store_drafts,
)
from pipeline.stores.postgres.usage import read_usage
from pipeline.workers.knowledge import Knowledge

_log = structlog.get_logger()

BITE = 500
"""Payers rated in one transaction."""


@dataclass(frozen=True, slots=True)
class _Plan:
    payer: str
    closing: Closing
    lines: Sequence[PlannedLine]


def rate_dirty(
    connection: Connection, known: Knowledge, partitions: Sequence[int], bite: int = BITE
) -> int:
    """Rate up to `bite` dirty payers; return how many there were."""
    while True:
        try:
            return _rate_bite(connection, known, partitions, bite)
        except Overtaken:
            _log.info("the finalizer took a draft that was being rated: rating anew")


def _rate_bite(
    connection: Connection, known: Knowledge, partitions: Sequence[int], bite: int
) -> int:
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        dirty = dirty_payers(connection, partitions, bite)
        if not dirty:
            return 0
        cursors = load_cursors(connection)
        plans, drafts = [], []
        for payer, partition, _ in dirty:
            cursor, _anchor = cursors[partition]
            catalog = known.catalog(cursor.tick.fact_position)
            plans += [
                (_Plan(payer, closing, lines), catalog, partition)
                for closing, lines in _closings(connection, catalog, payer, cursor.log_time)
            ]
        requests = [line.request for plan, _, _ in plans for line in plan.lines if line.request]
        usage = read_usage(connection, requests)
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
        drop_drafts(connection, [payer for payer, _, _ in dirty], drafts)
        store_drafts(connection, drafts)
        clean(connection, dirty)
        return len(dirty)


def _closings(
    connection: Connection, catalog: Catalog, payer: str, log_time: int
) -> list[tuple[Closing, list[PlannedLine]]]:
    """Return the open closings of a payer with the lines each would carry."""
    if payer not in catalog.customers:
        return []
    closed = closings_cut(connection, payer)
    carried: dict[str, Carried] = {}
    found = []
    for currency, instant in open_closings(catalog, payer, log_time, closed):
        if currency not in carried:
            carried[currency] = _carried(connection, catalog, payer, currency)
        lines = planned_lines(catalog, payer, currency, instant, carried[currency])
        carried[currency] = with_lines(carried[currency], lines)
        found.append(((currency, instant), lines))
    return found


def _carried(connection: Connection, catalog: Catalog, payer: str, currency: str) -> Carried:
    """Return what documents carry, and what the finalizer is about to make of booked cuts."""
    carried = carried_by_all(contents_of(connection, payer, currency))
    for instant in unprepared_cuts(connection, payer, currency):
        lines = planned_lines(catalog, payer, currency, instant, carried)
        carried = with_lines(carried, lines)
    return carried
