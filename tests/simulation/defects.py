"""Planted defects: each is a stack with one part put in another way, as others have built it."""

import asyncio
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipeline.book.booking import BookedRows, SequenceKey
from pipeline.catalog.facts import Fact, FactKind, NewFact, Skips
from pipeline.catalog.matches import Match
from pipeline.collect.batch import UsageBatch
from pipeline.collect.keyed import KeyedEvent
from pipeline.collect.letters import Refusal
from pipeline.collect.rounds import Stand
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json, canonical
from pipeline.dedupe.claims import Behind, Claim, Delivery, Judged, Verdict
from pipeline.dedupe.sequences import SequenceState
from pipeline.dedupe.standing import Outcome
from pipeline.invoice.fees import Reach
from pipeline.invoice.lifecycle import EventKind, InvoiceEvent
from pipeline.invoice.usage import UsagePart, UsageRequest, Used
from pipeline.meter.slices import Counts, Rows, Slice
from pipeline.replay.revising import PRICING
from pipeline.simulate.claims import MemoryClaims, MemoryRedis
from pipeline.simulate.log import MemorySender
from pipeline.simulate.papers_session import WorkerSession
from pipeline.simulate.roles import Parts
from pipeline.simulate.shelves import MemoryOutlet
from pipeline.stores.postgres.books import Flush
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.publishing import DraftChange
from pipeline.stores.postgres.shadows import Revise
from pipeline.stores.postgres.usage import NO_CUT
from pipeline.stores.records import encode_letter, encode_slices, open_message, read_slices
from pipeline.topology import USAGE_METERED, USAGE_REJECTED
from pipeline.workers.collector import Collector
from pipeline.workers.holding import Holding
from pipeline.workers.matching import Matcher
from pipeline.workers.metering import MeteringLine, letter_about
from pipeline.workers.readmission import Looked, Moment, Prepared, Progress, Readmission


class AcksFirst(MeteringLine):
    """Acks before the broker has the slice."""

    async def _ack(self, stream: Any) -> None:
        while True:
            event, send = await self._sent.get()
            await stream.ack(event)
            if send is not None:
                await send


class TellsLater(MeteringLine):
    """Sends what a message contributed first, and its dead letter beside it."""

    async def _send(
        self, item: Any, piece: Slice, refusals: Sequence[Refusal]
    ) -> "asyncio.Future[Any]":
        sends = [await super()._send(item, piece, ())]
        if refusals:
            letter = encode_letter(letter_about(item, piece, refusals))
            name = self._stack.topic(USAGE_REJECTED)
            sends.append(await self._sender.send(name, item.partition, letter))
        return asyncio.gather(*sends)


@dataclass(slots=True)
class SetNx(MemoryRedis):
    """Claims without an owner: whoever finds a key claimed is a repeat, a redelivery too."""

    claimed: dict[tuple[int, bytes], Claim] = field(default_factory=dict)

    def claim(self, partition: int, delivery: Delivery) -> Judged | Behind:
        repeats = []
        for index, key, fingerprint in delivery.events():
            me = Claim(delivery.offset, index, fingerprint)
            first = self.claimed.setdefault((partition, key), me)
            if first is not me:
                repeats.append((index, Verdict.DUPLICATE, first))
        return Judged(repeats)


class NewestWins(MemoryRedis):
    """Another payload under a known key replaces the one that came first."""

    def claim(self, partition: int, delivery: Delivery) -> Judged | Behind:
        answer = super().claim(partition, delivery)
        if isinstance(answer, Behind):
            return answer
        return Judged([each for each in answer.repeats if each[1] is not Verdict.CONFLICT])


