"""One event lost on purpose is named; the whole log told twice tells the same."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.running import FINALIZER, PARTITIONS, PRICING, RunningStack
from integration.traffic import Traffic, customers_everywhere
from oracle import Oracle
from pipeline.collect.batch import Mode, UsageBatch, pack_events
from pipeline.core.calendar import SECOND, Instant, parse_instant
from pipeline.core.errors import BadInput
from pipeline.core.identity import partition_of
from pipeline.replay.audit import total
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.workers.auditing import Audit
from pipeline.workers.healing import find_gaps
from pipeline.workers.recounting import recount
from pipeline.workers.supervisor import worker_environment

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

EVENTS = int(os.environ.get("TALEA_LOSS_EVENTS", "100000"))
"""How many are sent; one is lost. `make loss` sends 1,000,000."""
LOST = EVENTS * 2 // 3
BATCH = 1000
PRODUCER = "counter-7"
COUNTS = ("offered", "billed", "duplicate", "conflict", "late", "rejected", "pending")


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    stack = make_shared_stack(audit_s=0.5)
    stack.start()
    return stack


@pytest.fixture(scope="module")
def traffic(stack: RunningStack) -> Traffic:
    start = (wall_clock() // SECOND - 60) * SECOND
    stack.apply(shop.catalog([*customers_everywhere(stack.around.partitions)[1:]], start, None))
    return Traffic(stack, Oracle(shop.METERS, late_before=start - 3600 * SECOND))


def told(stack: RunningStack, *arguments: str, status: int = 0) -> Any:
    ran = talea(stack, *arguments, "--json")
    assert ran.returncode == status, ran.stderr
    return json.loads(ran.stdout)


class Counter:
    """A producer that counts one customer's requests in sequence."""

    def __init__(self, stack: RunningStack, customer: str, time: Instant) -> None:
        self._stack, self.partition = stack, partition_of(customer, stack.around.partitions)
        self._event = usage(customer, meter="requests", time=time)
        self._packed: dict[int, UsageBatch] = {}

    def send(self, first: int, last: int) -> None:
        """Send the places [first, last)."""
        count = last - first
        if count not in self._packed:
            events = [self._event] * count
            self._packed[count] = pack_events(events, Mode.SEQUENCED, PRODUCER, "e1", 0)
        message = encode_batch(replace(self._packed[count], first_sequence=first))
        log = self._stack.log
        self._stack.producer.send(log, self.partition, message, event_count=count)


@pytest.mark.usefixtures("traffic")
def test_one_lost_event_is_named_by_producer_and_sequence(stack: RunningStack) -> None:
    customer, now = customers_everywhere(stack.around.partitions)[-1], wall_clock()
    counter = Counter(stack, customer, now)
    places = sorted({*range(0, EVENTS, BATCH), LOST, LOST + 1, EVENTS})
    for first, last in pairwise(places):
        if first != LOST:
            counter.send(first, last)
    stack.producer.flush()
    stack.await_drained()

    audit = told(stack, "audit")
    (one,) = audit["producers"]
    since = parse_instant(one.pop("since"))
    assert one == {
        "producer": PRODUCER,
        "epoch": "e1",
        "partition": counter.partition,
        "missing": [[LOST, LOST]],
        "events": 1,
        "ended": False,
    }
    assert now - 60 * SECOND < since <= wall_clock()
    assert audit["closed"]
    assert sum(p["offered"] for p in audit["partitions"]) == EVENTS - 1
    (draft,) = told(stack, "draft", customer)
    assert [each["missing"] for each in draft["incomplete"]] == [[[LOST, LOST]]]
    assert (
        f"misses 1 event of partition {one['partition']}" in talea(stack, "draft", customer).stdout
    )

    counter.send(LOST, LOST + 1)
    stack.producer.flush()
    stack.await_drained()
    assert told(stack, "audit")["producers"] == []


