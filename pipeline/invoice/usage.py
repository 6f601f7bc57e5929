"""Usage as an invoice asks for it: one quantity over many windows, series and scales.

Owns: what is asked for and how aggregates become a quantity.
Does not own: where the rows lie (stores/postgres/usage.py).
Law: any split of the same usage into rows gives the same quantity.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from pipeline.core.calendar import Instant
from pipeline.core.quantity import from_mantissa
from pipeline.meter.meters import Aggregation


@dataclass(frozen=True, slots=True, order=True)
class UsageRequest:
    """The usage of one customer and meter in the windows that start in [start, end)."""

    customer: str
    meter: str
    start: Instant
    end: Instant


@dataclass(frozen=True, slots=True, order=True)
class UsagePart:
    """Aggregates of some rows at one scale (mantissas)."""

    scale: int
    count: int
    sum: int
    minimum: int
    maximum: int


def quantity(aggregation: Aggregation, parts: Iterable[UsagePart]) -> Fraction:
    """Return the quantity that the parts make together; no usage is 0."""
    found = list(parts)
    match aggregation:
        case Aggregation.COUNT:
            return Fraction(sum(part.count for part in found))
        case Aggregation.SUM:
            return sum((from_mantissa(part.sum, part.scale) for part in found), Fraction(0))
        case Aggregation.MAX:
            return max((from_mantissa(p.maximum, p.scale) for p in found), default=Fraction(0))