class CursorApart(WorkerSession):
    """Rows in one transaction, the cursor in the next."""

    def save(self, flushes: Sequence[Flush]) -> None:
        with self.transaction():
            for flush in flushes:
                self._fence(flush.before)
                stood = self.tables.cursors.get(flush.before.partition)
                self.write_flush(flush)
                self.tables.cursors.pop(flush.before.partition)
                if stood:
                    self.tables.cursors[flush.before.partition] = stood
        with self.transaction():
            for flush in flushes:
                self.tables.cursors[flush.after.partition] = (flush.after, flush.anchor)


class Reopens(WorkerSession):
    """Usage that comes after a cut goes into the period that was cut."""

    def add_usage(self, rows: BookedRows) -> None:
        super().add_usage(replace(rows, cut=np.zeros_like(rows.cut)))


class ClaimsEverything(MemoryClaims):
    """Claims the keys of refused events too."""

    batches: dict[tuple[int, int], UsageBatch]

    async def begin(self, partition: int, delivery: Delivery) -> "asyncio.Future[Judged | Behind]":
        batch = BATCHES[partition, delivery.offset]
        whole = replace(
            delivery,
            indexes=range(batch.event_count),
            keys=batch.key,
            fingerprints=batch.fingerprint,
        )
        answer = await super().begin(partition, whole)
        return asyncio.ensure_future(_only(answer, set(delivery.indexes)))


async def _only(answer: "asyncio.Future[Judged | Behind]", asked: set[int]) -> Judged | Behind:
    found = await answer
    if isinstance(found, Behind):
        return found
    return Judged([each for each in found.repeats if each[0] in asked])


BATCHES: dict[tuple[int, int], UsageBatch] = {}


class Remembers(MeteringLine):
    """Keeps the batches for `ClaimsEverything`."""

    async def take(self, event: Any) -> None:
        opened = open_message(event.value)
        if isinstance(opened, UsageBatch):
            BATCHES[event.message.partition, event.message.offset] = opened
        await super().take(event)


@dataclass(slots=True)
class ReadThenWrite(MemoryRedis):
    """Claims with owners, but read in one round trip and written in the next."""

    claimed: dict[tuple[int, bytes], Claim] = field(default_factory=dict)

    def claim(self, partition: int, delivery: Delivery) -> Judged | Behind:
        repeats = []
        for index, key, fingerprint in delivery.events():
            me = Claim(delivery.offset, index, fingerprint)
            first = self.claimed.get((partition, key), me)
            if (first.offset, first.index) != (me.offset, me.index):
                verdict = first.fingerprint == fingerprint
                repeats.append((index, Verdict.DUPLICATE if verdict else Verdict.CONFLICT, first))
        return Judged(repeats)

    def write(self, partition: int, delivery: Delivery) -> None:
        for index, key, fingerprint in delivery.events():
            me = Claim(delivery.offset, index, fingerprint)
            self.claimed.setdefault((partition, key), me)


class TwoTrips(MemoryClaims):
    """Sends the second trip once the first was answered, the next claim meanwhile."""

    async def begin(self, partition: int, delivery: Delivery) -> "asyncio.Future[Judged | Behind]":
        answer = await super().begin(partition, delivery)
        redis = self.redis
        assert isinstance(redis, ReadThenWrite)
        answer.add_done_callback(lambda _: redis.write(partition, delivery))
        return answer


class Merges(MemorySender):
    """Sends what one message contributed with the next one's slice."""

    held: Slice | None = None

    async def send(
        self, topic: str, partition: int, value: bytes, *, key: bytes | None = None
    ) -> Any:
        if topic == USAGE_METERED.name:
            (piece,) = read_slices(value)
            if piece.sequence is None and piece.tick is None and piece.counts.fresh:
                value = encode_slices([self._merged(piece, partition)])
        return await super().send(topic, partition, value, key=key)

    def _merged(self, piece: Slice, partition: int) -> Slice:
        held = HELD.pop((id(self), partition), None)
        if held is None:
            HELD[id(self), partition] = piece
            return replace(piece, counts=Counts(), rows=Rows())
        return replace(
            piece, counts=held.counts + piece.counts, rows=_joined(held.rows, piece.rows)
        )


