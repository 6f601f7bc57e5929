"""Prepared and sealed documents.

Owns: preparing once, registering in order under one lock an issuer, reading.
Does not own: content (invoice/compose.py), records and seals (ledger/seal.py).
Law: numbers have no gaps; a document is written once and never changed.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pipeline.book.booking import Cut
from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json, canonical
from pipeline.invoice.fees import Reach
from pipeline.invoice.lifecycle import EventKind, InvoiceEvent, Standing, note_event
from pipeline.invoice.planned import Carried
from pipeline.invoice.settling import taken_by
from pipeline.ledger.seal import FIRST_SEAL, Sealed
from pipeline.stores.postgres.connection import Connection, one
from pipeline.stores.postgres.life import insert_event, record_event


@dataclass(frozen=True, slots=True)
class Prepared:
    """A composed document that waits for its number."""

    payer: str
    currency: str
    instant: Instant
    kind: str
    ordinal: int
    issuer: str
    cut_serial: int
    content: bytes
    evidence: Mapping[str, Json]
    named_at: int = 0
    """The position of the last fact that names it."""


Registrar = Callable[[Prepared, int, str], tuple[str, bytes, bytes]]
"""Called with what is prepared, its place and the previous seal: number, record and seal."""


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

    @property
    def content(self) -> dict[str, Json]:
        """The content as JSON."""
        return cast(dict[str, Json], json.loads(self.sealed.content))

    @property
    def before_issue(self) -> Standing:
        """Where it stood before its first event."""
        settlement = cast("Mapping[str, Json] | None", self.record["settlement"])
        return Standing.before_issue(self.content, settlement)

    @property
    def record(self) -> dict[str, Json]:
        """The issue record as JSON."""
        return cast(dict[str, Json], json.loads(self.sealed.record))


def take_cut(connection: Connection, held_up: Collection[str]) -> tuple[Cut, int] | None:
    """Lock the oldest booked cut without documents; return it and its payer's partition.

    Payers that are held up are left out. A payer's cuts are taken in order, one at a time: a line
    that two of them could carry is carried by the first. Call it in a transaction.
    """
    row = connection.execute(
        "SELECT payer, currency, instant_us, serial, fact, partition_no FROM cut"
        " WHERE NOT prepared AND NOT payer = ANY(%s) AND NOT EXISTS (SELECT FROM cut AS earlier"
        " WHERE earlier.payer = cut.payer AND NOT earlier.prepared"
        " AND (earlier.serial, earlier.instant_us, earlier.currency)"
        " < (cut.serial, cut.instant_us, cut.currency))"
        " ORDER BY serial, instant_us, payer, currency LIMIT 1 FOR UPDATE SKIP LOCKED",
        [sorted(held_up)],
    ).fetchone()
    return (Cut(*row[:5]), row[5]) if row else None


def save_prepared(
    connection: Connection, cut: Cut, documents: Iterable[Prepared], reached: Carried
) -> None:
    """Keep what was composed at a cut that is locked by this transaction, and how far it bills.

    A draft goes with its document; where there is none to come it goes here.
    """
    made = list(documents)
    if not made:
        _drop_draft(connection, cut.payer, cut.currency, cut.instant)
    for document in made:
        connection.execute(
            "INSERT INTO prepared (payer, currency, instant_us, kind, ordinal, issuer,"
            " cut_serial, content, evidence, named_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                document.payer,
                document.currency,
                document.instant,
                document.kind,
                document.ordinal,
                document.issuer,
                document.cut_serial,
                document.content,
                canonical(dict(document.evidence)).decode(),
                document.named_at,
            ],
        )
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO carried (payer, currency, subscription, price, until_us, ahead)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (payer, currency, subscription, price)"
            " DO UPDATE SET until_us = excluded.until_us, ahead = excluded.ahead",
            [
                (cut.payer, cut.currency, *source, reach.until, _ahead(reach))
                for source, reach in reached.items()
            ],
        )
    connection.execute(
        "UPDATE cut SET prepared = true WHERE payer = %s AND currency = %s AND instant_us = %s",
        [cut.payer, cut.currency, cut.instant],
    )


def carried_by(
    connection: Connection, payers: Sequence[str]
) -> dict[tuple[str, str], dict[tuple[str, str], Reach]]:
    """Return what documents carry, prepared ones too, by (payer, currency)."""
    rows = connection.execute(
        "SELECT payer, currency, subscription, price, until_us, ahead FROM carried"
        " WHERE payer = ANY(%s)",
        [list(payers)],
    )
    found: dict[tuple[str, str], dict[tuple[str, str], Reach]] = {}
    for payer, currency, subscription, price, until, ahead in rows:
        reach = Reach.of_json(until, None if ahead is None else json.loads(ahead))
        found.setdefault((payer, currency), {})[subscription, price] = reach
    return found


def _ahead(reach: Reach) -> str | None:
    told = reach.json()
    return None if told is None else canonical(told).decode()


def closings_cut(
    connection: Connection, payers: Sequence[str], after: Instant
) -> dict[str, set[tuple[str, Instant]]]:
    """Return (currency, instant) of the booked cuts of payers whose instant lies after one."""
    rows = connection.execute(
        "SELECT payer, currency, instant_us FROM cut WHERE payer = ANY(%s) AND instant_us > %s",
        [list(payers), after],
    )
    found: dict[str, set[tuple[str, Instant]]] = {}
    for payer, currency, instant in rows:
        found.setdefault(payer, set()).add((currency, instant))
    return found


def unprepared_cuts(
    connection: Connection, payers: Sequence[str]
) -> dict[tuple[str, str], list[tuple[Instant, int]]]:
    """Return (instant, fact position) of booked cuts of periods without documents, in order.

    By (payer, currency); the position is that of the cut's tick.
    """
    rows = connection.execute(
        "SELECT payer, currency, instant_us, fact_position FROM cut JOIN tick USING (serial)"
        " WHERE payer = ANY(%s) AND NOT prepared AND fact = 0 ORDER BY serial, instant_us",
        [list(payers)],
    )
    found: dict[tuple[str, str], list[tuple[Instant, int]]] = {}
    for payer, currency, instant, position in rows:
        found.setdefault((payer, currency), []).append((instant, position))
    return found


def cut_before(connection: Connection, payer: str, serial: int) -> int | None:
    """Return the tick serial of a payer's latest cut below `serial`."""
    (latest,) = one(
        connection, "SELECT max(serial) FROM cut WHERE payer = %s AND serial < %s", payer, serial
    )
    return cast(int | None, latest)


