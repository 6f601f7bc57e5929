"""Backfills that are staged: the usage of a unit before anybody commits it.

Owns: the tables.  Does not own: what became of a unit (facts, replay/backfill.py).
Law: a name is staged once; what is staged is there whole or not at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.core.calendar import Instant, from_datetime
from pipeline.stores.postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class Staged:
    """A unit as it was staged."""

    name: str
    digest: str
    events: int
    source: str
    staged: Instant = 0


def stage_unit(
    connection: Connection, unit: Staged, batches: Iterable[tuple[int, bytes]]
) -> Staged | None:
    """Stage (partition, batch) under a name; where one is, change nothing and return it."""
    with connection.transaction():
        row = connection.execute(
            "INSERT INTO backfill (name, digest, events, source) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING RETURNING name",
            [unit.name, unit.digest, unit.events, unit.source],
        ).fetchone()
        if row is None:
            return staged_unit(connection, unit.name)
        with (
            connection.cursor() as cursor,
            cursor.copy(
                "COPY backfill_batch (name, ordinal, partition_no, batch) FROM STDIN"
            ) as copy,
        ):
            for ordinal, (partition, batch) in enumerate(batches):
                copy.write_row((unit.name, ordinal, partition, batch))
    return None


def staged_unit(connection: Connection, name: str) -> Staged | None:
    """Return the unit of a name."""
    found = [each for each in staged_units(connection) if each.name == name]
    return found[0] if found else None


def staged_units(connection: Connection) -> list[Staged]:
    """Return every unit that was staged, the first one first."""
    rows = connection.execute(
        "SELECT name, digest, events, source, staged FROM backfill ORDER BY staged, name"
    )
    return [
        Staged(name, digest, events, source, from_datetime(staged))
        for name, digest, events, source, staged in rows
    ]


def staged_batches(connection: Connection, name: str) -> list[tuple[int, bytes]]:
    """Return the (partition, batch) of a unit, in order; none once they were forgotten."""
    rows = connection.execute(
        "SELECT partition_no, batch FROM backfill_batch WHERE name = %s ORDER BY ordinal", [name]
    )
    return [(partition, batch) for partition, batch in rows]


def forget_batches(connection: Connection, name: str) -> None:
    """Delete the batches of a unit that the log has."""
    connection.execute("DELETE FROM backfill_batch WHERE name = %s", [name])


def drop_unit(connection: Connection, name: str) -> None:
    """Delete a unit that nothing came of."""
    connection.execute("DELETE FROM backfill WHERE name = %s", [name])
