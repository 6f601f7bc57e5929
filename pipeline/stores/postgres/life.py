"""The events of issued documents.

Owns: writing what happened to one, once, and reading it.
Does not own: what an event makes of a state (invoice/lifecycle.py).
Law: rows are added and never changed; the state that stands on one is the fold up to it.
"""

from collections.abc import Iterable

from pipeline.core.calendar import from_datetime, to_datetime
from pipeline.invoice.lifecycle import EventKind, InvoiceEvent, Standing, stands, told_twice
from pipeline.stores.postgres.connection import Connection
from pipeline.stores.postgres.copying import copy_rows


def read_events(connection: Connection, document_id: str) -> list[InvoiceEvent]:
    """Return what happened to a document, in order."""
    rows = connection.execute(
        "SELECT event, actor, reason, at, amount_minor, reference FROM invoice_event"
        " WHERE document_id = %s ORDER BY place",
        [document_id],
    )
    return [
        InvoiceEvent(EventKind(kind), actor, reason, from_datetime(at), amount, reference)
        for kind, actor, reason, at, amount, reference in rows
    ]


def record_event(
    connection: Connection, document_id: str, issued: Standing, event: InvoiceEvent
) -> Standing:
    """Write what happened to a document that stood at `issued` first; return where it stands.

    An event with a reference is known by it: the same one again is none.

    Raises:
        ValueError: it cannot happen now, or its reference stands for another amount.

    """
    with connection.transaction():
        # Events of one document are written one after the other: each rests on those before it.
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtext('talea document'), hashtext(%s))", [document_id]
        )
        events = read_events(connection, document_id)
        stood = stands(issued, events)
        if any(told_twice(each, event) for each in events):
            return stood
        after = stood.after(event)
        insert_events(connection, [(document_id, len(events) + 1, event, after)])
        return after


def insert_events(
    connection: Connection, rows: Iterable[tuple[str, int, InvoiceEvent, Standing]]
) -> None:
    """Write events of documents, each at its place with the standing it leads to."""
    copy_rows(
        connection,
        "COPY invoice_event (document_id, place, event, state, amount_minor, reference, actor,"
        " reason, at) FROM STDIN",
        (
            (
                document_id,
                place,
                event.kind.value,
                after.state.value,
                event.amount_minor,
                event.reference,
                event.actor,
                event.reason,
                to_datetime(event.at),
            )
            for document_id, place, event, after in rows
        ),
    )


def states(connection: Connection, payer: str | None = None) -> dict[str, str]:
    """Return the state of every document of a payer (None: of all), by id."""
    rows = connection.execute(
        "SELECT DISTINCT ON (document_id) document_id, state FROM invoice_event"
        " JOIN document ON document.id = document_id WHERE %s::text IS NULL OR payer = %s"
        " ORDER BY document_id, invoice_event.place DESC",
        [payer, payer],
    )
    return dict(rows.fetchall())
