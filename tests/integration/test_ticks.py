"""Time on real servers: clocks that jump, tickers that stall, die half-way and come back."""

import signal
from collections.abc import Callable
from time import sleep

import pytest
from confluent_kafka import Producer

from builders import keyed, usage
from fixtures_stack import StackMaker
from integration import shop
from integration.running import METERING, TICKER, RunningStack
from integration.traffic import customers_everywhere
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.identity import partition_of
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.postgres.database import one
from pipeline.stores.records import encode_tick
from pipeline.topology import EVENT_COUNT_HEADER
from pipeline.workers.pausing import paused
from pipeline.workers.supervisor import WorkerKind
from pipeline.workers.ticker import Ticker

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

STANDBY = WorkerKind("ticker", 1)
TOLERANCE_S = 2
YEAR = 365 * 86_400 * SECOND
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    """A running stack that lets usage be little ahead of log time."""
    stack = make_shared_stack(session_s=6.0, tolerance_s=TOLERANCE_S)
    start = (wall_clock() // SECOND - 60) * SECOND
    stack.start()
    stack.apply(shop.catalog(customers_everywhere(stack.around.partitions), start, None))
    return stack


def batch(customer: str) -> bytes:
    time = wall_clock()
    events = [usage(customer, meter="gigabytes", time=time, id=f"{time}-{n}") for n in range(3)]
    return encode_batch(keyed(*events))


def send_everywhere(stack: RunningStack) -> list[int]:
    """Write three events into every partition; return their offsets, partition by partition."""
    partitions = stack.around.partitions
    names = customers_everywhere(partitions)
    homes = sorted((partition_of(name, partitions), name) for name in names)
    return [stack.write(home, batch(name), 3) for home, name in homes]


def booked(stack: RunningStack, offsets: list[int]) -> Callable[[], bool]:
    def all_booked() -> bool:
        return all(at >= sent for at, sent in zip(stack.offsets(), offsets, strict=True))

    return all_booked


def goes_on(stack: RunningStack) -> None:
    """Hold that usage of now is fresh in every partition."""
    before = stack.counts()
    stack.until(booked(stack, send_everywhere(stack)), "usage is booked")
    after = stack.counts()
    assert after.fresh - before.fresh == 3 * stack.around.partitions
    assert (after.rejected, after.late) == (before.rejected, before.late)


def ticks(stack: RunningStack) -> int:
    (last,) = one(stack.connection, "SELECT max(serial) FROM tick WHERE acked")
    return int(last)


def every_partition_has_every_tick(stack: RunningStack) -> None:
    last = ticks(stack)
    everywhere = range(stack.around.partitions)
    stack.until(lambda: all(stack.tick(p) >= last for p in everywhere), "the ticks are booked")
    rows = stack.connection.execute(
        "SELECT tick.serial FROM tick JOIN partition_tick p ON p.serial = tick.serial AND"
        " p.time_us = tick.time_us AND p.fact_position = tick.fact_position WHERE tick.serial <= %s"
        " GROUP BY tick.serial HAVING count(*) = %s ORDER BY tick.serial",
        [last, stack.around.partitions],
    ).fetchall()
    assert [serial for (serial,) in rows] == list(range(1, last + 1))


def tick_by(stack: RunningStack, clock: Callable[[], Instant]) -> None:
    """Write one tick by another clock, nobody else leading."""
    with stack.around.database.session("another ticker") as session:
        ticker = Ticker(stack.around, session, stack.producer, clock)
        stack.until(ticker.try_lead, "it leads")
        ticker.tick()


def test_the_brokers_timestamps_mean_nothing(stack: RunningStack) -> None:
    client = Producer({"bootstrap.servers": stack.around.kafka})
    customer = customers_everywhere(stack.around.partitions)[0]
    home = partition_of(customer, stack.around.partitions)
    before = stack.counts()
    now_ms = wall_clock() // 1000
    for days in (0, -20, 0, -1, -30):  # stepping back, and forth again
        client.produce(
            stack.log,
            batch(customer),
            partition=home,
            timestamp=now_ms + days * DAY_MS,
            headers=[(EVENT_COUNT_HEADER, b"3")],
        )
    assert client.flush(20) == 0
    stack.await_booked()

    assert stack.counts().fresh == before.fresh + 15
    goes_on(stack)


def test_a_frozen_ticker_makes_usage_wait_until_another_leads_and_harms_nothing_awake(
    stack: RunningStack,
) -> None:
    stack.start(STANDBY)
    before, last = stack.counts(), ticks(stack)
    stack.until(lambda: ticks(stack) > last, "one of them ticks")
    stack.signal(TICKER, signal.SIGSTOP)
    sleep(TOLERANCE_S + 1)
    frozen_at = ticks(stack)
    ahead = send_everywhere(stack)
    sleep(0.7)
    waiting = stack.counts()
    alone = ticks(stack) == frozen_at
    assert not alone or (waiting.fresh, waiting.rejected) == (before.fresh, before.rejected)

    stack.until(booked(stack, ahead), "the other one leads, usage is booked")
    assert stack.counts().rejected == before.rejected
    assert stack.counts().fresh == before.fresh + 3 * stack.around.partitions

    stack.signal(TICKER, signal.SIGCONT)
    stack.until(lambda: "lost its session" in stack.said(TICKER), "the frozen one notices")
    goes_on(stack)
    stack.stop(STANDBY)
    goes_on(stack)
    every_partition_has_every_tick(stack)


def test_a_tick_that_died_half_way_is_ended_by_the_next_ticker(stack: RunningStack) -> None:
    stack.stop(TICKER)
    with stack.around.database.session("half a ticker") as session:
        stack.until(session.try_lead, "it leads")
        half = session.write_tick(wall_clock(), stack.around.partitions)
        assert half is not None
        for partition in (0, 2):
            stack.write(partition, encode_tick(half, stack.around.partitions), 0)

    tick_by(stack, lambda: wall_clock() - 30 * YEAR)
    tick_by(stack, lambda: wall_clock() - 30 * YEAR)
    tick_by(stack, wall_clock)
    stack.start(TICKER)

    goes_on(stack)
    every_partition_has_every_tick(stack)


def test_a_tick_too_far_ahead_stops_the_worker_until_the_clocks_agree(
    stack: RunningStack,
) -> None:
    """And the ticker, whose own time lies behind that tick now, goes on at its pace."""
    stack.stop(TICKER)
    tick_by(stack, lambda: wall_clock() + 306 * SECOND)
    stack.start(TICKER)

    stack.until(lambda: "set the clocks right" in stack.said(METERING), "the worker says so")
    goes_on(stack)

    last = ticks(stack)
    stack.until(lambda: ticks(stack) > last + 2, "time goes on", patience_s=60)
    assert paused(stack.around) == []  # no message's fault
    every_partition_has_every_tick(stack)


def test_in_the_end_every_event_has_one_outcome(stack: RunningStack) -> None:
    assert stack.close_the_books()["rejected"] == 0
