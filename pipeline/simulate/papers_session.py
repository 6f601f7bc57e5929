"""Drafts, documents and pauses in memory: the queries of the other Postgres modules.

Law: one contract suite runs these and the real ones.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from json import loads
from typing import cast

from pipeline.book.booking import Cut
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json
from pipeline.invoice.fees import Reach
from pipeline.invoice.settling import added
from pipeline.ledger.seal import FIRST_SEAL, Sealed
from pipeline.simulate.books_session import insert
from pipeline.simulate.publishing_session import PublishingSession
from pipeline.stores.postgres.documents import Document, Prepared, Registrar
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.pauses import DEATHS_MAX, POISON, USAGE, Pause


class WorkerSession(PublishingSession):
    """Everything that a worker asks of the database."""

    # --- drafts ---

    def take_dirty(self, partitions: Iterable[int], count_max: int) -> list[tuple[str, int]]:
        """Take off the marks that have waited longest; return (payer, partition) of each."""
        own = set(partitions)
        found = [mark for mark in self.tables.dirty.items() if mark[1] in own][:count_max]
        for payer, _ in found:
            del self.tables.dirty[payer]
        return sorted(found)

    def drop_drafts(self, payers: Sequence[str], keep: Sequence[Draft]) -> None:
        """Delete the drafts of payers that are not among those kept, nor cut and unprepared."""
        kept = {draft.id for draft in keep}
        for name, draft in list(self.tables.drafts.items()):
            waits = (draft.payer, draft.currency, draft.instant) in self.tables.unprepared
            if draft.payer in payers and name not in kept and not waits:
                self._delete_draft(name)

    def store_drafts(self, drafts: Iterable[Draft]) -> None:
        """Write drafts that are newer than what is there."""
        for draft in drafts:
            there = self.tables.drafts.get(draft.id)
            if there is None or there.position.offset <= draft.position.offset:
                self.tables.drafts[draft.id] = draft
                self.mark_draft(draft.id, draft.payer)
                self.drafts_pending.append(draft)

    def _delete_draft(self, name: str) -> None:
        self.mark_draft(name, self.tables.drafts.pop(name).payer)

    # --- documents ---

    def take_cut(self, held_up: Collection[str]) -> tuple[Cut, int] | None:
        """Return the oldest booked cut without documents, and its payer's partition."""
        self.effect("take cut")
        waiting = [
            (row.serial, instant, payer, currency, row.fact, row.partition)
            for (payer, currency, instant), row in self.tables.unprepared.items()
            if payer not in held_up
        ]
        if not waiting:
            return None
        serial, instant, payer, currency, fact, partition = min(waiting)
        return Cut(payer, currency, instant, serial, fact), partition

    def save_prepared(
        self, cut: Cut, documents: Iterable[Prepared], reached: Mapping[tuple[str, str], Reach]
    ) -> None:
        """Keep what was composed at a cut, and how far it bills."""
        made = list(documents)
        if not made:
            self._drop_draft((cut.payer, cut.currency, cut.instant))
        for each in made:
            key = (each.payer, each.currency, each.instant, each.kind, each.ordinal)
            insert(self.tables.prepared, key, each)
        for source, reach in reached.items():
            self.tables.carried[cut.payer, cut.currency, *source] = reach
        del self.tables.unprepared[cut.payer, cut.currency, cut.instant]

    def carried_by(
        self, payers: Sequence[str]
    ) -> dict[tuple[str, str], dict[tuple[str, str], Reach]]:
        """Return what documents carry, prepared ones too, by (payer, currency)."""
        found: dict[tuple[str, str], dict[tuple[str, str], Reach]] = {}
        for (payer, currency, *source), reach in self.tables.carried.items():
            if payer in payers:
                found.setdefault((payer, currency), {})[source[0], source[1]] = reach
        return found

    def closings_cut(
        self, payers: Sequence[str], after: Instant
    ) -> dict[str, set[tuple[str, Instant]]]:
        """Return (currency, instant) of the booked cuts of payers whose instant lies after one."""
        found: dict[str, set[tuple[str, Instant]]] = {}
        for payer, currency, instant in self.tables.cuts:
            if payer in payers and instant > after:
                found.setdefault(payer, set()).add((currency, instant))
        return found

    def unprepared_cuts(
        self, payers: Sequence[str]
    ) -> dict[tuple[str, str], list[tuple[Instant, int]]]:
        """Return (instant, fact position) of booked cuts without documents, in order."""
        rows = sorted(self.tables.unprepared.items(), key=lambda cut: (cut[1].serial, cut[0][2]))
        found: dict[tuple[str, str], list[tuple[Instant, int]]] = {}
        for (payer, currency, instant), row in rows:
            if payer in payers and not row.fact:
                position = self.tables.ticks[row.serial][0].fact_position
                found.setdefault((payer, currency), []).append((instant, position))
        return found

    def cut_before(self, payer: str, serial: int) -> int | None:
        """Return the tick serial of a payer's latest cut below `serial`."""
        own = [row.serial for key, row in self.tables.cuts.items() if key[0] == payer]
        return max((each for each in own if each < serial), default=None)

    def credits_used(self, payer: str) -> dict[str, int]:
        """Return the minor units that a payer's issued documents took, by credit."""
        used: dict[str, int] = {}
        for document in self.read_documents(payer):
            used = added(used, cast("Mapping[str, Json] | None", document.record.get("settlement")))
        return used

    def read_prepared(self, payer: str) -> list[Prepared]:
        """Return the documents of a payer that wait for their numbers."""
        return [each for each in self.tables.prepared.values() if each.payer == payer]

    def late_usage(self, payer: str, currency: str, below: int) -> list[tuple[int, Instant]]:
        """Return (cut, first window) of usage of closed periods since the cut before `below`."""
        own = [row.serial for k, row in self.tables.cuts.items() if k[:2] == (payer, currency)]
        since = max((each for each in own if each < below), default=0)
        return [
            (cut, late.window_start)
            for (who, cut), late in sorted(self.tables.late.items())
            if who == payer and since <= cut < below
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

    def issuers_waiting(self) -> list[str]:
        """Return the issuers with prepared documents."""
        self.effect("read prepared")
        return sorted({each.issuer for each in self.tables.prepared.values()})

    def register(self, issuer: str, seal: Registrar, held: Collection[str] = ()) -> int:
        """Give every prepared document of an issuer its number, record and seal."""
        with self.transaction():
            own = [p for p in self.tables.prepared.values() if p.issuer == issuer]
            waiting = [each for each in own if each.payer not in held]
            chain = [d for d in self.read_documents() if d.issuer == issuer]
            place = chain[-1].sealed.place if chain else 0
            previous = chain[-1].sealed.seal.hex() if chain else FIRST_SEAL
            for each in sorted(waiting, key=_order):
                place += 1
                number, record, sealed = seal(each, place, previous)
                self._issue(each, Sealed(place, number, each.content, record, sealed))
                previous = sealed.hex()
            return len(waiting)

    def _issue(self, each: Prepared, sealed: Sealed) -> None:
        key = (each.payer, each.currency, each.instant)
        found = (*key, each.kind, each.ordinal)
        own = [(d.payer, d.currency, d.instant, d.kind, d.ordinal) for d in self.read_documents()]
        if found in own:
            raise BrokenInvariant(f"a second document of {found}")
        document = Document(
            each.issuer,
            cast(str, loads(each.content)["id"]),
            each.kind,
            *key,
            each.ordinal,
            each.cut_serial,
            sealed,
        )
        insert(self.tables.documents, (each.issuer, sealed.place), document)
        del self.tables.prepared[found]
        self._drop_draft(key)

    def _drop_draft(self, place: tuple[str, str, Instant]) -> None:
        for name, draft in list(self.tables.drafts.items()):
            if (draft.payer, draft.currency, draft.instant) == place:
                self._delete_draft(name)

    def read_documents(self, payer: str | None = None) -> list[Document]:
        """Return the documents of one payer, or all, by issuer and place."""
        found = sorted(self.tables.documents.items())
        return [document for _, document in found if payer in (None, document.payer)]

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
