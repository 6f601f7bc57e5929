"""A Redis that comes back with less than it had moves no total: the log makes its claims again."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.load import Load
from integration.own_redis import OwnRedis
from integration.running import METERING, RunningStack
from integration.story import GENERATIONS, SESSION_S
from integration.traffic import Traffic, check_books, customers_everywhere
from oracle import Oracle
from pipeline.core.calendar import SECOND
from pipeline.stores.clock import wall_clock

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

CLAIM_BYTES_MAX = 200
"""Of one key in Redis, at least a hundred keys to a hash."""


def test_an_older_save_and_an_empty_replica_under_load(
    make_stack: StackMaker, tmp_path: Path
) -> None:
    stack = make_stack(session_s=SESSION_S, **GENERATIONS)
    customers = customers_everywhere(stack.around.partitions, each=2)
    start = wall_clock() // SECOND * SECOND
    stack.apply(shop.catalog(customers, start, None))
    traffic = Traffic(stack, Oracle(shop.METERS, late_before=start - 1800 * SECOND))
    shared = stack.around
    with OwnRedis(tmp_path) as own:
        stack.around = replace(shared, redis=own.url)
        stack.start()
        with Load(traffic, customers, Random(6)):
            stack.await_booked()
            own.save()
            _grow(stack)
            own.back_with_older_save()
            _grow(stack)
            own.back_empty()
            _grow(stack)
        stack.await_drained()
        check_books(stack, traffic.oracle)
        told = json.loads(talea(stack, "doctor", "--json").stdout)["claims"]
        stack.close_the_books()
        stack.stop()
    stack.around = shared

    said = stack.said(METERING)
    assert said.count("claims made again out of the log") >= 2 * shared.partitions
    assert '"watermark": -1' in said  # the empty one
    assert any(
        '"watermark": ' in line and '"watermark": -1' not in line
        for line in said.splitlines()
        if "made again" in line
    )  # the older save
    full = [one for one in told["generations"] if one["keys"] > 100]
    assert full
    assert all(0 < one["bytes"] / one["keys"] < CLAIM_BYTES_MAX for one in full)
    assert told["generation_width_s"] == sum(GENERATIONS.values())


_GROWN = 40
"""Messages: with fewer a partition may have had ticks alone, and no claim to lose."""


def _grow(stack: RunningStack) -> None:
    """Return once every partition has gone on for a while, behind all that anybody claimed yet.

    It is the log's ends that count: metering leads the books, on a slow machine by more than a
    while, and where little was sent since a loss nothing need be claimed anew.
    """
    before = stack.ends()
    stack.until(
        lambda: all(now > then + _GROWN for now, then in zip(stack.offsets(), before, strict=True)),
        "the books go on",
    )
