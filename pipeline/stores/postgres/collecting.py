"""The collector's rows: where each partition of raw usage stands.

Owns: loading and saving stands.  Does not own: when one may move (collect/rounds.py).
Law: a stand moves only from where its writer believes it, all of one save or none.
"""

from collections.abc import Iterable, Sequence

from pipeline.collect.rounds import Stand
from pipeline.core.errors import BrokenInvariant
from pipeline.stores.postgres.connection import Connection

_STAND = "partition_no, source_offset, collected, rejected, skipped"


def load_stands(connection: Connection) -> list[Stand]:
    """Return where every partition stands that a collector has read."""
    rows = connection.execute(f"SELECT {_STAND} FROM collector_cursor ORDER BY partition_no")
    return [Stand(*row) for row in rows]


def open_stands(connection: Connection, partitions: Sequence[int], topic_id: str) -> list[Stand]:
    """Return where these partitions stand; one that was never read stands before its first.

    Raises:
        BrokenInvariant: a partition was read from another topic.

    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO collector_cursor ({_STAND}, topic_id) VALUES (%s, -1, 0, 0, 0, %s)"
            " ON CONFLICT DO NOTHING",
            [(number, topic_id) for number in partitions],
        )
        found = cursor.execute(
            f"SELECT topic_id, {_STAND} FROM collector_cursor WHERE partition_no = ANY(%s)"
            " ORDER BY partition_no",
            [list(partitions)],
        ).fetchall()
    for known, number, *_ in found:
        if known != topic_id:
            raise BrokenInvariant(
                f"partition {number} of raw usage was collected from another topic than is there"
                " now: restore it, or start a new log under a new prefix"
            )
    return [Stand(*row) for _, *row in found]


def save_stands(connection: Connection, moves: Iterable[tuple[Stand, Stand]]) -> None:
    """Move partitions from where they are believed to stand, in one transaction.

    Raises:
        BrokenInvariant: another collector moved one.

    """
    moves = list(moves)
    with connection.transaction(), connection.cursor() as cursor:
        held = cursor.execute(
            f"SELECT {_STAND} FROM collector_cursor WHERE partition_no = ANY(%s)"
            " ORDER BY partition_no FOR UPDATE",
            [[before.partition for before, _ in moves]],
        ).fetchall()
        for (before, _), row in zip(moves, held, strict=True):
            if Stand(*row) != before:
                raise BrokenInvariant(
                    f"partition {before.partition} of raw usage stands at offset {row[1]}, this"
                    f" collector believed {before.offset}: another one reads it; this one stops"
                )
        cursor.executemany(
            "UPDATE collector_cursor SET source_offset = %s, collected = %s, rejected = %s,"
            " skipped = %s WHERE partition_no = %s",
            [(s.offset, s.collected, s.rejected, s.skipped, s.partition) for _, s in moves],
        )
