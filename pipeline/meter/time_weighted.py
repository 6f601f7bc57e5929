"""Time-weighted: levels that hold until the next is told.

Owns: the integral of a level over a period, in level x time, or its average.
Law: the level at the period's start is that of the last point before it, 0 where there is none;
each set of dimensions has a level of its own, and they add up. So two periods that meet have
together the integral of the one that spans both, and groups that of the whole.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from pipeline.core.calendar import Period
from pipeline.core.quantity import from_mantissa
from pipeline.meter.points import UsagePoint, at_one_scale, in_order
from pipeline.meter.scope import Pairs


def time_weighted(points: Iterable[UsagePoint], period: Period, per_us: int | None) -> Fraction:
    """Return level x time in units of `per_us`, or the average level where that is None.

    `points` are those of the period and, of each set of dimensions, at least the last before.
    """
    sets: dict[Pairs, list[UsagePoint]] = {}
    for point in in_order(points):
        sets.setdefault(point.dimensions, []).append(point)
    unit = per_us or period.end - period.start
    area = sum((_area(ordered, period) for ordered in sets.values()), Fraction(0))
    return area / unit if unit else Fraction(0)


def _area(ordered: Sequence[UsagePoint], period: Period) -> Fraction:
    scale, levels = at_one_scale(ordered)
    level, since, area = 0, period.start, 0
    for point, told in zip(ordered, levels, strict=True):
        at = min(max(point.time, period.start), period.end)
        area += level * (at - since)
        level, since = told, at
    return from_mantissa(area + level * (period.end - since), scale)
