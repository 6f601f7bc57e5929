"""Finalizer: prepare documents at their cuts, register them with number and seal.

Owns: load -> compose -> save, and register.  Does not own: content (invoice), seals (ledger).
Law: twice is once (unique by cut), numbers have no gaps (one transaction an issuer), content
is made of facts up to the cut and usage below it, so when it is made does not matter. A document
that cannot be rated holds up its payer, nobody else.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from itertools import chain, groupby, repeat
from typing import Protocol

import structlog

from pipeline.book.booking import Cut, SequenceKey, TickPassed
from pipeline.catalog.by_hand import ByHand, Holds, nothing_held
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import FactKind
from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.identity import Json
from pipeline.dedupe.sequences import SequenceState
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.issues import Severity, held_up
from pipeline.invoice.parts import PlannedLine
from pipeline.invoice.planned import (
    Carried,
    is_early,
    planned_lines,
    put_right,
    requests_of,
    with_documents,
    with_lines,
)
from pipeline.invoice.published import DraftPosition
from pipeline.invoice.taxed import awaited_in
from pipeline.invoice.usage import Usage, UsageRequest
from pipeline.invoice.validation import HISTORY_MAX, Seen, validated
from pipeline.invoice.workflow import WAITS, waiting
from pipeline.ledger.seal import (
    PartitionEvidence,
    content_bytes,
    evidence_json,
)
from pipeline.meter.slices import Counts
from pipeline.replay.completeness import incomplete
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.preparing import Prepared, PreparedCut, Registrar
from pipeline.workers.conserving import Unclosed
from pipeline.workers.correcting import Correction, Corrector, Papers
from pipeline.workers.drafting import draft_of
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.refusing import Refusals
from pipeline.workers.sealing import Chain, Sealer
from pipeline.workers.waiting import Waiting

_log = structlog.get_logger()

BITE = 250
"""Cuts composed, and documents sealed, in one transaction."""
SHARED_BITE = 10
"""Cuts composed in one transaction where several hands share those of few payers."""


class DocumentStore(Papers, Chain, Protocol):
    """Booked cuts, what was composed at them, and the chain of what is issued."""

    def transaction(self) -> AbstractContextManager[object]: ...

    def take_cuts(self, held_up: Collection[str], count_max: int) -> list[tuple[Cut, int]]: ...

    def save_prepared(self, made: Sequence[PreparedCut]) -> None: ...

    def issued_among(self, ids: Sequence[str]) -> set[str]: ...

    def issuers_waiting(self) -> list[str]: ...

    def register(
        self,
        issuer: str,
        seal: Registrar,
        count_max: int,
        held: Callable[[], Holds] = nothing_held,
    ) -> int: ...

    def store_drafts(self, drafts: Iterable[Draft]) -> None: ...

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]: ...

    def late_payers(self, payers: Sequence[str], below: int) -> set[str]: ...

    def digests_of_usage(
        self, asked: Sequence[Iterable[UsageRequest]], below_cut: int
    ) -> list[str]: ...

    def tick_passed(self, partition: int, serial: int) -> TickPassed: ...

    def cuts_before(self, payers: Sequence[str], serial: int) -> Mapping[str, int]: ...

    def load_incomplete(
        self, partition: int | None = None
    ) -> Mapping[tuple[int, SequenceKey], SequenceState]: ...

    def earlier_totals(
        self, payers: Sequence[str], count_max: int
    ) -> Mapping[tuple[str, str], Sequence[int]]: ...


@dataclass(frozen=True, slots=True)
class _Due:
    """A cut that is taken, where it stands in the log, and what it bills."""

    cut: Cut
    partition: int
    passed: TickPassed
    catalog: Catalog
    carried: Carried
    lines: Sequence[PlannedLine]

    def documents(self, catalog: Catalog, usage: Usage) -> list[Composed]:
        """Return what it comes to by a catalog."""
        cut = self.cut
        decision = catalog.deals.decisions.by_serial.get(cut.fact)
        cause = decision.fact if decision else None
        return compose(catalog, cut.payer, cut.currency, cut.instant, self.lines, usage, cause)

    def reached(self, made: Sequence[Correction]) -> Carried:
        """Return how far its documents bill, where no earlier one did.

        Early and edited ones carry what they come to, others what the notes of diffs make of them.
        """
        contents = [each.document.content for each in made]
        billing = [each for each in contents if "corrects" not in each and "replaces" not in each]
        edits = self.catalog.by_hand.edits
        decision = self.catalog.deals.decisions.by_serial.get(self.cut.fact)
        if decision is not None and decision.kind is FactKind.REPRICING:
            notes = [each for each in contents if each.get("cause") == decision.fact]
            reached = put_right(self.carried, notes[0], decision.change) if notes else self.carried
        elif any(is_early(each) or each["id"] in edits for each in billing):
            reached = with_documents(self.carried, billing)
        else:
            reached = with_lines(self.carried, [line for line in self.lines if not line.runs])
        return {key: reach for key, reach in reached.items() if self.carried.get(key) != reach}


@dataclass(slots=True)
class Finalizer:
    """Prepares and registers over one session in autocommit."""

    store: DocumentStore
    known: Knowledge
    clock: Callable[[], Instant]
    unclosed: Unclosed = field(default_factory=lambda: Unclosed({}))
    refusals: Refusals = field(default_factory=Refusals)
    bite: int = BITE
    tells_usage: bool = True
    """Whether records hold the digest of the usage behind a document, or none of it."""
    waits: bool = True
    """Whether documents wait for missing events: in a replay also those behind a cut miss."""
    _waiting: Waiting = field(default_factory=Waiting)
    """Payers whose next document cannot be issued; a restart tries them again."""

    def prepare(self) -> bool:
        """Compose the documents of a bite of booked cuts; return whether there were any."""
        self._let_go()
        with self.store.transaction():
            taken = self.store.take_cuts(self._waiting.payers, self.bite)
            if not taken:
                return False
            self.refusals.catch_up()
            # Whoever decides on one of these locks its cut, and so was before or comes too late.
            latest = self._decisions()
            carried = self.store.carried_by([cut.payer for cut, _ in taken])
            made: list[PreparedCut] = []
            for serial, alike in groupby(taken, key=lambda each: each[0].serial):
                made += self._prepared_at(serial, [*alike], carried, latest)
            self.store.save_prepared(made)
            return True

    def _prepared_at(
        self,
        serial: int,
        taken: Sequence[tuple[Cut, int]],
        carried: Mapping[tuple[str, str], Carried],
        latest: Catalog,
    ) -> list[PreparedCut]:
        """Compose cuts of one tick; hold up the payers of those that cannot be issued."""
        stands = {each: self.store.tick_passed(each, serial) for each in {p for _, p in taken}}
        catalog = self.known.catalog(self.store.fact_position(serial)).decided_by(latest)
        due = []
        for cut, partition in taken:
            passed = stands[partition]
            before = carried.get((cut.payer, cut.currency), {})
            lines = _lines(catalog, cut, before)
            due.append(_Due(cut, partition, passed, catalog, before, lines))
        usage = self.store.read_usage(requests_of(chain(*(each.lines for each in due))), serial)
        late = self.store.late_payers([each.cut.payer for each in due], serial)
        missing = {each: self._missing(catalog, each, passed) for each, passed in stands.items()}
        earlier = self.store.earlier_totals([each.cut.payer for each in due], HISTORY_MAX)
        composed = [[*self._composed(each, usage, late)] for each in due]
        issued = self.store.issued_among([e.document.id for made in composed for e in made])
        rated = []
        for each, made in zip(due, composed, strict=True):
            reached = each.reached(made)
            # After a restore a cut comes once more; its documents are there, as they were sealed.
            new = [e for e in made if e.document.id not in issued]
            paid = earlier.get((each.cut.payer, each.cut.currency), ())
            short = missing[each.partition]
            new = [replace(e, document=self._looked_at(each, e.document, paid, short)) for e in new]
            if any(correction.document.stopped for correction in new):
                self._hold_up(each, [correction.document for correction in new])
            else:
                rated.append((each, new, reached))
        return self._prepared(serial, rated)

    def _looked_at(
        self, due: _Due, document: Composed, paid: Sequence[int], short: Sequence[str]
    ) -> Composed:
        """Return a document with what is wrong with it, and what it waits for."""
        content, policy = document.content, due.catalog.issuers[document.issuer].completeness
        start, end = (parse_instant(content[name]) for name in ("period_start", "period_end"))
        billed = due.catalog.accounts.of(str(content["customer"]))
        refused = self.refusals.of(billed, start, end)
        seen = Seen(paid, refused, self.unclosed.of(due.partition), policy)
        return waiting(due.catalog, validated(document, seen), short)

    def _composed(self, due: _Due, usage: Usage, late: Collection[str]) -> Iterator[Correction]:
        """Yield the documents of what fell due, and what corrects others."""
        composed = due.documents(due.catalog, usage)
        if any(awaited_in(document.content) for document in composed):
            composed = due.documents(due.catalog.answered_by(self.known.latest()), usage)
        requests = requests_of(due.lines)
        yield from (Correction(document, requests) for document in composed)
        if due.cut.fact or due.cut.payer in late:
            yield from Corrector(self.store, self._answered).at(due.cut, due.catalog)

    def _answered(self, position: int) -> Catalog:
        """Return the catalog at a position, with what may still enter documents since."""
        latest = self.known.latest()
        return self.known.catalog(position).answered_by(latest).decided_by(latest)

    def _decisions(self) -> Catalog:
        """Return the catalog of all facts; try again what was held up that some are about."""
        latest = self.known.latest()
        self._waiting.decided(latest.by_hand)
        return latest

    def _missing(self, catalog: Catalog, partition: int, passed: TickPassed) -> list[str]:
        """Return which producers miss events of before a cut, where an issuer asks."""
        if not (self.waits and any(each.completeness for each in catalog.issuers.values())):
            return []
        known = incomplete(self.store.load_incomplete(partition))
        return [str(each) for each in known if each.since <= passed.tick.time]

    def _hold_up(self, due: _Due, composed: Sequence[Composed]) -> None:
        """Leave the cut as it is; its drafts stay, with what is wrong with them."""
        cut, passed = due.cut, due.passed
        self._waiting.add(cut.payer, due.partition, composed)
        faulty = [
            replace(document, issues=tuple(map(held_up, document.issues))) for document in composed
        ]
        position = DraftPosition(due.partition, passed.offset, passed.tick.time)
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
        """Try those again that wait for nothing any more."""
        if self._waiting.payers:
            answers, misses = self._decisions().deals.tax_answers, self.store.load_incomplete
            unclosed = self.unclosed.of
            self._waiting.looked_at(
                answers, lambda of: bool(misses(of)), lambda of: bool(unclosed(of))
            )

    def register(self) -> int:
        """Seal some of what is prepared and not held; return how many documents were."""
        issuers = self.store.issuers_waiting()
        if not issuers:
            return 0
        sealer = Sealer(self.store, self.known, self.clock)
        return sum(self.store.register(e, sealer.seal, BITE, self._holds) for e in issuers)

    def _holds(self) -> Holds:
        return self._decisions().by_hand.holds

    def _prepared(
        self, serial: int, rated: Sequence[tuple[_Due, Sequence[Correction], Carried]]
    ) -> list[PreparedCut]:
        """Return the documents of cuts of one tick, with what they rest on."""
        stretches = self._stretches(serial, [due for due, *_ in rated])
        asked = [each.requests for _, made, _ in rated for each in made]
        told = self.store.digests_of_usage(asked, serial) if self.tells_usage else repeat("")
        digests = iter(told)
        return [
            PreparedCut(
                due.cut,
                [
                    _prepared(due, each.document, evidence_json([stretch], next(digests)))
                    for each in made
                ],
                reached,
            )
            for (due, made, reached), stretch in zip(rated, stretches, strict=True)
        ]

    def _stretches(self, serial: int, due: Sequence[_Due]) -> list[PartitionEvidence]:
        """Return the stretch of log of each cut of a tick: since its payer's cut before."""
        before = self.store.cuts_before([each.cut.payer for each in due], serial)
        stood: dict[tuple[int, int | None], tuple[int, Counts]] = {}
        found = []
        for each in due:
            where = (each.partition, before.get(each.cut.payer))
            if where not in stood:
                stood[where] = self._stand(*where)
            offset, counts = stood[where]
            found.append(
                PartitionEvidence(
                    partition=each.partition,
                    from_offset=offset,
                    to_offset=each.passed.offset,
                    cut_tick=serial,
                    counts=_between(counts, each.passed.counts),
                )
            )
        return found

    def _stand(self, partition: int, serial: int | None) -> tuple[int, Counts]:
        """Return offset and counts of a partition at a tick (the log's start: none)."""
        if serial is None:
            return -1, Counts()
        passed = self.store.tick_passed(partition, serial)
        return passed.offset, passed.counts


