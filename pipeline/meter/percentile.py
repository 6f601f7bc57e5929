"""Percentile: the value that so many percent of all values do not exceed.

Law: nearest rank: of N values in ascending order the one at ceil(percent / 100 x N), so always a
value that was told, never one between two. No value is 0.
"""

from collections.abc import Iterable
from fractions import Fraction
from math import ceil
from typing import TypeVar

from pipeline.core.quantity import from_mantissa
from pipeline.meter.points import UsagePoint, at_one_scale, in_order

T = TypeVar("T", int, Fraction)


def percentile(points: Iterable[UsagePoint], percent: Fraction) -> Fraction:
    """Return the percentile of the points' values, each as often as it was told."""
    ordered = in_order(points)
    scale, values = at_one_scale(ordered)
    told = zip(values, (point.multiplicity for point in ordered), strict=True)
    return from_mantissa(nearest_rank(told, percent) or 0, scale)


def nearest_rank(values: Iterable[tuple[T, int]], percent: Fraction) -> T | None:
    """Return the percentile of values, each with how often it stands; None of no value."""
    ascending = sorted(values)
    rank = ceil(percent / 100 * sum(count for _, count in ascending))
    for value, count in ascending:
        rank -= count
        if rank <= 0:
            return value
    return None
