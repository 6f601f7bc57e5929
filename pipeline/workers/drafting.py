"""Draft: rate the payers whose books changed, at one named position.

Owns: load -> compose -> store, in bites.  Does not own: composing (invoice), rating (rate).
Law: everything a draft rests on is read in one snapshot, so its position is exact.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeVar

import structlog

from pipeline.book.booking import Cursor
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.corrections import Decision
from pipeline.catalog.cuts import horizon_at
from pipeline.core.calendar import Instant
from pipeline.invoice.alike import Patterns, Planned
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.drafts import Closing
from pipeline.invoice.parts import PlannedLine
from pipeline.invoice.planned import Carried, planned_lines, requests_of, with_lines
from pipeline.invoice.published import DraftPosition
from pipeline.invoice.retold import Moulds, Retelling
from pipeline.invoice.thresholds import thresholds_reached
from pipeline.invoice.usage import Usage, UsageRequest, Used
from pipeline.stores.postgres.books import Anchor
from pipeline.stores.postgres.connection import Overtaken
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.preparing import BookedCuts
from pipeline.stores.postgres.usage import NO_CUT
from pipeline.workers.catchup import CursorSource
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.telling import Reached, Teller
from pipeline.workers.totals import Totals, UsageToAsk

_log = structlog.get_logger()
T = TypeVar("T")

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

    def read_cuts(self, payers: Sequence[str], after: Instant) -> BookedCuts: ...

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]: ...


class DraftStore(CursorSource, OpenBooks, UsageToAsk, Protocol):
    """Drafts, and the marks of payers to rate anew."""

    def take_dirty(
        self, partitions: Iterable[int], count_max: int
    ) -> Sequence[tuple[str, int]]: ...

    def flowing(self) -> AbstractContextManager[None]:
        """Run a snapshot in which only who wants a result waits for it."""
        ...

    def hold_drafts(self, payers: Sequence[str]) -> Iterable[str]: ...

    def drop_drafts(self, held: Iterable[str], keep: Iterable[Draft]) -> None: ...

    def store_drafts(self, drafts: Iterable[Draft]) -> None: ...


class Payer(NamedTuple):
    """Who is rated, where the books of their partition stand, up to when periods were cut.

    `at_once`: closings that the next tick cuts, whether or not a period ends there.
    """

    name: str
    cursor: Cursor
    catalog: Catalog
    passed: Instant
    at_once: frozenset[Closing] = frozenset()


class _Plan(NamedTuple):
    payer: Payer
    closing: Closing
    lines: Sequence[PlannedLine]
    retelling: Retelling


def rate_dirty(
    store: DraftStore,
    known: Knowledge,
    partitions: Sequence[int],
    planner: "Planner",
    teller: Teller,
    totals: Totals,
) -> int:
    """Rate a bite of dirty payers; return how many there were."""
    while True:
        try:
            return _rate_bite(store, known, partitions, planner, teller, totals)
        except Overtaken:
            _log.info("the finalizer took a draft that was being rated: rating anew")
        except Reached as reached:
            teller.tell(reached.reached, known.nearest)


def _rate_bite(
    store: DraftStore,
    known: Knowledge,
    partitions: Sequence[int],
    planner: "Planner",
    teller: Teller,
    totals: Totals,
) -> int:
    """Rate the payers whose marks have waited longest.

    What a draft reaches is told before it is kept: whoever dies between finds the mark again. A
    payer whose early document, or note of a diff, is not made yet keeps its drafts, and is marked
    when it is.
    """
    with store.flowing():
        dirty = store.take_dirty(partitions, BITE)
        if not dirty:
            return 0
        payers = _payers(store, known, dirty)
        totals.stand_at({payer.cursor.partition: payer.cursor for payer in payers}.values())
        plans = planner.plans(store, known.catalog, payers)
        asked = requests_of(line for plan in plans for line in plan.lines)
        answered = totals.ask(store, asked)
        held = store.hold_drafts([payer for payer, _ in dirty if payer not in planner.left_out])
        usage, drafts = answered(), list[Draft]()
        for plan in plans:
            made = _drafts(plan, usage)
            teller.look(_reached(plan, made))
            drafts += made
        store.drop_drafts(held, drafts)
        store.store_drafts(drafts)
        return len(dirty)


def would_be(
    books: OpenBooks,
    catalog_at: Callable[[int], Catalog],
    payers: Sequence[Payer],
    planner: "Planner",
    look: Callable[[Sequence[Decision]], object] = len,
) -> Iterator[Draft]:
    """Yield the documents of payers whose cut is still ahead; call it within a snapshot.

    `look` is told the thresholds that they reach.
    """
    for plan, drafts in _rated(books, catalog_at, payers, planner):
        look(_reached(plan, drafts))
        yield from drafts


def _rated(
    books: OpenBooks,
    catalog_at: Callable[[int], Catalog],
    payers: Sequence[Payer],
    planner: "Planner",
) -> Iterator[tuple[_Plan, Sequence[Draft]]]:
    plans = planner.plans(books, catalog_at, payers)
    usage = books.read_usage(requests_of(line for plan in plans for line in plan.lines))
    for plan in plans:
        yield plan, _drafts(plan, usage)


def _reached(plan: _Plan, drafts: Sequence[Draft]) -> Sequence[Decision]:
    """Return the thresholds that a period which still runs came to."""
    (currency, instant), payer = plan.closing, plan.payer
    if instant <= payer.cursor.log_time:
        return ()
    contents = (draft.content for draft in drafts)
    return thresholds_reached(plan.lines, contents, currency, payer.catalog.deals.decisions.reached)


def _payers(store: DraftStore, known: Knowledge, dirty: Sequence[tuple[str, int]]) -> list[Payer]:
    """Return the dirty payers that are customers by now."""
    cursors, stand = store.load_cursors(), dict[int, tuple[Cursor, Catalog, Instant]]()
    for number in {partition for _, partition in dirty}:
        cursor, _anchor = cursors[number]
        catalog = known.catalog(cursor.tick.fact_position)
        stand[number] = cursor, catalog, horizon_at(catalog, cursor.tick)
    return [
        Payer(name, *stand[partition])
        for name, partition in dirty
        if name in stand[partition][1].customers
    ]


class Planner:
    """Which documents payers will have, and with which lines: remembered while it stays so.

    Mostly only usage changes, and lines do not depend on it; nor do they on ticks, but where one
    opens a period or closes it, or on facts that touch others. Use one for one log.
    """

    def __init__(self) -> None:
        """Start with nothing remembered."""
        self._known: dict[str, _Known] = {}
        self._moulds = Moulds()
        self._patterns = Patterns(self._moulds)
        self._weight = 0
        self.left_out: frozenset[str] = frozenset()
        """Of the last call: payers with a document to come on which their drafts will rest."""

    def plans(
        self, books: OpenBooks, catalog_at: Callable[[int], Catalog], payers: Sequence[Payer]
    ) -> list[_Plan]:
        """Return the open closings of payers with the lines that each would carry."""
        self.left_out = frozenset()
        if not payers:
            return []
        names = [payer.name for payer in payers]
        cuts = books.read_cuts(names, min(payer.passed for payer in payers))
        carried = _by_payer(books.carried_by(names))
        unprepared = _by_payer(cuts.unprepared)
        if self._weight > _REMEMBERED_MAX:
            self._known.clear()
            self._weight = 0
        self.left_out = frozenset(
            payer.name
            for payer in payers
            if any(
                map(payer.catalog.deals.decisions.moves_drafts, cuts.to_come.get(payer.name, ()))
            )
        )
        plans = []
        for payer in payers:
            if payer.name in self.left_out:
                continue
            name = payer.name
            moment = _Moment(
                payer.catalog.touched.at(name),
                payer.passed,
                payer.cursor.log_time,
                cuts.closed.get(name, ()),
            )
            known = self._known.get(name)
            if known is not None and known.moment == moment:
                still_open = known.grounds.open
            else:
                still_open = self._patterns.open(payer.catalog, name, *moment[1:], payer.at_once)
            grounds = _Grounds(
                moment.touched,
                still_open,
                carried.get(name, {}),
                unprepared.get(name, {}),
            )
            if known is not None and known.grounds == grounds:
                planned = known.planned
            else:
                planned = self._planned(payer.catalog, name, grounds, catalog_at)
                self._weight += _weight(planned) - (_weight(known.planned) if known else 0)
            if known is None or known.planned is not planned or known.moment != moment:
                self._known[name] = _Known(moment, grounds, planned)
            plans += [_Plan(payer, *each) for each in planned]
        return plans

    def _planned(
        self, catalog: Catalog, name: str, grounds: "_Grounds", catalog_at: Callable[[int], Catalog]
    ) -> Sequence[Planned]:
        def work_out() -> Sequence[Planned]:
            return _planned(catalog, name, grounds, catalog_at, self._moulds)

        if grounds.unprepared:
            return work_out()
        return self._patterns.planned(catalog, name, grounds.open, grounds.carried, work_out)


_REMEMBERED_MAX = 16_000
"""Payers and their lines, each of a kilobyte or two: texts are those of all on their terms."""


def _weight(planned: Sequence[Planned]) -> int:
    return 1 + sum(len(lines) for _, lines, _ in planned)


class _Moment(NamedTuple):
    """All that a payer's open closings follow from."""

    touched: int
    passed: Instant
    log_time: Instant
    closed: Collection[Closing]


