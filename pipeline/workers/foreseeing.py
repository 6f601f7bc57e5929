"""Foresee: what open drafts would come to under another catalog. Reads only.

Owns: load -> compose twice -> compare, in bites.  Does not own: composing (drafting), what
changes (catalog/planning).
Law: both sides of a payer rest on one snapshot, so that they differ by the catalog alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.book.booking import Cursor
from pipeline.catalog.catalog import Catalog, FactLog
from pipeline.catalog.cuts import horizon_at
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json, partition_of
from pipeline.invoice.effect import Effect, effects
from pipeline.stores.postgres.books import Anchor
from pipeline.stores.postgres.drafts import Draft
from pipeline.workers.drafting import BITE, OpenBooks, Payer, Planner, would_be


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a change comes to, and the drafts with lines that cannot be rated after it."""

    effects: tuple[Effect, ...]
    unrated: tuple[Draft, ...]


def foresee(
    books: OpenBooks,
    facts: FactLog,
    after: Catalog,
    customers: Sequence[str],
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Foreseen:
    """Return what open drafts of customers come to at the head of the facts, and after it."""
    catalogs = facts.at(facts.head), after
    found: list[Effect] = []
    unrated: list[Draft] = []
    for first in range(0, len(customers), BITE):
        names = customers[first : first + BITE]
        with books.snapshot():
            payers = _payers(catalogs, names, books.load_cursors())
            old, new = ([*would_be(books, facts.at, side, Planner())] for side in payers)
        found += effects(_contents(old), _contents(new))
        unrated += [one for one in new if one.issues]
        tell(first + len(names), len(customers))
    return Foreseen(tuple(found), tuple(unrated))


def _contents(rated: Iterable[Draft]) -> list[Mapping[str, Json]]:
    return [one.content for one in rated]


def _payers(
    catalogs: tuple[Catalog, Catalog],
    names: Iterable[str],
    cursors: Mapping[int, tuple[Cursor, Anchor]],
) -> tuple[list[Payer], list[Payer]]:
    """Return customers as they are rated before and after; a partition nobody books has none."""
    found: tuple[list[Payer], list[Payer]] = [], []
    for name in names:
        cursor, _ = cursors.get(partition_of(name, catalogs[0].parameters.partitions), (None, None))
        if cursor is None:
            continue
        passed = _passed(catalogs, cursor, name)
        for catalog, payers in zip(catalogs, found, strict=True):
            if name in catalog.customers:
                payers.append(Payer(name, cursor, catalog, passed))
    return found


def _passed(catalogs: tuple[Catalog, Catalog], cursor: Cursor, name: str) -> Instant:
    """Return up to when a customer's periods were cut.

    A subscription that is new starts a past of its own, which is cut at once, its start too.
    """
    before, after = catalogs
    known = before.subscriptions
    starts = (s.start - 1 for s in after.subscriptions_of(name) if known.get(s.id) != s)
    bought = (o.at - 1 for o in after.orders.of(name) if before.orders.by_id.get(o.id) != o)
    return min([horizon_at(before, cursor.tick), *starts, *bought])
