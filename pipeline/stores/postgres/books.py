"""The books of the usage log: cursor, usage rows, sequences, cuts, in one transaction.

Owns: loading a partition's books and saving a flush, all or nothing.
Does not own: what is booked (book/booking.py), how points lie (points.py).
Law: the cursor moves in the transaction that writes what it moved over, and only from where
this worker believes it to stand.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import LiteralString, cast
from weakref import WeakKeyDictionary

import numpy as np

from pipeline.book.booking import Booked, BookedRows, Cursor, Cut, TickPassed
from pipeline.book.merging import merge
from pipeline.book.series import Pairs, SeriesIndex, SeriesKey
from pipeline.collect.columns import Longs
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import canonical
from pipeline.meter.slices import Counts
from pipeline.meter.ticks import NO_TICK, Tick
from pipeline.stores.postgres.arrays import LONGS, TEXTS, longs, texts
from pipeline.stores.postgres.connection import Connection, one
from pipeline.stores.postgres.copying import copy_columns
from pipeline.stores.postgres.facts import read_skips
from pipeline.stores.postgres.late import write_late
from pipeline.stores.postgres.points import STAGED, write_points
from pipeline.stores.postgres.reversals import count_reversed, write_reversals
from pipeline.stores.postgres.sequences import write_sequences

COUNT_NAMES = tuple(field.name for field in fields(Counts))
"""The outcomes, in the order they are stored in."""
_CURSOR = (
    "source_offset, metered_offset, tick_serial, tick_time_us, fact_position, log_time_us, "
    + ", ".join(COUNT_NAMES)
)


_NO_IDS: Longs = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a cursor is held against at start: the log's topic id, the last record's digest."""

    topic_id: str
    metered_digest: bytes


@dataclass(frozen=True, slots=True)
class Flush:
    """One partition's part of a flush: from where, to where, and what is between."""

    before: Cursor
    after: Cursor
    anchor: Anchor
    booked: Booked


def load_cursors(connection: Connection) -> dict[int, tuple[Cursor, Anchor]]:
    """Return every partition's cursor and anchor."""
    rows = connection.execute(
        f"SELECT partition_no, topic_id, metered_digest, {_CURSOR} FROM cursor"
    )
    return {
        partition: (_cursor(partition, *rest), Anchor(topic_id, digest))
        for partition, topic_id, digest, *rest in rows
    }


def _cursor(
    partition: int,
    offset: int,
    metered: int,
    serial: int,
    time: int,
    facts: int,
    log_time: int,
    *counts: int,
) -> Cursor:
    return Cursor(partition, offset, metered, Tick(serial, time, facts), log_time, Counts(*counts))


def load_cuts(connection: Connection, partition: int) -> list[Cut]:
    """Return every cut of a partition's payers."""
    rows = connection.execute(
        "SELECT payer, currency, instant_us, serial, fact FROM cut WHERE partition_no = %s",
        [partition],
    )
    return [Cut(*row) for row in rows]


