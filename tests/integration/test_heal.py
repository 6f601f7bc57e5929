"""Gaps are named and mended, rewinds move nothing: whatever runs meanwhile, and however often."""

import json
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.load import Load
from integration.running import METERING, PRICING, RunningStack
from integration.story import GENERATIONS, SESSION_S
from integration.traffic import Traffic, check_books, customers_everywhere
from oracle import Oracle
from pipeline.core.calendar import SECOND, instant_text
from pipeline.core.errors import BadInput
from pipeline.stores.clock import wall_clock
from pipeline.stores.groups import set_group_offsets
from pipeline.workers.healing import find_gaps, mend, metering_members
from pipeline.workers.rewinding import targets

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

BY_HAND, BY_ITSELF = 1, 2
"""The partitions that lose slices."""


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> Iterator[RunningStack]:
    """A shop whose pricing never mends a gap by itself; in the end its books are the oracle's."""
    stack = make_shared_stack(session_s=SESSION_S, heal_after_s=0, **GENERATIONS)
    stack.start()
    yield stack
    stack.close_the_books()


@pytest.fixture(scope="module")
def traffic(stack: RunningStack) -> Traffic:
    start = (wall_clock() // SECOND - 5) * SECOND
    stack.apply(shop.catalog(_customers(stack), start, None))
    return Traffic(stack, Oracle(shop.METERS, late_before=start - 1800 * SECOND))


def _customers(stack: RunningStack) -> list[str]:
    return customers_everywhere(stack.around.partitions, each=2)


def _told(stack: RunningStack, *arguments: str, status: int = 0) -> Any:
    ran = talea(stack, *arguments, "--json")
    assert ran.returncode == status, ran.stderr
    return json.loads(ran.stdout)


def lose_slices(stack: RunningStack, traffic: Traffic, partitions: list[int]) -> None:
    """Let metering step over messages, as if their slices had never been written."""
    stack.await_drained()
    stack.stop(METERING)
    for customer in _customers(stack):
        traffic.keyed(*(usage(customer, meter="requests", time=wall_clock()) for _ in range(20)))
    traffic.flush()
    ends = stack.ends()
    group = stack.around.stack.metering_group
    offsets = {number: ends[number] - 1 for number in partitions}
    set_group_offsets(stack.around.kafka, group, stack.log, offsets, 60.0, lambda _: None)
    stack.start(METERING)


def test_a_gap_is_named_and_mended(stack: RunningStack, traffic: Traffic) -> None:
    lose_slices(stack, traffic, [BY_HAND, BY_ITSELF])
    gaps = {gap.partition: gap for gap in find_gaps(stack.around)}
    stack.until(lambda: len(find_gaps(stack.around)) == 2, "two gaps are found")
    gaps = {gap.partition: gap for gap in find_gaps(stack.around)}
    booked = stack.offsets()
    assert {p: gap.first for p, gap in gaps.items()} == {
        p: booked[p] + 1 for p in (BY_HAND, BY_ITSELF)
    }
    stack.until(lambda: stack.said(PRICING).count("slices are missing") == 2, "pricing says so")

    assert _told(stack, "audit", status=1)["gaps"] == [gaps[p].json() for p in sorted(gaps)]
    healed = _told(stack, "heal", "--partition", str(BY_HAND))
    assert healed == {"gaps": [gaps[BY_HAND].json()], "open": [], "running": True}
    assert [gap.partition for gap in find_gaps(stack.around)] == [BY_ITSELF]

    stack.stop(PRICING)
    patient = stack.around
    settings = patient.settings.model_copy(update={"heal_after_s": 0.5})
    stack.around = replace(patient, settings=settings)
    stack.start(PRICING)
    stack.around = patient
    stack.await_drained()
    check_books(stack, traffic.oracle)
    said = stack.said(PRICING)
    assert "metering reads a gap again" in said
    assert said.count("slices are missing") == 3  # never in a loop
    assert "metering stands still" in stack.said(METERING)
    assert mend(stack.around, None, lambda _text: None) == []  # twice is once


def test_rewinds_under_load_move_no_total(stack: RunningStack, traffic: Traffic) -> None:
    start = instant_text(wall_clock() - 3600 * SECOND)
    with Load(traffic, _customers(stack), Random(5)):
        stack.await_booked()
        for arguments in (["--partition", "1", "--to", "0"], ["--all", "--to", start, "--claims"]):
            rewound = _told(stack, "rewind", *arguments)
            assert rewound["running"]
            assert rewound["unmoved"]
            assert sum(one["booked"] + 1 - one["to"] for one in rewound["partitions"]) > 0
        assert rewound["claims_forgotten"] > 0
        again = "claims made again out of the log"
        stack.until(lambda: again in stack.said(METERING), again)
    stack.await_drained()

    check_books(stack, traffic.oracle)


def test_a_rewind_while_nothing_runs_is_where_metering_starts(
    stack: RunningStack, traffic: Traffic
) -> None:
    stack.await_drained()
    stack.stop(METERING)
    stack.until(lambda: metering_members(stack.around) == 0, "the group is empty")

    rewound = _told(stack, "rewind", "--all", "--to", instant_text(wall_clock()))
    assert (rewound["running"], rewound["unmoved"]) == (False, True)
    with pytest.raises(BadInput, match="ahead of the books"):
        targets(stack.around, [0], stack.ends()[0] + 100, None)

    stack.start(METERING)
    stack.await_drained()
    check_books(stack, traffic.oracle)
