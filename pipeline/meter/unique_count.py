"""Unique count: how many distinct values a dimension had, exactly.

Law: a value counts once, however often it was told, in whichever window or series.
"""

from collections.abc import Iterable
from fractions import Fraction

from pipeline.meter.points import UsagePoint, in_order


def unique_count(points: Iterable[UsagePoint]) -> Fraction:
    """Return the number of distinct keys."""
    return Fraction(len({point.key for point in in_order(points)}))
