"""Families of runs: what one figure becomes as another one grows.

Owns: which runs make a curve, which of its points are held against each other.
Does not own: a run (course.py), what is made of the figures (pages, plots, costs).
Every run has a throw-away stack of its own; a run that two families share is made once.
"""

from dataclasses import dataclass, replace

from pipeline.bench.course import Plan
from pipeline.bench.load import Shape
from pipeline.bench.report import HALF
from pipeline.collect.batch import Mode
from pipeline.collect.limits import BATCH_EVENTS_MAX

_SHAPE = Shape(Mode.KEYED, series=5000, partitions=4, batch_events=BATCH_EVENTS_MAX)
BASE = Plan(_SHAPE, 1_000_000, metering=2, pricing=1, latency_s=0, baseline=False)
AFFINE = "affine"
AFFINE_CUSTOMERS = 25
"""Customers of a batch, neighbours, as an agent that serves few of them sends it."""
_SEQUENCED_EVENTS = 5_000_000
"""At a million a second less would measure how the last of them settle."""
_AFFINE_EVENTS = 5_000_000
"""Each of 100,000 drafts is rated once at least: with ten events a series that is all one sees."""
_LATENCY_S = 10.0

FLUSHES_S = (0.1, 0.3, 1.0, 3.0, 10.0)
"""How long the pricing worker gathers: from streaming to micro-batches."""
FLUSH_RATE = 20_000.0
"""Events a second while the flush interval is varied: the same for all."""


_SMALLEST = Plan(replace(_SHAPE, series=40), 20_000, 1, 1, latency_s=2.0, baseline=False)


def smaller(plan: Plan, size: float) -> Plan:
    """Return a plan with that share of its events, series and seconds, if not the very least."""
    least, shape = _SMALLEST, plan.shape
    series = max(int(shape.series * size), least.shape.series)
    seconds = max(plan.latency_s * size, least.latency_s) if plan.latency_s else 0.0
    return replace(
        plan,
        shape=replace(shape, series=min(shape.series, series)),
        events=min(plan.events, max(int(plan.events * size), least.events)),
        latency_s=seconds,
    )


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a family: where it stands on the axis, and on which of its lines."""

    x: int | str
    plan: Plan
    line: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """Runs along an axis. `held` are (line, x, x) whose costs are held against each other."""

    name: str
    axis: str
    points: tuple[Point, ...]
    held: tuple[tuple[str, int, int], ...] = ()


def _series(count: int, batch_customers: int = 0) -> Plan:
    shape = replace(_SHAPE, series=count, batch_customers=batch_customers)
    return replace(BASE, shape=shape, events=_AFFINE_EVENTS if batch_customers else BASE.events)


def _partitions(count: int) -> Plan:
    return replace(BASE, shape=replace(_SHAPE, partitions=count))


def _sequenced(batch_customers: int = 0) -> Plan:
    shape = replace(_SHAPE, mode=Mode.SEQUENCED, batch_customers=batch_customers)
    return replace(BASE, shape=shape, events=_SEQUENCED_EVENTS)


_KEYED = replace(BASE, latency_s=_LATENCY_S, loads=(HALF / 2, HALF, HALF * 3 / 2), baseline=True)
"""Of every family a point: where all are measured, it is run once."""
_MODE_POINTS = (
    Point("keyed", _KEYED),
    Point("sequenced", _sequenced()),
    Point("sequenced", _sequenced(AFFINE_CUSTOMERS), AFFINE),
    Point("raw", replace(BASE, collectors=1)),
)
_EVENTS = (
    Point(10**5, replace(BASE, events=10**5)),
    Point(BASE.events, _KEYED),
    Point(10**7, replace(BASE, events=10**7)),
)
_SERIES = (
    Point(100, _series(100, AFFINE_CUSTOMERS), AFFINE),
    Point(100_000, _series(100_000, AFFINE_CUSTOMERS), AFFINE),
    Point(_SHAPE.series, _KEYED, "random"),
    Point(100_000, _series(100_000), "random"),
)
_PARTITIONS = (
    Point(1, _partitions(1)),
    Point(_SHAPE.partitions, _KEYED),
    Point(16, _partitions(16)),
)
_WORKERS = (
    Point(1, replace(BASE, metering=1)),
    Point(BASE.metering, _KEYED),
    Point(4, replace(BASE, metering=4)),
)
MODES, FLUSH = "modes", "flush"
_AFFINE, _RANDOM = (AFFINE, 100, 100_000), ("random", _SHAPE.series, 100_000)
FAMILIES = {
    family.name: family
    for family in (
        Family(MODES, "mode", _MODE_POINTS),
        Family("events", "events", _EVENTS, (("", 10**5, 10**7),)),
        Family("series", "series", _SERIES, (_AFFINE, _RANDOM)),
        Family("partitions", "partitions", _PARTITIONS, (("", 1, 16),)),
        Family("workers", "metering workers", _WORKERS, (("", 1, 4),)),
        Family(FLUSH, "flush interval, s", ()),
    )
}
