"""Sealed documents.

Owns: registering in order under one lock an issuer, reading.
Does not own: what waits to be registered (preparing.py), content (invoice/compose.py), records
and seals (ledger/seal.py).
Law: numbers have no gaps; a document is written once and never changed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from psycopg import sql

from pipeline.catalog.by_hand import Holds, nothing_held
from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json
from pipeline.invoice.history import Paper
from pipeline.invoice.lifecycle import EventKind, InvoiceEvent, Standing, note_event
from pipeline.invoice.settling import taken_by
from pipeline.ledger.seal import FIRST_SEAL, Sealed
from pipeline.stores.postgres.connection import Connection, one
from pipeline.stores.postgres.copying import copy_rows
from pipeline.stores.postgres.life import insert_events, record_event
from pipeline.stores.postgres.preparing import (
    Prepared,
    Registrar,
    drop_cut_drafts,
    take_prepared,
)


@dataclass(frozen=True, slots=True)
class Document:
    """An issued document: what is sealed, and the columns it is found by."""

    issuer: str
    id: str
    kind: str
    payer: str
    currency: str
    instant: Instant
    ordinal: int
    cut_serial: int
    sealed: Sealed
    kept: str | None = None
    """What is left of its content, once that is beyond retention."""

    @property
    def content(self) -> dict[str, Json]:
        """The content as JSON, or what is left of it."""
        told = self.sealed.content if self.kept is None else self.kept
        return cast(dict[str, Json], json.loads(told))

    @property
    def paper(self) -> Paper:
        """What corrections know of it."""
        return Paper(self.cut_serial, self.instant, self.kind, self.ordinal, self.content)

    @property
    def before_issue(self) -> Standing:
        """Where it stood before its first event."""
        settlement = cast("Mapping[str, Json] | None", self.record["settlement"])
        return Standing.before_issue(self.content, settlement)

    @property
    def record(self) -> dict[str, Json]:
        """The issue record as JSON."""
        return cast(dict[str, Json], json.loads(self.sealed.record))


def credits_used(connection: Connection, payers: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the minor units that payers' issued documents took, by payer and credit."""
    rows = connection.execute(
        "SELECT payer, credit, sum(amount_minor)::bigint FROM credit_use"
        " WHERE payer = ANY(%s) GROUP BY payer, credit",
        [list(payers)],
    )
    found: dict[str, dict[str, int]] = {}
    for payer, credit, amount in rows:
        found.setdefault(payer, {})[credit] = amount
    return found


def register(
    connection: Connection,
    issuer: str,
    seal: Registrar,
    count_max: int,
    held: Callable[[], Holds] = nothing_held,
) -> int:
    """Give the first prepared documents of an issuer number, record and seal; return how many.

    Those that are held go on waiting, also where that was decided since they were prepared.
    One transaction, one lock an issuer: two finalizers register one after the other, and each
    asks what is `held` once it has the lock.
    """
    with connection.transaction():
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtext('talea issuer'), hashtext(%s))", [issuer]
        )
        waiting = take_prepared(connection, issuer, count_max, held())
        sealed = seal(waiting, *_head(connection, issuer)) if waiting else []
        write_issued(connection, [*zip(waiting, sealed, strict=True)])
        return len(waiting)


def _head(connection: Connection, issuer: str) -> tuple[int, str]:
    row = connection.execute(
        "SELECT place, encode(seal, 'hex') FROM document WHERE issuer = %s"
        " ORDER BY place DESC LIMIT 1",
        [issuer],
    ).fetchone()
    return (row[0], row[1]) if row else (0, FIRST_SEAL)


def write_issued(connection: Connection, issued: Sequence[tuple[Prepared, Sealed]]) -> None:
    """Write documents, in the order of their chains, with all that follows from their being."""
    told = [(json.loads(p.content), json.loads(s.record)) for p, s in issued]
    ids = [content["id"] for content, _ in told]
    copy_rows(
        connection,
        "COPY document (issuer, place, number, id, kind, payer, currency, instant_us, ordinal,"
        " cut_serial, content, record, seal) FROM STDIN",
        (
            (
                prepared.issuer,
                sealed.place,
                sealed.number,
                document_id,
                prepared.kind,
                prepared.payer,
                prepared.currency,
                prepared.instant,
                prepared.ordinal,
                prepared.cut_serial,
                sealed.content,
                sealed.record,
                sealed.seal,
            )
            for document_id, (prepared, sealed) in zip(ids, issued, strict=True)
        ),
    )
    insert_events(
        connection,
        [(one, 1, *_finalized(*each)) for one, each in zip(ids, told, strict=True)],
    )
    for content, record in told:
        _tell_corrected(connection, content, parse_instant(record["issued_at"]))
    drop_cut_drafts(connection, [prepared for prepared, _ in issued])
    copy_rows(
        connection,
        "COPY credit_use (document_id, credit, payer, amount_minor) FROM STDIN",
        (
            (content["id"], credit, prepared.payer, amount)
            for (prepared, _), (content, record) in zip(issued, told, strict=True)
            for credit, amount in taken_by(record["settlement"])
        ),
    )


