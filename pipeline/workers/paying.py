"""Paying: money of issued invoices that moved outside, written off, and what facts make happen.

Owns: whether it may be recorded, on the very tables; that a fact and its event are written at once.
Does not own: what an event makes of a state (invoice/lifecycle.py), which event a fact is
(ledger/restoring.py).
Law: money is known by the reference it has outside: twice is once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.fields import parse_id
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json
from pipeline.invoice.lifecycle import (
    EventKind,
    InvoiceEvent,
    Standing,
    State,
    stands,
    told_twice,
)
from pipeline.ledger.restoring import event_of
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.facts import Author


class Lives(Protocol):
    """Issued documents, and what happened to each."""

    def document_of(self, document_id: str) -> Document | None: ...

    def read_events(self, document_id: str) -> list[InvoiceEvent]: ...

    def record_event(self, document_id: str, issued: Standing, event: InvoiceEvent) -> Standing: ...


@dataclass(frozen=True, slots=True)
class Moved:
    """Money that moved: to us (PAYMENT), or back (PAID_BACK)."""

    kind: FactKind
    amount_minor: int
    reference: str


_EVENTS = {FactKind.PAYMENT: EventKind.PAID, FactKind.PAID_BACK: EventKind.REFUNDED}


def recording(
    store: Lives, document: Document, moved: Moved, author: Author, now: Instant
) -> list[NewFact]:
    """Return the fact that money of an invoice moved; none where it is known.

    Raises:
        ValueError: there is not so much to move, or its reference stands for another amount.

    """
    reference, amount = parse_id(moved.reference), moved.amount_minor
    kind, who = _EVENTS[moved.kind], (author.actor, author.reason)
    event = InvoiceEvent(kind, *who, now, amount, reference)
    events = _events(store, document)
    if any(told_twice(each, event) for each in events):
        return []
    stands(document.before_issue, events).after(event)
    body: dict[str, Json] = {
        "document": document.id,
        "number": document.sealed.number,
        "currency": document.currency,
        "amount_minor": amount,
        "reference": reference,
    }
    return [NewFact(moved.kind, f"{document.id}/{reference}", body)]


def writing_off(store: Lives, document: Document, author: Author, now: Instant) -> list[NewFact]:
    """Return the fact that what is left of an invoice will not be paid; none where that is so.

    Raises:
        ValueError: nothing of it is owed any more.

    """
    standing = stands(document.before_issue, _events(store, document))
    if standing.state is State.UNCOLLECTIBLE:
        return []
    standing.after(InvoiceEvent(EventKind.WRITTEN_OFF, author.actor, author.reason, now))
    body: dict[str, Json] = {"document": document.id, "number": document.sealed.number}
    return [NewFact(FactKind.WRITE_OFF, document.id, body)]


def happened(store: Lives, written: Iterable[Fact]) -> None:
    """Record what facts made happen to documents, in the transaction that wrote them.

    Raises:
        ValueError: that cannot happen any more.

    """
    for fact in written:
        told = event_of(fact)
        if told is None:
            continue
        name, event = told
        document = store.document_of(name)
        if document is None:
            raise BrokenInvariant(f"fact {fact.serial} is of {name}, which is not issued")
        store.record_event(name, document.before_issue, event)


def _events(store: Lives, document: Document) -> list[InvoiceEvent]:
    if document.kind != "invoice":
        told = "is a note: record what is paid against its invoice"
        raise ValueError(f"{document.sealed.number} {told}")
    return store.read_events(document.id)