def test_a_second_account_of_the_log_is_the_same(stack: RunningStack, traffic: Traffic) -> None:
    customers, now = customers_everywhere(stack.around.partitions, each=2), wall_clock()
    for name in customers:
        one = usage(name, meter="requests", time=now, id="one")
        other = usage(name, "7", meter="requests", time=now, id="one")
        old = usage(name, meter="requests", time=now - 4 * 86_400 * SECOND, id="old")
        strange = usage(name, meter="no_meter", time=now, id="strange")
        traffic.keyed(one, one, other, old, strange)
        traffic.sequenced(0, *[one] * 3, producer=name)
        traffic.again(traffic.sent[-1])
        traffic.sequenced(0, *[other] * 3, producer=name)
    traffic.flush()
    partition = partition_of(customers[0], stack.around.partitions)
    stack.write(partition, b"noise", 3)
    stack.await_drained()

    deep = told(stack, "audit", "--deep")["deep"]
    assert deep["equal"]
    for name in COUNTS:
        assert sum(p[name] for p in deep["partitions"]) > 0, name

    _both_payloads_of_a_conflict_are_shown(stack, customers[0])
    _a_batch_in_conflict_is_quarantined_once(stack, customers[0])

    stack.stop(PRICING)  # or it would write over what comes now
    move = "UPDATE cursor SET duplicate = duplicate + %s, conflict = conflict - %s"
    stack.connection.execute(move + " WHERE partition_no = %s", [1, 1, partition])
    try:  # the equation closes over that; the recount does not
        differing = told(stack, "audit", "--deep", status=1)
        assert differing["closed"]
        found = {p["partition"]: p["differences"] for p in differing["deep"]["partitions"]}
        assert found.pop(partition).keys() == {"duplicate", "conflict"}
        assert not any(found.values())
    finally:
        stack.connection.execute(move + " WHERE partition_no = %s", [-1, -1, partition])
        stack.start(PRICING)
    stack.close_the_books()


def _both_payloads_of_a_conflict_are_shown(stack: RunningStack, customer: str) -> None:
    listed = told(stack, "rejected", "list", "--reason", "conflict", "--customer", customer)
    (by_key,) = [each for each in listed["rejected"] if each["path"] == "id"]
    shown = told(stack, "rejected", "show", by_key["id"])
    (second,) = [event for event in shown["events"] if event["reason"] == "conflict"]
    first = second["first"]
    assert (first["value"], second["value"]) == ("1", "7")
    assert first["key"] == second["key"]
    assert first["fingerprint"] != second["fingerprint"]
    assert first["id"].rsplit(":", 1)[0] == second["id"].rsplit(":", 1)[0]  # of one batch here


def _a_batch_in_conflict_is_quarantined_once(stack: RunningStack, customer: str) -> None:
    """A rewind changes nothing of it, nor does a pricing worker that starts again."""
    told_of = ["rejected", "list", "--reason", "conflict"]
    booked = sum(p["conflict"] for p in told(stack, "audit")["partitions"])
    home = str(partition_of(customer, stack.around.partitions))
    assert told(stack, "rewind", "--partition", home, "--to", "0")["unmoved"]
    stack.kill(PRICING)
    stack.await_drained()
    assert told(stack, *told_of)["events"] == booked

    listed = told(stack, *told_of, "--customer", customer)["rejected"]
    by_place = [each["id"] for each in listed if each["path"] == "first_sequence"]
    assert len(by_place) == 3
    for number, name in enumerate(by_place):
        (second,) = told(stack, "rejected", "show", name)["events"]
        first = second["first"]
        assert (first["value"], second["value"]) == ("1", "7")
        assert first["key"] == second["key"]
        assert (first["id"].split(":")[3], second["id"].split(":")[3]) == (f"{number}",) * 2
        assert first["id"] != second["id"]
    refused = talea(stack, "rejected", "redrive", by_place[0], "--actor", "ada")
    assert refused.returncode == 2
    assert "under an id of its own" in refused.stderr


def test_the_equation_is_watched(stack: RunningStack, traffic: Traffic) -> None:
    arguments = ["audit", "--watch", "--every", "0.2", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        env={**os.environ, **worker_environment(stack.around)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        assert first["collector"]["closed"]
        assert [p["pending"] for p in first["collector"]["partitions"]] == [0] * PARTITIONS
        traffic.keyed(
            usage(customers_everywhere(1)[0], meter="requests", time=wall_clock(), id="w")
        )
        traffic.flush()
        offered = sum(p["offered"] for p in first["partitions"])
        while (
            sum(p["offered"] for p in json.loads(watching.stdout.readline())["partitions"])
            == offered
        ):
            pass
        watching.send_signal(signal.SIGINT)
    stack.await_drained()

    lines = [json.loads(x) for x in stack.said(FINALIZER).splitlines() if '"conservation"' in x]
    assert lines
    assert all(line["closed"] for line in lines)
    stack.close_the_books()


def test_the_equation_closes_over_what_retention_took(stack: RunningStack) -> None:
    stack.await_drained()
    before = total(stack.conservation())
    admin = AdminClient({"bootstrap.servers": stack.around.kafka})
    kept = [TopicPartition(stack.log, p, end // 2) for p, end in enumerate(stack.ends())]
    for deleted in admin.delete_records(kept).values():
        deleted.result(20)

    assert total(stack.conservation()) == before
    assert find_gaps(stack.around) == []
    stack.close_the_books()
    looking = Audit(stack.around)
    with pytest.raises(BadInput, match="the log begins at offset"):
        recount(stack.around, looking, looking.look(_quiet), _quiet)
    looking.close()


def _quiet(_read: int, _of: int) -> None:
    """Count without telling."""