class Books:
    """Saves flushes; remembers the ids of series it has met."""

    def __init__(self, connection: Connection) -> None:
        """Use a connection that nobody else uses."""
        self._connection = connection
        self._ids: WeakKeyDictionary[SeriesIndex, Longs] = WeakKeyDictionary()
        connection.execute(
            "CREATE TEMPORARY TABLE staged (series_id bigint, window_us bigint, cut bigint,"
            " count bigint, sum bigint, minimum bigint, maximum bigint) ON COMMIT DELETE ROWS"
        )
        connection.execute(STAGED)
        connection.commit()

    def save(self, flushes: Sequence[Flush]) -> None:
        """Write flushes of one or more partitions in one transaction.

        Raises:
            BrokenInvariant: a cursor in the database is not where this worker believes it:
                another worker books the same partition.

        """
        flushes = sorted(flushes, key=lambda flush: flush.before.partition)
        booked = [rows for flush in flushes for rows in flush.booked.rows]
        with self._connection.transaction():
            for flush in flushes:
                self._fence(flush)
            self._obey_skips(flushes)
            ids = self._interned(booked)
            self._write_usage([(rows, ids[rows.index][rows.series]) for rows in booked])
            for flush in flushes:
                self._write_rest(flush)
        self._ids.update(ids)

    def _fence(self, flush: Flush) -> None:
        before = flush.before
        if before.offset < 0:  # perhaps no row to lock yet: of two workers one waits here
            self._connection.execute(_PLANT_CURSOR, _cursor_row(before, flush.anchor))
        row = self._connection.execute(
            "SELECT source_offset FROM cursor WHERE partition_no = %s FOR UPDATE",
            [before.partition],
        ).fetchone()
        stands = row[0] if row else None
        if stands != before.offset:
            raise BrokenInvariant(
                f"partition {before.partition}: the cursor stands at {stands}, this worker"
                f" believed {before.offset}: another worker books it; this one stops"
            )

    def _obey_skips(self, flushes: Sequence[Flush]) -> None:
        """Refuse what was booked in ignorance of a skip; behind the fence none can be added."""
        for partition, offset in read_skips(self._connection):
            for flush in flushes:
                if (
                    flush.before.partition == partition
                    and flush.before.offset < offset <= flush.after.offset
                    and offset not in flush.booked.skipped
                ):
                    raise BrokenInvariant(
                        f"partition {partition}: a skip of offset {offset} was recorded while"
                        " this worker booked; it begins anew, knowing it"
                    )

    def _interned(self, booked: Iterable[BookedRows]) -> dict[SeriesIndex, Longs]:
        """Return the ids of every series of the indexes that rows are of, by number."""
        found: dict[SeriesIndex, Longs] = {}
        for index in {rows.index: None for rows in booked}:
            found[index] = self._ids.get(index, _NO_IDS)
            while (known := len(found[index])) < len(index):
                new = range(known, min(known + _SERIES_AT_ONCE, len(index)))
                met = np.array(self._intern([index[number] for number in new]), np.int64)
                found[index] = np.append(found[index], met)
        return found

    def _intern(self, keys: Sequence[SeriesKey]) -> list[int]:
        """Return the ids of series that this worker meets for the first time."""
        columns = (
            texts([key.customer for key in keys]),
            texts([key.meter for key in keys]),
            longs([key.scale for key in keys]),
            texts([_dimensions_text(key.dimensions) for key in keys]),
        )
        self._connection.execute(_PLANT_SERIES, columns)
        found = self._connection.execute(_FIND_SERIES, columns)
        return [series_id for (series_id,) in found]

    def _write_usage(self, booked: Sequence[tuple[BookedRows, Longs]]) -> None:
        """Write rows, each given with the series ids of its rows."""
        if not booked:
            return
        wide = [
            (*(int(column[place]) for column in _columns(rows, ids)[:4]), *rows.wide[place])
            for rows, ids in booked
            for place in sorted(rows.wide)
        ]
        merged = merge(_narrow(booked))
        copy_columns(self._connection, "staged", merged.columns)
        self._connection.execute(_UPSERT_STAGED)
        with self._connection.cursor() as cursor:
            for row in (*wide, *merged.wide):  # one by one: rows of one key may repeat in a flush
                cursor.execute(_UPSERT_WIDE, row)
        write_points(self._connection, booked)
        count_reversed(self._connection, booked)

    def _write_rest(self, flush: Flush) -> None:
        booked, partition = flush.booked, flush.after.partition
        with self._connection.cursor() as cursor:
            if booked.ticks:
                cursor.executemany(
                    "INSERT INTO partition_tick VALUES (%s, %s, %s, %s, %s, %s)",
                    [
                        (
                            partition,
                            seen.tick.serial,
                            seen.tick.time,
                            seen.tick.fact_position,
                            seen.offset,
                            _count_list(seen.counts),
                        )
                        for seen in booked.ticks
                    ],
                )
            if booked.cuts:
                cursor.executemany(
                    "INSERT INTO cut (payer, currency, instant_us, serial, fact, partition_no)"
                    " VALUES (%s, %s, %s, %s, %s, %s)",
                    [
                        (c.payer, c.currency, c.instant, c.serial, c.fact, partition)
                        for c in booked.cuts
                    ],
                )
            if dirty := booked.dirty:
                cursor.execute(
                    "INSERT INTO dirty (payer, partition_no, version)"
                    f" SELECT payer, %s, %s FROM unnest({TEXTS}) AS payer"
                    " ON CONFLICT DO NOTHING",
                    [partition, flush.after.offset, texts(sorted(dirty))],
                )
            cursor.execute(_UPSERT_CURSOR, _cursor_row(flush.after, flush.anchor))
        write_sequences(self._connection, partition, booked.sequences)
        write_reversals(self._connection, partition, booked)
        write_late(self._connection, booked)


_SERIES_AT_ONCE = 10_000

_SERIES: LiteralString = (
    f" FROM unnest({TEXTS}, {TEXTS}, {LONGS}, {TEXTS})"
    " WITH ORDINALITY AS w (customer, meter, scale, dimensions, place)"
)
_PLANT_SERIES: LiteralString = (
    "INSERT INTO series (customer, meter, scale, dimensions)"
    f" SELECT customer, meter, scale, dimensions{_SERIES} ORDER BY 1, 2, 3, 4"
    " ON CONFLICT DO NOTHING"
)
_FIND_SERIES: LiteralString = (
    f"SELECT series.id{_SERIES} JOIN series USING (customer, meter, scale, dimensions)"
    " ORDER BY w.place"
)


@lru_cache(maxsize=1 << 12)
def _dimensions_text(dimensions: Pairs) -> str:
    return canonical(dict(dimensions)).decode()


