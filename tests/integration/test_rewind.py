"""Rewinding the metering group moves no total, whether Redis still knows its claims or not."""

from time import monotonic, sleep

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.running import METERING, RunningStack, connected, wipe_claims
from integration.story import GENERATIONS, SESSION_S, open_shop
from integration.traffic import Sent, Traffic, check_books, customers_everywhere
from oracle import Oracle
from pipeline.core.calendar import SECOND
from pipeline.stores.clock import wall_clock

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

REWIND_WAIT_S = 60.0


def rewind_to_the_beginning(stack: RunningStack) -> None:
    """Set the group's offsets to 0, once its last member is gone."""
    admin = AdminClient({"bootstrap.servers": stack.around.kafka})
    group = stack.around.stack.metering_group
    places = [TopicPartition(stack.log, p, 0) for p in range(stack.around.partitions)]
    deadline = monotonic() + REWIND_WAIT_S
    while True:
        asked = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
        try:
            errors = [place.error for place in asked[group].result(20).topic_partitions]
        except KafkaException as error:
            errors = [error.args[0]]
        if not any(errors):
            return
        assert monotonic() < deadline, errors
        sleep(0.3)


def usage_of(traffic: Traffic, customers: list[str], name: str) -> list[Sent]:
    """Send usage by key and in sequence, two batches of each for every customer."""
    now, sent = wall_clock(), []
    for customer in customers:
        for part in range(2):
            sent += traffic.keyed(
                *(
                    usage(customer, meter="requests", time=now, id=f"{name}-{part}-{n}")
                    for n in range(150)
                )
            )
            events = [usage(customer, "0.25", meter="gigabytes", time=now) for _ in range(100)]
            sent.append(traffic.sequenced(part * 100, *events, producer=customer, epoch=name))
    traffic.flush()
    return sent


@pytest.mark.parametrize("wiped", [False, True], ids=["Redis intact", "Redis wiped"])
def test_a_rewind_in_the_middle_of_a_run_moves_no_total(
    make_stack: StackMaker, wiped: bool
) -> None:
    stack = make_stack(session_s=SESSION_S)
    customers = customers_everywhere(stack.around.partitions)
    start = (wall_clock() // SECOND - 5) * SECOND
    stack.start()
    stack.apply(shop.catalog(customers, start, None))
    traffic = Traffic(stack, Oracle(shop.METERS))
    first = usage_of(traffic, customers, "before")
    stack.await_drained()
    booked = stack.used()

    stack.stop(METERING)
    second = usage_of(traffic, customers, "while it was down")
    rewind_to_the_beginning(stack)
    if wiped:
        assert wipe_claims(stack.around) > 0
    assert stack.used() == booked
    stack.start(METERING)
    traffic.again(*first, *second)
    traffic.flush()
    third = usage_of(traffic, customers, "after")
    traffic.again(*first[::2], *third)
    traffic.flush()
    stack.await_drained()

    check_books(stack, traffic.oracle)
    counts = stack.close_the_books()
    assert counts["duplicate"] == sum(s.event_count for s in (*first, *second, *first[::2], *third))


def test_redis_wiped_and_cut_off_under_load_changes_no_total(make_stack: StackMaker) -> None:
    """The claims are made again out of the log; a worker without Redis starts anew."""
    stack = make_stack(session_s=SESSION_S, **GENERATIONS)
    stack.start()
    story = open_shop(stack, seed=4)

    with story.load:
        stack.await_booked()
        for _ in range(2):
            stack.until(lambda: wipe_claims(stack.around) > 0, "there are claims to be lost")
            stack.await_booked()
            with connected(stack.around) as client:
                client.client_kill_filter(_type="normal")
            stack.await_booked()
        for words in ("claims made again out of the log", "Redis went away"):
            stack.until(lambda words=words: words in stack.said(METERING), words)  # type: ignore[misc]
    story.close()
