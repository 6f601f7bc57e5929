"""Meters: what is counted, how, and in which windows.

Owns: aggregations, their parameters, windows.
Does not own: prices (rate), which meters are in force (catalog), how each aggregation folds
(invoice/usage.py and the modules beside this one).
Law: a meter's definition never changes once it is used.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction


class Grain(StrEnum):
    """What a quantity is made of."""

    TOTALS = "totals"
    """Count, sum, minimum, maximum: any split into rows will do."""
    WINDOWS = "windows"
    """The same, window by window."""
    POINTS = "points"
    """Single points: (time, key) -> value, multiplicity."""
    LEVELS = "levels"
    """Points, and what held before the first of them."""


class Aggregation(StrEnum):
    """How the values of a meter become one quantity."""

    SUM = "sum"
    COUNT = "count"
    MIN = "min"
    MAX = "max"
    AVERAGE = "average"
    LATEST = "latest"
    UNIQUE_COUNT = "unique_count"
    PERCENTILE = "percentile"
    WINDOW_PERCENTILE = "window_percentile"
    TIME_WEIGHTED = "time_weighted"

    @property
    def grain(self) -> Grain:
        """What the aggregation folds."""
        return _GRAINS.get(self, Grain.TOTALS)

    @property
    def keeps_points(self) -> bool:
        """Whether each event is kept as a point beside the additive columns."""
        return self.grain in (Grain.POINTS, Grain.LEVELS)

    @property
    def parameter(self) -> str | None:
        """The parameter it cannot do without."""
        return _PARAMETERS.get(self)

    @property
    def option(self) -> str | None:
        """The parameter it may have."""
        if self is Aggregation.TIME_WEIGHTED:
            return "per"
        return "points" if self is Aggregation.SUM or self in EXTREMES else None


EXTREMES = frozenset({Aggregation.MIN, Aggregation.MAX})
"""What columns cannot give back: the second greatest value is in none."""
_GRAINS = {
    Aggregation.LATEST: Grain.POINTS,
    Aggregation.UNIQUE_COUNT: Grain.POINTS,
    Aggregation.PERCENTILE: Grain.POINTS,
    Aggregation.WINDOW_PERCENTILE: Grain.WINDOWS,
    Aggregation.TIME_WEIGHTED: Grain.LEVELS,
}
_PARAMETERS = {
    Aggregation.UNIQUE_COUNT: "of",
    Aggregation.PERCENTILE: "percent",
    Aggregation.WINDOW_PERCENTILE: "percent",
}


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter in force. `window_us`: length of its windows, aligned to 1970-01-01T00:00Z.

    `of` is the dimension whose distinct values are counted: usage is not kept apart by it.
    `points`: keep single events beside their sum, for prices that look at each of them; or
    beside the least and the greatest, so that these can be taken back.
    `percent` is that of a percentile; `per_us` the time a level is counted in (None: averaged).
    """

    id: str
    aggregation: Aggregation
    unit: str
    window_us: int
    dimensions: tuple[str, ...] = ()
    of: str | None = None
    percent: Fraction | None = None
    per_us: int | None = None
    points: bool = False

    @property
    def keeps_points(self) -> bool:
        """Whether each event is kept as a point beside the additive columns."""
        return self.points or self.aggregation.keeps_points

    @property
    def grain(self) -> Grain:
        """What its aggregation folds."""
        return Grain.POINTS if self.points else self.aggregation.grain

    @property
    def reversible(self) -> bool:
        """Whether a reversal can take usage off again."""
        return self.points or self.aggregation not in EXTREMES
