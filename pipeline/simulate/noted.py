"""Noted: what the notes that people decide must take off, or put back, as the auditor works it out.

Owns: what is left of each line, what a decision asks of it, that no cent is lost in a split.
Does not own: notes of usage (corrected.py), what documents say first (billing.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.simulate.agreements import Body
from pipeline.simulate.billing import Billing
from pipeline.simulate.sold import minor
from pipeline.stores.postgres.documents import Document

Fault = tuple[str, str]
"""(law, detail)."""
BY_HAND = (FactKind.VOID, FactKind.CREDIT_NOTE, FactKind.DEBIT_NOTE)
Place = tuple[int, Instant]
"""(serial, instant) of a cut."""
Sums = dict[str, tuple[int, Fraction]]
"""(minor units, quantity) by the id of a document's line."""


def place_of(document: Document) -> Place:
    """Return the cut at which a document was made."""
    return document.cut_serial, document.instant


def is_by_hand(note: Document) -> bool:
    """Return whether somebody decided a note."""
    return note.content["cause"] is not None


def lines_of(document: Document) -> Sums:
    """Return what the lines of a document come to; a note's by the lines that they correct."""
    return {
        str(line.get("corrects", line["id"])): (
            cast(int, line["total_minor"]),
            Fraction(str(line["quantity"])),
        )
        for line in cast(list[Body], document.content["lines"])
    }


def added(documents: Collection[Document], sign: int = 1) -> Sums:
    """Return lines summed up; those that come to nothing are left out."""
    found: Sums = {}
    for document in documents:
        for name, (total, quantity) in lines_of(document).items():
            before = found.get(name, (0, Fraction(0)))
            found[name] = before[0] + sign * total, before[1] + sign * quantity
    return {name: each for name, each in found.items() if any(each)}


@dataclass(frozen=True, slots=True)
class Split:
    """An amount that is split over lines by weights, to the last minor unit."""

    amount: int
    weights: Mapping[str, int]

    def fault(self, told: Mapping[str, int]) -> str | None:
        """Return why a split is none of this: each has its share, the largest rests one more."""
        whole = sum(self.weights.values())
        shares = {name: Fraction(self.amount * each, whole) for name, each in self.weights.items()}
        over = {name: told.get(name, 0) - int(share) for name, share in shares.items()}
        rests = {name: share - int(share) for name, share in shares.items()}
        least = min((rests[name] for name in over if over[name] == 1), default=Fraction(1))
        most = max((rests[name] for name in over if over[name] == 0), default=Fraction(0))
        if told.keys() - shares.keys() or {*over.values()} - {0, 1}:
            return f"{told} is no share of {self.amount} over {self.weights}"
        if sum(told.values()) != self.amount or least < most:
            return f"{told} is not {self.amount} over {self.weights}"
        return None


def note_faults(documents: Collection[Document], billing: Billing) -> Iterator[Fault]:
    """Yield every note by hand that is not what its decision makes of what was left."""
    notes: dict[str, list[Document]] = {}
    for each in documents:
        if each.kind != "invoice":
            notes.setdefault(str(each.content["corrects"]), []).append(each)
    by_cause = {each.content["cause"]: each for own in notes.values() for each in own}
    known = {each.id: each for each in documents}
    for fact, place in decided(billing):
        document, note = known[str(fact.body["document"])], by_cause.get(fact.id)
        own = notes.get(document.id, [])
        before = [each for each in own if _comes_before(each, place)]
        for fault in _note_faults(fact, document, before, note):
            yield "noted", f"{document.sealed.number}, fact {fact.serial} ({fact.kind}): {fault}"
    facts = {fact.id for fact in billing.decided.values()}
    for cause, each in by_cause.items():
        if cause is not None and cause not in facts:
            yield "noted", f"{each.sealed.number} is of {cause}, which nobody decided"


def decided(billing: Billing) -> list[tuple[Fact, Place]]:
    """Return each decision about a document, with the cut that it caused, in order."""
    found = [
        (fact, (billing.cuts[place], place[2]))
        for place, fact in billing.decided.items()
        if fact.kind in BY_HAND
    ]
    return sorted(found, key=lambda each: each[1])


def _comes_before(note: Document, place: Place) -> bool:
    """Whether a note was made before a decision's: that of usage at the same cut is, too."""
    return place_of(note) < place or (place_of(note) == place and not is_by_hand(note))