HELD: dict[tuple[int, int], Slice] = {}


def _joined(one: Rows, other: Rows) -> Rows:
    """Return the rows of both (without points)."""

    def shifted(column: bytes, by: int) -> bytes:
        return (np.frombuffer(column, "<u2") + by).astype("<u2").tobytes()

    return replace(
        one,
        customers=[*one.customers, *other.customers],
        meters=[*one.meters, *other.meters],
        dimensions=[*one.dimensions, *other.dimensions],
        customer_index=one.customer_index + shifted(other.customer_index, len(one.customers)),
        meter_index=one.meter_index + shifted(other.meter_index, len(one.meters)),
        dimensions_index=one.dimensions_index
        + shifted(other.dimensions_index, len(one.dimensions)),
        **{
            name: getattr(one, name) + getattr(other, name)
            for name in ("window_start", "count", "sum", "minimum", "maximum")
        },
    )


class ForgetsLevels(WorkerSession):
    """Of a level knows only what was told within the period."""

    def read_usage(
        self, requests: Iterable[UsageRequest], below_cut: int = NO_CUT
    ) -> dict[UsageRequest, list[Used]]:
        found = super().read_usage(requests, below_cut)
        return {
            request: [u for u in used if isinstance(u, UsagePart) or u.time >= request.start]
            for request, used in found.items()
        }


class OnePointATime(WorkerSession):
    """Keeps one point of each time: of two events of one instant the second replaces the first."""

    def write_flush(self, flush: Flush) -> None:
        super().write_flush(flush)
        last = {place[:2]: place for place in self.tables.points}
        for place in list(self.tables.points):
            if last[place[:2]] != place:
                del self.tables.points[place]


class AtOnce(WorkerSession):
    """Takes a price that is dated for in force at once."""

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        found = super().read_facts(after, until, kinds)
        undated = [{k: v for k, v in f.body.items() if k != "effective"} for f in found]
        return [replace(f, body=body) for f, body in zip(found, undated, strict=True)]


class SeatsAtOnce(WorkerSession):
    """Takes a quantity that is agreed from some instant on for agreed from the start."""

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        return [_from_the_start(fact) for fact in super().read_facts(after, until, kinds)]


def _from_the_start(fact: Fact) -> Fact:
    changes: Any = fact.body.get("changes", [])
    seats = [each["quantities"] for each in changes if "quantities" in each]
    if fact.kind is not FactKind.SUBSCRIPTION or not seats:
        return fact
    rest: list[Any] = [each for each in changes if "quantities" not in each]
    return replace(fact, body={**fact.body, "quantities": seats[-1], "changes": rest})


class MovesAtOnce(WorkerSession):
    """Takes the plan that a subscription goes over to for its plan from the start."""

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        return [_on_the_last_plan(fact) for fact in super().read_facts(after, until, kinds)]


def _on_the_last_plan(fact: Fact) -> Fact:
    changes: Any = fact.body.get("changes", [])
    plans = [each["plan"] for each in changes if "plan" in each]
    if fact.kind is not FactKind.SUBSCRIPTION or not plans:
        return fact
    rest: list[Any] = [{k: v for k, v in each.items() if k != "plan"} for each in changes]
    return replace(fact, body={**fact.body, "plan": plans[-1], "changes": rest})


class BillsPauses(WorkerSession):
    """Does not know that a subscription pauses."""

    left_out = "pauses"

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        found = super().read_facts(after, until, kinds)
        known = [{k: v for k, v in f.body.items() if k != self.left_out} for f in found]
        return [replace(f, body=body) for f, body in zip(found, known, strict=True)]


class ForgetsAddOns(BillsPauses):
    """Does not know add-ons."""

    left_out = "add_ons"


