"""A shadow in memory: the queries of stores/postgres/shadows.py, and who has which notes.

Law: one contract suite runs these and the real ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from json import loads
from typing import cast

from pipeline.catalog.facts import FactKind
from pipeline.core.identity import Json, partition_of
from pipeline.replay.bounds import LogPlace
from pipeline.replay.diff import Moved, Pair, UsedIn
from pipeline.simulate.archive_session import ArchiveSession
from pipeline.simulate.database import CutKey, MemoryDatabase, Tables
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.pauses import ENDS, USAGE, Pause
from pipeline.stores.postgres.shadows import Revise


class ShadowSession(ArchiveSession):
    """What a replay asks of its own tables and of those it shadows."""

    def plant(self, live: str, revise: Revise | None) -> None:
        """Copy the facts and ticks of a stack into an empty shadow, as they stand at one instant.

        Each partition ends behind the last tick booked there.
        """
        with self.transaction():
            tables, theirs = self.tables, self._beside(live).tables
            facts = [theirs.facts[serial] for serial in sorted(theirs.facts)]
            revised = {} if revise is None else revise(facts)
            for fact in facts:
                body = revised.get(fact.serial, fact.body)
                if fact.kind is FactKind.HOLD:
                    body = {**fact.body, "on": False}
                tables.facts[fact.serial] = replace(fact, body=body)
                if fact.kind is FactKind.SKIP:
                    tables.skips[fact.serial] = fact
            tables.mirrored["mirrored"] = len(facts)
            for serial, (tick, _) in theirs.ticks.items():
                tables.ticks[serial] = (tick, True)
            for number in range(cast(int, facts[0].body["partitions"])):
                passed = (p.offset for (of, _), p in theirs.passed.items() if of == number)
                end, told = 1 + max(passed, default=-1), "what is replayed ends here"
                tables.pauses[USAGE, number] = Pause(number, end, ENDS, told, 0)
            for issuer, place in theirs.documents:
                tables.shadowed[issuer] = max(place, tables.shadowed.get(issuer, 0))

    def _beside(self, schema: str) -> MemoryDatabase:
        return self.database.beside[schema]

    def documents_beside(self, live: str, *, whole: bool = False) -> list[Pair]:
        """Return what was issued when the shadow was planted, beside the same documents here.

        And what is issued here of cuts that are done with there, and have no such document. What
        waits here for anything is not taken for left out.
        """
        self.effect("read both sides")
        theirs = self._beside(live).tables
        ours = {document.id: document for document in self.tables.documents.values()}
        heads, waits, found = self.tables.shadowed, _waiting(self.tables), list[Pair]()
        for (issuer, place), document in sorted(theirs.documents.items()):
            other = ours.get(document.id)
            cut = document.payer, document.currency, document.instant
            is_known = place <= heads.get(issuer, 0) and document.kept is None
            if is_known and (other is not None or cut not in waits):
                found.append(_pair(theirs, document, other, whole=whole))
        known = {document.id for document in theirs.documents.values()}
        done = frozenset(theirs.cuts.keys() - _waiting(theirs))
        self.database.compared = done
        for _, document in sorted(self.tables.documents.items()):
            cut = document.payer, document.currency, document.instant
            if document.id not in known and cut in done:
                found.append(_pair(theirs, None, document, whole=whole))
        return found

    def documents_known(self, live: str) -> int:
        """Return how many documents were issued when the shadow was planted, with content."""
        heads, theirs = self.tables.shadowed, self._beside(live).tables.documents
        return sum(
            place <= heads.get(issuer, 0) and document.kept is None
            for (issuer, place), document in theirs.items()
        )

    def moved_usage(self, live: str, used: UsedIn) -> Moved:
        """Return what the books here count of some usage beyond those of the live stack."""
        self.effect("count usage")
        ours, ours_reversed = _counted(self.tables, used)
        theirs, theirs_reversed = _counted(self._beside(live).tables, used)
        return Moved(ours - theirs, ours_reversed - theirs_reversed)

    def notes_by_document(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the ids of the notes that correct these documents, issued or about to be."""
        self.effect("read notes")
        found: dict[str, list[str]] = {}
        for content in self._notes():
            if content["corrects"] in ids:
                found.setdefault(str(content["corrects"]), []).append(str(content["id"]))
        return found

    def _notes(self) -> Iterator[Mapping[str, Json]]:
        for document in self.tables.documents.values():
            if document.kind != "invoice":
                yield document.content
        for prepared in self.tables.prepared.values():
            if prepared.kind != "invoice":
                yield loads(prepared.content)


def _waiting(tables: Tables) -> set[CutKey]:
    """Return the cuts whose documents are not all issued."""
    return {*tables.unprepared, *(prepared[:3] for prepared in tables.prepared)}


def _pair(theirs: Tables, before: Document | None, after: Document | None, *, whole: bool) -> Pair:
    of = cast(Document, before if before is not None else after)
    same = None not in (before, after) and _bytes(before) == _bytes(after)
    was, now = (
        e.content if e is not None and (whole or not same) else None for e in (before, after)
    )
    home = partition_of(of.payer, cast(int, theirs.facts[1].body["partitions"]))
    number = None if before is None else before.sealed.number
    place = LogPlace(home, _offset(theirs, home, of.cut_serial))
    return Pair(number, of.payer, of.instant, of.cut_serial, same, was, now, place)


def _bytes(document: Document | None) -> bytes | None:
    return None if document is None else document.sealed.content


def _offset(tables: Tables, partition: int, serial: int) -> int:
    """Return where the last tick up to one stands in a partition."""
    own = (p for (of, _), p in tables.passed.items() if of == partition)
    return max((p.offset for p in own if p.tick.serial <= serial), default=-1)


def _counted(tables: Tables, used: UsedIn) -> tuple[int, int]:
    """Return (events that were told, those that were taken back)."""
    own = {
        place
        for place in tables.usage
        if (place[0].customer, place[0].meter) == (used.customer, used.meter)
        and used.start <= place[1] < used.end
        and place[2] < used.below_cut
    }
    gone = sum(count for place, count in tables.reversed.items() if place in own)
    return sum(part.count for place, part in tables.usage.items() if place in own) + 2 * gone, gone
