"""Shadows: schemas that replays work in, beside the one that they shadow.

Owns: planting and dropping a shadow, what is known of its runs, documents of both side by side.
Does not own: what runs in it (workers/replaying.py), what a difference means (replay/diff.py).
Law: a shadow never writes to whom it shadows, and decides nothing: in its own schema nobody may
write a fact or a tick.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, LiteralString, cast

from psycopg import sql

from pipeline.catalog.facts import Fact
from pipeline.core.calendar import Instant, from_datetime
from pipeline.core.identity import Json, canonical, partition_of
from pipeline.replay.bounds import LogPlace
from pipeline.replay.diff import Moved, Pair, UsedIn
from pipeline.stores.postgres.connection import Connection, lead, one
from pipeline.stores.postgres.facts import read_facts

_LEADER_LOCK = "talea replay"


@dataclass(frozen=True, slots=True)
class LogCopy:
    """The copy of a log that a replay is of.

    It has that of each partition of the source which stands before `ends`, up to tick `serial`.
    """

    partitions: int
    batch_events: int
    ends: Sequence[int]
    serial: int
    whole: bool

    @classmethod
    def of_json(cls, told: Mapping[str, Json]) -> "LogCopy":
        """Return what a shadow keeps of it."""
        return cls(**cast(dict[str, Any], told))

    def json(self) -> dict[str, Json]:
        """Return it as a shadow keeps it."""
        return {**asdict(self), "ends": [*self.ends]}


@dataclass(frozen=True, slots=True)
class Shadow:
    """A replay as it stands: what was asked, how long it worked, what came of it."""

    asked: Mapping[str, Json]
    revised: int
    """How many of its facts say something else."""
    began: Instant
    worked_ms: int
    outcome: Mapping[str, Json] | None
    copy: LogCopy | None = None
    """None where it is of the log itself."""


Revise = Callable[[Sequence[Fact]], Mapping[int, Mapping[str, Json]]]
"""Called with all facts; returns the bodies that some have instead, by serial."""


@dataclass(frozen=True, slots=True)
class Copying:
    """That a replay is to be of a copy of the log; `log_body` says what its first fact says."""

    partitions: int
    batch_events: int
    log_body: Callable[[Sequence[Fact]], Mapping[str, Json]]


def plant(
    connection: Connection,
    live: str,
    asked: Mapping[str, Json],
    revise: Revise | None,
    copying: Copying | None = None,
) -> None:
    """Copy the facts and ticks of a stack into an empty shadow, as they stand at one instant.

    Each partition ends behind the last tick booked there: what comes behind it nobody has judged.
    Where the log is to be copied, its partitions get their ends once it is (`finish_copy`).
    Call it as the owner of both schemas.
    """
    names = {"live": sql.Identifier(live)}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        facts = _facts_of(connection, live) if revise or copying else []
        revised = {} if revise is None else revise(facts)
        bodies = {1: copying.log_body(facts), **revised} if copying else revised
        texts = [canonical(dict(body)).decode() for body in bodies.values()]
        connection.execute(sql.SQL(_COPY_FACTS).format(**names), [[*bodies], texts])
        for statement in _PLANT:
            connection.execute(sql.SQL(statement).format(**names))
        copy = None
        if copying is None:
            connection.execute(sql.SQL(_END_PARTITIONS).format(**names))
        else:
            count = cast(int, facts[0].body["partitions"])
            booked = connection.execute(sql.SQL(_BOOKED).format(**names), [count - 1]).fetchone()
            ends, serial = cast(tuple[list[int], int], booked)
            made = LogCopy(copying.partitions, copying.batch_events, ends, serial, whole=False)
            copy = canonical(made.json()).decode()
            connection.execute("UPDATE tick SET partitions = %s", [copying.partitions])
        told = canonical(dict(asked)).decode()
        connection.execute(sql.SQL(_NOTE_SHADOW).format(**names), [told, len(revised), copy])


def finish_copy(
    connection: Connection,
    copy: LogCopy,
    bodies: Mapping[int, Mapping[str, Json]],
    ends: Sequence[int],
) -> None:
    """Note that the copy of a log is whole: where its partitions end, what facts say there."""
    with connection.transaction():
        # A shadow's facts are copies: only what they say of places is told of other places.
        connection.execute("ALTER TABLE fact DISABLE TRIGGER append_only_rows")
        for serial, body in bodies.items():
            text = canonical(dict(body)).decode()
            connection.execute("UPDATE fact SET body = %s WHERE serial = %s", [text, serial])
        connection.execute("ALTER TABLE fact ENABLE TRIGGER append_only_rows")
        connection.execute(_END_COPIED, [[*ends]])
        told = canonical(replace(copy, whole=True).json()).decode()
        connection.execute("UPDATE shadow SET copy = %s", [told])


def _facts_of(connection: Connection, schema: str) -> list[Fact]:
    """Return the facts of another schema; call it in a transaction."""
    (own,) = one(connection, "SELECT current_schema()")
    connection.execute(_LOOK_INTO, [schema])
    facts = read_facts(connection, 0)
    connection.execute(_LOOK_INTO, [own])
    return facts


_LOOK_INTO = "SELECT set_config('search_path', %s, true)"
# A hold keeps from issuing and changes no content: what was issued before it must come out again.
_COPY_FACTS: LiteralString = (
    "INSERT INTO fact (serial, id, kind, subject, body, actor, reason, recorded_at)"
    " SELECT serial, id, kind, subject, CASE WHEN kind = 'hold'"
    """ THEN replace(body, '"on":true', '"on":false') ELSE coalesce(revised.text, body) END,"""
    " actor, reason, recorded_at FROM {live}.fact"
    " LEFT JOIN unnest(%s::bigint[], %s::text[]) AS revised (serial, text) USING (serial)"
)
_PLANT: tuple[LiteralString, ...] = (
    "UPDATE fact_head SET serial = head.serial, mirrored = head.serial"
    " FROM (SELECT serial FROM {live}.fact_head) AS head",
    "INSERT INTO tick (serial, time_us, fact_position, partitions, acked)"
    " SELECT serial, time_us, fact_position, partitions, true FROM {live}.tick",
    "REVOKE INSERT ON fact FROM talea_app",
    "REVOKE UPDATE ON fact_head FROM talea_app",
    "REVOKE INSERT, UPDATE ON tick FROM talea_app",
)
_END_PARTITIONS: LiteralString = (
    "INSERT INTO pause (partition_no, source_offset, reason, cause, origin)"
    " SELECT number, coalesce(max(source_offset) + 1, 0), 'replay',"
    " 'what is replayed ends here', 'usage'"
    " FROM generate_series(0, (SELECT (body::json ->> 'partitions')::integer - 1"
    " FROM fact WHERE serial = 1)) AS number"
    " LEFT JOIN {live}.partition_tick ON partition_no = number GROUP BY number"
)
_END_COPIED = (
    "INSERT INTO pause (partition_no, source_offset, reason, cause, origin)"
    " SELECT number - 1, ending, 'replay', 'what is replayed ends here', 'usage'"
    " FROM unnest(%s::bigint[]) WITH ORDINALITY AS told (ending, number)"
)
_BOOKED: LiteralString = (
    "SELECT json_agg(ending ORDER BY number), max(latest) FROM ("
    "SELECT number, coalesce(max(source_offset) + 1, 0) AS ending,"
    " coalesce(max(serial), 0) AS latest"
    " FROM generate_series(0, %s) AS number"
    " LEFT JOIN {live}.partition_tick ON partition_no = number GROUP BY number) AS booked"
)
_NOTE_SHADOW = (
    "INSERT INTO shadow (asked, revised, copy, issued)"
    " SELECT %s, %s, %s, coalesce(json_object_agg(issuer, place), '{{}}')"
    " FROM (SELECT issuer, max(place) AS place FROM {live}.document GROUP BY issuer) AS heads"
)


def lead_replay(connection: Connection) -> bool:
    """Return whether a shadow is this connection's to run or drop, from now on until it ends."""
    return lead(connection, _LEADER_LOCK)


