"""Lived: what happened to each issued document and where it stands, as the auditor folds facts.

Owns: that facts and notes happened to their documents once and in order; balances and states.
Does not own: what notes come to (corrected.py), what credits pay (settled.py).
Law: it shares no step with the pipeline.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.identity import Json
from pipeline.simulate.agreements import Body
from pipeline.simulate.database import MemoryDatabase
from pipeline.stores.postgres.documents import Document

Fault = tuple[str, str]
"""(law, detail)."""


class Happened(NamedTuple):
    """What happened, over how much, by which reference."""

    what: str
    amount: int = 0
    reference: Json = None


_TOLD = {
    FactKind.PAYMENT: "paid",
    FactKind.PAID_BACK: "refunded",
    FactKind.WRITE_OFF: "written_off",
}
_SETTLED = ("voided", "paid", "credited")
_GIVES_UP_NO_MORE = ("paid", "refunded", "credited", "debited", "voided")


@dataclass(slots=True)
class Account:
    """An invoice: what it came to, and what became of that. In minor units."""

    total: int
    by_credits: int
    """What prepaid credits paid, less what a void gave back to them."""
    taken_off: int = 0
    paid: int = 0
    is_void: bool = False
    given_up: bool = False

    @property
    def left(self) -> int:
        """What is left to pay."""
        return self.total - self.by_credits - self.taken_off - self.paid

    @property
    def state(self) -> str:
        """What a person calls it."""
        if self.is_void or self.given_up:
            return "voided" if self.is_void else "uncollectible"
        if self.total > 0 and self.taken_off >= self.total:
            return "credited"
        if self.left <= 0:
            return "credited" if self.taken_off > 0 >= self.total else "paid"
        if self.paid:
            return "partially_paid"
        return "partially_credited" if self.taken_off > 0 else "finalized"

    def fault(self, happened: Happened) -> str | None:
        """Return why it may not happen now."""
        what, amount, _ = happened
        if what == "paid" and (self.is_void or not 0 < amount <= self.left):
            return f"{amount} were paid, and {self.left} were left"
        if what == "refunded" and not 0 < amount <= self.paid:
            return f"{amount} went back, and {self.paid} were paid"
        if what == "written_off" and (self.given_up or self.state in _SETTLED):
            return f"it was written off, and was {self.state}"
        return None

    def take(self, happened: Happened) -> None:
        """Let it happen."""
        what, amount, _ = happened
        match what:
            case "paid":
                self.paid += amount
            case "refunded":
                self.paid -= amount
            case "credited":
                self.taken_off += amount
            case "debited":
                self.taken_off -= amount
            case "voided":
                self.is_void = True
            case "written_off":
                self.given_up = True
        if what in _GIVES_UP_NO_MORE:
            self.given_up = False


def life_faults(database: MemoryDatabase, facts: Sequence[Fact]) -> Iterator[Fault]:
    """Yield every document to which something else happened than must have, or that stands other.

    Facts come in their order, and each note behind the facts that were there when it was issued.
    """
    documents = list(database.tables.documents.values())
    notes = {each.id: each for each in documents if each.kind != "invoice"}
    story: dict[str, list[tuple[tuple[int, int], Happened]]] = {each.id: [] for each in documents}
    for fact in facts:
        told = _of_fact(fact)
        if told is not None:
            story[str(fact.body["document"])].append(((fact.serial, 0), told))
    for note in notes.values():
        done = _of_note(note)
        if done is not None:
            place = database.issued_at[note.id], note.sealed.place
            story[str(note.content["corrects"])].append((place, done))
    for document in documents:
        own = [happened for _, happened in sorted(story[document.id])]
        corrects = [each for each in notes.values() if each.content["corrects"] == document.id]
        for fault in _faults(database, document, own, corrects):
            yield "lived", f"{document.sealed.number}: {fault}"


def _faults(
    database: MemoryDatabase, document: Document, own: Sequence[Happened], notes: Sequence[Document]
) -> Iterator[str]:
    rows = database.tables.events[document.id]
    kept = [Happened(e.kind.value, e.amount_minor, e.reference) for e, _ in rows]
    if kept != [Happened("finalized"), *own]:
        yield f"kept is {kept[1:]}, and {own} happened"
        return
    if len({(each.what, each.reference) for each in own if each.reference}) < len(
        [each for each in own if each.reference]
    ):
        yield f"one thing happened twice: {own}"
    if document.kind != "invoice":
        if own:
            yield f"it is a note, and {own} happened to it"
        return
    account = Account(_total(document), _by_credits(document))
    disputed = False
    for happened in own:
        if fault := account.fault(happened):
            yield fault
        account.take(happened)
        if "dispute" in happened.what:
            disputed = happened.what == "disputed"
    if account.is_void:
        account.taken_off = account.total
        account.by_credits += sum(map(_by_credits, notes))
    else:
        account.taken_off = -sum(map(_total, notes))
    stood = rows[-1][1]
    told = stood.state.value, stood.left_minor, stood.paid_minor, stood.disputed
    must = account.state, account.left, account.paid, disputed
    if told != must:
        yield f"it stands at {told}, and must at {must}"


def _of_fact(fact: Fact) -> Happened | None:
    if fact.kind is FactKind.DISPUTE:
        what = "disputed" if fact.body["state"] == "open" else "dispute_closed"
        return Happened(what, 0, fact.id)
    if fact.kind not in _TOLD:
        return None
    amount = cast(int, fact.body.get("amount_minor", 0))
    return Happened(_TOLD[fact.kind], amount, fact.body.get("reference"))


def _of_note(note: Document) -> Happened | None:
    total = _total(note)
    if note.content["voids"] is True:
        return Happened("voided", abs(total), note.id)
    if not total:
        return None
    return Happened("debited" if total > 0 else "credited", abs(total), note.id)


def _total(document: Document) -> int:
    return cast(dict[str, int], document.content["totals"])["total_minor"]


def _by_credits(document: Document) -> int:
    """Return what prepaid credits paid of a document; below zero: what they got back."""
    told = cast("Body | None", json.loads(document.sealed.record)["settlement"])
    paid = cast(list[Mapping[str, int]], told["credits"]) if told else []
    return sum(each["amount_minor"] for each in paid)
