"""Reversals as the books keep them: what waits, what is reversed for ever.

Owns: the reversal table, and `reversed` of usage rows.
Does not own: what a match does (book/reversing.py), finding originals (workers/matching.py).
Law: written in the transaction that moves the cursor over their slices, or over their matches.
"""

from collections.abc import Iterable, Mapping, Sequence

from pipeline.book.booking import Booked, BookedRows
from pipeline.book.reversing import Reversed
from pipeline.catalog.matches import EventPlace
from pipeline.collect.columns import Longs
from pipeline.core.identity import canonical
from pipeline.meter.slices import Minus
from pipeline.stores.postgres.connection import Connection
from pipeline.stores.postgres.points import pairs

_MINUS = (
    "place, original_key, payload_print, customer, meter, scale, dimensions, window_us, time_us,"
    " value, point_key, point_time_us"
)
_INSERT = (
    f"INSERT INTO reversal (partition_no, source_offset, state, {_MINUS})"
    f" VALUES (%s, %s, 'waiting'{', %s' * 12})"
)
_SETTLE = (
    "UPDATE reversal SET state = %s, match_offset = %s, match_place = %s"
    " WHERE partition_no = %s AND source_offset = %s AND place = %s"
)
_COUNT = (
    "UPDATE usage SET reversed = reversed + %s WHERE series_id = %s AND window_us = %s AND cut = %s"
)


def write_reversals(connection: Connection, partition: int, booked: Booked) -> None:
    """Write the reversals that came, and what matches made of those that were there."""
    if not (booked.reversals or booked.settled):
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            _INSERT,
            [(partition, place.offset, *_row(minus)) for place, minus in booked.reversals.items()],
        )
        cursor.executemany(
            _SETTLE,
            [
                (each.state.value, *each.match.original, partition, *each.place)
                for each in booked.settled
            ],
        )


def _row(minus: Minus) -> tuple[object, ...]:
    return (
        minus.index,
        minus.key,
        minus.payload_print,
        minus.customer,
        minus.meter,
        minus.scale,
        canonical(dict(minus.dimensions)).decode(),
        minus.window_start,
        minus.time,
        minus.mantissa,
        minus.point_key,
        minus.point_time,
    )


def count_reversed(connection: Connection, booked: Sequence[tuple[BookedRows, Longs]]) -> None:
    """Count the events that usage rows gave back; each is given with its rows' series ids."""
    rows: dict[tuple[int, int, int], int] = {}
    for block, ids in booked:
        if block.minus:
            columns = (ids.tolist(), block.window_start.tolist(), block.cut.tolist())
            for key in zip(*columns, strict=True):
                rows[key] = rows.get(key, 0) + 1
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(_COUNT, [(count, *key) for key, count in sorted(rows.items())])


def load_waiting(connection: Connection, partition: int) -> dict[EventPlace, Minus]:
    """Return the reversals of a partition that wait for a match."""
    rows = connection.execute(
        f"SELECT source_offset, {_MINUS} FROM reversal"
        " WHERE partition_no = %s AND state = 'waiting' ORDER BY source_offset, place",
        [partition],
    )
    return {EventPlace(offset, rest[0]): _minus(*rest) for offset, *rest in rows}


def _minus(
    place: int,
    key: bytes,
    payload_print: bytes,
    customer: str,
    meter: str,
    scale: int,
    dimensions: str,
    window: int,
    time: int,
    value: int,
    point_key: bytes,
    point_time: int,
) -> Minus:
    return Minus(
        place,
        key,
        payload_print,
        customer,
        meter,
        scale,
        pairs(dimensions),
        window,
        time,
        int(value),
        point_key,
        point_time,
    )


def reversed_already(
    connection: Connection, partition: int, keys: Iterable[bytes]
) -> Mapping[Reversed, str]:
    """Return which of these originals have a reversal in the books, and its state."""
    rows = connection.execute(
        "SELECT original_key, payload_print, state FROM reversal"
        " WHERE partition_no = %s AND original_key = ANY(%s)",
        [partition, list(keys)],
    )
    return {(key, payload_print): state for key, payload_print, state in rows}


def list_reversals(
    connection: Connection, customer: str | None, state: str | None
) -> list[tuple[int, EventPlace, str, EventPlace | None, Minus]]:
    """Return (partition, place, state, place of the original if known, minus), youngest first."""
    rows = connection.execute(
        f"SELECT partition_no, source_offset, state, match_offset, match_place, {_MINUS}"
        " FROM reversal WHERE (%s::text IS NULL OR customer = %s)"
        " AND (%s::text IS NULL OR state = %s) ORDER BY source_offset DESC, partition_no, place",
        [customer, customer, state, state],
    )
    return [
        (
            partition,
            EventPlace(offset, rest[0]),
            now,
            None if original is None else EventPlace(original, at),
            _minus(*rest),
        )
        for partition, offset, now, original, at, *rest in rows
    ]


def waiting_counts(connection: Connection) -> dict[int, int]:
    """Return how many reversals wait, by partition."""
    rows = connection.execute(
        "SELECT partition_no, count(*) FROM reversal WHERE state = 'waiting' GROUP BY partition_no"
    )
    return dict(rows.fetchall())
