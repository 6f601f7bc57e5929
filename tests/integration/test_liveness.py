"""A metering worker that gets nowhere ends, and says why; the next one goes on where it stood."""

import sys
from pathlib import Path
from threading import Timer
from time import sleep

import pytest
from confluent_kafka.cimpl import NewTopic

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.running import FINALIZER, METERING, PRICING, TICKER, RunningStack
from integration.stalled import DIES, DOZES, ailment
from integration.traffic import Traffic, check_books, customers_everywhere
from oracle import Oracle
from pipeline.core.calendar import SECOND, Instant
from pipeline.stores.clock import wall_clock
from pipeline.stores.kafka import admin, log_ends
from pipeline.topology import USAGE_EVENTS
from pipeline.workers.pausing import paused
from pipeline.workers.supervisor import WorkerKind

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

PROGRAM = (sys.executable, str(Path(__file__).parent / "stalled.py"))
STALL_S, TOLERANCE_S, LEAD = 2.0, 2, 10
LEADERLESS_S = 8.0
SAID = {
    DIES: "nothing is fetched from Kafka any more: KeyError('something nobody",
    DOZES: "and nothing was committed for 2 s: this worker begins anew",
}


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    stack = make_shared_stack(
        session_s=6.0, stall_s=STALL_S, tolerance_s=TOLERANCE_S, metering_lead=LEAD
    )
    stack.start(TICKER, PRICING, FINALIZER)
    stack.start(METERING, program=PROGRAM)
    start = (wall_clock() // SECOND - 60) * SECOND
    stack.apply(shop.catalog(customers_everywhere(stack.around.partitions), start, None))
    return stack


@pytest.fixture(scope="module")
def traffic(stack: RunningStack) -> Traffic:
    return Traffic(stack, Oracle(shop.METERS))


def send(stack: RunningStack, traffic: Traffic, time: Instant) -> None:
    """Send a message to every partition."""
    for customer in customers_everywhere(stack.around.partitions):
        ids = [f"{traffic.oracle.offered}-{n}" for n in range(3)]
        traffic.keyed(*(usage(customer, time=time, meter="seats", id=one) for one in ids))
    traffic.flush()


@pytest.mark.parametrize("wrong", [DIES, DOZES])
def test_a_fetcher_that_dies_or_dozes_is_the_end_of_its_worker(
    stack: RunningStack, traffic: Traffic, wrong: str
) -> None:
    send(stack, traffic, wall_clock())
    stack.await_booked()
    assert SAID[wrong] not in stack.said(METERING)
    ailment(stack.around.settings).write_text(wrong)
    send(stack, traffic, wall_clock())

    stack.until(lambda: SAID[wrong] in stack.said(METERING), "the worker says so")
    ailment(stack.around.settings).unlink(missing_ok=True)
    stack.await_booked()
    check_books(stack, traffic.oracle)
    assert paused(stack.around) == []


@pytest.mark.parametrize(
    ("away", "ahead_s"), [(TICKER, TOLERANCE_S + 1), (PRICING, 0)], ids=["no ticker", "no pricing"]
)
def test_who_waits_for_time_or_for_the_books_is_not_stalled(
    stack: RunningStack, traffic: Traffic, away: WorkerKind, ahead_s: int
) -> None:
    stack.await_booked()
    stack.stop(away)
    before = stack.said(METERING)
    for _ in range(3 * LEAD):
        send(stack, traffic, wall_clock() + ahead_s * SECOND)
    sleep(2 * STALL_S + 1)
    assert any(at < end - 1 for at, end in zip(stack.offsets(), stack.ends(), strict=True))

    stack.start(away)
    stack.await_booked()
    assert stack.said(METERING) == before
    check_books(stack, traffic.oracle)


def test_in_the_end_every_event_has_one_outcome(stack: RunningStack) -> None:
    assert stack.close_the_books()["rejected"] == 0


def test_a_partition_that_has_no_leader_yet_is_waited_for(stack: RunningStack) -> None:
    """A broker that was killed takes longer to come back than ten quick attempts last."""
    kafka, name = stack.around.kafka, stack.around.stack.topic(USAGE_EVENTS) + "-late"
    client = admin(kafka)
    late = Timer(LEADERLESS_S, lambda: client.create_topics([NewTopic(name, 2, 1)])[name].result())
    late.start()

    assert log_ends(kafka, name, 2) == [(0, 0), (0, 0)]
    late.join()
