"""Usage as an invoice asks for it: one quantity over many windows, series and scales.

Owns: what is asked for, how it falls into groups, how rows and points become a quantity.
Does not own: where they lie (stores/postgres/usage.py), the folds over points (meter).
Law: any split of the same usage into rows, points, scales and orders gives the same quantity.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias, assert_never

from pipeline.core.calendar import EARLIEST, Instant, Period
from pipeline.core.errors import BrokenInvariant
from pipeline.core.quantity import from_mantissa
from pipeline.meter.latest import latest
from pipeline.meter.meters import Aggregation, Grain, Meter
from pipeline.meter.percentile import percentile
from pipeline.meter.points import UsagePoint, in_order
from pipeline.meter.scope import EVERYTHING, Pairs, Scope
from pipeline.meter.time_weighted import time_weighted
from pipeline.meter.unique_count import unique_count
from pipeline.meter.window_percentile import window_percentile
from pipeline.rate import Events, PercentagePrice, Price, looks_at_events


@dataclass(frozen=True, slots=True, order=True)
class UsageRequest:
    """The usage of one customer and meter in the windows that start in [start, end).

    `grain` says what of it: aggregates or points; `scope` which dimensions make a difference.
    """

    customer: str
    meter: str
    start: Instant
    end: Instant
    grain: Grain = Grain.TOTALS
    scope: Scope = EVERYTHING

    def __hash__(self) -> int:
        """Of what tells nearly all apart: a draft looks its usage up several times."""
        return hash((self.customer, self.meter, self.start))

    @property
    def stretch(self) -> tuple[str, str, Instant, Instant]:
        """The windows that may make a difference, as customer, meter, start, end: of levels all."""
        start = EARLIEST if self.grain is Grain.LEVELS else self.start
        return self.customer, self.meter, start, self.end

    def may_rest_on(self, customer: str, meter: str, window_start: Instant) -> bool:
        """Return whether a window may make a difference."""
        whose, metered, start, end = self.stretch
        return (customer, meter) == (whose, metered) and start <= window_start < end


@dataclass(frozen=True, slots=True, order=True)
class UsagePart:
    """Aggregates of some rows at one scale (mantissas).

    Of one `window` where the request's grain is windows; of one set of `dimensions` where its
    scope makes a difference.
    """

    scale: int
    count: int
    sum: int
    minimum: int
    maximum: int
    window: Instant = 0
    dimensions: Pairs = ()


Used: TypeAlias = UsagePart | UsagePoint
"""What answers a request: parts, or points where its grain is points or levels."""
Usage: TypeAlias = Mapping[UsageRequest, Iterable[Used]]


def groups(request: UsageRequest, used: Iterable[Used]) -> list[tuple[Pairs, list[Used]]]:
    """Return the usage asked for, group by group in their order.

    There is always one: a request without groups, or without usage, has the group of nothing.
    """
    scope = request.scope
    if scope.whole:
        return [((), [*used])]
    found: dict[Pairs, list[Used]] = {}
    for row in used:
        if scope.holds(row.dimensions):
            found.setdefault(scope.group(row.dimensions), []).append(row)
    return sorted(found.items(), key=lambda group: group[0]) or [((), [])]


def quantity(meter: Meter, request: UsageRequest, used: Iterable[Used]) -> Fraction:
    """Return the quantity that usage comes to; no usage is 0."""
    rows = list(used)
    if meter.aggregation is Aggregation.SUM:
        return _sum(rows)  # as most: no period is looked at
    parts = [row for row in rows if isinstance(row, UsagePart)]
    points = [row for row in rows if isinstance(row, UsagePoint)]
    if meter.points:
        parts += _parts(points)
    period = Period(request.start, request.end)
    match meter.aggregation:
        case Aggregation.COUNT:
            return _count(parts)
        case Aggregation.MIN:
            return min((from_mantissa(p.minimum, p.scale) for p in parts), default=Fraction(0))
        case Aggregation.MAX:
            return max((from_mantissa(p.maximum, p.scale) for p in parts), default=Fraction(0))
        case Aggregation.AVERAGE:
            return _sum(parts) / (_count(parts) or 1)
        case Aggregation.LATEST:
            return latest(points)
        case Aggregation.UNIQUE_COUNT:
            return unique_count(points)
        case Aggregation.PERCENTILE:
            return percentile(points, _percent(meter))
        case Aggregation.WINDOW_PERCENTILE:
            sums = ((part.window, from_mantissa(part.sum, part.scale)) for part in parts)
            return window_percentile(sums, period, meter.window_us, _percent(meter))
        case Aggregation.TIME_WEIGHTED:
            return time_weighted(points, period, meter.per_us)
        case _:
            assert_never(meter.aggregation)


def events_for(price: Price, used: Iterable[Used]) -> Events:
    """Return what a price must know of the single events: nothing, how many, or each in order.

    An event below zero pays nothing: like usage below zero, it is rated as none.
    """
    if not isinstance(price, PercentagePrice) or not looks_at_events(price):
        return Events()
    rows = list(used)
    if not price.needs_amounts:
        counts = (row.multiplicity if isinstance(row, UsagePoint) else row.count for row in rows)
        return Events(max(0, sum(counts)))  # a reversal may stand without its original here
    points = in_order(row for row in rows if isinstance(row, UsagePoint))
    paying = (point for point in points if point.mantissa >= 0)
    return Events(amounts=tuple(p.value for p in paying for _ in range(p.multiplicity)))


def _parts(points: Iterable[UsagePoint]) -> list[UsagePart]:
    """Return what points come to where their meter adds up: of each scale one part."""
    by_scale: dict[int, list[UsagePoint]] = {}
    for point in points:
        by_scale.setdefault(point.scale, []).append(point)
    return [_part(scale, told) for scale, told in by_scale.items()]


def _part(scale: int, points: Sequence[UsagePoint]) -> UsagePart:
    count = sum(point.multiplicity for point in points)
    total = sum(point.multiplicity * point.mantissa for point in points)
    mantissas = [point.mantissa for point in points]
    return UsagePart(scale, count, total, min(mantissas), max(mantissas))


def _count(parts: Iterable[UsagePart]) -> Fraction:
    return Fraction(sum(part.count for part in parts))


def _sum(rows: Iterable[Used]) -> Fraction:
    by_scale: dict[int, int] = {}  # whole numbers add up far faster than fractions
    for row in rows:
        told = row.sum if isinstance(row, UsagePart) else row.mantissa * row.multiplicity
        by_scale[row.scale] = by_scale.get(row.scale, 0) + told
    if len(by_scale) == 1:
        ((scale, total),) = by_scale.items()
        return from_mantissa(total, scale)
    return sum((from_mantissa(each, scale) for scale, each in by_scale.items()), Fraction(0))


def _percent(meter: Meter) -> Fraction:
    if meter.percent is None:
        raise BrokenInvariant(f"meter {meter.id} is a percentile of no percent")
    return meter.percent


def disjoint(stretches: Iterable[UsageRequest]) -> list[UsageRequest]:
    """Return stretches of windows that hold what these hold, each window once."""
    merged: list[UsageRequest] = []
    for stretch in sorted(stretches):
        last = merged[-1] if merged else None
        end = stretch.end
        if (
            last
            and (last.customer, last.meter) == (stretch.customer, stretch.meter)
            and stretch.start <= last.end
        ):
            merged.pop()
            stretch, end = last, max(last.end, end)
        merged.append(UsageRequest(stretch.customer, stretch.meter, stretch.start, end))
    return merged
