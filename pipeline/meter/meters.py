"""Meters: what is counted, how, and in which windows.

Owns: aggregations and windows.  Does not own: prices (rate), which meters are in force (catalog).
Law: a meter's definition never changes once it is used.
"""

from dataclasses import dataclass
from enum import StrEnum


class Aggregation(StrEnum):
    """How the values of a meter become one quantity."""

    SUM = "sum"
    COUNT = "count"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter in force. `window_us`: length of its windows, aligned to 1970-01-01T00:00Z."""

    id: str
    aggregation: Aggregation
    unit: str
    window_us: int
    dimensions: tuple[str, ...] = ()
