"""Standstill: metering stops while somebody holds this lock, and goes on when it is let go.

Owns: the lock.  Does not own: stopping and waiting (workers/standstill.py), who asks for it
(workers/healing.py, workers/rewinding.py).
Law: it ends with the connection that holds it, so a command that died leaves nothing stopped.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.errors import LockNotAvailable

from pipeline.core.errors import ServerFailed
from pipeline.stores.postgres.connection import Connection, one

_LOCK = "talea standstill"


@contextmanager
def hold_metering(connection: Connection) -> Iterator[None]:
    """Ask every metering worker to stop, for the time of a block; on a connection of its own.

    Raises:
        ServerFailed: another command holds metering still.

    """
    try:
        connection.execute(
            "SELECT pg_advisory_lock(hashtext(%s), hashtext(current_schema()))", [_LOCK]
        )
    except LockNotAvailable:
        raise ServerFailed(
            "another heal or rewind holds metering still: wait for it, then try again"
        ) from None
    try:
        yield
    finally:
        connection.execute(
            "SELECT pg_advisory_unlock(hashtext(%s), hashtext(current_schema()))", [_LOCK]
        )


def metering_held(connection: Connection) -> bool:
    """Return whether metering is to stand still; on a connection in autocommit."""
    (free,) = one(
        connection,
        "SELECT pg_try_advisory_xact_lock_shared(hashtext(%s), hashtext(current_schema()))",
        _LOCK,
    )
    return not free
