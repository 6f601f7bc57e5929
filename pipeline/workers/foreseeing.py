"""Foresee: what open drafts would come to under another catalog. Reads only.

Owns: load -> compose twice -> compare, in bites; what would be issued at once.
Does not own: composing (drafting), what changes (catalog/planning), when (catalog/cuts).
Law: both sides of a payer rest on one snapshot, so that they differ by the catalog alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.catalog.catalog import Catalog, FactLog
from pipeline.catalog.corrections import Decision
from pipeline.catalog.cuts import Closed, horizon_at, instant_of, owed_at_once
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json, partition_of
from pipeline.invoice.compose import compose
from pipeline.invoice.drafts import Closing
from pipeline.invoice.effect import Effect, effects
from pipeline.invoice.planned import planned_lines, requests_of
from pipeline.invoice.published import DraftPosition
from pipeline.stores.postgres.drafts import Draft
from pipeline.workers.drafting import BITE, OpenBooks, Payer, Planner, draft_of, would_be


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a change comes to, and the drafts with lines that cannot be rated after it.

    `at_once`: the documents that are cut as soon as it is in force, and those that it has billed
    early, for a threshold is reached then.
    """

    effects: tuple[Effect, ...]
    unrated: tuple[Draft, ...]
    at_once: tuple[Draft, ...] = ()


def foresee(
    books: OpenBooks,
    facts: FactLog,
    after: Catalog,
    customers: Sequence[str],
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Foreseen:
    """Return what open drafts that bill customers come to at the head of the facts, and after."""
    catalogs = facts.at(facts.head), after
    found: list[Effect] = []
    unrated: list[Draft] = []
    at_once: list[Draft] = []
    invoiced = [*dict.fromkeys(map(after.accounts.payer, customers))]
    for first in range(0, len(invoiced), BITE):
        names = invoiced[first : first + BITE]
        reached: tuple[list[Decision], list[Decision]] = [], []
        with books.snapshot():
            payers = _payers(books, catalogs, names)
            old, new = (
                [*would_be(books, facts.at, side, Planner(), told.extend)]
                for side, told in zip(payers, reached, strict=True)
            )
            news = [each for each in reached[1] if each not in reached[0]]
            early = [*_early(books, {payer.name: payer for payer in payers[1]}, news)]
        found += effects(_contents(old), _contents(new))
        unrated += [one for one in new if one.issues]
        cut = {(payer.name, *closing) for payer in payers[1] for closing in payer.at_once}
        at_once += [one for one in new if (one.payer, one.currency, one.instant) in cut]
        at_once += early
        tell(first + len(names), len(invoiced))
    return Foreseen(tuple(found), tuple(unrated), tuple(at_once))


def _contents(rated: Iterable[Draft]) -> list[Mapping[str, Json]]:
    return [one.content for one in rated]


def _payers(
    books: OpenBooks, catalogs: tuple[Catalog, Catalog], names: Sequence[str]
) -> tuple[list[Payer], list[Payer]]:
    """Return customers as they are rated before and after; a partition nobody books has none."""
    found: tuple[list[Payer], list[Payer]] = [], []
    cursors, partitions = books.load_cursors(), catalogs[0].parameters.partitions
    for name in names:
        cursor, _ = cursors.get(partition_of(name, partitions), (None, None))
        if cursor is None:
            continue
        passed = _passed(catalogs, horizon_at(catalogs[0], cursor.tick), name)
        for catalog, payers in zip(catalogs, found, strict=True):
            if name in catalog.customers:
                payers.append(Payer(name, cursor, catalog, passed))
    return found[0], _with_cuts(books, catalogs, found[1])


def _passed(catalogs: tuple[Catalog, Catalog], horizon: Instant, name: str) -> Instant:
    """Return up to when a customer's periods were cut.

    A subscription that is new starts a past of its own, which is cut at once, its start too.
    """
    before, after = catalogs
    known = before.subscriptions
    starts = (s.start - 1 for s in after.subscriptions_paid_by(name) if known.get(s.id) != s)
    bought = (o.at - 1 for o in after.orders_paid_by(name) if before.orders.by_id.get(o.id) != o)
    return min([horizon, *starts, *bought])


def _with_cuts(
    books: OpenBooks, catalogs: tuple[Catalog, Catalog], payers: Sequence[Payer]
) -> list[Payer]:
    """Return payers with what the next tick cuts because of the change."""
    names = [payer.name for payer in payers]
    closed = books.read_cuts(names, min((payer.passed for payer in payers), default=0)).closed
    found = []
    for payer in payers:
        cut: dict[Closed, int] = {(payer.name, *each): 0 for each in closed.get(payer.name, ())}
        at_once, tick = set[Closing](), payer.cursor.tick
        for due in owed_at_once(*catalogs, payer.name, tick):
            instant = instant_of(due, cut, tick.serial + 1)
            if instant is not None:
                cut[payer.name, due.currency, instant] = tick.serial + 1
                at_once.add((due.currency, instant))
        found.append(payer._replace(at_once=frozenset(at_once)))
    return found


def _early(
    books: OpenBooks, payers: Mapping[str, Payer], reached: Sequence[Decision]
) -> Iterator[Draft]:
    """Yield what is billed early of periods that come to a threshold after the change."""
    carried = books.carried_by(sorted({each.payer for each in reached}))
    for each in reached:
        payer = payers[each.payer]
        cursor, closing = payer.cursor, (each.payer, each.currency, payer.cursor.log_time)
        told = carried.get((each.payer, each.currency), {})
        lines = planned_lines(payer.catalog, *closing, told, each.early)
        usage = books.read_usage(requests_of(lines))
        position = DraftPosition(cursor.partition, cursor.offset, cursor.log_time)
        for made in compose(payer.catalog, *closing, lines, usage, "threshold"):
            yield draft_of(*closing, position, made)
