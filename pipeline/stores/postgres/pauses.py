"""Pauses: which partitions stand still, and which message workers died of how often.

Owns: the rows of both, and the rule of three deaths.
Does not own: who dies of what (workers/holding.py), the fact of a skip (facts.py).
Law: a pause changes no result; whoever takes it away lets the partition go on where it stood.
"""

from dataclasses import dataclass

from pipeline.core.calendar import Instant, from_datetime
from pipeline.stores.postgres.connection import Connection, one

DEATHS_MAX = 3
"""After so many deaths at one offset its partition pauses."""
POISON, REJECTS = "poison", "rejects"
ENDS = "replay"
"""Not for a person to mend: what is replayed ends there."""
USAGE, RAW = "usage", "raw"
"""Of which topic a partition is paused: the usage log, or that of single events."""


_FORGET_THE_PASSED = (
    "DELETE FROM death USING cursor WHERE death.partition_no = cursor.partition_no"
    " AND death.source_offset <= cursor.source_offset"
)


@dataclass(frozen=True, slots=True)
class Pause:
    """One partition, of the usage log or of raw usage (`origin`), held from `offset` on."""

    partition: int
    offset: int
    reason: str
    cause: str
    since: Instant
    origin: str = USAGE


def read_pauses(connection: Connection, origin: str = USAGE) -> list[Pause]:
    """Return every partition of one topic that is paused."""
    rows = connection.execute(
        "SELECT partition_no, source_offset, reason, cause, at FROM pause WHERE origin = %s"
        " ORDER BY partition_no",
        [origin],
    )
    return [
        Pause(partition, offset, reason, cause, from_datetime(at), origin)
        for partition, offset, reason, cause, at in rows
    ]


def pause(
    connection: Connection,
    partition: int,
    offset: int,
    reason: str,
    cause: str,
    origin: str = USAGE,
) -> None:
    """Pause a partition from an offset on; one that is paused stays as it is."""
    connection.execute(
        "INSERT INTO pause (partition_no, source_offset, reason, cause, origin)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [partition, offset, reason, cause, origin],
    )


def record_death(connection: Connection, partition: int, offset: int, cause: str) -> int:
    """Note that a worker dies of a message; pause its partition at the third. Return how many."""
    with connection.transaction():
        connection.execute(_FORGET_THE_PASSED)
        (deaths,) = one(
            connection,
            "INSERT INTO death (partition_no, source_offset, deaths) VALUES (%s, %s, 1)"
            " ON CONFLICT (partition_no, source_offset) DO UPDATE SET deaths = death.deaths + 1"
            " RETURNING deaths",
            partition,
            offset,
        )
        if deaths >= DEATHS_MAX:
            pause(connection, partition, offset, POISON, cause)
        return int(deaths)


@dataclass(frozen=True, slots=True)
class RawPauses:
    """The pauses of raw usage, over a session in autocommit."""

    connection: Connection

    def read_pauses(self) -> list[Pause]:
        """Return every partition of raw usage that is paused."""
        return read_pauses(self.connection, RAW)

    def pause(self, partition: int, offset: int, reason: str, cause: str) -> None:
        """Pause a partition of raw usage from an offset on."""
        pause(self.connection, partition, offset, reason, cause, RAW)


def end_pause(connection: Connection, partition: int, origin: str = USAGE) -> bool:
    """Let a partition go on, its deaths forgotten; return whether it was paused."""
    with connection.transaction():
        if origin == USAGE:
            connection.execute("DELETE FROM death WHERE partition_no = %s", [partition])
        gone = connection.execute(
            "DELETE FROM pause WHERE origin = %s AND partition_no = %s", [origin, partition]
        )
        return gone.rowcount > 0


def lock_cursor(connection: Connection, partition: int) -> int:
    """Hold a partition's books until the transaction ends; return the last offset in them."""
    row = connection.execute(
        "SELECT source_offset FROM cursor WHERE partition_no = %s FOR UPDATE", [partition]
    ).fetchone()
    return int(row[0]) if row else -1