class ForgetsWhoLeft(WorkerSession):
    """Never finds usage of closed periods that no invoice takes along."""

    def late_uncorrected(self, met_before: Instant) -> list[tuple[str, str]]:
        del met_before
        return []


class CorrectsAgain(WorkerSession):
    """Does not know which decisions to correct are still to be cut."""

    def cuts_of_facts(self, serials: Collection[int]) -> set[int]:
        return set(serials)


class SpendsTwice(WorkerSession):
    """Does not remember what documents took of prepaid credits."""

    def credits_used(self, payers: Sequence[str]) -> dict[str, dict[str, int]]:
        super().credits_used(payers)
        return {}


class Misreads(WorkerSession):
    """Reads facts of one kind otherwise than they were told."""

    kind: FactKind

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        found = super().read_facts(after, until, kinds)
        return [self._misread(each) if each.kind is self.kind else each for each in found]

    def _misread(self, fact: Fact) -> Fact:
        raise NotImplementedError


class CodesForEver(Misreads):
    """Does not count the cycles that a code lasts for."""

    kind = FactKind.REDEMPTION

    def _misread(self, fact: Fact) -> Fact:
        told: Any = fact.body["discount"]
        discount = {**{k: v for k, v in told.items() if k != "cycles"}, "duration": "forever"}
        return replace(fact, body={**fact.body, "discount": discount})


class BooksForAll(Misreads):
    """Takes a book that is on for some for one that is on for all."""

    kind = FactKind.BOOK_SWITCH

    def _misread(self, fact: Fact) -> Fact:
        return replace(fact, body={**fact.body, "share": "100"})


class FirstRate(Misreads):
    """Stays at the rate that a day had first, though it was told anew."""

    kind = FactKind.FX_RATE

    def _misread(self, fact: Fact) -> Fact:
        facts = self.tables.facts.values()
        return replace(fact, body=next(f.body for f in facts if f.subject == fact.subject))


class PaysItself(Misreads):
    """Does not know that a parent pays for its sub-accounts."""

    kind = FactKind.CUSTOMER

    def _misread(self, fact: Fact) -> Fact:
        return replace(fact, body={**fact.body, "payer": "own"})


class ForgetsTerms(Misreads):
    """Does not know what a document was told to say of itself."""

    kind = FactKind.DOCUMENT_EDIT

    def _misread(self, fact: Fact) -> Fact:
        told = dict.fromkeys(("purchase_order", "memo", "payment_days"))
        return replace(fact, body={**fact.body, **told})


class ForgetsEdits(Misreads):
    """Does not know what people made of lines."""

    kind = FactKind.LINE_EDIT

    def _misread(self, fact: Fact) -> Fact:
        told = dict.fromkeys(("quantity", "unit_amount", "amount_minor"))
        return replace(fact, body={**fact.body, **told})


class ForgetsHolds(Misreads):
    """Takes what is held for released."""

    kind = FactKind.HOLD

    def _misread(self, fact: Fact) -> Fact:
        return replace(fact, body={**fact.body, "on": False})


class AsksNobody(Misreads):
    """Does not know whose documents wait for an approval."""

    kind = FactKind.CUSTOMER

    def _misread(self, fact: Fact) -> Fact:
        return replace(fact, body={**fact.body, "approval": False})


class PlantsAsItIs(WorkerSession):
    """Folds the log again by the prices there are, whatever was asked."""

    def plant(self, live: str, revise: Revise | None) -> None:
        del revise
        super().plant(live, None)


class ForgetsNotes(WorkerSession):
    """Does not know which notes were made since a replay was looked at."""

    def notes_by_document(self, ids: Sequence[str]) -> dict[str, list[str]]:
        super().notes_by_document(ids)
        return {}


class Mutes(WorkerSession):
    """Leaves some facts of whoever leads an incident unwritten."""

    kinds: Collection[FactKind]

    def append_facts(
        self, decide: Callable[[Sequence[Fact]], Sequence[NewFact]], author: Author, now: Instant
    ) -> list[Fact]:
        if author.actor != "bob":
            return super().append_facts(decide, author, now)
        return super().append_facts(
            lambda facts: [new for new in decide(facts) if new.kind not in self.kinds], author, now
        )


