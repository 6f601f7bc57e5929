"""Cuts to make documents of, and what was composed at them and waits for its number.

Owns: preparing once, what prepared and issued documents carry.
Does not own: content (invoice/compose.py), numbers and the chain (documents.py).
Law: a payer's cuts are taken in order, each once.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

from pipeline.book.booking import Cut
from pipeline.catalog.by_hand import Holds
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json, canonical
from pipeline.invoice.drafts import Closing
from pipeline.invoice.fees import Reach
from pipeline.invoice.issues import ValidationIssue
from pipeline.invoice.planned import Carried
from pipeline.ledger.seal import Sealed
from pipeline.stores.postgres.arrays import TEXTS, texts
from pipeline.stores.postgres.connection import Connection, one
from pipeline.stores.postgres.copying import copy_rows
from pipeline.stores.postgres.validation import note_issues


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
    issues: Sequence[ValidationIssue] = ()
    """What is said of it, though it may be issued."""


@dataclass(frozen=True, slots=True)
class PreparedCut:
    """What was composed at a cut, and how far it bills from now on."""

    cut: Cut
    documents: Sequence[Prepared]
    reached: Carried


@dataclass(frozen=True, slots=True)
class BookedCuts:
    """What cuts of payers say of their drafts."""

    closed: dict[str, set[Closing]] = field(default_factory=dict)
    """Those behind an instant, by payer."""
    unprepared: dict[tuple[str, str], list[tuple[Instant, int]]] = field(default_factory=dict)
    """Those of periods without documents, in order, by (payer, currency): (instant, the fact
    position of its tick)."""
    to_come: dict[str, set[int]] = field(default_factory=dict)
    """The decisions whose cuts are not prepared, by payer."""


Registrar = Callable[[Sequence[Prepared], int, str], list[Sealed]]
"""Called with what is prepared, in order, and the place and seal it follows."""


def take_cuts(
    connection: Connection, held_up: Collection[str], count_max: int
) -> list[tuple[Cut, int]]:
    """Lock the oldest booked cuts without documents; return each with its payer's partition.

    Payers that are held up are left out. A payer's cuts are taken in order, one at a time: a line
    that two of them could carry is carried by the first. None while somebody holds all. Call it in
    a transaction.
    """
    (may,) = one(connection, f"SELECT pg_try_advisory_xact_lock_shared({_ALL_CUTS})")
    if not may:
        return []
    rows = connection.execute(
        "SELECT payer, currency, instant_us, serial, fact, partition_no FROM cut"
        " WHERE NOT prepared AND NOT payer = ANY(%s) AND NOT EXISTS (SELECT FROM cut AS earlier"
        " WHERE earlier.payer = cut.payer AND NOT earlier.prepared"
        " AND (earlier.serial, earlier.instant_us, earlier.currency)"
        " < (cut.serial, cut.instant_us, cut.currency))"
        " ORDER BY serial, instant_us, payer, currency LIMIT %s FOR UPDATE SKIP LOCKED",
        [sorted(held_up), count_max],
    )
    return [(Cut(*row[:5]), row[5]) for row in rows]


_ALL_CUTS: LiteralString = "hashtext('talea cuts'), hashtext(current_schema())"


def hold_all_cuts(connection: Connection) -> bool:
    """Keep everybody else from taking cuts, unless a transaction has some; return whether it does.

    A process that was killed may have some until its connection is found dead.
    """
    (holds,) = one(connection, f"SELECT pg_try_advisory_lock({_ALL_CUTS})")
    return bool(holds)


def release_all_cuts(connection: Connection) -> None:
    """Let others take cuts again."""
    connection.execute(f"SELECT pg_advisory_unlock({_ALL_CUTS})")


def cuts_prepared(connection: Connection) -> tuple[int, int]:
    """Return at how many cuts documents were made, and how many cuts there are."""
    made, of = one(connection, "SELECT count(*) FILTER (WHERE prepared), count(*) FROM cut")
    return made, of


def save_prepared(connection: Connection, made: Sequence[PreparedCut]) -> None:
    """Keep what was composed at cuts that are locked by this transaction.

    A draft goes with its document; where there is none to come it goes here. What is billed early
    leaves less on the drafts of the periods that run on: they are rated anew.
    """
    drop_cut_drafts(connection, [each.cut for each in made if not each.documents])
    decided = [each.cut.fact for each in made if each.cut.fact]
    if decided:
        connection.execute(_MARK_DIRTY, [decided])
    copy_rows(
        connection,
        "COPY prepared (payer, currency, instant_us, kind, ordinal, issuer, cut_serial, content,"
        " evidence, named_at) FROM STDIN",
        (
            (
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
            )
            for each in made
            for document in each.documents
        ),
    )
    for document in (told for each in made for told in each.documents if told.issues):
        note_issues(connection, json.loads(document.content)["id"], document.issues)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO carried (payer, currency, subscription, price, until_us, ahead)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (payer, currency, subscription, price)"
            " DO UPDATE SET until_us = excluded.until_us, ahead = excluded.ahead",
            [
                (each.cut.payer, each.cut.currency, *source, reach.until, _ahead(reach))
                for each in made
                for source, reach in each.reached.items()
            ],
        )
    connection.execute(
        f"UPDATE cut SET prepared = true FROM {_PLACES}"
        " WHERE (cut.payer, cut.currency, cut.instant_us) = (w.payer, w.currency, w.instant_us)",
        _places(each.cut for each in made),
    )


_MARK_DIRTY: LiteralString = (
    "INSERT INTO dirty (payer, partition_no, version)"
    " SELECT DISTINCT payer, partition_no, 0 FROM cut WHERE fact = ANY(%s)"
    " ON CONFLICT (payer) DO UPDATE SET version = excluded.version"
)


_PLACES: LiteralString = (
    "unnest(%s::text[], %s::text[], %s::bigint[]) AS w (payer, currency, instant_us)"
)


def _places(of: Iterable[Cut | Prepared]) -> list[list[object]]:
    each = [*of]
    return [[e.payer for e in each], [e.currency for e in each], [e.instant for e in each]]


def drop_cut_drafts(connection: Connection, of: Sequence[Cut | Prepared]) -> None:
    """Delete the drafts of cuts: a document stands in their place, or there is none to come.

    They are locked by id, as whoever rates them does: neither ever waits for the other in a ring.
    """
    connection.execute(
        f"DELETE FROM draft WHERE id IN (SELECT id FROM draft, {_PLACES}"
        " WHERE (draft.payer, draft.currency, draft.instant_us)"
        " = (w.payer, w.currency, w.instant_us) ORDER BY id FOR UPDATE OF draft)",
        _places(of),
    )


def carried_by(
    connection: Connection, payers: Sequence[str]
) -> dict[tuple[str, str], dict[tuple[str, str], Reach]]:
    """Return what documents carry, prepared ones too, by (payer, currency)."""
    rows = connection.execute(
        "SELECT payer, currency, subscription, price, until_us, ahead FROM carried"
        f" WHERE payer = ANY({TEXTS})",
        [texts(payers)],
    )
    found: dict[tuple[str, str], dict[tuple[str, str], Reach]] = {}
    for payer, currency, subscription, price, until, ahead in rows:
        reach = Reach.of_json(until, None if ahead is None else json.loads(ahead))
        found.setdefault((payer, currency), {})[subscription, price] = reach
    return found


def _ahead(reach: Reach) -> str | None:
    told = reach.json()
    return None if told is None else canonical(told).decode()


def read_cuts(connection: Connection, payers: Sequence[str], after: Instant) -> BookedCuts:
    """Return the booked cuts of payers that are behind an instant, or have no documents yet."""
    rows = connection.execute(
        "SELECT payer, currency, instant_us, prepared, fact, fact_position"
        f" FROM cut LEFT JOIN tick USING (serial) WHERE payer = ANY({TEXTS})"
        " AND (instant_us > %s OR NOT prepared) ORDER BY serial, instant_us",
        [texts(payers), after],
    )
    found = BookedCuts()
    for payer, currency, instant, prepared, fact, position in rows:
        if instant > after:
            found.closed.setdefault(payer, set()).add((currency, instant))
        if not prepared and fact:
            found.to_come.setdefault(payer, set()).add(fact)
        elif not prepared and position is not None:
            found.unprepared.setdefault((payer, currency), []).append((instant, position))
    return found


def cuts_before(connection: Connection, payers: Sequence[str], serial: int) -> dict[str, int]:
    """Return the tick serial of each payer's latest cut below `serial`, where there is one."""
    rows = connection.execute(
        "SELECT payer, max(serial) FROM cut WHERE payer = ANY(%s) AND serial < %s GROUP BY payer",
        [list(payers), serial],
    )
    return {payer: latest for payer, latest in rows}