def _prepared(due: _Due, document: Composed, evidence: Mapping[str, Json]) -> Prepared:
    cut = due.cut
    return Prepared(
        payer=cut.payer,
        currency=cut.currency,
        instant=cut.instant,
        kind=document.kind,
        ordinal=document.ordinal,
        issuer=document.issuer,
        cut_serial=cut.serial,
        content=content_bytes(document.content),
        evidence=evidence,
        named_at=_named_at(due.catalog.by_hand, document),
        issues=document.issues,
    )


def _lines(catalog: Catalog, cut: Cut, carried: Carried) -> list[PlannedLine]:
    """Return what a cut bills: what fell due, where a period ended, or what is billed early."""
    closing = cut.payer, cut.currency, cut.instant
    if not cut.fact:
        return planned_lines(catalog, *closing, carried)
    early = catalog.deals.decisions.by_serial[cut.fact].early
    return [] if early is None else planned_lines(catalog, *closing, carried, early)


def _named_at(by_hand: ByHand, document: Composed) -> int:
    """Return the position of the last fact that names a document."""
    content, issues = document.content, (issue.id for issue in document.issues)
    return by_hand.position_of(str(content["customer"]), str(content["id"]), issues)


def _between(before: Counts, now: Counts) -> dict[str, int]:
    """Return the outcomes counted from one tick to another, by name."""
    return {
        each.name: getattr(now, each.name) - getattr(before, each.name) for each in fields(Counts)
    }