class HoldsNothing(Mutes):
    """Opens an incident and lets everything be issued."""

    kinds = (FactKind.HOLD,)


class StaysWrong(Mutes):
    """Tells that prices were rolled back, and leaves them as they are."""

    kinds = PRICING


class KeepsItAll(Misreads):
    """Does not know that prices are those of sellers."""

    kind = FactKind.PLAN

    def _misread(self, fact: Fact) -> Fact:
        told: Any = fact.body["prices"]
        prices = [{k: v for k, v in price.items() if k != "seller"} for price in told]
        return replace(fact, body={**fact.body, "prices": [*prices]})


class CountsAll(Misreads):
    """Counts every price of a plan for a commitment to spend on some."""

    kind = FactKind.PLAN

    def _misread(self, fact: Fact) -> Fact:
        told: Any = fact.body["prices"]
        prices = [{**price, "covers": "all"} if "covers" in price else price for price in told]
        return replace(fact, body={**fact.body, "prices": [*prices]})


class ForgetsReverts(Misreads):
    """Takes a unit of old usage that was taken back for one that stands."""

    kind = FactKind.BACKFILL

    def _misread(self, fact: Fact) -> Fact:
        return replace(fact, body={**fact.body, "what": "committed"})


class ForgetsWhose(Misreads):
    """Does not know to which unit of old usage a gate pass belongs."""

    kind = FactKind.GATE_PASS

    def _misread(self, fact: Fact) -> Fact:
        return replace(fact, body={k: v for k, v in fact.body.items() if k != "backfill"})


class KeepsLess(WorkerSession):
    """Keeps of a content that is removed all but how far it billed."""

    def remove_contents(self, issuer: str, kept: Mapping[int, str]) -> None:
        told = {place: json.loads(text) for place, text in kept.items()}
        less = {place: {**each, "carried": []} for place, each in told.items()}
        super().remove_contents(issuer, {n: canonical(each).decode() for n, each in less.items()})


class RoundsRates(Misreads):
    """Takes the rate that an outside engine says for one of whole percents."""

    kind = FactKind.TAX_ANSWER

    def _misread(self, fact: Fact) -> Fact:
        percent = str(fact.body["rate_percent"]).partition(".")[0]
        return replace(fact, body={**fact.body, "rate_percent": percent})


class ForgetsWaivers(Misreads):
    """Does not know which rejected events were given up."""

    kind = FactKind.WAIVER

    def _misread(self, fact: Fact) -> Fact:
        return replace(fact, body={**fact.body, "events": []})


class SellsAgain(WorkerSession):
    """Does not remember which orders were billed."""

    def carried_by(
        self, payers: Sequence[str]
    ) -> dict[tuple[str, str], dict[tuple[str, str], Reach]]:
        found = super().carried_by(payers)
        return {
            place: {source: reach for source, reach in own.items() if source[0]}
            for place, own in found.items()
        }


class AddsAgain(WorkerSession):
    """Does not remember which lines by hand were billed."""

    def carried_by(
        self, payers: Sequence[str]
    ) -> dict[tuple[str, str], dict[tuple[str, str], Reach]]:
        found = super().carried_by(payers)
        return {
            place: {(of, name): reach for (of, name), reach in own.items() if of or "/" in name}
            for place, own in found.items()
        }


class SendsBlindly(Readmission):
    """Sends rejected events again without reading the log for their keys."""

    def look(
        self,
        events: Sequence[KeyedEvent],
        now: Moment,
        progress: Progress,
        doubted: Sequence[bool] | None = None,
    ) -> list[Looked]:
        return [Looked(Outcome.SENT, "") for _ in events]


