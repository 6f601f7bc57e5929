"""Tables taken up from an older backup, brought to what topics know.

Owns: writing facts, ticks, documents and what happened to them that are lost.
Does not own: which these are (ledger/restoring.py), the tables' own queries.
Law: all of it in one transaction, under the lock that hands serials out, or nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import cast

from pipeline.catalog.facts import Fact
from pipeline.core.calendar import parse_instant
from pipeline.core.errors import ServerFailed
from pipeline.core.identity import Json
from pipeline.invoice.published import Issued
from pipeline.ledger.restoring import Happening, Lost, event_of, in_order, record_of
from pipeline.ledger.seal import Sealed
from pipeline.stores.postgres.connection import Connection, lead, one
from pipeline.stores.postgres.documents import document_of, write_issued
from pipeline.stores.postgres.facts import write_facts
from pipeline.stores.postgres.life import record_event
from pipeline.stores.postgres.preparing import Prepared

_LOCK = "talea restoring"
_BITE = 250


def lead_restoring(connection: Connection) -> bool:
    """Return whether restoring is this connection's, from now on until it ends."""
    return lead(connection, _LOCK)


def seals_by_place(connection: Connection) -> dict[str, dict[int, bytes]]:
    """Return the seals of all documents, by issuer and place."""
    found: dict[str, dict[int, bytes]] = {}
    for issuer, place, seal in connection.execute("SELECT issuer, place, seal FROM document"):
        found.setdefault(issuer, {})[place] = bytes(seal)
    return found


def write_lost(connection: Connection, lost: Lost, head: int, partitions: int) -> list[str]:
    """Write what is lost behind fact `head`; return what of it could not be brought back.

    Raises:
        ServerFailed: somebody wrote a fact meanwhile.

    """
    with connection.transaction():
        (stands,) = one(connection, "SELECT serial FROM fact_head FOR UPDATE")
        if stands != head:
            raise ServerFailed("somebody decided something before all was restored: start it again")
        write_facts(connection, lost.facts)
        last = head + len(lost.facts)
        connection.execute("UPDATE fact_head SET serial = %s, mirrored = %s", [last, last])
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO tick (serial, time_us, fact_position, partitions, acked)"
                " VALUES (%s, %s, %s, %s, true)",
                [(t.serial, t.time, t.fact_position, partitions) for t in lost.ticks],
            )
        told = _write_story(connection, in_order(lost.documents, lost.facts))
        # What stands on the topics of drafts is of a later time than the notes of it.
        connection.execute("DELETE FROM publication")
        return told


def _write_story(connection: Connection, story: Sequence[Happening]) -> list[str]:
    """Write documents, and what happened to them; return what does not fit."""
    waiting: list[Fact] = []
    for issues, some in groupby(story, key=lambda each: isinstance(each, Issued)):
        if issues:
            _write_documents(connection, cast("list[Issued]", [*some]))
        else:
            waiting += cast("list[Fact]", [*some])
        # Clocks differ: what does not fit yet may fit behind the next document.
        waiting = [fact for fact in waiting if not _happened(connection, fact)]
    return [f"{fact.kind} of fact {fact.serial} by {fact.actor}" for fact in waiting]


def _happened(connection: Connection, fact: Fact) -> bool:
    """Write what a fact made happen to a document; return whether it could."""
    told = event_of(fact)
    assert told is not None
    name, event = told
    document = document_of(connection, name)
    if document is None:
        return False
    try:
        record_event(connection, name, document.before_issue, event)
    except ValueError:
        return False
    return True


def _write_documents(connection: Connection, lost: Sequence[Issued]) -> None:
    for start in range(0, len(lost), _BITE):
        bite = lost[start : start + _BITE]
        ordinals = _ordinals(connection, bite)
        rows = [(_prepared(each, ordinals[each.id]), _sealed(each)) for each in bite]
        write_issued(connection, rows)
        # What had waited for its number has it.
        connection.execute(
            "DELETE FROM prepared USING document AS d WHERE d.id = ANY(%s)"
            " AND (prepared.payer, prepared.currency, prepared.instant_us, prepared.kind,"
            " prepared.ordinal) = (d.payer, d.currency, d.instant_us, d.kind, d.ordinal)",
            [[each.id for each in bite]],
        )


def _ordinals(connection: Connection, lost: Iterable[Issued]) -> Mapping[str, int]:
    """Return the ordinals of documents; where they were published without, the next that is free.

    They tell apart documents of one cut and kind; no content depends on them.
    """
    found, taken = dict[str, int](), dict[tuple[object, ...], int]()
    for each in lost:
        content = _content(each)
        where = (each.customer, *(str(content[name]) for name in ("currency", "kind")))
        instant = parse_instant(content["cut_instant"])
        if each.ordinal is None and (*where, instant) not in taken:
            (taken[*where, instant],) = one(
                connection,
                "SELECT coalesce(max(ordinal) + 1, 0) FROM document WHERE payer = %s"
                " AND currency = %s AND kind = %s AND instant_us = %s",
                *where,
                instant,
            )
        ordinal = taken.get((*where, instant), 0) if each.ordinal is None else each.ordinal
        taken[*where, instant] = ordinal + 1
        found[each.id] = ordinal
    return found


def _content(issued: Issued) -> dict[str, Json]:
    return cast(dict[str, Json], json.loads(issued.content))


def _prepared(issued: Issued, ordinal: int) -> Prepared:
    content, record = _content(issued), record_of(issued)
    evidence = cast(dict[str, list[dict[str, int]]], record["evidence"])
    return Prepared(
        str(content["customer"]),
        str(content["currency"]),
        parse_instant(content["cut_instant"]),
        str(content["kind"]),
        ordinal,
        issued.issuer,
        max(part["cut_tick"] for part in evidence["partitions"]),
        issued.content,
        cast(dict[str, Json], record["evidence"]),
    )


def _sealed(issued: Issued) -> Sealed:
    return Sealed(issued.place, issued.number, issued.content, issued.record, issued.seal)
