"""The clock of a stack: the wall's, or a test clock, whose time is that of its last tick.

Owns: which of the two a stack lives by.
Does not own: moving a test clock (workers/timekeeping.py).
Law: a log lives by one clock for its whole life: its first fact says which.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from pipeline.catalog.documents import log_parameters
from pipeline.core.calendar import Instant
from pipeline.stores.clock import wall_clock
from pipeline.stores.postgres.connection import Connection, one
from pipeline.stores.postgres.facts import last_tick, read_facts


def test_clock_start(connection: Connection) -> Instant | None:
    """Return when the test clock of a log started; None where there is no log, or by the wall."""
    first = read_facts(connection, 0, 1)
    return log_parameters(first[0].body).test_clock if first else None


def clock_of(connection: Connection) -> Callable[[], Instant]:
    """Return the clock that a stack lives by; a test clock asks over this connection."""
    start = test_clock_start(connection)
    return wall_clock if start is None else partial(_ticked, connection, start)


def _ticked(connection: Connection, start: Instant) -> Instant:
    tick = last_tick(connection)
    return start if tick is None else tick.time


def now(connection: Connection) -> Instant:
    """Return the current instant of a stack."""
    return clock_of(connection)()


class Unsettled(NamedTuple):
    """What is still to be made of what is booked, and what was made."""

    dirty: int
    """Payers to rate."""
    cuts: int
    """Cuts without their documents."""
    prepared: int
    """Documents without a number."""
    issued: int


def unsettled(connection: Connection) -> Unsettled:
    """Return how much is still to be made of what is booked."""
    return Unsettled(
        *one(
            connection,
            "SELECT (SELECT count(*) FROM dirty),"
            " (SELECT count(*) FROM cut WHERE NOT prepared),"
            " (SELECT count(*) FROM prepared),"
            " (SELECT count(*) FROM document)",
        )
    )