class WritesBeforeItSends(Readmission):
    """Says that events were sent, then sends them."""

    def _send(self, prepared: Sequence[Prepared]) -> None:
        UNSENT.append((self, prepared))

    def write(self, told: Sequence[NewFact], author: Author) -> list[Fact]:
        written = super().write(told, author)
        if told and told[0].kind is FactKind.REDRIVE:
            while UNSENT:
                job, prepared = UNSENT.pop()
                super(WritesBeforeItSends, job)._send(prepared)
        return written


UNSENT: list[tuple[WritesBeforeItSends, Sequence[Prepared]]] = []


class MatchesByKey(Matcher):
    """Takes off whatever has the key of a reversal, without looking at what it told."""

    def _write(self, partition: int, settled: int, found: Sequence[Match]) -> list[Fact]:
        return super()._write(partition, settled, [replace(m, conflict=False) for m in found])


class KeepsPoints(WorkerSession):
    """Takes usage off its window, and leaves the point that it was."""

    def add_usage(self, rows: BookedRows) -> None:
        super().add_usage(replace(rows, points=None) if rows.minus else rows)


class MatchesOnce(Matcher):
    """Looks for an original once, so that a reversal before it waits for ever."""

    def _match(self, partition: int) -> int:
        found = super()._match(partition)
        self._told[partition] |= set(self.store.load_waiting(partition))
        return found


class DisobeysSkips(WorkerSession):
    """Does not know what is skipped."""

    def read_skips(self) -> Skips:
        super().read_skips()
        return frozenset()


class HoldsOne(Holding):
    """Holds the message at a pause, and lets by what comes behind it."""

    def holds(self, partition: int, offset: int) -> bool:
        held = super().holds(partition, offset)
        return held and offset == self._pauses[partition].offset


class ForgetsLines(WorkerSession):
    """Does not note which line items stand on their topic, so that none is ever taken off."""

    def note_keys(self, changes: Iterable[DraftChange]) -> None:
        pass

    def _standing(self, draft_id: str) -> frozenset[str] | None:
        return None if super()._standing(draft_id) is None else frozenset()


class MovesBeforeAcks(Collector):
    """Takes what it sent for collected, whether the broker has it or not."""

    def _settle(self) -> None:
        for each in self._rounds._waiting:
            each.unacked = 0
        super()._settle()


class CountsOn(WorkerSession):
    """Adds what a collector counted to what stands, whoever overtook it meanwhile."""

    def save_stands(self, moves: Iterable[tuple[Stand, Stand]]) -> None:
        added = []
        for before, after in moves:
            stands, _ = self.tables.stands[after.partition]
            collected = stands.collected + after.collected - before.collected
            rejected = stands.rejected + after.rejected - before.rejected
            added.append((stands, replace(after, collected=collected, rejected=rejected)))
        super().save_stands(added)


class IssuesAllTheSame(WorkerSession):
    """Does not look which events producers miss."""

    def load_incomplete(
        self, partition: int | None = None
    ) -> dict[tuple[int, SequenceKey], SequenceState]:
        super().load_incomplete(partition)
        return {}


class WaitsForOthers(WorkerSession):
    """Takes what misses in any partition for missing in each."""

    def load_incomplete(
        self, partition: int | None = None
    ) -> dict[tuple[int, SequenceKey], SequenceState]:
        del partition
        return super().load_incomplete()


class ForgetsMarks(WorkerSession):
    """Does not take down that events are missing before the mark of a producer."""

    def write_flush(self, flush: Flush) -> None:
        known = {key: _unmarked(state) for key, state in flush.booked.sequences.items()}
        super().write_flush(replace(flush, booked=replace(flush.booked, sequences=known)))


def _unmarked(state: SequenceState) -> SequenceState:
    if not state.gaps or state.gaps[-1][1] != state.next:
        return state
    return replace(state, gaps=state.gaps[:-1], since=state.since[:-1])


