"""Repriced: what a replay must come to, and what of its diff is decided, as the auditor sees it.

Owns: what each document and its notes come to by other prices; which differ, by how much.
Does not own: those prices (mended.py), documents (billing.py), that notes are made (corrected.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import Instant, parse_instant
from pipeline.simulate.agreements import Body
from pipeline.simulate.alarms import Alarm
from pipeline.simulate.billing import Billing, Cut, Source
from pipeline.simulate.database import MemoryDatabase
from pipeline.simulate.dues import Due
from pipeline.simulate.mended import Mended, mended
from pipeline.simulate.replays import Replay
from pipeline.simulate.since import Since, Sums, due_of
from pipeline.stores.postgres.documents import Document

Fault = tuple[str, str]
"""(law, detail)."""


def repricing_faults(
    replays: Sequence[Replay],
    alarm: Alarm | None,
    database: MemoryDatabase,
    billing: Billing,
    since: Mapping[str, Sequence[Since]],
) -> Iterator[Fault]:
    """Yield what replays folded otherwise, and what of their diffs was decided otherwise."""
    yield from _made(database, billing)
    for replay in replays:
        if replay.through:
            told = mended(billing.facts, replay.position, replay.wanted, alarm)
            other = billing.otherwise(told.facts, told.stands_until)
            looked = _Looked(replay, told, database, billing, other, since)
            yield from looked.folded()
            if not replay.refused:  # else whoever wants it began anew, perhaps with the same diff
                yield from looked.decided()


def since_of(
    replays: Sequence[Replay], alarm: Alarm | None, database: MemoryDatabase, billing: Billing
) -> dict[str, list[Since]]:
    """Return the diffs that were applied, by document, in their order.

    Documents are taken from the facts; what a diff knew of them is what its replay had folded.
    """
    found: dict[str, list[Since]] = {}
    documents = {each.id: each for each in database.tables.documents.values()}
    for fact in (each for each in billing.facts if each.kind is FactKind.MENDED):
        of_diff = (r for r in replays if r.diff_id == fact.subject and r.position < fact.serial)
        replay = max(of_diff, key=lambda each: each.position)  # those that show nothing are alike
        told = mended(billing.facts, replay.position, replay.wanted, alarm)
        other = billing.otherwise(told.facts, told.stands_until)
        looked = _Looked(replay, told, database, billing, other, found)
        by_both: dict[int, Since] = {}
        for name in cast(Body, fact.body["documents"]):
            before = found.setdefault(name, [])
            stands = [each for each in before if each.fact <= told.stands_until]
            compared = looked.compared(documents[name])
            if not compared:  # it was not looked at, so nothing may be corrected otherwise for it
                continue
            made = Since(fact.serial, compared[-1], looked.other, told.facts)
            if stands:
                earlier = stands[-1].told
                if id(earlier) not in by_both:
                    both = told.with_earlier(billing.facts, earlier)
                    by_both[id(earlier)] = replace(
                        made, by=billing.otherwise(both, told.stands_until), told=both
                    )
                made = replace(by_both[id(earlier)], until=made.until)
            before.append(made)
        _hear_ends(fact, documents, billing, found)
    return found


def _hear_ends(
    of: Fact,
    documents: Mapping[str, Document],
    billing: Billing,
    since: Mapping[str, Sequence[Since]],
) -> None:
    """Have billing know up to where the notes of a diff bill what their documents left out."""
    made = {each.content.get("cause") for each in documents.values()}
    for place, fact in sorted(billing.decided.items(), key=lambda each: each[1].serial):
        if fact.kind is not FactKind.REPRICING or fact.body["reference"] != of.subject:
            continue
        document = documents[fact.subject]
        own = document.payer, document.currency, document.instant
        by = [each.by for each in since.get(document.id, ()) if each.fact == of.serial]
        if not by or own in billing.early or fact.id not in made:
            continue
        first = billing.again[own].first if own in billing.again else own
        was, must = _ends(billing, first), _ends(by[0], first)
        farther = {source: end for source, end in must.items() if end > was.get(source, -1)}
        if farther:
            billing.bill_farther(place, farther)


def _ends(billing: Billing, place: Cut) -> dict[Source, Instant]:
    """Return up to where the document of a cut bills each price."""
    fallen = (each for each in billing.fallen_of(*place[:2]) if each.instant == place[2])
    found: dict[Source, Instant] = {}
    for each in (one for of in fallen for one in of.dues):
        if isinstance(each, Due):
            source = each.name, str(each.card["id"])
            found[source] = max(each.spans.left[1], found.get(source, -1))
    return found


def _made(database: MemoryDatabase, billing: Billing) -> Iterator[Fault]:
    """Yield the facts of diffs whose notes say anything else, or were never made."""
    notes = {each.content.get("cause"): each for each in database.tables.documents.values()}
    for fact in billing.decided.values():
        if fact.kind is FactKind.REPRICING:
            note, must = notes.get(fact.id), change_of(fact)
            told = sums_of(cast(list[Body], note.content["lines"])) if note else None
            if told != must:
                yield "repriced", f"the note of fact {fact.serial} says {told}, must {must}"


@dataclass(frozen=True, slots=True)
class _Looked:
    replay: Replay
    told: Mended
    database: MemoryDatabase
    billing: Billing
    other: Billing
    """By the prices that were wanted."""
    since: Mapping[str, Sequence[Since]]

    def _invoices(self) -> Iterator[Document]:
        """Yield the invoices that were there when it was planted."""
        for document in self.database.tables.documents.values():
            if document.kind == "invoice" and document.id in self.replay.issued:
                yield document

    def folded(self) -> Iterator[Fault]:
        """Yield the documents of the replay that do not say what its prices make of usage."""
        made = {each.id: each for each in self.replay.shadow.database.tables.documents.values()}
        for document in self._invoices():
            must = self._of(self.other, document, document.cut_serial)
            found = made.get(document.id)
            kept = sums_of(cast(list[Body], found.content["lines"])) if found else Sums()
            if (found is None and any(must.values())) or (found is not None and kept != must):
                name = f"{document.sealed.number} in {self.replay.name}"
                yield "replayed", f"{name}: {_differences(kept, must)}"

    def decided(self) -> Iterator[Fault]:
        """Yield the facts of its diff that are missing, one too many, or of another amount."""
        facts, name = {fact.subject: fact for fact in self.replay.facts}, self.replay.name
        if len(facts) < len(self.replay.facts):
            yield "repriced", f"{name} was applied more than once"
        if not facts and not self.replay.applied:
            return
        for document in self._invoices():
            fact, must = facts.pop(document.id, None), self._change(document)
            told = change_of(fact) if fact is not None else Sums()
            if told != must and (fact or not self._noted_since(document)):
                number = document.sealed.number
                yield "repriced", f"{name}, {number}: {_differences(told, must)}"
            if fact is not None:
                yield from self._moved(document, fact)
        for other in facts:
            yield "repriced", f"{name} is about {other}, which was not issued"

    def _noted_since(self, document: Document) -> bool:
        """Return whether a note came after the replay was planted: it compares what was issued."""
        return any(
            (note.payer, note.currency, note.instant) in self.replay.done
            for note in self.database.tables.documents.values()
            if note.kind != "invoice" and note.content["corrects"] == document.id
            if note.id not in self.replay.issued
        )

    def _moved(self, document: Document, fact: Fact) -> Iterator[Fault]:
        """Yield notes that were made between the replay and its being applied."""
        for note in self.database.tables.documents.values():
            if note.kind == "invoice" or note.content["corrects"] != document.id:
                continue
            is_new = note.id not in self.replay.issued
            if is_new and self.database.prepared_at[note.id] < fact.serial:
                number = document.sealed.number
                yield "repriced", f"{number} had {note.sealed.number} before fact {fact.serial}"

    def _change(self, document: Document) -> Sums:
        """Return what brings a document, with the notes it had, to what the replay makes of it."""
        known, found = self.since.get(document.id, ()), Sums()
        stand = [self._behind(each) for each in known if each.fact <= self.told.stands_until]
        last = max(self.compared(document), default=None)
        if last is None:
            return found
        _add(found, due_of(self.other, stand, document, last), 1)
        _add(found, due_of(self.billing, known, document, last), -1)
        for place in self._places(document):
            fact = self.billing.decided.get(place)
            if fact and fact.subject == document.id and fact.serial > self.told.stands_until:
                _add(found, change_of(fact), -1)
        settled = self._settled(document)
        return Sums(
            {e: minor for e, minor in found.items() if minor and (settled is None or e in settled)}
        )

    def compared(self, document: Document) -> list[int]:
        """Return the ticks at which a document was made, or corrected, on both sides."""
        return [self.billing.cuts[place] for place in self._places(document)]

    def _behind(self, earlier: Since) -> Since:
        """Return an earlier diff as it stands in the replay."""
        told = self.told.behind(earlier.told)
        if told is earlier.told:
            return earlier
        return replace(earlier, told=told, by=self.billing.otherwise(told, self.told.stands_until))

    def _places(self, document: Document) -> list[tuple[str, str, Instant]]:
        home = self.billing.witness.home(document.payer)
        last = max(n for (of, n) in self.replay.shadow.database.tables.passed if of == home)
        cuts = self._cuts(document)
        return [place for serial, place in cuts if place in self.replay.done and serial <= last]

    def _settled(self, document: Document) -> Collection[tuple[str, str]] | None:
        """Return the lines of a document that its notes may correct; None: all.

        What was billed before its period ended, or would have been, is told again by the period's
        last invoice, at the price there is by then: until that was issued a note of it would give
        the same twice.
        """
        place = document.payer, document.currency, document.instant
        if place not in self.billing.early:
            return None
        whose = [e for e in self._invoices() if (e.payer, e.currency) == place[:2]]
        last = [e for e in whose if (e.payer, e.currency, e.instant) not in self.billing.early]
        told = [line for other in last for line in cast(list[Body], other.content["lines"])]
        ended = max((other.instant for other in last), default=0)
        made = self.replay.shadow.database.tables.documents.values()
        for other in (document, *(each for each in made if each.id == document.id)):
            for line in cast(list[Body], other.content["lines"]):
                if parse_instant(line["period_end"]) <= ended:
                    told.append(line)
        return {(str(line["source_id"]), str(line["period_start"])) for line in told}

    def _cuts(self, document: Document) -> list[tuple[int, tuple[str, str, Instant]]]:
        """Return the cuts of a document's payer, from its own on."""
        whose, own = (document.payer, document.currency), document.cut_serial
        cuts = ((s, place) for place, s in self.billing.cuts.items() if place[:2] == whose)
        return sorted(each for each in cuts if each[0] > own or each[1][2] == document.instant)

    def _of(self, billing: Billing, document: Document, serial: int) -> Sums:
        """Return what a document and its notes of usage come to at a cut."""
        seen = None if serial == document.cut_serial else serial
        lines = billing.issued(document.payer, document.currency, serial, seen).lines
        found = Sums()
        for line in lines.get(document.instant, ()):
            found[line.source, line.start] += line.total_minor
        return Sums({place: minor for place, minor in found.items() if minor})


def change_of(fact: Fact) -> Sums:
    """Return what a fact adds to its document."""
    assert fact.kind is FactKind.REPRICING
    return sums_of(cast(list[Body], cast(Body, fact.body["change"])["lines"]))


def sums_of(lines: Collection[Body]) -> Sums:
    """Return what lines come to; none that come to nothing."""
    found = Sums()
    for line in lines:
        found[str(line["source_id"]), str(line["period_start"])] += cast(int, line["total_minor"])
    return Sums({place: minor for place, minor in found.items() if minor})


def _add(into: Sums, other: Mapping[tuple[str, str], int], sign: int) -> None:
    for place, minor in other.items():
        into[place] += sign * minor


def _differences(kept: Sums, must: Sums) -> str:
    told = (
        f"{place} comes to {kept[place]}, due are {must[place]}"
        for place in sorted(kept.keys() | must.keys())
        if kept[place] != must[place]
    )
    return "; ".join(told)
