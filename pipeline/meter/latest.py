"""Latest: the value told last.

Law: of all points the one of the highest (time, key), whatever order they came in; none is 0.
"""

from collections.abc import Iterable
from fractions import Fraction

from pipeline.meter.points import UsagePoint, in_order


def latest(points: Iterable[UsagePoint]) -> Fraction:
    """Return the value of the last point."""
    ordered = in_order(points)
    return ordered[-1].value if ordered else Fraction(0)
