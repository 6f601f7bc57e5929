"""Percentile: the value that so many percent of all values do not exceed.

Law: nearest rank: of N values in ascending order the one at ceil(percent / 100 x N), so always a
value that was told, never one between two. No value is 0.
"""

from collections.abc import Iterable
from fractions import Fraction
from math import ceil

from pipeline.meter.points import UsagePoint, in_order


def percentile(points: Iterable[UsagePoint], percent: Fraction) -> Fraction:
    """Return the percentile of the points' values, each as often as it was told."""
    return nearest_rank(((point.value, point.multiplicity) for point in in_order(points)), percent)


def nearest_rank(values: Iterable[tuple[Fraction, int]], percent: Fraction) -> Fraction:
    """Return the percentile of values, each with how often it stands."""
    ascending = sorted(values)
    rank = ceil(percent / 100 * sum(count for _, count in ascending))
    for value, count in ascending:
        rank -= count
        if rank <= 0:
            return value
    return Fraction(0)