def credits_used(connection: Connection, payer: str) -> dict[str, int]:
    """Return the minor units that a payer's issued documents took, by credit."""
    rows = connection.execute(
        "SELECT credit, sum(amount_minor)::bigint FROM credit_use WHERE payer = %s GROUP BY credit",
        [payer],
    )
    return {credit: amount for credit, amount in rows}


def read_prepared(connection: Connection, payer: str) -> list[Prepared]:
    """Return the documents of a payer that wait for their numbers."""
    rows = connection.execute(f"SELECT {_WAITING} FROM prepared WHERE payer = %s", [payer])
    return [_prepared(row) for row in rows]


def issuers_waiting(connection: Connection) -> list[str]:
    """Return the issuers with prepared documents."""
    rows = connection.execute("SELECT DISTINCT issuer FROM prepared ORDER BY issuer")
    return [issuer for (issuer,) in rows]


def register(
    connection: Connection, issuer: str, seal: Registrar, held: Collection[str] = ()
) -> int:
    """Give every prepared document of an issuer its number, record and seal; return how many.

    Those of payers that are held go on waiting.
    One transaction, one lock an issuer: two finalizers register one after the other.
    """
    with connection.transaction():
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtext('talea issuer'), hashtext(%s))", [issuer]
        )
        place, previous = _head(connection, issuer)
        rows = connection.execute(
            f"DELETE FROM prepared WHERE issuer = %s AND NOT payer = ANY(%s) RETURNING {_WAITING}",
            [issuer, sorted(held)],
        ).fetchall()
        waiting = [_prepared(row) for row in rows]
        for prepared in sorted(waiting, key=_order):
            place += 1
            number, record, sealed = seal(prepared, place, previous)
            _insert(connection, prepared, Sealed(place, number, prepared.content, record, sealed))
            previous = sealed.hex()
        return len(waiting)


