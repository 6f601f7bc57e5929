"""Shadow prices: candidate catalogs, and what drafts and documents come to by them.

Owns: the two tables of them.  Does not own: rating (workers/beside.py), what is too much
(replay/guarding.py).
Law: no other table is written.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString, NamedTuple, cast

from pipeline.core.calendar import Instant
from pipeline.core.identity import Json, canonical
from pipeline.replay.guarding import Limits
from pipeline.replay.what_if import Change
from pipeline.stores.postgres.connection import Connection, one

_LOCK = "talea shadow prices"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A catalog beside the live one; `revisions` are the facts that it would write."""

    name: str
    catalog: str
    revisions: Sequence[Mapping[str, Json]]
    limits: Limits
    began: Instant
    position: int
    broken: Sequence[str] = ()
    promoted: Mapping[str, Json] | None = None


class Priced(NamedTuple):
    """A draft or document, by the live catalog and by the candidate."""

    document: str
    payer: str
    currency: str
    issued: bool
    offset: int
    live_minor: int
    shadow_minor: int


def begin_candidate(connection: Connection, candidate: Candidate) -> bool:
    """Keep a candidate; what is issued by now is not compared. Return whether it is new."""
    told = [canonical(dict(each)).decode() for each in candidate.revisions]
    made = connection.execute(
        "INSERT INTO shadow_prices (name, catalog, revisions, limits, issued, began_us, position)"
        " SELECT %s, %s, %s, %s, coalesce(json_object_agg(issuer, place), '{}'), %s, %s"
        " FROM (SELECT issuer, max(place) AS place FROM document GROUP BY issuer) AS heads"
        " ON CONFLICT DO NOTHING",
        [
            candidate.name,
            candidate.catalog,
            f"[{','.join(told)}]",
            canonical(candidate.limits.json()).decode(),
            candidate.began,
            candidate.position,
        ],
    )
    return made.rowcount == 1


def read_candidates(connection: Connection, name: str | None = None) -> list[Candidate]:
    """Return the candidates, or the one of a name, by name."""
    rows = connection.execute(
        "SELECT name, catalog, revisions, limits, began_us, position, broken, promoted"
        " FROM shadow_prices WHERE %s::text IS NULL OR name = %s ORDER BY name",
        [name, name],
    )
    return [
        Candidate(
            name,
            catalog,
            json.loads(revisions),
            Limits.of_json(json.loads(limits)),
            began,
            position,
            json.loads(broken),
            None if promoted is None else json.loads(promoted),
        )
        for name, catalog, revisions, limits, began, position, broken, promoted in rows
    ]


def drop_candidate(connection: Connection, name: str) -> None:
    """Forget a candidate, and all that was rated by it."""
    connection.execute("DELETE FROM shadow_prices WHERE name = %s", [name])


def note_broken(connection: Connection, name: str, broken: Sequence[str]) -> None:
    """Note the limits that a candidate has broken."""
    told = canonical([*broken]).decode()
    connection.execute("UPDATE shadow_prices SET broken = %s WHERE name = %s", [told, name])


def note_promoted(connection: Connection, name: str, promoted: Mapping[str, Json] | None) -> None:
    """Note how a candidate came into force; None: it is not."""
    told = None if promoted is None else canonical(dict(promoted)).decode()
    connection.execute("UPDATE shadow_prices SET promoted = %s WHERE name = %s", [told, name])


def follow_candidate(connection: Connection, name: str) -> bool:
    """Return whether a candidate is this connection's to rate, from now on until it ends."""
    (leads,) = one(
        connection,
        "SELECT pg_try_advisory_lock(hashtext(%s), hashtext(current_schema() || '.' || %s))",
        _LOCK,
        name,
    )
    return bool(leads)


def is_followed(connection: Connection, name: str) -> bool:
    """Return whether somebody rates a candidate; asking keeps nobody from it."""
    (led,) = one(
        connection,
        "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        " WHERE datname = current_database() AND locktype = 'advisory' AND granted"
        " AND classid = (hashtext(%s)::bigint & 4294967295)::oid"
        " AND objid = (hashtext(current_schema() || '.' || %s)::bigint & 4294967295)::oid)",
        _LOCK,
        name,
    )
    return bool(led)