class SignsOnce(WorkerSession):
    """Takes an issuer with a checkpoint for one whose days are all signed."""

    def issuers_sealed(self) -> list[str]:
        signed = {issuer for issuer, _ in self.tables.checkpoints}
        return [issuer for issuer in super().issuers_sealed() if issuer not in signed]


class ForgetsEvents(WorkerSession):
    """Does not remember some of what happened to documents."""

    forgotten: EventKind

    def read_events(self, document_id: str) -> list[InvoiceEvent]:
        found = super().read_events(document_id)
        return [each for each in found if each.kind is not self.forgotten]


class ForgetsPayments(ForgetsEvents):
    """Does not remember what was paid."""

    forgotten = EventKind.PAID


class ForgetsRefunds(ForgetsEvents):
    """Does not remember what was paid back."""

    forgotten = EventKind.REFUNDED


class ForgetsLosses(ForgetsEvents):
    """Does not remember what was given up."""

    forgotten = EventKind.WRITTEN_OFF


class ForgetsDisputes(ForgetsEvents):
    """Does not remember what is contested."""

    forgotten = EventKind.DISPUTED


class CreditsAll(Misreads):
    """Takes all off, whatever was asked."""

    kind = FactKind.CREDIT_NOTE

    def _misread(self, fact: Fact) -> Fact:
        return replace(fact, body={**fact.body, "lines": [], "amount_minor": None})


class PutsAllBack(Misreads):
    """Puts all back that was taken off, whatever was to be added."""

    kind = FactKind.DEBIT_NOTE

    def _misread(self, fact: Fact) -> Fact:
        return replace(fact, body={**fact.body, "lines": [], "amount_minor": None})


class CreditsVoids(Misreads):
    """Takes a void for a credit of all."""

    kind = FactKind.VOID

    def _misread(self, fact: Fact) -> Fact:
        return replace(fact, kind=FactKind.CREDIT_NOTE)


class KeepsCredits(WorkerSession):
    """Gives nothing back to the credits that paid a document that is void."""

    def settlement_of(self, document: str) -> Mapping[str, Json] | None:
        super().settlement_of(document)
        return None


class NumbersNotesFirst(WorkerSession):
    """Numbers a note whether the document that it corrects has its number or not."""

    def has_number(self, document: str) -> bool:
        del document
        return True


class Unfenced(MemoryOutlet):
    """Writes what it had begun, whoever took over meanwhile."""

    def written(self) -> None:
        self.shelves.holder = self
        super().written()