def _order(prepared: Prepared) -> tuple[Instant, str, str, str, int]:
    return (
        prepared.instant,
        prepared.payer,
        prepared.currency,
        prepared.kind,
        prepared.ordinal,
    )


def _head(connection: Connection, issuer: str) -> tuple[int, str]:
    row = connection.execute(
        "SELECT place, encode(seal, 'hex') FROM document WHERE issuer = %s"
        " ORDER BY place DESC LIMIT 1",
        [issuer],
    ).fetchone()
    return (row[0], row[1]) if row else (0, FIRST_SEAL)


def _insert(connection: Connection, prepared: Prepared, sealed: Sealed) -> None:
    content, record = json.loads(prepared.content), json.loads(sealed.record)
    document_id, settlement = content["id"], record["settlement"]
    connection.execute(
        "INSERT INTO document (issuer, place, number, id, kind, payer, currency, instant_us,"
        " ordinal, cut_serial, content, record, seal)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
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
        ],
    )
    at = parse_instant(record["issued_at"])
    issued = InvoiceEvent(EventKind.FINALIZED, "finalizer", "period closed", at)
    standing = Standing.before_issue(content, settlement).after(issued)
    insert_event(connection, document_id, 1, issued, standing)
    _tell_corrected(connection, content, at)
    _drop_draft(connection, prepared.payer, prepared.currency, prepared.instant)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO credit_use (document_id, credit, payer, amount_minor)"
            " VALUES (%s, %s, %s, %s)",
            [
                (document_id, credit, prepared.payer, amount)
                for credit, amount in taken_by(settlement)
            ],
        )


def _tell_corrected(connection: Connection, content: Mapping[str, Json], at: Instant) -> None:
    """Note on the document that a note corrects what it did, and who decided it."""
    corrects, cause = content.get("corrects"), content.get("cause")
    if corrects is None:
        return
    row = connection.execute(_COLUMNS + " WHERE id = %s", [corrects]).fetchone()
    if row is None:
        raise BrokenInvariant(f"{content['id']} corrects {corrects}, which is not issued")
    author = connection.execute("SELECT actor, reason FROM fact WHERE id = %s", [cause]).fetchone()
    actor, reason = author or ("finalizer", str(content["reason_code"]))
    event = note_event(content, actor, reason, at)
    if event is not None:
        record_event(connection, str(corrects), _document(row).before_issue, event)


def _drop_draft(connection: Connection, payer: str, currency: str, instant: Instant) -> None:
    connection.execute(
        "DELETE FROM draft WHERE payer = %s AND currency = %s AND instant_us = %s",
        [payer, currency, instant],
    )


_WAITING = (
    "payer, currency, instant_us, kind, ordinal, issuer, cut_serial, content, evidence, named_at"
)
_COLUMNS = (
    "SELECT issuer, id, kind, payer, currency, instant_us, ordinal, cut_serial,"
    " place, number, content, record, seal FROM document"
)


def _prepared(row: Sequence[Any]) -> Prepared:
    payer, currency, instant, kind, ordinal, issuer, serial, content, evidence, named_at = row
    return Prepared(
        payer,
        currency,
        instant,
        kind,
        ordinal,
        issuer,
        serial,
        bytes(content),
        json.loads(evidence),
        named_at,
    )


def _document(row: Sequence[Any]) -> Document:
    issuer, document_id, kind, payer, currency, instant, ordinal, serial = row[:8]
    place, number, content, record, seal = row[8:]
    sealed = Sealed(place, number, bytes(content), bytes(record), bytes(seal))
    return Document(issuer, document_id, kind, payer, currency, instant, ordinal, serial, sealed)


def read_documents(connection: Connection, payer: str | None = None) -> list[Document]:
    """Return the documents of one payer, or all, by issuer and place."""
    rows = connection.execute(
        _COLUMNS + " WHERE %s::text IS NULL OR payer = %s ORDER BY issuer, place", [payer, payer]
    )
    return [_document(row) for row in rows]


def find_document(connection: Connection, number: str) -> Document | None:
    """Return the document of a number."""
    row = connection.execute(_COLUMNS + " WHERE number = %s", [number]).fetchone()
    return _document(row) if row else None


def documents_count(connection: Connection) -> int:
    """Return how many documents are issued."""
    (count,) = one(connection, "SELECT count(*) FROM document")
    return cast(int, count)
