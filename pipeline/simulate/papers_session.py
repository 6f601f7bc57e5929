"""Drafts, documents and pauses in memory: the queries of the other Postgres modules.

Law: one contract suite runs these and the real ones.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from json import loads
from typing import cast

from pipeline.book.booking import Cut, SequenceKey
from pipeline.catalog.by_hand import Holds, nothing_held
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json, canonical
from pipeline.dedupe.sequences import SequenceState
from pipeline.invoice.fees import Reach
from pipeline.invoice.settling import added
from pipeline.invoice.workflow import held as is_held
from pipeline.ledger.seal import FIRST_SEAL, Sealed
from pipeline.simulate.books_session import insert
from pipeline.simulate.shadow_session import ShadowSession
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.pauses import DEATHS_MAX, POISON, USAGE, Pause
from pipeline.stores.postgres.preparing import BookedCuts, Prepared, PreparedCut, Registrar


class Issued(Document):
    """A document whose JSON is read once: it never changes, and everybody asks for it."""

    @cached_property
    def content(self) -> dict[str, Json]:
        """The content as JSON."""
        return super().content

    @cached_property
    def record(self) -> dict[str, Json]:
        """The issue record as JSON."""
        return super().record


class WorkerSession(ShadowSession):
    """Everything that a worker asks of the database."""

    # --- drafts ---

    def take_dirty(self, partitions: Iterable[int], count_max: int) -> list[tuple[str, int]]:
        """Take off the marks that have waited longest; return (payer, partition) of each."""
        own = set(partitions)
        found = [mark for mark in self.tables.dirty.items() if mark[1] in own][:count_max]
        for payer, _ in found:
            del self.tables.dirty[payer]
        return sorted(found)

    def hold_drafts(self, payers: Sequence[str]) -> list[str]:
        """Return the ids of the drafts of payers."""
        return sorted(name for name, of in self.tables.drafts.items() if of.payer in payers)

    def drop_drafts(self, held: Iterable[str], keep: Iterable[Draft]) -> None:
        """Delete the drafts that are held and not kept, nor cut and unprepared."""
        kept = {draft.id for draft in keep}
        for name in held:
            draft = self.tables.drafts[name]
            waits = (draft.payer, draft.currency, draft.instant) in self.tables.unprepared
            if name not in kept and not waits:
                self._delete_draft(name)

    def store_drafts(self, drafts: Iterable[Draft]) -> None:
        """Write drafts that are newer than what is there."""
        for draft in drafts:
            there = self.tables.drafts.get(draft.id)
            if there is None or there.position.offset <= draft.position.offset:
                self.tables.drafts[draft.id] = draft
                self.mark_draft(draft.id, draft.payer)
                self.drafts_pending.append(draft)

    def awaited_taxes(self, count_max: int) -> list[dict[str, Json]]:
        """Return questions of tax that drafts await, each once."""
        self.effect("read awaited")
        found: dict[bytes, dict[str, Json]] = {}
        for draft in self.tables.drafts.values():
            told = cast(Mapping[str, Json], draft.content.get("tax", {}) if draft.issues else {})
            for question in cast(list[dict[str, Json]], told.get("awaited", [])):
                found[canonical(question)] = question
        return [question for _, question in sorted(found.items())][:count_max]

    def _delete_draft(self, name: str) -> None:
        self.mark_draft(name, self.tables.drafts.pop(name).payer)

    # --- documents ---

    def take_cuts(self, held_up: Collection[str], count_max: int) -> list[tuple[Cut, int]]:
        """Return the oldest booked cuts without documents, one a payer, each with its partition."""
        self.effect("take cuts")
        waiting = sorted(
            (row.serial, instant, payer, currency, row.fact, row.partition)
            for (payer, currency, instant), row in self.tables.unprepared.items()
            if payer not in held_up
        )
        first: dict[str, tuple[Cut, int]] = {}
        for serial, instant, payer, currency, fact, partition in waiting:
            cut = Cut(payer, currency, instant, serial, fact)
            first.setdefault(payer, (cut, partition))
        return [*first.values()][:count_max]

    def save_prepared(self, made: Sequence[PreparedCut]) -> None:
        """Keep what was composed at cuts, and how far they bill."""
        for one in made:
            cut = one.cut
            where = (cut.payer, cut.currency, cut.instant)
            row = self.tables.unprepared[where]
            if row.fact:
                self.tables.dirty.setdefault(cut.payer, row.partition)
            if not one.documents:
                self._drop_draft(where)
            for each in one.documents:
                key = (each.payer, each.currency, each.instant, each.kind, each.ordinal)
                insert(self.tables.prepared, key, each)
                self.database.prepared_at[_id_of(each)] = len(self.tables.facts)
            for source, reach in one.reached.items():
                self.tables.carried[cut.payer, cut.currency, *source] = reach
            del self.tables.unprepared[where]

    def carried_by(
        self, payers: Sequence[str]
    ) -> dict[tuple[str, str], dict[tuple[str, str], Reach]]:
        """Return what documents carry, prepared ones too, by (payer, currency)."""
        found: dict[tuple[str, str], dict[tuple[str, str], Reach]] = {}
        for (payer, currency, *source), reach in self.tables.carried.items():
            if payer in payers:
                found.setdefault((payer, currency), {})[source[0], source[1]] = reach
        return found

    def read_cuts(self, payers: Sequence[str], after: Instant) -> BookedCuts:
        """Return the booked cuts of payers behind an instant, or without documents yet."""
        found = BookedCuts()
        for payer, currency, instant in self.tables.cuts:
            if payer in payers and instant > after:
                found.closed.setdefault(payer, set()).add((currency, instant))
        rows = sorted(self.tables.unprepared.items(), key=lambda cut: (cut[1].serial, cut[0][2]))
        for (payer, currency, instant), row in rows:
            if payer in payers and row.fact:
                found.to_come.setdefault(payer, set()).add(row.fact)
            elif payer in payers:
                position = self.tables.ticks[row.serial][0].fact_position
                found.unprepared.setdefault((payer, currency), []).append((instant, position))
        return found

    def cuts_before(self, payers: Sequence[str], serial: int) -> dict[str, int]:
        """Return the tick serial of each payer's latest cut below `serial`, where there is one."""
        found: dict[str, int] = {}
        for (payer, *_), row in self.tables.cuts.items():
            if payer in payers and row.serial < serial:
                found[payer] = max(found.get(payer, 0), row.serial)
        return found

    def credits_used(self, payers: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return the minor units that payers' issued documents took, by payer and credit."""
        used: dict[str, dict[str, int]] = {}
        for document in self.read_documents():
            settlement = cast("Mapping[str, Json] | None", document.record.get("settlement"))
            if document.payer in payers and settlement:
                used[document.payer] = added(used.get(document.payer, {}), settlement)
        return used

    def read_prepared(self, payer: str) -> list[Prepared]:
        """Return the documents of a payer that wait for their numbers."""
        return [each for each in self.tables.prepared.values() if each.payer == payer]

    def late_usage(
        self, payer: str, currency: str, below: int, *, carried: bool = False
    ) -> list[tuple[int, Instant]]:
        """Return (cut, first window) of usage of closed periods since the cut before `below`."""
        own = [row.serial for k, row in self.tables.cuts.items() if k[:2] == (payer, currency)]
        since = max((each for each in own if each < below), default=0)
        return [
            (cut, late.window_start)
            for (who, cut), late in sorted(self.tables.late.items())
            if who == payer and (carried or since <= cut) and cut < below
        ]

    def late_uncorrected(self, met_before: Instant) -> list[tuple[str, str]]:
        """Return (payer, currency) with usage of closed periods that no cut came after."""
        found = set()
        for (payer, under), late in self.tables.late.items():
            own = [(key[1], row.serial) for key, row in self.tables.cuts.items() if key[0] == payer]
            known = {currency for currency, serial in own if serial <= under}
            since = {currency for currency, serial in own if serial > under}
            if late.met < met_before:
                found |= {(payer, currency) for currency in known - since}
        return sorted(found)

    def cuts_of_facts(self, serials: Collection[int]) -> set[int]:
        """Return which of these decisions caused a cut that is booked."""
        return {row.fact for row in self.tables.cuts.values()} & set(serials)

    def late_payers(self, payers: Sequence[str], below: int) -> set[str]:
        """Return which payers have any usage of closed periods below a cut."""
        return {payer for payer, cut in self.tables.late if payer in payers and cut < below}

    def load_incomplete(
        self, partition: int | None = None
    ) -> dict[tuple[int, SequenceKey], SequenceState]:
        """Return the sequences with open gaps, of one partition or of all."""
        return {
            key: state
            for key, state in sorted(self.tables.sequences.items())
            if state.gaps and partition in (None, key[0])
        }

    def earlier_totals(
        self, payers: Sequence[str], count_max: int
    ) -> dict[tuple[str, str], list[int]]:
        """Return what the last invoices of payers came to, in minor units, by currency too."""
        found: dict[tuple[str, str], list[int]] = {}
        documents = sorted(self.read_documents(), key=lambda d: (d.instant, d.ordinal))
        for each in documents if self.tables.documents else ():
            if each.payer in payers and each.kind == "invoice":
                total = cast(Mapping[str, int], each.content["totals"])["total_minor"]
                found.setdefault((each.payer, each.currency), []).insert(0, total)
        return {owner: totals[:count_max] for owner, totals in found.items()}

    def notes_issued(self, issuer: str) -> int:
        """Return how many notes an issuer issued."""
        own = [each for each in self.read_documents() if each.issuer == issuer]
        return sum(each.kind != "invoice" for each in own)

    def settlement_of(self, document: str) -> Mapping[str, Json] | None:
        """Return what credits paid of an issued document."""
        (found,) = (each for each in self.read_documents() if each.id == document)
        return cast("Mapping[str, Json] | None", found.record["settlement"])

    def issued_among(self, ids: Sequence[str]) -> set[str]:
        """Return which of these ids are those of issued documents."""
        return {each.id for each in self.tables.documents.values()} & set(ids)

    def issuers_waiting(self) -> list[str]:
        """Return the issuers with prepared documents."""
        self.effect("read prepared")
        return sorted({each.issuer for each in self.tables.prepared.values()})

    def register(
        self,
        issuer: str,
        seal: Registrar,
        count_max: int,
        held: Callable[[], Holds] = nothing_held,
    ) -> int:
        """Give the first prepared documents of an issuer their numbers, records and seals."""
        with self.transaction():
            own = [p for p in self.tables.prepared.values() if p.issuer == issuer]
            holds = held()
            told = [(each, loads(each.content)) for each in own]
            waiting = [
                each
                for each, content in told
                if is_held(holds, each.payer, content) is None
                and (each.kind == "invoice" or self.has_number(content["corrects"]))
            ]
            waiting = sorted(waiting, key=_order)[:count_max]
            chain = [d for d in self.read_documents() if d.issuer == issuer]
            place = chain[-1].sealed.place if chain else 0
            previous = chain[-1].sealed.seal.hex() if chain else FIRST_SEAL
            for each, sealed in zip(waiting, seal(waiting, place, previous), strict=True):
                self._issue(each, sealed)
            return len(waiting)

    def has_number(self, document: str) -> bool:
        """Return whether a document is issued: a note waits for what it corrects."""
        return self.document_of(document) is not None

    def _issue(self, each: Prepared, sealed: Sealed) -> None:
        key = (each.payer, each.currency, each.instant)
        found = (*key, each.kind, each.ordinal)
        own = [(d.payer, d.currency, d.instant, d.kind, d.ordinal) for d in self.read_documents()]
        if found in own:
            raise BrokenInvariant(f"a second document of {found}")
        document = Issued(
            each.issuer,
            _id_of(each),
            each.kind,
            *key,
            each.ordinal,
            each.cut_serial,
            sealed,
        )
        insert(self.tables.documents, (each.issuer, sealed.place), document)
        self.tell_issued(document)
        self.database.issued_at[document.id] = len(self.tables.facts)
        del self.tables.prepared[found]
        self._drop_draft(key)

    def _drop_draft(self, place: tuple[str, str, Instant]) -> None:
        for name, draft in list(self.tables.drafts.items()):
            if (draft.payer, draft.currency, draft.instant) == place:
                self._delete_draft(name)

    # --- pauses ---

    def read_pauses(self, origin: str = USAGE) -> list[Pause]:
        """Return every partition that is paused."""
        self.effect("read pauses")
        pauses = self.tables.pauses
        return [pauses[place] for place in sorted(pauses) if place[0] == origin]

    def pause(
        self, partition: int, offset: int, reason: str, cause: str, origin: str = USAGE
    ) -> None:
        """Pause a partition from an offset on; one that is paused stays as it is."""
        with self.transaction():
            found = Pause(partition, offset, reason, cause, 0, origin)
            self.tables.pauses.setdefault((origin, partition), found)

    def record_death(self, partition: int, offset: int, cause: str) -> int:
        """Note that a worker dies of a message; pause its partition at the third."""
        with self.transaction():
            self._forget_passed()
            deaths = self.tables.deaths.get((partition, offset), 0) + 1
            self.tables.deaths[partition, offset] = deaths
            if deaths >= DEATHS_MAX:
                self.pause(partition, offset, POISON, cause)
            return deaths

    def _forget_passed(self) -> None:
        """Forget deaths that the books have passed."""
        for of, offset in list(self.tables.deaths):
            if offset <= self.lock_cursor(of):
                del self.tables.deaths[of, offset]

    def end_pause(self, partition: int, origin: str = USAGE) -> bool:
        """Let a partition go on, its deaths forgotten; return whether it was paused."""
        with self.transaction():
            if origin == USAGE:
                deaths = self.tables.deaths
                deaths.become({p: n for p, n in deaths.items() if p[0] != partition})
            return self.tables.pauses.pop((origin, partition), None) is not None

    def lock_cursor(self, partition: int) -> int:
        """Return the last offset in a partition's books."""
        stands = self.tables.cursors.get(partition)
        return stands[0].offset if stands else -1


def _order(each: Prepared) -> tuple[Instant, str, str, str, int]:
    return each.instant, each.payer, each.currency, each.kind, each.ordinal


def _id_of(each: Prepared) -> str:
    return _id_in(each.content)


@lru_cache(maxsize=256)  # asked as it is prepared, and as it is issued
def _id_in(content: bytes) -> str:
    return cast(str, loads(content)["id"])
