"""Points: single events kept for aggregations that no sum can answer.

Owns: the point as aggregations see it, and the one order they fold it in.
Does not own: packing (fold.py, slices.py), where points lie (stores/postgres/usage.py).
Law: points folded in the order of (time, key) give the same whatever order they came in; two of
one place are one whose multiplicities add up, and at 0 it never was.

An event's key is its idempotency key, or the one derived from its place in a sequence. Where
distinct values are counted the key is that of the value, the time that of the window.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from operator import attrgetter

from pipeline.core.calendar import Instant
from pipeline.core.quantity import from_mantissa
from pipeline.meter.scope import Pairs


@dataclass(frozen=True, slots=True, order=True)
class UsagePoint:
    """One point of a series: what was told at `time`, as often as `multiplicity` says."""

    time: Instant
    key: bytes
    scale: int
    mantissa: int
    multiplicity: int = 1
    dimensions: Pairs = ()

    @property
    def value(self) -> Fraction:
        """The value told."""
        return from_mantissa(self.mantissa, self.scale)


_place = attrgetter("time", "key", "dimensions", "scale", "mantissa")


def in_order(points: Iterable[UsagePoint]) -> list[UsagePoint]:
    """Return the points that stand, by (time, key)."""
    found: list[UsagePoint] = []
    last: object = None
    for point in sorted(points, key=_place):
        place = _place(point)
        if place == last:
            told = found[-1].multiplicity + point.multiplicity
            found[-1] = replace(point, multiplicity=told)
        else:
            found.append(point)
        last = place
    return [point for point in found if point.multiplicity > 0]


def at_one_scale(points: Sequence[UsagePoint]) -> tuple[int, list[int]]:
    """Return a scale that all points have room in, and their mantissas at it, one by one.

    Whole numbers compare and add up many times faster than fractions.
    """
    scale = max((point.scale for point in points), default=0)
    return scale, [point.mantissa * 10 ** (scale - point.scale) for point in points]