def ask_follower(connection: Connection, name: str, *, stop: bool) -> None:
    """Ask whoever follows a candidate to stop, or take that back."""
    connection.execute("UPDATE shadow_prices SET stopping = %s WHERE name = %s", [stop, name])


def is_follower_asked(connection: Connection, name: str) -> bool:
    """Return whether whoever follows is to stop; also where the candidate is gone."""
    query = "SELECT stopping FROM shadow_prices WHERE name = %s"
    row = connection.execute(query, [name]).fetchone()
    return row is None or bool(row[0])


def payers_behind(connection: Connection, name: str, count_max: int) -> list[str]:
    """Return payers whose drafts were rated since, are new, or are gone."""
    rows = connection.execute(_BEHIND, {"name": name, "count": count_max})
    return [payer for (payer,) in rows]


_BEHIND: LiteralString = (
    "SELECT draft.payer FROM draft LEFT JOIN shadow_price AS known"
    " ON known.name = %(name)s AND known.document = draft.id"
    " WHERE known.document IS NULL OR known.source_offset < draft.source_offset"
    " UNION SELECT known.payer FROM shadow_price AS known WHERE known.name = %(name)s"
    " AND NOT known.issued AND NOT EXISTS (SELECT FROM draft WHERE draft.id = known.document)"
    " ORDER BY payer LIMIT %(count)s"
)


def issued_beside(connection: Connection, name: str, count_max: int) -> list[str]:
    """Return payers with invoices that were issued since a candidate began, and not rated yet."""
    rows = connection.execute(
        "SELECT DISTINCT document.payer FROM shadow_prices AS candidate, document"
        " LEFT JOIN shadow_price AS known ON known.name = %(name)s"
        " AND known.document = document.id AND known.issued"
        " WHERE candidate.name = %(name)s AND document.kind = 'invoice'"
        " AND document.place > coalesce((candidate.issued::json ->> document.issuer)::bigint, 0)"
        " AND known.document IS NULL ORDER BY document.payer LIMIT %(count)s",
        {"name": name, "count": count_max},
    )
    return [payer for (payer,) in rows]


def ids_beside(connection: Connection, name: str, payers: Sequence[str]) -> set[str]:
    """Return the invoices of payers that are to be rated as they were issued."""
    rows = connection.execute(
        "SELECT document.id FROM shadow_prices AS candidate, document"
        " WHERE candidate.name = %s AND document.kind = 'invoice' AND document.payer = ANY(%s)"
        " AND document.place > coalesce((candidate.issued::json ->> document.issuer)::bigint, 0)",
        [name, list(payers)],
    )
    return {document for (document,) in rows}


def keep_priced(
    connection: Connection, name: str, payers: Sequence[str], priced: Iterable[Priced]
) -> None:
    """Keep what was rated of payers; what was known of other drafts of theirs is forgotten."""
    connection.execute(
        "DELETE FROM shadow_price WHERE name = %s AND payer = ANY(%s) AND NOT issued",
        [name, list(payers)],
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO shadow_price (name, document, payer, currency, issued, source_offset,"
            " live_minor, shadow_minor) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (name, document) DO UPDATE SET issued = excluded.issued,"
            " source_offset = excluded.source_offset, live_minor = excluded.live_minor,"
            " shadow_minor = excluded.shadow_minor WHERE NOT shadow_price.issued",
            [(name, *each) for each in priced],
        )


def changes_beside(connection: Connection, name: str) -> list[Change]:
    """Return what each customer comes to, by currency: drafts, and what was issued since."""
    rows = connection.execute(
        "SELECT payer, currency, sum(live_minor)::bigint, sum(shadow_minor)::bigint"
        " FROM shadow_price WHERE name = %s GROUP BY payer, currency ORDER BY payer, currency",
        [name],
    )
    return [Change(*row) for row in rows]


def documents_priced(connection: Connection, name: str) -> tuple[int, int]:
    """Return how many drafts, and how many issued documents, were rated beside."""
    drafts, issued = one(
        connection,
        "SELECT count(*) FILTER (WHERE NOT issued), count(*) FILTER (WHERE issued)"
        " FROM shadow_price WHERE name = %s",
        name,
    )
    return cast(int, drafts), cast(int, issued)
