"""Ticks: the time that stands in the log.

Owns: what a tick says and when it moves log time.  Does not own: writing ticks (workers/ticker).
Law: log time of a record = time of the highest tick before it in its partition.
"""

from dataclasses import dataclass

from pipeline.core.calendar import Instant


@dataclass(frozen=True, slots=True, order=True)
class Tick:
    """One tick: serial (gapless from 1), time, and the facts in force from here on."""

    serial: int
    time: Instant
    fact_position: int


NO_TICK = Tick(0, 0, 0)
"""Before the first tick of a log."""


def advance(current: Tick, seen: Tick) -> Tick:
    """Return the tick in force after `seen`: repeated and lower ones change nothing."""
    return seen if seen.serial > current.serial else current