DEFECTS = {
    "acks before the broker has the slice": (Parts(line=AcksFirst), 4),
    "a dead letter behind its slice": (Parts(line=TellsLater), 8),
    "claims without an owner": (Parts(redis=SetNx), 4),
    "the cursor outside the transaction": (Parts(session=CursorApart), 20),
    "the newest payload wins": (Parts(redis=NewestWins), 2),
    "late usage into a closed period": (Parts(session=Reopens), 8),
    "a claim for a refused event": (Parts(claims=ClaimsEverything, line=Remembers), 4),
    "claims in two round trips": (Parts(redis=ReadThenWrite, claims=TwoTrips), 8),
    "slices merged across messages": (Parts(sender=Merges), 4),
    "a level that forgets what held before": (Parts(session=ForgetsLevels), 12),
    "one point of each instant": (Parts(session=OnePointATime), 4),
    "a dated price in force at once": (Parts(session=AtOnce), 8),
    "seats in force before they are agreed": (Parts(session=SeatsAtOnce), 8),
    "a plan in force before the change to it": (Parts(session=MovesAtOnce), 4),
    "a pause that is billed": (Parts(session=BillsPauses), 4),
    "an add-on that nobody bills": (Parts(session=ForgetsAddOns), 24),
    "late usage of who left that nobody corrects": (Parts(session=ForgetsWhoLeft), 24),
    "a correction that is decided twice": (Parts(session=CorrectsAgain), 8),
    "credits that are never used up": (Parts(session=SpendsTwice), 12),
    "a code that is for ever": (Parts(session=CodesForEver), 12),
    "a book that is on for all": (Parts(session=BooksForAll), 6),
    "a rate that was told anew in vain": (Parts(session=FirstRate), 12),
    "a sub-account that pays itself": (Parts(session=PaysItself), 8),
    "a line by hand on every document": (Parts(session=AddsAgain), 24),
    "a document that forgets what it was told": (Parts(session=ForgetsTerms), 8),
    "a line that says what it would without its edit": (Parts(session=ForgetsEdits), 8),
    "a hold that nobody obeys": (Parts(session=ForgetsHolds), 4),
    "documents that nobody approved": (Parts(session=AsksNobody), 12),
    "a payment that nobody remembers": (Parts(session=ForgetsPayments), 4),
    "money that goes back again": (Parts(session=ForgetsRefunds), 4),
    "a document that is given up again": (Parts(session=ForgetsLosses), 4),
    "a dispute that nobody remembers": (Parts(session=ForgetsDisputes), 8),
    "a credit of all, whatever was asked": (Parts(session=CreditsAll), 8),
    "a debit of all that was taken off": (Parts(session=PutsAllBack), 8),
    "a void that is a credit": (Parts(session=CreditsVoids), 8),
    "a void that gives no credits back": (Parts(session=KeepsCredits), 40),
    "a note that is numbered before its document": (Parts(session=NumbersNotesFirst), 28),
    "a replay by the prices there are": (Parts(session=PlantsAsItIs), 40),
    "a diff that is applied though its documents moved": (Parts(session=ForgetsNotes), 100),
    "an incident that holds nothing": (Parts(session=HoldsNothing), 40),
    "an incident after which prices stay wrong": (Parts(session=StaysWrong), 40),
    "a seller who is forgotten": (Parts(session=KeepsItAll), 24),
    "what was given up is sent again": (Parts(session=ForgetsWaivers), 24),
    "a commitment that every price counts for": (Parts(session=CountsAll), 8),
    "a unit of old usage that is not known to be taken back": (Parts(session=ForgetsReverts), 32),
    "a unit of old usage whose passes are anybody's": (Parts(session=ForgetsWhose), 16),
    "how far a removed content billed is not kept": (Parts(session=KeepsLess), 24),
    "a tax of whole percents": (Parts(session=RoundsRates), 16),
    "an order that is billed on every document": (Parts(session=SellsAgain), 8),
    "rejected usage sent again unread": (Parts(readmission=SendsBlindly), 40),
    "a redrive told before it is sent": (Parts(readmission=WritesBeforeItSends), 30),
    "a reversal matched by its key alone": (Parts(matcher=MatchesByKey), 12),
    "line items that nobody takes off": (Parts(session=ForgetsLines), 4),
    "raw usage collected before the broker has it": (Parts(collector=MovesBeforeAcks), 20),
    "a collector that was overtaken and counts on": (Parts(session=CountsOn), 60),
    "documents issued though events are missing": (Parts(session=IssuesAllTheSame), 12),
    "documents that wait for other partitions": (Parts(session=WaitsForOthers), 24),
    "a producer's mark that nobody takes down": (Parts(session=ForgetsMarks), 12),
    "a chain that is signed on its first day": (Parts(session=SignsOnce), 8),
    "a publisher that was overtaken and writes": (Parts(outlet=Unfenced), 28),
    "a skip that nobody obeys": (Parts(session=DisobeysSkips), 4),
    "a pause that holds one message": (Parts(holding=HoldsOne), 28),
    "a reversal that leaves its point": (Parts(session=KeepsPoints), 4),
    "a reversal that comes first is forgotten": (Parts(matcher=MatchesOnce), 4),
}
"""The part that is wrong, and within how many seeds that must be seen."""
