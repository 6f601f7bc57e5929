"""The fact log and the ticks that name it.

Owns: serials without gaps, facts written once, the ticker's rows.
Does not own: what a fact means (catalog), sending (workers/ticker).
Law: no fact commits below a position that a tick has named: both take the one lock that
hands serials out.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from pipeline.catalog.facts import Fact, FactKind, NewFact, Skips, skips_of
from pipeline.core.calendar import Instant, from_datetime, to_datetime
from pipeline.core.identity import Json, canonical
from pipeline.meter.ticks import Tick
from pipeline.stores.postgres.connection import Connection, lead, one

_LEADER_LOCK = "talea ticker"
_COLUMNS = "serial, id, kind, subject, body, actor, reason, recorded_at"


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
) -> list[Fact]:
    """Write what `decide` makes of all facts so far; return the facts written.

    The lock on the head is held from reading to writing: two who decide at once decide one
    after the other.
    """
    with connection.transaction():
        (head,) = one(connection, "SELECT serial FROM fact_head FOR UPDATE")
        known = read_facts(connection, 0, head)
        revisions: dict[tuple[FactKind, str], int] = {}
        for fact in known:
            revisions[fact.kind, fact.subject] = revisions.get((fact.kind, fact.subject), 0) + 1
        written = []
        for serial, new in enumerate(decide(known), start=head + 1):
            revision = revisions[new.kind, new.subject] = (
                revisions.get((new.kind, new.subject), 0) + 1
            )
            fact = Fact(
                serial,
                new.id_after(revision),
                new.kind,
                new.subject,
                dict(new.body),
                author.actor,
                author.reason,
                now,
            )
            connection.execute(
                f"INSERT INTO fact ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    fact.serial,
                    fact.id,
                    fact.kind.value,
                    fact.subject,
                    canonical(dict(fact.body)).decode(),
                    fact.actor,
                    fact.reason,
                    to_datetime(now),
                ],
            )
            written.append(fact)
        connection.execute("UPDATE fact_head SET serial = %s", [head + len(written)])
        return written


def read_facts(connection: Connection, after: int, until: int | None = None) -> list[Fact]:
    """Return the facts with after < serial <= until (None: all), in order."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM fact WHERE serial > %s AND (%s::bigint IS NULL OR serial <= %s)"
        " ORDER BY serial",
        [after, until, until],
    )
    return [
        Fact(
            serial,
            fact_id,
            FactKind(kind),
            subject,
            cast(dict[str, Json], json.loads(body)),
            actor,
            reason,
            from_datetime(at),
        )
        for serial, fact_id, kind, subject, body, actor, reason, at in rows
    ]


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
    """Commit the row of the next tick; None where facts wait to be mirrored first."""
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
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO personal (commitment, subject, salt, value) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            list(values),
        )


def personal_values(connection: Connection, commitments: Iterable[str]) -> dict[str, str]:
    """Return the values behind commitments, where they were not erased."""
    rows = connection.execute(
        "SELECT commitment, value FROM personal WHERE commitment = ANY(%s)", [list(commitments)]
    )
    return {commitment: value for commitment, value in rows}