def _tell_corrected(connection: Connection, content: Mapping[str, Json], at: Instant) -> None:
    """Note on the document that a note corrects what it did, and who decided it."""
    corrects, cause = content.get("corrects"), content.get("cause")
    if corrects is None:
        return
    corrected = document_of(connection, str(corrects))
    if corrected is None:
        raise BrokenInvariant(f"{content['id']} corrects {corrects}, which is not issued")
    author = connection.execute("SELECT actor, reason FROM fact WHERE id = %s", [cause]).fetchone()
    actor, reason = author or ("finalizer", str(content["reason_code"]))
    event = note_event(content, actor, reason, at)
    if event is not None:
        record_event(connection, corrected.id, corrected.before_issue, event)


def _finalized(
    content: Mapping[str, Json], record: Mapping[str, Json]
) -> tuple[InvoiceEvent, Standing]:
    settlement = cast("Mapping[str, Json] | None", record["settlement"])
    at = parse_instant(record["issued_at"])
    issued = InvoiceEvent(EventKind.FINALIZED, "finalizer", "period closed", at)
    return issued, Standing.before_issue(content, settlement).after(issued)


_COLUMNS = (
    "SELECT issuer, id, kind, payer, currency, instant_us, ordinal, cut_serial,"
    " place, number, content, record, seal, kept FROM document"
)


FIND_LINE = _COLUMNS + " WHERE lines_in(content) @> %s::text[] LIMIT 1"


def _document(row: Sequence[Any]) -> Document:
    issuer, document_id, kind, payer, currency, instant, ordinal, serial = row[:8]
    place, number, content, record, seal, kept = row[8:]
    sealed = Sealed(place, number, bytes(content), bytes(record), bytes(seal))
    found = (issuer, document_id, kind, payer, currency, instant, ordinal, serial)
    return Document(*found, sealed, kept)


def read_documents(connection: Connection, payer: str | None = None) -> list[Document]:
    """Return the documents of one payer, or all, by issuer and place."""
    rows = connection.execute(
        _COLUMNS + " WHERE %s::text IS NULL OR payer = %s ORDER BY issuer, place", [payer, payer]
    )
    return [_document(row) for row in rows]


def find_line(connection: Connection, line_id: str) -> Document | None:
    """Return the document that has a line, or a child of one, of an id."""
    row = connection.execute(FIND_LINE, [[line_id]]).fetchone()
    return _document(row) if row else None


def chain_after(
    connection: Connection, issuer: str, place: int, until: int | None = None
) -> list[Sealed]:
    """Return what an issuer sealed behind a place, in order, up to and with `until` (None: all)."""
    rows = connection.execute(
        _COLUMNS + " WHERE issuer = %s AND place > %s AND place <= coalesce(%s, place)"
        " ORDER BY place",
        [issuer, place, until],
    )
    return [_document(row).sealed for row in rows]


def find_document(connection: Connection, number: str) -> Document | None:
    """Return the document of a number."""
    row = connection.execute(_COLUMNS + " WHERE number = %s", [number]).fetchone()
    return _document(row) if row else None


def document_of(connection: Connection, document_id: str) -> Document | None:
    """Return the document of an id."""
    row = connection.execute(_COLUMNS + " WHERE id = %s", [document_id]).fetchone()
    return _document(row) if row else None


def issued_among(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Return which of these ids are those of issued documents."""
    rows = connection.execute("SELECT id FROM document WHERE id = ANY(%s)", [list(ids)])
    return {name for (name,) in rows}


def notes_issued(connection: Connection, issuer: str) -> int:
    """Return how many notes an issuer issued."""
    (count,) = one(
        connection, "SELECT count(*) FROM document WHERE issuer = %s AND kind <> 'invoice'", issuer
    )
    return cast(int, count)


def notes_by_document(connection: Connection, ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the ids of the notes that correct these documents, issued or about to be."""
    found: dict[str, list[str]] = {}
    for table in ("document", "prepared"):
        rows = connection.execute(sql.SQL(_NOTES_OF).format(sql.Identifier(table)), [list(ids)])
        for corrected, note in rows:
            found.setdefault(corrected, []).append(note)
    return found


_NOTES_OF = (
    "SELECT told ->> 'corrects', told ->> 'id' FROM"
    " (SELECT convert_from(nullif(content, ''), 'UTF8')::jsonb AS told FROM {}"
    " WHERE kind <> 'invoice')"
    " AS notes WHERE told ->> 'corrects' = ANY(%s)"
)


def settlement_of(connection: Connection, document_id: str) -> Mapping[str, Json] | None:
    """Return what credits paid of an issued document."""
    (record,) = one(connection, "SELECT record FROM document WHERE id = %s", document_id)
    return cast("Mapping[str, Json] | None", json.loads(bytes(record))["settlement"])


def documents_count(connection: Connection) -> int:
    """Return how many documents are issued."""
    (count,) = one(connection, "SELECT count(*) FROM document")
    return cast(int, count)