def _columns(rows: BookedRows, ids: Longs) -> tuple[Longs, ...]:
    return ids, rows.window_start, rows.cut, rows.count, rows.sum, rows.minimum, rows.maximum


def _narrow(booked: Sequence[tuple[BookedRows, Longs]]) -> list[Longs]:
    """Return the columns of all rows that are not wide."""
    by_column = zip(*(_columns(rows, ids) for rows, ids in booked), strict=True)
    left = [
        np.delete(np.arange(len(ids)), sorted(rows.wide)) if rows.wide else None
        for rows, ids in booked
    ]
    return [
        np.concatenate(
            [part if kept is None else part[kept] for part, kept in zip(parts, left, strict=True)]
        )
        for parts in by_column
    ]


_MERGE = (
    " ON CONFLICT (series_id, window_us, cut) DO UPDATE SET count = usage.count + excluded.count,"
    " sum = usage.sum + excluded.sum, minimum = least(usage.minimum, excluded.minimum),"
    " maximum = greatest(usage.maximum, excluded.maximum)"
)
_UPSERT_STAGED = (
    "INSERT INTO usage (series_id, window_us, cut, count, sum, minimum, maximum)"
    " SELECT series_id, window_us, cut, count, sum, minimum, maximum FROM staged" + _MERGE
)
_UPSERT_WIDE = (
    "INSERT INTO usage (series_id, window_us, cut, count, sum, minimum, maximum)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s)" + _MERGE
)
_CURSOR_NAMES = [name.strip() for name in _CURSOR.split(",")]
_INSERT_CURSOR = (
    f"INSERT INTO cursor (partition_no, topic_id, metered_digest, {_CURSOR})"
    f" VALUES ({', '.join(['%s'] * (3 + len(_CURSOR_NAMES)))})"
    " ON CONFLICT (partition_no) DO "
)
_PLANT_CURSOR = f"{_INSERT_CURSOR} NOTHING"
_UPSERT_CURSOR = (
    f"{_INSERT_CURSOR} UPDATE SET topic_id = excluded.topic_id,"
    " metered_digest = excluded.metered_digest, "
    + ", ".join(f"{name} = excluded.{name}" for name in _CURSOR_NAMES)
)


def _count_list(counts: Counts) -> list[int]:
    return [getattr(counts, name) for name in COUNT_NAMES]


def _cursor_row(cursor: Cursor, anchor: Anchor) -> list[object]:
    return [
        cursor.partition,
        anchor.topic_id,
        anchor.metered_digest,
        cursor.offset,
        cursor.metered_offset,
        cursor.tick.serial,
        cursor.tick.time,
        cursor.tick.fact_position,
        cursor.log_time,
        *_count_list(cursor.counts),
    ]


def tick_before(connection: Connection, partition: int, offset: int) -> tuple[Tick, int]:
    """Return the highest tick booked below an offset, and where it stands (-1: there is none)."""
    row = connection.execute(
        "SELECT serial, time_us, fact_position, source_offset FROM partition_tick"
        " WHERE partition_no = %s AND source_offset < %s ORDER BY serial DESC LIMIT 1",
        [partition, offset],
    ).fetchone()
    return (Tick(*row[:3]), row[3]) if row else (NO_TICK, -1)


def offered_at(connection: Connection, partition: int, first: int) -> tuple[int, int]:
    """Return (offset, events offered up to it) of the first tick booked at or above `first`.

    (-1, 0) where there is none.
    """
    row = connection.execute(
        "SELECT source_offset, counts[1] FROM partition_tick WHERE partition_no = %s"
        " AND source_offset >= %s ORDER BY serial LIMIT 1",
        [partition, first],
    ).fetchone()
    return (row[0], row[1]) if row else (-1, 0)


def offset_at(connection: Connection, partition: int, time_us: int) -> int:
    """Return the offset of the first booked tick at or after a time; 0 where none is before."""
    row = connection.execute(
        "SELECT source_offset FROM partition_tick WHERE partition_no = %s AND time_us < %s"
        " ORDER BY serial DESC LIMIT 1",
        [partition, time_us],
    ).fetchone()
    return row[0] if row else 0


def last_tick_offset(connection: Connection, partition: int, serial: int) -> int:
    """Return the offset of the highest booked tick up to `serial` (-1: there is none)."""
    (offset,) = one(
        connection,
        "SELECT coalesce(max(source_offset), -1) FROM partition_tick"
        " WHERE partition_no = %s AND serial <= %s",
        partition,
        serial,
    )
    return cast(int, offset)


def tick_passed(connection: Connection, partition: int, serial: int) -> TickPassed:
    """Return a booked tick as it stands in a partition."""
    time_us, position, offset, counts = one(
        connection,
        "SELECT time_us, fact_position, source_offset, counts FROM partition_tick"
        " WHERE partition_no = %s AND serial = %s",
        partition,
        serial,
    )
    return TickPassed(Tick(serial, time_us, position), offset, Counts(*counts))
