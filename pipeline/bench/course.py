"""The course of one run: drain, latency, baseline.

Owns: their order and what they share.  Does not own: servers and catalog (cli/bench.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipeline.bench.drain import drain, start_workers, warm_up
from pipeline.bench.expected import Expected
from pipeline.bench.latency import Steady, measure_latency
from pipeline.bench.load import Load, Shape
from pipeline.bench.plain import measure_baseline
from pipeline.bench.raw import RawLoad, drain_raw
from pipeline.bench.report import HALF, Figures
from pipeline.bench.shop import WINDOW_US, customer_names
from pipeline.bench.stand import Stand, Tell
from pipeline.core.calendar import SECOND, Instant, window_start
from pipeline.stores.clock import wall_clock
from pipeline.workers.supervisor import default_workers

SPAN_US = 3600 * SECOND
"""What stretch of event time the backlog covers: five windows, in order."""
WINDOWS = 24
_FLUSHES_SEEN = 2
"""A steady load lasts for at least so many flushes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of a run. `latency_s` 0: no second phase. `collectors` 0: packed batches.

    `loads` are the shares of the drained rate that latency is measured at.
    """

    shape: Shape
    events: int
    metering: int
    pricing: int
    latency_s: float
    baseline: bool
    collectors: int = 0
    loads: tuple[float, ...] = (HALF,)


def opening() -> Instant:
    """Return when usage begins: an edge of a window, more than the span ago."""
    return window_start(wall_clock() - SPAN_US, WINDOW_US)


def run_course(stand: Stand, plan: Plan, start: Instant, tell: Tell) -> Figures:
    """Measure; the catalog is in force since `start`."""
    shape = plan.shape
    customers = customer_names(shape.series)
    expected = Expected(customers, start, WINDOWS)
    load, times = Load(shape, customers, expected), (start, start + SPAN_US)
    workers = default_workers(plan.metering, plan.pricing, collectors=max(1, plan.collectors))
    if plan.collectors:
        raw = RawLoad(customers, expected)
        drained = drain_raw(stand, raw, plan.events, times, workers, tell)
    else:
        drained = drain(stand, load, expected, plan.events, times, workers, tell)
    duplicates = expected.duplicate
    steady = {}
    for share in plan.loads if plan.latency_s else ():
        rate = drained.events_per_s * share
        steady[share] = measure_latency(stand, load, expected, rate, plan.latency_s, tell)
    stand.stop()
    plain = measure_baseline(stand, customers, tell) if plan.baseline else None
    numbers = {"metering": plan.metering, "pricing": plan.pricing}
    return Figures(shape, numbers, duplicates, drained, steady, plain)


def run_flushes(
    stand: Stand, plan: Plan, start: Instant, rate: float, flushes_s: Iterable[float], tell: Tell
) -> dict[float, Steady]:
    """Measure latency and cost at one rate, by how long the pricing workers gather."""
    customers = customer_names(plan.shape.series)
    expected = Expected(customers, start, WINDOWS)
    load, times = Load(plan.shape, customers, expected), (start, start + SPAN_US)
    workers = default_workers(plan.metering, plan.pricing)
    start_workers(stand, workers, tell)
    found = {}
    for flush_s in flushes_s:
        stand.stop("pricing")
        settings = stand.around.settings.model_copy(update={"flush_s": flush_s})
        stand.around = replace(stand.around, settings=settings)
        stand.start(*(kind for kind in workers if kind.name == "pricing"))
        warm_up(stand, load, times, tell)
        seconds = max(plan.latency_s, _FLUSHES_SEEN * flush_s)
        found[flush_s] = measure_latency(stand, load, expected, rate, seconds, tell)
    return found
