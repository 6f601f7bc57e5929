"""The fact log and the ticks that name it.

Owns: serials without gaps, facts written once, the ticker's rows.
Does not own: what a fact means (catalog), sending (workers/ticker).
Law: no fact commits below a position that a tick has named: both take the one lock that
hands serials out.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, cast

from psycopg.errors import LockNotAvailable
from pydantic_core import from_json

from pipeline.catalog.facts import Fact, FactKind, NewFact, Skips, skips_of
from pipeline.core.calendar import Instant, from_datetime, to_datetime
from pipeline.core.identity import Json, canonical
from pipeline.meter.ticks import Tick
from pipeline.stores.postgres.connection import Connection, lead, one
from pipeline.stores.postgres.copying import copy_rows

_LEADER_LOCK = "talea ticker"
_COLUMNS: LiteralString = "serial, id, kind, subject, body, actor, reason, recorded_at"


@dataclass(frozen=True, slots=True)
class Author:
    """Who decided, and why."""

    actor: str
    reason: str


def append_facts(
    connection: Connection,
    decide: Callable[[Sequence[Fact]], Sequence[NewFact]],
    author: Author,
    now: Instant,
    known: Sequence[Fact] = (),
) -> list[Fact]:
    """Write what `decide` makes of all facts so far; return the facts written.

    The lock on the head is held from the last fact read to writing: two who decide at once decide
    one after the other, and no tick is written meanwhile. So facts are read before as far as they
    are there: they stay. `known` are those that the caller has read already, from the first on.
    """
    with connection.transaction():
        facts = [*known, *read_facts(connection, len(known))]
    with connection.transaction():
        (head,) = one(connection, "SELECT serial FROM fact_head FOR UPDATE")
        facts += read_facts(connection, len(facts), head)
        written: list[Fact] = []
        # Numbered while they are copied: a transaction that idles for long is ended.
        write_facts(connection, _noted(_numbered(facts, decide(facts), author, now), written))
        connection.execute("UPDATE fact_head SET serial = %s", [head + len(written)])
        return written


def write_facts(connection: Connection, facts: Iterable[Fact]) -> None:
    """Write facts with the serials they have, under the lock of the head."""
    copy_rows(
        connection,
        f"COPY fact ({_COLUMNS}) FROM STDIN",
        (
            (
                fact.serial,
                fact.id,
                fact.kind.value,
                fact.subject,
                canonical(dict(fact.body)).decode(),
                fact.actor,
                fact.reason,
                to_datetime(fact.recorded_at),
            )
            for fact in facts
        ),
    )


def _noted(facts: Iterable[Fact], into: list[Fact]) -> Iterator[Fact]:
    """Yield facts, and note them."""
    for fact in facts:
        into.append(fact)
        yield fact


def _numbered(
    known: Sequence[Fact], decided: Sequence[NewFact], author: Author, now: Instant
) -> Iterator[Fact]:
    """Yield what was decided as facts that follow the known ones."""
    revisions = dict.fromkeys(((new.kind, new.subject) for new in decided), 0)
    for fact in known if revisions else ():
        if (fact.kind, fact.subject) in revisions:
            revisions[fact.kind, fact.subject] += 1
    for serial, new in enumerate(decided, start=len(known) + 1):
        revisions[new.kind, new.subject] += 1
        fact_id, body = new.id_after(revisions[new.kind, new.subject]), dict(new.body)
        actor, reason = author.actor, author.reason
        yield Fact(serial, fact_id, new.kind, new.subject, body, actor, reason, now)


def read_facts(
    connection: Connection,
    after: int,
    until: int | None = None,
    kinds: Collection[FactKind] | None = None,
) -> list[Fact]:
    """Return the facts with after < serial <= until (None: all), in order.

    Of some `kinds` only, and then the one at `until` too: it shows that all before are there.
    """
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM fact WHERE serial > %(after)s"
        " AND (%(until)s::bigint IS NULL OR serial <= %(until)s)"
        " AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s) OR serial = %(until)s)"
        " ORDER BY serial",
        {
            "after": after,
            "until": until,
            "kinds": None if kinds is None else [kind.value for kind in kinds],
        },
    )
    return [_fact(row) for row in rows]


def facts_about(
    connection: Connection, subjects: Sequence[str], until: int, named: str | None = None
) -> list[Fact]:
    """Return the facts about some subjects up to a position, in order; and the one of an id."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM fact WHERE serial <= %s AND (subject = ANY(%s) OR id = %s)"
        " ORDER BY serial",
        [until, list(subjects), named],
    )
    return [_fact(row) for row in rows]


def _fact(row: Sequence[Any]) -> Fact:
    serial, fact_id, kind, subject, body, actor, reason, at = row
    told = cast(dict[str, Json], from_json(body))
    return Fact(serial, fact_id, FactKind(kind), subject, told, actor, reason, from_datetime(at))