def is_led(connection: Connection) -> bool:
    """Return whether somebody runs or drops a shadow; asking keeps nobody from it."""
    (led,) = one(
        connection,
        "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        " WHERE datname = current_database() AND locktype = 'advisory' AND granted"
        " AND classid = (hashtext(%s)::bigint & 4294967295)::oid"
        " AND objid = (hashtext(current_schema())::bigint & 4294967295)::oid)",
        _LEADER_LOCK,
    )
    return bool(led)


def shadows_with(connection: Connection, prefix: str) -> list[str]:
    """Return the names of the shadows whose schemas begin with a prefix."""
    rows = connection.execute(
        "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)"
        " AND to_regclass(quote_ident(nspname) || '.shadow') IS NOT NULL ORDER BY nspname",
        [prefix],
    )
    return [str(name).removeprefix(prefix) for (name,) in rows]


def read_shadow(connection: Connection) -> Shadow | None:
    """Return the replay whose schema this is; None where it was not planted to the end."""
    # Planted by an earlier version, its schema lacks that column until it is run again.
    row = connection.execute(
        "SELECT asked, revised, began, worked_ms, outcome, to_jsonb(shadow) ->> 'copy' FROM shadow"
    ).fetchone()
    if row is None:
        return None
    asked, revised, began, worked_ms, *rest = row
    outcome, copy = (None if text is None else json.loads(text) for text in rest)
    return Shadow(
        json.loads(asked),
        revised,
        from_datetime(began),
        worked_ms,
        outcome,
        None if copy is None else LogCopy.of_json(copy),
    )