def _note_faults(
    fact: Fact, document: Document, before: Sequence[Document], note: Document | None
) -> Iterator[str]:
    told = {} if note is None else {n: t for n, (t, _) in lines_of(note).items() if t}
    if any(each.content["voids"] is True for each in before):
        must: Mapping[str, int] | Split | None = None
    elif fact.kind is FactKind.DEBIT_NOTE:
        must = _put_on(fact.body, document, [each for each in before if is_by_hand(each)])
    else:
        must = _taken_off(fact.body, added([document, *before]))
    sign = 1 if fact.kind is FactKind.DEBIT_NOTE else -1
    if isinstance(must, Split):
        fault = must.fault({name: sign * total for name, total in told.items()})
        if fault is not None:
            yield fault
    elif told != {name: sign * total for name, total in (must or {}).items() if total}:
        yield f"takes {told}, must {sign} times {must}"
    if note is not None:
        yield from _form_faults(fact, document, note)


def _taken_off(body: Body, left: Sums) -> Mapping[str, int] | Split | None:
    """Return what is to be taken off what is left of each line; None: nothing can be."""
    amount, parts = cast("int | None", body["amount_minor"]), cast(list[Body], body["lines"])
    room = max(0, sum(total for total, _ in left.values()))
    if amount is not None:
        weights = {name: total for name, (total, _) in left.items() if total > 0}
        most = min(room, sum(weights.values()))
        return Split(min(amount, most), weights) if most else None
    if not parts:
        return {name: total for name, (total, _) in left.items()}
    found = _parts(parts, left, bounded=True)
    return found if found is not None and sum(found.values()) <= room else None


def _put_on(
    body: Body, document: Document, by_hand: Sequence[Document]
) -> Mapping[str, int] | Split | None:
    """Return what is to be added: amounts by what the document says, else what was taken off."""
    amount, parts = cast("int | None", body["amount_minor"]), cast(list[Body], body["lines"])
    first = lines_of(document)
    if amount is not None:
        weights = {name: total for name, (total, _) in first.items() if total > 0}
        charged = sum(total for total, _ in first.values())
        return Split(amount, weights) if weights and charged > 0 else None
    if any(part["amount_minor"] is not None for part in parts):
        return _parts(parts, first, bounded=False)
    off = added(by_hand, -1)
    if not parts:
        return {name: total for name, (total, _) in off.items()}
    return _parts(parts, off, bounded=True)


def _parts(parts: Sequence[Body], of: Sums, *, bounded: bool) -> dict[str, int] | None:
    """Return what parts of lines come to; None where an amount is asked of a line without any."""
    found: dict[str, int] = {}
    for part in parts:
        name = str(part["line"])
        if name not in of:
            continue
        (total, counted), amount = of[name], cast("int | None", part["amount_minor"])
        if amount is not None:
            if total <= 0:
                return None
            found[name] = min(amount, total) if bounded else amount
        elif part["quantity"] is not None and Fraction(str(part["quantity"])) < counted:
            found[name] = minor(total * Fraction(str(part["quantity"])) / counted, 0)
        else:
            found[name] = total
    return found


def _form_faults(fact: Fact, document: Document, note: Document) -> Iterator[str]:
    """Yield what a note says otherwise than its decision does, or than its lines come to."""
    content, body = note.content, fact.body
    total = cast(Mapping[str, int], content["totals"])["total_minor"]
    lines = cast(list[Body], content["lines"])
    if total != sum(cast(int, line["total_minor"]) for line in lines):
        yield f"its total is {total}"
    for line in lines:
        children = cast(list[dict[str, int]], line["children"])
        if children and sum(each["total_minor"] for each in children) != line["total_minor"]:
            yield f"line {line['id']} is not the sum of its children"
    told = [
        content[name]
        for name in ("customer", "currency", "cut_instant", "reason_code", "external_reference")
    ]
    at: Json = instant_text(parse_instant(body["at"]))
    must: list[Json] = [document.payer, document.currency, at, body["code"], body["reference"]]
    voids, refund = fact.kind is FactKind.VOID, -total if body["refund"] else None
    must += [voids, refund, "debit_note" if total > 0 else "credit_note"]
    told += [content["voids"], content["refund_due_minor"], content["kind"]]
    if told != must:
        yield f"it says {told}, not {must}"