class _Grounds(NamedTuple):
    """All that a payer's documents follow from, but for usage; by currency where it is by any."""

    touched: int
    open: Sequence[Closing]
    carried: Mapping[str, Carried]
    unprepared: Mapping[str, Sequence[tuple[Instant, int]]]


class _Known(NamedTuple):
    """What was planned of a payer's documents last."""

    moment: _Moment
    grounds: _Grounds
    planned: Sequence[Planned]


def _by_payer(found: Mapping[tuple[str, str], T]) -> dict[str, dict[str, T]]:
    """Return what is by (payer, currency) by payer, then currency."""
    by_payer: dict[str, dict[str, T]] = {}
    for (payer, currency), what in found.items():
        by_payer.setdefault(payer, {})[currency] = what
    return by_payer


def _planned(
    catalog: Catalog,
    name: str,
    grounds: _Grounds,
    catalog_at: Callable[[int], Catalog],
    moulds: Moulds,
) -> list[Planned]:
    planned: list[Planned] = []
    for currency in sorted({currency for currency, _ in grounds.open}):
        carried = grounds.carried.get(currency, {})
        # What the finalizer is about to make of booked cuts is carried by then: by the facts
        # that were in force at each cut, for an end may have been moved since.
        for instant, position in grounds.unprepared.get(currency, ()):
            lines = planned_lines(catalog_at(position), name, currency, instant, carried)
            carried = with_lines(carried, lines)
        for closing in grounds.open:
            if closing[0] == currency:
                lines = planned_lines(catalog, name, *closing, carried)
                carried = with_lines(carried, lines)
                planned.append((closing, lines, moulds.retelling(catalog, name, *closing, lines)))
    return planned


def _drafts(plan: _Plan, usage: Usage) -> Sequence[Draft]:
    """Return the would-be documents of a plan, with what is wrong with them."""
    payer, (currency, instant), retelling = plan.payer, plan.closing, plan.retelling
    position = _position(payer.cursor.partition, payer.cursor.offset, payer.cursor.log_time)
    told = retelling.told(usage)
    if told is not None:
        own = told if retelling.shared else told.text
        return [Draft(retelling.id, payer.name, currency, instant, position, own)]
    composed = compose(payer.catalog, payer.name, currency, instant, plan.lines, usage)
    drafts = [draft_of(payer.name, currency, instant, position, each) for each in composed]
    retelling.hear(usage, composed, [each.text for each in drafts])
    return drafts


_position = lru_cache(DraftPosition)  # drafts that are rated together have one


def draft_of(
    payer: str, currency: str, instant: Instant, position: DraftPosition, composed: Composed
) -> Draft:
    """Return a composed document as a draft; its issues are made anew with it, at its log time."""
    issues = [issue.told_at(position.log_time) for issue in composed.issues]
    return Draft.of(payer, currency, instant, position, composed.content, issues)
