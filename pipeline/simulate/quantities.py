"""Quantities of the auditor: what counted usage of a meter comes to, in fractions.

Owns: every aggregation, from the events themselves.
Does not own: which events count (witness.py), prices (billing.py).
Law: it shares no step with the pipeline.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import cast

from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, Instant
from pipeline.simulate.agreements import Body
from pipeline.simulate.decisions import METERS
from pipeline.simulate.witness import Counted

Stretch = tuple[Instant, Instant]
"""[start, end)."""


@lru_cache(maxsize=4096)
def _exactly(value: Decimal) -> Fraction:
    return Fraction(value)


def width_us(meter: str) -> Instant:
    """Return how long a meter's windows are."""
    return cast(int, METERS[meter]["window_s"]) * SECOND


def point_of(event: UsageEvent) -> tuple[Instant, Fraction] | None:
    """Return time and value of the point that an event is kept as, if it is."""
    body = METERS[event.meter]
    if "of" in body:
        width, told = width_us(event.meter), body["of"] in event.dimensions
        return (event.time // width * width, Fraction(0)) if told else None
    kept = body["aggregation"] in ("latest", "percentile", "time_weighted") or "points" in body
    return (event.time, _exactly(event.value)) if kept else None


def quantity(meter: str, used: Iterable[Counted], served: Stretch) -> Fraction:
    """Return what was used in the windows that begin in a stretch; `used` is all of the meter."""
    body, width = METERS[meter], width_us(meter)
    start, end = (-(-edge // width) * width for edge in served)
    ordered = sorted((e for e in used if e.event.time < end), key=lambda e: (e.event.time, e.key))
    inside = [each for each in ordered if each.event.time >= start]
    values = [_exactly(each.event.value) for each in inside]
    match body["aggregation"]:
        case "count":
            return Fraction(len(values))
        case "sum":
            return sum(values, Fraction(0))
        case "max":
            return max(values, default=Fraction(0))
        case "average":
            return sum(values, Fraction(0)) / (len(values) or 1)
        case "latest":
            return values[-1] if values else Fraction(0)
        case "unique_count":
            told = (each.event.dimensions.get(str(body["of"])) for each in inside)
            return Fraction(len(set(told) - {None}))
        case "percentile":
            return _percentile(values, body)
        case "window_percentile":
            sums = dict.fromkeys(range(start, end, width), Fraction(0))
            for each in inside:
                sums[each.event.time // width * width] += _exactly(each.event.value)
            return _percentile(list(sums.values()), body)
        case _:
            return _levels(ordered, (start, end)) / (cast(int, body["per_s"]) * SECOND)


def _percentile(values: Sequence[Fraction], body: Body) -> Fraction:
    """Return the value at the nearest rank."""
    rank = ceil(Fraction(str(body["percent"])) * len(values) / 100)
    return sorted(values)[max(rank, 1) - 1] if values else Fraction(0)


def _levels(ordered: Iterable[Counted], served: Stretch) -> Fraction:
    """Return level x time: each level holds until the next of its dimensions is told."""
    told: dict[object, list[tuple[Instant, Fraction]]] = defaultdict(list)
    for each in ordered:
        event = each.event
        of = tuple(
            event.dimensions.get(name)
            for name in cast(list[str], METERS[event.meter]["dimensions"])
        )
        told[of].append((event.time, _exactly(event.value)))
    area = Fraction(0)
    for levels in told.values():
        ends = [time for time, _ in levels[1:]] + [served[1]]
        for (since, level), until in zip(levels, ends, strict=True):
            area += level * max(0, until - max(since, served[0]))
    return area
