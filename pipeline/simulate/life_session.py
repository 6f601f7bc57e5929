"""What happened to issued documents, in memory: the queries of stores/postgres/life.py.

Law: one contract suite runs these and the real ones.
"""

from pipeline.catalog.facts import Fact
from pipeline.core.calendar import parse_instant
from pipeline.core.errors import BrokenInvariant
from pipeline.invoice.lifecycle import (
    EventKind,
    InvoiceEvent,
    Standing,
    note_event,
    stands,
    told_twice,
)
from pipeline.simulate.publishing_session import PublishingSession
from pipeline.stores.postgres.documents import Document


class LifeSession(PublishingSession):
    """The events of documents, each with where its document stands behind it."""

    def document_of(self, document_id: str) -> Document | None:
        """Return the document of an id."""
        found = self.tables.documents.values()
        return next((each for each in found if each.id == document_id), None)

    def find_document(self, number: str) -> Document | None:
        """Return the document of a number."""
        self.effect("find document")
        found = self.tables.documents.values()
        return next((each for each in found if each.sealed.number == number), None)

    def read_events(self, document_id: str) -> list[InvoiceEvent]:
        """Return what happened to a document, in order."""
        return [event for event, _ in self.tables.events.get(document_id, ())]

    def record_event(self, document_id: str, issued: Standing, event: InvoiceEvent) -> Standing:
        """Write what happened to a document that stood at `issued` first; return where it stands.

        Raises:
            ValueError: it cannot happen now, or its reference stands for another amount.

        """
        with self.transaction():
            events = self.read_events(document_id)
            stood = stands(issued, events)
            if any(told_twice(each, event) for each in events):
                return stood
            after = stood.after(event)
            kept = self.tables.events.get(document_id, ())
            self.tables.events[document_id] = (*kept, (event, after))
            return after

    def states(self, payer: str | None = None) -> dict[str, str]:
        """Return the state of every document of a payer (None: of all), by id."""
        return {
            each.id: self.tables.events[each.id][-1][1].state.value
            for each in self.tables.documents.values()
            if payer in (None, each.payer)
        }

    def tell_issued(self, document: Document) -> None:
        """Write that a document has its number; what a note does to its document, and who says."""
        content, at = document.content, parse_instant(document.record["issued_at"])
        finalized = InvoiceEvent(EventKind.FINALIZED, "finalizer", "period closed", at)
        self.record_event(document.id, document.before_issue, finalized)
        corrects = content.get("corrects")
        if corrects is None:
            return
        corrected, cause = self.document_of(str(corrects)), content.get("cause")
        if corrected is None:
            raise BrokenInvariant(f"{document.id} corrects {corrects}, which is not issued")
        decided = (fact for fact in self.tables.facts.values() if fact.id == cause)
        fact: Fact | None = next(decided, None)
        author = (fact.actor, fact.reason) if fact else ("finalizer", str(content["reason_code"]))
        event = note_event(content, *author, at)
        if event is not None:
            self.record_event(corrected.id, corrected.before_issue, event)
