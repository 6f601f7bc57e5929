"""Correcting: the notes that a cut makes of documents before it.

Owns: load -> compose anew -> subtract, the notes of decisions, and whether one may be taken.
Does not own: composing and subtracting (invoice), usage (stores), sealing (finalizer.py).
Law: a document and the notes that usage made are the document that would be issued with all usage
below the last cut; what people took off or added stands beside that and is never undone by it.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import islice
from typing import Protocol

import structlog

from pipeline.book.booking import Cursor, Cut
from pipeline.catalog.catalog import Catalog, FactLog, extend
from pipeline.catalog.corrections import CORRECTING, Decision
from pipeline.catalog.cuts import horizon_at
from pipeline.catalog.deals import Deals
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.mends import Mends
from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.money import Money
from pipeline.invoice.asking import asked, correction, decided_already, next_closing
from pipeline.invoice.compose import Composed
from pipeline.invoice.correcting import decided_note, usage_note
from pipeline.invoice.history import Anew, History, Paper
from pipeline.invoice.layers import Layers, layers_of
from pipeline.invoice.published import DraftPosition
from pipeline.invoice.usage import Usage, UsageRequest
from pipeline.meter.ticks import Tick
from pipeline.stores.postgres.books import Anchor
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.preparing import Prepared
from pipeline.stores.postgres.usage import NO_CUT
from pipeline.workers.drafting import UsageSource, draft_of
from pipeline.workers.seams import FactWriter

_log = structlog.get_logger()


class Papers(UsageSource, Protocol):
    """A payer's documents, sealed or about to be, and its usage."""

    def read_documents(self, payer: str | None = None) -> list[Document]: ...

    def read_prepared(self, payer: str) -> list[Prepared]: ...

    def late_usage(
        self, payer: str, currency: str, below: int, *, carried: bool = False
    ) -> list[tuple[int, Instant]]: ...

    def moved_since(
        self, asked: Sequence[tuple[UsageRequest, int]], below_cut: int
    ) -> list[bool]: ...

    def fact_position(self, tick_serial: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Correction:
    """A document that corrects or replaces another, and the usage that it rests on."""

    document: Composed
    requests: Sequence[UsageRequest] = ()


def history_of(store: Papers, catalog_at: Callable[[int], Catalog], payer: str) -> History:
    """Return the documents of a payer."""
    papers = [document.paper for document in store.read_documents(payer)]
    papers += [
        Paper(p.cut_serial, p.instant, p.kind, p.ordinal, json.loads(p.content))
        for p in store.read_prepared(payer)
    ]
    return History(payer, papers, cache(lambda serial: catalog_at(store.fact_position(serial))))


@dataclass(slots=True)
class Corrector:
    """Makes the notes of cuts over one session."""

    store: Papers
    catalog_at: Callable[[int], Catalog]

    def at(self, cut: Cut, catalog: Catalog) -> list[Correction]:
        """Return what corrects documents at a cut; `catalog` is the one at its tick."""
        least = {name: each.notes_from for name, each in catalog.issuers.items()}
        late = self.store.late_usage(
            cut.payer, cut.currency, cut.serial, carried=any(least.values())
        )
        decisions = catalog.deals.decisions
        decision = decisions.by_serial.get(cut.fact)
        if not late and decision is None:
            return []
        history = history_of(self.store, self.catalog_at, cut.payer)
        history = history.before(cut.serial, cut.instant)
        # Notes by former prices may have been made since a diff was looked at: with its own, anew.
        # All its cuts are of one tick, so of the same usage: the first is enough.
        if decision is not None and decision.kind is FactKind.REPRICING:
            begins = decisions.begins_diff(decision)
            late = [*late, *_cuts_of(history, catalog.deals.mends)] if begins else []
        made = [*self._of_usage(history, cut, late, least, catalog.deals)]
        if decision is not None and decision.kind in CORRECTING:
            made += self._decided(history, cut, decision, made)
        return _numbered(made)

    def _of_usage(
        self,
        history: History,
        cut: Cut,
        late: Sequence[tuple[int, Instant]],
        least: Mapping[str, Fraction],
        deals: Deals,
    ) -> Iterator[Correction]:
        """Yield the notes of documents whose usage changed since they were cut.

        `least` is what a note of each issuer comes to at least.
        """
        anew = [
            layers_of(history, paper, deals.mends.get(paper.id, ()))
            for paper in history.invoices(cut.currency)
            if any(paper.cut_serial <= under and paper.holds(window) for under, window in late)
        ]
        anew = self._moved(anew, cut)
        usage = self._used(anew, cut)
        for each in anew:
            issuer = str(each.paper.content["issuer"])
            minor = Money.rounded(least.get(issuer, Fraction(0)), cut.currency).minor
            decided = deals.decisions.about(each.paper.id)
            below, instant = self._used_below, cut.instant
            found = usage_note(history, each, usage, below, instant, decided, minor)
            if found is not None:
                yield Correction(found, each.requests)

    def _moved(self, anew: Sequence[Layers], cut: Cut) -> list[Layers]:
        """Return those whose usage is another than at their own cuts: the rest come to the same."""
        asked = [(of, each.paper.cut_serial) for each in anew for of in each.requests]
        moved = iter(self.store.moved_since(asked, cut.serial))
        return [each for each in anew if any([*islice(moved, len(each.requests))])]

    def _used(self, anew: Iterable[Anew | Layers], cut: Cut) -> Usage:
        return self._used_below([of for each in anew for of in each.requests], cut.serial)

    def _used_below(self, requests: Sequence[UsageRequest], serial: int) -> Usage:
        return self.store.read_usage(requests, serial) if requests else {}

    def _decided(
        self, history: History, cut: Cut, decision: Decision, made: Sequence[Correction]
    ) -> Iterator[Correction]:
        """Yield the note of a decision, and the document that is issued anew."""
        told = replace(decision, at=cut.instant)
        found = decided_note(history, told, [each.document.content for each in made])
        if found is None:
            _log.warning("nothing is left to correct", document=decision.document)
            return
        yield Correction(found)
        paper = history.find(decision.document)
        if decision.reissue and paper is not None:
            anew = history.reissue(paper, cut.serial, cut.instant, decision.fact)
            usage = self._used([anew], cut)
            yield Correction(anew.composed(cut.payer, cut.currency, usage), anew.requests)


def _cuts_of(history: History, mends: Mends) -> Iterator[tuple[int, Instant]]:
    """Yield the cuts, and windows that they hold, of documents whose diff was applied."""
    for paper in history.papers:
        if paper.id in mends:
            yield paper.cut_serial, parse_instant(paper.content["period_start"])


def asking(store: Papers, log: FactLog, wanted: Decision, number: str) -> list[NewFact]:
    """Return the fact of a decision about a document; none where it was taken before.

    Raises:
        ValueError: it may not be taken.

    """
    catalog = log.at(log.head)
    if decided_already(catalog, wanted):
        return []
    history = history_of(store, log.at, wanted.payer)
    return [asked(catalog, history, wanted, number).told()]


class BooksAhead(Papers, Protocol):
    """Documents and usage as they stand now, in one snapshot."""

    def snapshot(self) -> AbstractContextManager[None]: ...

    def load_cursors(self) -> dict[int, tuple[Cursor, Anchor]]: ...


def notes_ahead(
    store: BooksAhead, catalog_at: Callable[[int], Catalog], payer: str, partition: int
) -> list[Draft]:
    """Return the notes that a payer's usage of closed periods is about to make, as drafts.

    They are what its next cut in each currency would make, were the log to end here; where none is
    to come, what would be made if somebody asked for them now.
    """
    found = []
    with store.snapshot():
        cursor, _ = store.load_cursors().get(partition, (None, None))
        currencies = {each.currency for each in store.read_documents(payer)}
        if cursor is None or not currencies:
            return []
        catalog = catalog_at(cursor.tick.fact_position)
        position = DraftPosition(partition, cursor.offset, cursor.log_time)
        passed = horizon_at(catalog, cursor.tick)
        for currency in sorted(currencies):
            instant = next_closing(catalog, payer, currency, passed) or cursor.log_time
            cut = Cut(payer, currency, instant, NO_CUT)
            for made in Corrector(store, catalog_at).at(cut, catalog):
                found.append(draft_of(payer, currency, instant, position, made.document))
    return found


class LateBooks(FactWriter, Protocol):
    """Usage of closed periods that no cut came after."""

    def last_acked_tick(self) -> Tick | None: ...

    def late_uncorrected(self, met_before: Instant) -> list[tuple[str, str]]: ...

    def cuts_of_facts(self, serials: Collection[int]) -> set[int]: ...


def correct_late(
    store: LateBooks, catalog_at: Callable[[int], Catalog], now: Instant
) -> list[Fact]:
    """Decide that documents of payers without a next cut are corrected now.

    Once the first of their late usage is as old as the grace; return the facts.
    """
    tick = store.last_acked_tick()
    if tick is None:
        return []
    before = catalog_at(tick.fact_position)
    horizon = horizon_at(before, tick)
    found = store.late_uncorrected(horizon)

    def decide(known: Sequence[Fact]) -> list[NewFact]:
        catalog = extend(before, known[before.position :])
        told = [d for d in catalog.deals.decisions.known if d.kind is FactKind.CORRECTION]
        booked = store.cuts_of_facts({each.serial for each in told})
        coming = {(each.payer, each.currency) for each in told if each.serial not in booked}
        wanted = (
            correction(catalog, payer, currency, horizon, now)
            for payer, currency in found
            if (payer, currency) not in coming
        )
        return [each.told() for each in wanted if each is not None]

    return store.append_facts(decide, _AUTHOR, now) if found else []


_AUTHOR = Author("finalizer", "usage of closed periods, and no next invoice")


def _numbered(made: Iterable[Correction]) -> list[Correction]:
    """Tell apart the documents of one kind that one cut makes."""
    counts: Mapping[str, list[Correction]] = defaultdict(list)
    for each in made:
        own = counts[each.document.kind]
        own.append(replace(each, document=replace(each.document, ordinal=len(own))))
    return [each for kind in sorted(counts) for each in counts[kind]]