def lock_cut(connection: Connection, payer: str, currency: str, instant: Instant) -> bool | None:
    """Lock a booked cut; return whether its documents are prepared, None where it is not booked."""
    row = connection.execute(
        "SELECT prepared FROM cut WHERE payer = %s AND currency = %s AND instant_us = %s"
        " FOR UPDATE",
        [payer, currency, instant],
    ).fetchone()
    return row[0] if row else None


def documents_owed(connection: Connection, serial: int) -> int:
    """Return how many cuts up to a tick have documents that are not issued yet."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM cut WHERE NOT prepared AND serial <= %s)"
        " + (SELECT count(*) FROM prepared WHERE cut_serial <= %s)",
        [serial, serial],
    ).fetchone()
    return int(row[0]) if row else 0


def issuers_waiting(connection: Connection) -> list[str]:
    """Return the issuers with prepared documents."""
    rows = connection.execute("SELECT DISTINCT issuer FROM prepared ORDER BY issuer")
    return [issuer for (issuer,) in rows]


def read_prepared(connection: Connection, payer: str) -> list[Prepared]:
    """Return the documents of a payer that wait for their numbers."""
    rows = connection.execute(f"SELECT {_WAITING} FROM prepared WHERE payer = %s", [payer])
    return [_prepared(*row) for row in rows]


def take_prepared(
    connection: Connection, issuer: str, count_max: int, holds: Holds
) -> list[Prepared]:
    """Take the first prepared documents of an issuer off, in order; none that is held.

    Nor a note whose document has no number yet: that may be held, or of a later instant.
    """
    if holds.everything:
        return []
    prices = sorted(holds.prices)
    asked = [issuer, sorted(holds.customers), prices, prices, prices, count_max]
    rows = connection.execute(_TAKE_PREPARED, asked)
    return sorted((_prepared(*row) for row in rows), key=_order)


_WAITING = (
    "payer, currency, instant_us, kind, ordinal, issuer, cut_serial, content, evidence, named_at"
)
# In the order of Python's strings: those of a database may sort by a language's rules.
_TAKE_PREPARED: LiteralString = (
    "DELETE FROM prepared WHERE (payer, currency, instant_us, kind, ordinal) IN (SELECT payer,"
    " currency, instant_us, kind, ordinal FROM prepared WHERE issuer = %s AND NOT payer = ANY(%s)"
    " AND (cardinality(%s::text[]) = 0 OR NOT EXISTS (SELECT FROM"
    " json_array_elements(convert_from(content, 'UTF8')::json -> 'lines') AS line"
    " WHERE line #>> '{rate_card,id}' = ANY(%s)"
    " OR concat_ws('/', line #>> '{rate_card,plan}', line #>> '{rate_card,id}') = ANY(%s)))"
    " AND (kind = 'invoice' OR EXISTS (SELECT FROM document WHERE document.id ="
    " convert_from(prepared.content, 'UTF8')::json ->> 'corrects'))"
    " ORDER BY instant_us,"
    ' payer COLLATE "C", currency COLLATE "C", kind COLLATE "C", ordinal LIMIT %s)'
    f" RETURNING {_WAITING}"
)


def _order(prepared: Prepared) -> tuple[Instant, str, str, str, int]:
    return (
        prepared.instant,
        prepared.payer,
        prepared.currency,
        prepared.kind,
        prepared.ordinal,
    )


def _prepared(*row: Any) -> Prepared:
    *place, content, evidence, named_at = row
    payer, currency, instant, kind, ordinal, issuer, serial = place
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