def ask_to_stop(connection: Connection, *, stop: bool) -> None:
    """Ask whoever runs a replay to stop, or take that back."""
    connection.execute("UPDATE shadow SET stopping = %s", [stop])


def is_asked_to_stop(connection: Connection) -> bool:
    """Return whether whoever runs a replay is to stop."""
    (stopping,) = one(connection, "SELECT stopping FROM shadow")
    return bool(stopping)


def note_worked(
    connection: Connection, worked_ms: int, outcome: Mapping[str, Json] | None = None
) -> None:
    """Note how long a run took, and what came of it where it is through."""
    told = None if outcome is None else canonical(dict(outcome)).decode()
    connection.execute(
        "UPDATE shadow SET worked_ms = worked_ms + %s, outcome = coalesce(%s, outcome)",
        [worked_ms, told],
    )


def documents_beside(connection: Connection, live: str, *, whole: bool = False) -> list[Pair]:
    """Return what was issued when the shadow was planted, beside the same documents here.

    And what is issued here of cuts that are done with there, and have no such document. What waits
    here for anything is not taken for left out: it has nothing to be compared with. `whole`: with
    content where it is the same, too. What is beyond retention has no content to compare.
    """
    names = {"live": sql.Identifier(live)}
    rows = connection.execute(sql.SQL(_BESIDE).format(**names), [whole, whole]).fetchall()
    rows += connection.execute(sql.SQL(_ONLY_HERE).format(**names)).fetchall()
    found = connection.execute(sql.SQL(_PARTITIONS).format(**names)).fetchone()
    (partitions,) = cast(tuple[int], found)
    homes = [partition_of(payer, partitions) for _, payer, *_ in rows]
    cuts = {(home, row[3]) for home, row in zip(homes, rows, strict=True)}
    offsets = _offsets_of(connection, live, cuts)
    return [
        Pair(
            number,
            payer,
            instant,
            serial,
            same,
            _told(before),
            _told(after),
            LogPlace(home, offsets[home, serial]),
        )
        for home, (number, payer, instant, serial, same, before, after) in zip(
            homes, rows, strict=True
        )
    ]


def documents_known(connection: Connection, live: str) -> int:
    """Return how many documents were issued when the shadow was planted, and have their content."""
    names = {"live": sql.Identifier(live)}
    found = connection.execute(sql.SQL(_KNOWN).format(**names)).fetchone()
    return cast(tuple[int], found)[0]


def _offsets_of(
    connection: Connection, live: str, cuts: Collection[tuple[int, int]]
) -> Mapping[tuple[int, int], int]:
    """Return where ticks, by (partition, serial), stand in the log of a stack; -1: before it."""
    columns = [[partition for partition, _ in cuts], [serial for _, serial in cuts]]
    statement = sql.SQL(_OFFSETS).format(live=sql.Identifier(live))
    rows = connection.execute(statement, columns).fetchall()
    return {(partition, serial): offset for partition, serial, offset in rows}