def read_skips(connection: Connection) -> Skips:
    """Return every message that is skipped, whatever tick names the fact."""
    rows = connection.execute("SELECT body FROM fact WHERE kind = 'skip'")
    return skips_of(cast(dict[str, Json], json.loads(body)) for (body,) in rows)


def has_log(connection: Connection) -> bool:
    """Tell whether a log was set up here at all; ask as the owner, for a role may lack too."""
    return one(connection, "SELECT to_regclass('fact') IS NOT NULL") == (True,)


def fact_head(connection: Connection) -> tuple[int, int]:
    """Return (highest serial, highest serial mirrored)."""
    head, mirrored = one(connection, "SELECT serial, mirrored FROM fact_head")
    return head, mirrored


def mark_mirrored(connection: Connection, serial: int) -> None:
    """Note that the facts up to `serial` stand in the mirror topic."""
    connection.execute("UPDATE fact_head SET mirrored = %s WHERE mirrored < %s", [serial, serial])


def write_tick(connection: Connection, clock: Instant, partitions: int) -> Tick | None:
    """Commit the row of the next tick; None where facts are written, or wait to be mirrored."""
    try:
        return _write_tick(connection, clock, partitions)
    except LockNotAvailable:
        return None


def _write_tick(connection: Connection, clock: Instant, partitions: int) -> Tick | None:
    with connection.transaction():
        head, mirrored = one(connection, "SELECT serial, mirrored FROM fact_head FOR UPDATE")
        if mirrored < head:
            return None
        last, last_time = one(
            connection,
            "SELECT coalesce(max(serial), 0), coalesce(max(time_us), 0) FROM tick",
        )
        tick = Tick(last + 1, max(clock, last_time + 1), head)
        connection.execute(
            "INSERT INTO tick (serial, time_us, fact_position, partitions) VALUES (%s, %s, %s, %s)",
            [tick.serial, tick.time, tick.fact_position, partitions],
        )
        return tick


def try_lead(connection: Connection) -> bool:
    """Return whether the ticks are this connection's to write, from now on until it ends."""
    return lead(connection, _LEADER_LOCK)


def fact_position(connection: Connection, tick_serial: int) -> int:
    """Return the fact position that a tick names."""
    (position,) = one(connection, "SELECT fact_position FROM tick WHERE serial = %s", tick_serial)
    return cast(int, position)


def unacked_ticks(connection: Connection) -> list[Tick]:
    """Return the ticks that not every partition has acked, in order."""
    rows = connection.execute(
        "SELECT serial, time_us, fact_position FROM tick WHERE NOT acked ORDER BY serial"
    )
    return [Tick(*row) for row in rows]


def mark_acked(connection: Connection, serials: Iterable[int]) -> None:
    """Note that every partition has these ticks."""
    connection.execute("UPDATE tick SET acked = true WHERE serial = ANY(%s)", [list(serials)])


def ticks_from(connection: Connection, serial: int, count: int) -> list[Tick]:
    """Return the rows of up to `count` ticks from `serial` on."""
    rows = connection.execute(
        "SELECT serial, time_us, fact_position FROM tick WHERE serial >= %s"
        " ORDER BY serial LIMIT %s",
        [serial, count],
    )
    return [Tick(*row) for row in rows]


def last_tick(connection: Connection) -> Tick | None:
    """Return the highest tick whose row is committed.

    Under the lock of `append_facts` it is the last that does not name the facts to be written.
    """
    row = connection.execute(
        "SELECT serial, time_us, fact_position FROM tick ORDER BY serial DESC LIMIT 1"
    ).fetchone()
    return Tick(*row) if row else None


def last_acked_tick(connection: Connection) -> Tick | None:
    """Return the highest tick that stands in every partition."""
    row = connection.execute(
        "SELECT serial, time_us, fact_position FROM tick WHERE acked ORDER BY serial DESC LIMIT 1"
    ).fetchone()
    return Tick(*row) if row else None


def remember_personal(
    connection: Connection, values: Iterable[tuple[str, str, bytes, str]]
) -> None:
    """Keep (commitment, subject, salt, value): the erasable side of commitments."""
    columns = [*map(list, zip(*values, strict=True))]
    if columns:
        connection.execute(
            "INSERT INTO personal (commitment, subject, salt, value) SELECT * FROM"
            " unnest(%s::text[], %s::text[], %s::bytea[], %s::text[]) ON CONFLICT DO NOTHING",
            columns,
        )


def personal_values(connection: Connection, commitments: Iterable[str]) -> dict[str, str]:
    """Return the values behind commitments, where they were not erased."""
    rows = connection.execute(
        "SELECT commitment, value FROM personal WHERE commitment = ANY(%s)", [list(commitments)]
    )
    return {commitment: value for commitment, value in rows}
