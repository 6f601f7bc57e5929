"""Backpressure: a slow database slows the source down, and nothing grows without bound."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from time import monotonic, sleep

import psutil
import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import raw, shop
from integration.running import (
    BILLING,
    COLLECTOR,
    FINALIZER,
    METERING,
    PATIENCE_S,
    PRICING,
    PUBLISHER,
    RunningStack,
)
from integration.traffic import Traffic, check_books, customers_everywhere
from oracle import Oracle
from pipeline.core.calendar import SECOND
from pipeline.stores.clock import wall_clock
from pipeline.stores.kafka import log_ends
from pipeline.stores.postgres.books import load_cursors
from pipeline.topology import USAGE_METERED
from pipeline.workers.streaming import FETCHED_BYTES

LEAD = 40
FLOOD_S = float(os.environ.get("TALEA_FLOOD_S", "18"))
"""How long more comes in than is booked. `make flood` takes ten minutes of it."""
WARM_S = 5.0
FULL = FETCHED_BYTES // 450
"""Batches of 500 bytes: more than is read ahead of a partition, or workers fill up for minutes."""
CYCLE = "PT2S"
"""So that the finalizer issues documents all the while."""
ROUND_S = 0.1
BATCHES, EVENTS = 6, 20
"""Of each customer in a round: more than the books take while they are slow."""
GROWTH_MAX = 1.1
SLOW_S = 0.2

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180 + 2 * FLOOD_S)]

_SLOW = (
    "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS"
    f" 'BEGIN PERFORM pg_sleep({SLOW_S}); RETURN NEW; END'",
    "CREATE TRIGGER slowly BEFORE UPDATE ON cursor FOR EACH ROW EXECUTE FUNCTION slowly()",
)


@contextmanager
def slow_books(stack: RunningStack) -> Iterator[None]:
    """Let every booking take its time."""
    with stack.around.database.session("test slow", owner=True) as session:
        for statement in _SLOW:
            session.execute(statement.encode())
        yield
        session.execute("DROP FUNCTION slowly CASCADE")


@dataclass
class Gauge:
    """What is measured while a flood comes in."""

    stack: RunningStack
    leads: list[int] = field(default_factory=list)
    sizes: dict[str, list[int]] = field(default_factory=dict)

    def look(self) -> None:
        """Note the lead of metering over the books, and the size of every worker."""
        around = self.stack.around
        metered = log_ends(around.kafka, around.stack.topic(USAGE_METERED), around.partitions)
        cursors = load_cursors(self.stack.connection)  # later: it may only have come nearer
        booked = {number: cursor.metered_offset for number, (cursor, _) in cursors.items()}
        self.leads += [end - 1 - booked.get(number, -1) for number, (_, end) in enumerate(metered)]
        for label, pid in self.stack.pids().items():
            self.sizes.setdefault(label, []).append(psutil.Process(pid).memory_info().rss)

    def growth(self) -> Mapping[str, float]:
        """The largest size of the last third, by that of the first."""
        found = {}
        for label, sizes in self.sizes.items():
            third = len(sizes) // 3
            found[label] = max(sizes[-third:]) / max(sizes[:third])
        return found


def fill(traffic: Traffic, customers: Sequence[str]) -> None:
    """Have more wait than a worker reads ahead."""
    for first in range(0, FULL * EVENTS, EVENTS):
        for customer in customers:
            batch = [usage(customer, meter="requests", time=wall_clock())] * EVENTS
            traffic.sequenced(first, *batch, producer=customer, epoch="fill")
    traffic.flush()


def flood(
    stack: RunningStack, traffic: Traffic, client: raw.Client, epoch: str, seconds: float
) -> Gauge:
    """Send more than can be booked, raw and in sequence, for so long."""
    gauge, until, places = Gauge(stack), monotonic() + seconds, count(0, EVENTS)
    customers = customers_everywhere(stack.around.partitions)
    while (now := monotonic()) < until:
        for first in islice(places, BATCHES):
            for customer in customers:
                batch = [usage(customer, meter="requests", time=wall_clock())] * EVENTS
                traffic.sequenced(first, *batch, producer=customer, epoch=epoch)
        for customer in customers:
            name = f"{epoch}-{first}"
            one = usage(customer, "2", meter="seats", time=wall_clock(), id=name)
            client.send(raw.structured(one), raw.STRUCTURED)
            traffic.oracle.hears([one])
        traffic.flush()
        if int(now / ROUND_S) % 5 == 0:
            gauge.look()
        sleep(max(0.0, ROUND_S - (monotonic() - now)))
    client.flush()
    return gauge


def test_a_slow_database_slows_the_source_down_and_no_worker_grows(make_stack: StackMaker) -> None:
    stack = make_stack(metering_lead=LEAD, stall_s=5.0, audit_s=1.0)
    stack.start(*BILLING, COLLECTOR, PUBLISHER)
    traffic, client = Traffic(stack, Oracle(shop.METERS)), raw.Client(stack)
    customers = customers_everywhere(stack.around.partitions)
    start = (wall_clock() // SECOND - 10) * SECOND
    stack.apply(shop.catalog(customers, start, None, CYCLE))

    with slow_books(stack):
        fill(traffic, customers)
        flood(stack, traffic, client, "warm", WARM_S)
        gauge = flood(stack, traffic, client, "flood", FLOOD_S)
        behind = [end - at for end, at in zip(stack.ends(), stack.offsets(), strict=True)]
    said = stack.said(METERING) + stack.said(PRICING)
    raw.await_collected(stack)
    stack.await_booked(PATIENCE_S + FLOOD_S)  # what came in meanwhile is much
    stack.await_drained()

    assert min(behind) > 2 * LEAD, "the flood was none"
    assert LEAD // 2 < max(gauge.leads) <= LEAD
    print({name: round(size, 3) for name, size in gauge.growth().items()})
    assert {name: size for name, size in gauge.growth().items() if size > GROWTH_MAX} == {}
    assert gauge.sizes.keys() == stack.pids().keys()
    assert "this worker ends" not in said
    check_books(stack, traffic.oracle)
    assert stack.documents()
    stack.stop(FINALIZER)  # or documents come while they are verified
    stack.close_the_books()