_PARTITIONS: LiteralString = (
    "SELECT (body::json ->> 'partitions')::integer FROM {live}.fact WHERE serial = 1"
)
_OFFSETS: LiteralString = (
    "SELECT home, cut, coalesce((SELECT source_offset FROM {live}.partition_tick"
    " WHERE partition_no = home AND serial <= cut ORDER BY serial DESC LIMIT 1), -1)"
    " FROM unnest(%s::integer[], %s::bigint[]) AS asked (home, cut)"
)

_KNOWN: LiteralString = (
    "SELECT count(*) FROM shadow, json_each_text(shadow.issued::json) AS head (issuer, place)"
    " JOIN {live}.document AS theirs"
    " ON theirs.issuer = head.issuer AND theirs.place <= head.place::bigint"
    " AND theirs.kept IS NULL"
)
_BESIDE = (
    "SELECT number, payer, instant_us, cut_serial, same,"
    " CASE WHEN %s OR NOT same THEN before END, CASE WHEN %s OR NOT same THEN after END"
    " FROM (SELECT theirs.number, theirs.payer, theirs.instant_us, theirs.cut_serial,"
    " theirs.issuer, theirs.place, theirs.content AS before,"
    " ours.content AS after, ours.content IS NOT DISTINCT FROM theirs.content AS same"
    " FROM shadow, json_each_text(shadow.issued::json) AS head (issuer, place)"
    " JOIN {live}.document AS theirs"
    " ON theirs.issuer = head.issuer AND theirs.place <= head.place::bigint"
    " AND theirs.kept IS NULL"
    " LEFT JOIN document AS ours ON ours.id = theirs.id WHERE ours.id IS NOT NULL OR NOT EXISTS ("
    "SELECT FROM cut AS own WHERE (own.payer, own.currency, own.instant_us)"
    " = (theirs.payer, theirs.currency, theirs.instant_us) AND (NOT own.prepared OR EXISTS ("
    "SELECT FROM prepared AS waiting WHERE (waiting.payer, waiting.currency, waiting.instant_us)"
    " = (own.payer, own.currency, own.instant_us))))) AS both_sides ORDER BY issuer, place"
)
_ONLY_HERE = (
    "SELECT NULL, payer, instant_us, cut_serial, false, NULL, content FROM document AS ours"
    " WHERE NOT EXISTS (SELECT FROM {live}.document AS theirs WHERE theirs.id = ours.id)"
    " AND EXISTS (SELECT FROM {live}.cut AS done WHERE (done.payer, done.currency,"
    " done.instant_us) = (ours.payer, ours.currency, ours.instant_us) AND done.prepared)"
    " AND NOT EXISTS (SELECT FROM {live}.prepared AS waiting WHERE (waiting.payer,"
    " waiting.currency, waiting.instant_us) = (ours.payer, ours.currency, ours.instant_us))"
    " ORDER BY issuer, place"
)


def _told(content: bytes | None) -> Mapping[str, Json] | None:
    return None if content is None else cast(Mapping[str, Json], json.loads(content))


def moved_usage(connection: Connection, live: str, used: UsedIn) -> Moved:
    """Return what the books here count of some usage beyond those of the live stack."""
    counted = []
    for schema in (sql.SQL(""), sql.SQL("{}.").format(sql.Identifier(live))):
        row = connection.execute(sql.SQL(_COUNTED).format(schema=schema), used).fetchone()
        counted.append(cast(tuple[int, int], row))
    (ours, ours_reversed), (theirs, theirs_reversed) = counted
    return Moved(ours - theirs, ours_reversed - theirs_reversed)


_COUNTED = (
    "SELECT coalesce(sum(count + 2 * reversed), 0)::bigint, coalesce(sum(reversed), 0)::bigint"
    " FROM {schema}usage JOIN {schema}series ON series.id = series_id WHERE customer = %s"
    " AND meter = %s AND window_us >= %s AND window_us < %s AND cut < %s"
)


def drop_schema(connection: Connection, schema: str) -> None:
    """Drop a shadow's schema with all that is in it; call it as its owner."""
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
