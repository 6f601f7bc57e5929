"""One event lost on purpose is named; the whole log told twice tells the same."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.running import FINALIZER, PRICING, RunningStack
from integration.traffic import Traffic, check_books, customers_everywhere
from oracle import Oracle
from pipeline.core.calendar import SECOND, parse_instant
from pipeline.core.identity import partition_of
from pipeline.stores.clock import wall_clock
from pipeline.workers.supervisor import worker_environment

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

EVENTS = int(os.environ.get("TALEA_LOSS_EVENTS", "20000"))
"""How many are sent; one is lost. 1,000,000 takes minutes."""
LOST = EVENTS * 2 // 3
BATCH = 1000
PRODUCER = "counter-7"


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


def test_one_lost_event_is_named_by_producer_and_sequence(
    stack: RunningStack, traffic: Traffic
) -> None:
    customer = customers_everywhere(stack.around.partitions)[-1]
    now = wall_clock()
    lost = usage(customer, meter="requests", time=now)
    for first in range(0, EVENTS, BATCH):
        kept = [place for place in range(first, first + BATCH) if place != LOST]
        parts = (kept[: LOST - first], kept[LOST - first :]) if len(kept) < BATCH else (kept,)
        for part in parts:
            same = [lost] * len(part)
            traffic.sequenced(part[0], *same, producer=PRODUCER, epoch="e1")
    traffic.flush()
    stack.await_drained()

    audit = told(stack, "audit")
    (one,) = audit["producers"]
    since = parse_instant(one.pop("since"))
    assert one == {
        "producer": PRODUCER,
        "epoch": "e1",
        "partition": partition_of(customer, stack.around.partitions),
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

    traffic.sequenced(LOST, lost, producer=PRODUCER, epoch="e1")
    traffic.flush()
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
    traffic.oracle.hears_noise(3)
    stack.await_drained()
    check_books(stack, traffic.oracle)

    deep = told(stack, "audit", "--deep")["deep"]
    assert deep["equal"]
    for name in ("offered", "billed", "duplicate", "conflict", "late", "rejected", "pending"):
        assert sum(p[name] for p in deep["partitions"]) > 0, name

    _both_payloads_of_a_conflict_are_shown(stack, customers[0])

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
    shown = told(stack, "rejected", "show", listed["rejected"][0]["id"])
    (second,) = [event for event in shown["events"] if event["reason"] == "conflict"]
    first = second["first"]
    assert (first["value"], second["value"]) == ("1", "7")
    assert first["key"] == second["key"]
    assert first["fingerprint"] != second["fingerprint"]
    assert first["id"].rsplit(":", 1)[0] == second["id"].rsplit(":", 1)[0]  # of one batch here


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
