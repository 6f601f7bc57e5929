"""Usage billed before its period ends, on real servers: by a threshold, by hand, then the rest."""

import json
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.running import BILLING, RunningStack
from integration.traffic import Traffic
from oracle import Oracle
from pipeline.core.calendar import SECOND, Instant
from pipeline.stores.clock import wall_clock

pytestmark = pytest.mark.servers

CYCLE_S = 36_000


@pytest.fixture(scope="module")
def start() -> Instant:
    return (wall_clock() // SECOND - 60) * SECOND


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    return make_shared_stack()


def sold(start: Instant, end: Instant | None) -> str:
    """Ann pays as soon as she used 10.00, and again whenever it is 50.00 more."""
    text = shop.catalog(("ann",), start, end, "PT10H")
    return text.replace(
        "    cycle: PT10H", '    cycle: PT10H\n    thresholds: {at: ["10.00"], every: "50.00"}'
    )


def totals(stack: RunningStack) -> list[int]:
    contents: list[Any] = [document.content for document in stack.documents()]
    return [content["totals"]["total_minor"] for content in contents]


def test_a_threshold_and_a_command_bill_a_running_period(
    stack: RunningStack, start: Instant
) -> None:
    stack.apply(sold(start, None))
    stack.start(*BILLING)
    traffic = Traffic(stack, Oracle(shop.METERS))

    def use(gigabytes: str, number: int) -> None:
        event = usage("ann", gigabytes, meter="gigabytes", time=start + number)
        traffic.sequenced(0, event, producer=f"ann-{number}")
        traffic.flush()
        stack.await_booked()

    use("100", 1)
    stack.await_documents(1)
    use("10", 2)
    told = talea(
        stack, "subscription", "bill-now", "s-ann", "--actor", "ann", "--reason", "asked", "--json"
    )
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["facts"][0]["kind"] == "bill_now"
    stack.await_documents(2)
    use("1", 3)
    end = start + 10 * SECOND
    stack.apply(sold(start, end))  # served for a thousandth of a cycle or so
    stack.await_documents(3)
    stack.close_the_books()

    contents: list[Any] = [document.content for document in stack.documents()]
    assert totals(stack)[:2] == [1275, 128]  # 110 at 0.1275 are 14.025, rounded once
    assert sum(totals(stack)) == shop.bill(traffic.oracle, "ann", start, end, CYCLE_S)
    positions = [
        [line.get("line_position") for line in content["lines"] if line["meter"] == "gigabytes"]
        for content in contents
    ]
    assert positions == [["first"], ["mid"], ["last"]]
    assert [content.get("cause") is None for content in contents] == [False, False, True]
    assert stack.verify().faults == {}
    refused = talea(stack, "subscription", "bill-now", "s-bob", "--actor", "a", "--reason", "b")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("talea: no subscription s-bob: ")
