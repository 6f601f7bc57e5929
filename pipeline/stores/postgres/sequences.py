"""Sequences of producers as they are kept, written in the booking transaction.

Owns: their rows.  Does not own: what a state means (dedupe/sequences.py).
"""

from collections.abc import Iterable, Mapping
from struct import iter_unpack, pack

from pipeline.book.booking import SequenceKey
from pipeline.dedupe.sequences import Remembered, SequenceState
from pipeline.stores.postgres.connection import Connection

_RECENT = ">qi16sq"
_SEQUENCE = "partition_no, producer, epoch, next, ended, gaps, gaps_since, recent"


def load_sequences(connection: Connection, partition: int) -> dict[SequenceKey, SequenceState]:
    """Return where each sequence of a partition stands that is not over.

    Those that are over pile up for ever, an epoch for each start of each producer.
    """
    rows = connection.execute(
        f"SELECT {_SEQUENCE} FROM sequence_state WHERE partition_no = %s"
        " AND NOT (ended AND cardinality(gaps) = 0)",
        [partition],
    )
    return {(producer, epoch): _sequence(*rest) for _, producer, epoch, *rest in rows}


def load_sequence(connection: Connection, partition: int, key: SequenceKey) -> SequenceState | None:
    """Return where one sequence stands, over or not; None where nothing of it was booked."""
    row = connection.execute(
        f"SELECT {_SEQUENCE} FROM sequence_state"
        " WHERE partition_no = %s AND producer = %s AND epoch = %s",
        [partition, *key],
    ).fetchone()
    return _sequence(*row[3:]) if row else None


def load_incomplete(
    connection: Connection, partition: int | None = None
) -> dict[tuple[int, SequenceKey], SequenceState]:
    """Return the sequences with open gaps, of one partition or of all."""
    rows = connection.execute(
        f"SELECT {_SEQUENCE} FROM sequence_state WHERE cardinality(gaps) > 0"
        " AND (%s::integer IS NULL OR partition_no = %s) ORDER BY partition_no, producer, epoch",
        [partition, partition],
    )
    return {(number, (name, epoch)): _sequence(*rest) for number, name, epoch, *rest in rows}


def _sequence(
    following: int, ended: bool, gaps: list[int], since: list[int], recent: bytes
) -> SequenceState:
    pairs = tuple(zip(gaps[::2], gaps[1::2], strict=True))
    return SequenceState(
        next=following,
        gaps=pairs,
        recent=tuple(Remembered(*each) for each in iter_unpack(_RECENT, recent)),
        ended=ended,
        since=tuple(since) if len(since) == len(pairs) else (0,) * len(pairs),
    )


def write_sequences(
    connection: Connection, partition: int, sequences: Mapping[SequenceKey, SequenceState]
) -> None:
    """Write where these sequences stand."""
    if not sequences:
        return
    with connection.cursor() as cursor:
        cursor.executemany(_UPSERT, _rows(partition, sequences))


_UPSERT = (
    f"INSERT INTO sequence_state ({_SEQUENCE}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
    " ON CONFLICT (partition_no, producer, epoch) DO UPDATE SET next = excluded.next,"
    " ended = excluded.ended, gaps = excluded.gaps, gaps_since = excluded.gaps_since,"
    " recent = excluded.recent"
)


def _rows(
    partition: int, sequences: Mapping[SequenceKey, SequenceState]
) -> Iterable[tuple[object, ...]]:
    for (producer, epoch), state in sorted(sequences.items()):
        gaps = [edge for gap in state.gaps for edge in gap]
        recent = b"".join(pack(_RECENT, *entry) for entry in state.recent)
        since = list(state.since)
        yield partition, producer, epoch, state.next, state.ended, gaps, since, recent
