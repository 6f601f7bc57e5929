"""Finalizer: prepare documents at their cuts, register them with number and seal.

Owns: load -> compose -> save, and register.  Does not own: content (invoice), seals (ledger).
Law: twice is once (unique by cut), numbers have no gaps (one transaction an issuer), content
is made of facts up to the cut and usage below it, so when it is made does not matter. A document
that cannot be rated holds up its payer, nobody else.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from threading import Event, Thread
from typing import Protocol, cast

import structlog

from pipeline.book.booking import Cut, TickPassed
from pipeline.catalog.by_hand import ByHand
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.fields import DEFAULT_PAYMENT_DAYS
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.issues import Severity, held_up
from pipeline.invoice.parts import PlannedLine
from pipeline.invoice.planned import Carried, planned_lines, requests_of, with_lines
from pipeline.invoice.published import DraftPosition
from pipeline.invoice.settling import settle
from pipeline.invoice.taxed import answers_in, awaited_in
from pipeline.invoice.usage import UsageRequest
from pipeline.invoice.workflow import WAITS, waiting
from pipeline.ledger.seal import (
    Issue,
    PartitionEvidence,
    content_bytes,
    evidence_json,
    issue_record,
    seal_of,
)
from pipeline.meter.slices import Counts
from pipeline.stores.postgres.documents import Prepared, Registrar
from pipeline.stores.postgres.drafts import Draft
from pipeline.workers.conserving import watch_conservation
from pipeline.workers.correcting import Correction, Corrector, Papers, correct_late
from pipeline.workers.drafting import draft_of
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.matching import run_matching
from pipeline.workers.surroundings import Surroundings
from pipeline.workers.taxing import run_taxing

_log = structlog.get_logger()

_IDLE_S = 0.25
_LATE_EVERY = 20
"""Idle rounds between two looks for late usage that no invoice will take along."""


class DocumentStore(Papers, Protocol):
    """Booked cuts, what was composed at them, and the chain of what is issued."""

    def transaction(self) -> AbstractContextManager[object]: ...

    def take_cut(self, held_up: Collection[str]) -> tuple[Cut, int] | None: ...

    def save_prepared(self, cut: Cut, documents: Iterable[Prepared], reached: Carried) -> None: ...

    def issuers_waiting(self) -> list[str]: ...

    def register(self, issuer: str, seal: Registrar, held: Collection[str] = ()) -> int: ...

    def store_drafts(self, drafts: Iterable[Draft]) -> None: ...

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]: ...

    def digest_of_usage(self, requests: Iterable[UsageRequest], below_cut: int) -> str: ...

    def tick_passed(self, partition: int, serial: int) -> TickPassed: ...

    def credits_used(self, payer: str) -> Mapping[str, int]: ...

    def cut_before(self, payer: str, serial: int) -> int | None: ...


@dataclass(slots=True)
class Finalizer:
    """Prepares and registers over one session in autocommit."""

    store: DocumentStore
    known: Knowledge
    clock: Callable[[], Instant]
    _held_up: set[str] = field(default_factory=set)
    """Payers whose next document cannot be issued; a decision by hand, or a restart, tries again:
    another release may rate it."""
    _decided: int = 0
    """The position of the last decision by hand that was looked at."""
    _awaiting: dict[str, set[str]] = field(default_factory=dict)
    """Which answers they await of an outside engine; one of them is enough to try again."""

    def prepare(self) -> bool:
        """Compose the documents of one booked cut; return whether there was one."""
        self._let_go()
        with self.store.transaction():
            taken = self.store.take_cut(self._held_up)
            if taken is None:
                return False
            cut, partition = taken
            passed = self.store.tick_passed(partition, cut.serial)
            # Whoever decides on this document locks its cut, and so was before or comes too late.
            latest = self._decisions()
            catalog = self.known.catalog(passed.tick.fact_position).decided_by(latest)
            carried = self.store.carried_by([cut.payer]).get((cut.payer, cut.currency), {})
            lines = _lines(catalog, cut, carried)
            made = [
                *self._composed(catalog, cut, lines),
                *Corrector(self.store, self._answered).at(cut, catalog),
            ]
            made = [replace(e, document=waiting(catalog, e.document)) for e in made]
            if any(each.document.stopped for each in made):
                self._hold_up(cut, partition, passed, [each.document for each in made])
                return True
            documents = self._prepared(cut, partition, passed, made, catalog.by_hand)
            reached = with_lines(carried, lines)
            news = {key: reach for key, reach in reached.items() if carried.get(key) != reach}
            self.store.save_prepared(cut, documents, news)
            return True

    def _composed(
        self, catalog: Catalog, cut: Cut, lines: Sequence[PlannedLine]
    ) -> Iterator[Correction]:
        """Yield the documents of what fell due."""
        requests = requests_of(lines)
        usage = self.store.read_usage(requests, cut.serial)
        composed = compose(catalog, cut.payer, cut.currency, cut.instant, lines, usage)
        if any(awaited_in(document.content) for document in composed):
            catalog = catalog.answered_by(self.known.latest())
            composed = compose(catalog, cut.payer, cut.currency, cut.instant, lines, usage)
        yield from (Correction(document, requests) for document in composed)

    def _answered(self, position: int) -> Catalog:
        """Return the catalog at a position, with what may still enter documents since."""
        latest = self.known.latest()
        return self.known.catalog(position).answered_by(latest).decided_by(latest)

    def _decisions(self) -> Catalog:
        """Return the catalog of all facts; try what was held up again if some are by hand."""
        latest = self.known.latest()
        if latest.by_hand.position > self._decided:
            self._decided = latest.by_hand.position
            self._held_up.clear()
        return latest

    def _hold_up(
        self, cut: Cut, partition: int, passed: TickPassed, composed: Sequence[Composed]
    ) -> None:
        """Leave the cut as it is; its drafts stay, with what is wrong with them."""
        self._held_up.add(cut.payer)
        awaited = set[str]().union(*(awaited_in(document.content) for document in composed))
        if awaited:
            self._awaiting[cut.payer] = awaited
        faulty = [
            replace(document, issues=tuple(map(held_up, document.issues))) for document in composed
        ]
        position = DraftPosition(partition, passed.offset, passed.tick.time)
        self.store.store_drafts(
            draft_of(cut.payer, cut.currency, cut.instant, position, document)
            for document in faulty
        )
        for issue in (issue for document in faulty for issue in document.issues):
            if issue.code in WAITS:
                _log.info("a document waits", payer=cut.payer, why=str(issue))
            elif issue.severity is Severity.CRITICAL:
                _log.critical("a document cannot be issued", payer=cut.payer, why=str(issue))

    def _let_go(self) -> None:
        """Try those again whose answers have come, or all once somebody decided by hand."""
        if self._held_up:
            self._decisions()
        if not self._awaiting:
            return
        answers = self.known.latest().deals.tax_answers
        for payer in [p for p, awaited in self._awaiting.items() if awaited & answers.of(p).keys()]:
            del self._awaiting[payer]
            self._held_up.discard(payer)

    def register(self) -> int:
        """Seal what is prepared and not held; return how many documents were."""
        issuers = self.store.issuers_waiting()
        if not issuers:
            return 0
        holds = self._decisions().by_hand.holds
        if holds.everything:
            return 0
        return sum(self.store.register(each, self._seal, holds.customers) for each in issuers)

    def _prepared(
        self,
        cut: Cut,
        partition: int,
        passed: TickPassed,
        made: Iterable[Correction],
        by_hand: ByHand,
    ) -> list[Prepared]:
        since_offset, since_counts = self._cut_before(partition, cut)
        evidence = PartitionEvidence(
            partition=partition,
            from_offset=since_offset,
            to_offset=passed.offset,
            cut_tick=cut.serial,
            counts=_between(since_counts, passed.counts),
        )
        return [
            Prepared(
                payer=cut.payer,
                currency=cut.currency,
                instant=cut.instant,
                kind=each.document.kind,
                ordinal=each.document.ordinal,
                issuer=each.document.issuer,
                cut_serial=cut.serial,
                content=content_bytes(each.document.content),
                evidence=evidence_json(
                    [evidence], self.store.digest_of_usage(each.requests, cut.serial)
                ),
                named_at=_named_at(by_hand, each.document),
            )
            for each in made
        ]

    def _cut_before(self, partition: int, cut: Cut) -> tuple[int, Counts]:
        """Return offset and counts at the payer's cut before this one (the log's start: none)."""
        serial = self.store.cut_before(cut.payer, cut.serial)
        if serial is None:
            return -1, Counts()
        passed = self.store.tick_passed(partition, serial)
        return passed.offset, passed.counts

    def _seal(self, prepared: Prepared, place: int, previous: str) -> tuple[str, bytes, bytes]:
        cut_position = self.store.fact_position(prepared.cut_serial)
        catalog = self.known.catalog(cut_position)
        issuer = catalog.issuers.get(prepared.issuer)
        if issuer is None:
            raise BrokenInvariant(f"issuer {prepared.issuer} is unknown at fact {cut_position}")
        rules = catalog.rules_in_force
        number = f"{issuer.number_prefix}{place:06d}"
        content = cast(dict[str, Json], json.loads(prepared.content))
        record = issue_record(
            prepared.content,
            Issue(
                number=number,
                issuer=prepared.issuer,
                issued_at=self.clock(),
                payment_days=_payment_days(catalog, content),
                fact_position_cut=cut_position,
                fact_position_last=max(
                    self._last_position(cut_position, prepared.payer, content), prepared.named_at
                ),
                rule_version=rules.rule_version,
                tzdata_version=rules.tzdata_version,
                evidence=prepared.evidence,
                previous_seal=previous,
                settlement=self._settlement(catalog, prepared.payer, content),
            ),
        )
        return number, record, seal_of(record)

    def _last_position(self, cut: int, payer: str, content: Mapping[str, Json]) -> int:
        """Return the position of the last fact that entered a document: answers may come late."""
        needed = answers_in(content)
        if not needed:
            return cut
        known = self._answered(cut).deals.tax_answers.of(payer)
        return max(cut, *(known[digest].position for digest in needed))

    def _settlement(
        self, catalog: Catalog, payer: str, content: Mapping[str, Json]
    ) -> Mapping[str, Json] | None:
        """Return what prepaid credits pay, by the facts at the cut.

        A credit is one issuer's, and an issuer's documents are registered one after the other.
        """
        grants = catalog.deals.credits.get(payer)
        if not grants:
            return None
        return settle(content, grants.values(), self.store.credits_used(payer)).json()


def _lines(catalog: Catalog, cut: Cut, carried: Carried) -> list[PlannedLine]:
    """Return what a cut bills: what fell due, where a period ended."""
    if cut.fact:
        return []
    return planned_lines(catalog, cut.payer, cut.currency, cut.instant, carried)


def _named_at(by_hand: ByHand, document: Composed) -> int:
    """Return the position of the last fact that names a document."""
    content, issues = document.content, (issue.id for issue in document.issues)
    return by_hand.position_of(str(content["customer"]), str(content["id"]), issues)


def _between(before: Counts, now: Counts) -> dict[str, int]:
    """Return the outcomes counted from one tick to another, by name."""
    return {
        each.name: getattr(now, each.name) - getattr(before, each.name) for each in fields(Counts)
    }


def _payment_days(catalog: Catalog, content: Mapping[str, Json]) -> int:
    """Return the payment term: the longest among the plans and orders on the document.

    A document of lines by hand alone, of no plan, has the usual one.
    """
    lines = cast(list[dict[str, Json]], content["lines"])
    cards = [cast(dict[str, str], line["rate_card"]) for line in lines]
    plans = {catalog.plans[card["plan"]].payment_days for card in cards if "plan" in card}
    orders = {catalog.orders.by_id[c["order"]].payment_days for c in cards if "order" in c}
    usual = DEFAULT_PAYMENT_DAYS if content["kind"] == "invoice" else 0
    return max(plans | orders, default=usual)


def run_finalizer(around: Surroundings, clock: Callable[[], Instant], stop: Event) -> None:
    """Prepare and register until stopped."""
    connection = around.database.connect(name="finalizer", autocommit=True)
    facts = around.database.connect(name="finalizer facts", autocommit=True)
    finalizer = Finalizer(connection, Knowledge(facts), clock)
    for name, beside in (
        ("audit", watch_conservation),
        ("matching", run_matching),
        ("taxing", run_taxing),
    ):
        Thread(target=beside, args=(around, stop), name=name, daemon=True).start()
    idle = 0
    while not stop.is_set():
        while not stop.is_set() and finalizer.prepare():
            pass
        if finalizer.register() or stop.wait(_IDLE_S):
            continue
        idle += 1
        if idle % _LATE_EVERY == 0:
            correct_late(facts, finalizer.known.catalog, clock())
    connection.close()
    facts.close()
