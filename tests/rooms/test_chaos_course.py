"""What `make chaos` says: each fault before any comes again, and every event that is missed."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from builders import usage
from chaos.course import difference, plan
from chaos.faults import FAULTS, Fault
from chaos.scene import Scene
from integration import shop
from integration.running import Used
from oracle import Oracle
from pipeline.core.calendar import SECOND

CYCLE_S = 10


def names(seed: int, faults: int) -> list[str]:
    def blows() -> Iterator[Fault]:
        for struck in plan(FAULTS, Random(seed), lambda: False):
            yield from struck

    return [fault.name for fault in islice(blows(), faults)]


def test_every_fault_strikes_before_any_strikes_again_in_an_order_that_the_seed_decides() -> None:
    once = names(1, 2 * len(FAULTS))

    assert set(once[: len(FAULTS)]) == set(once[len(FAULTS) :]) == {one.name for one in FAULTS}
    assert once == names(1, 2 * len(FAULTS))
    assert once != names(2, 2 * len(FAULTS))


def test_a_plan_ends_when_its_time_is_over() -> None:
    assert list(plan(FAULTS, Random(1), lambda: True)) == []


def scene(used: dict[tuple[str, str], Used], total_minor: int) -> Scene:
    """Two requests of a customer were sent, for one period."""
    oracle = Oracle(shop.METERS)
    oracle.hears([usage("c", "3", meter="requests", time=SECOND, id=str(n)) for n in range(2)])
    load = SimpleNamespace(end=CYCLE_S * SECOND)
    traffic = SimpleNamespace(oracle=oracle)
    story = SimpleNamespace(cycle_s=CYCLE_S, start=0, load=load, traffic=traffic)
    draft = SimpleNamespace(
        payer="c", instant=CYCLE_S * SECOND, content={"totals": {"total_minor": total_minor}}
    )
    stack = SimpleNamespace(used=lambda: used, documents=list, drafts=lambda: [draft])
    return cast(Scene, cast(Any, SimpleNamespace(stack=stack, story=story)))


DUE = 1010
"""A base fee of 10.00, two requests at 0.05."""
WELL = Used(2, Fraction(6), Fraction(3))

FOUND = [
    ("well", {("c", "requests"): WELL}, DUE, (0, 0, 0)),
    ("one is lost", {("c", "requests"): Used(1, Fraction(3), Fraction(3))}, DUE, (1, 0, 0)),
    ("all are lost", {}, DUE, (2, 0, 0)),
    ("one is doubled", {("c", "requests"): Used(3, Fraction(9), Fraction(3))}, DUE, (0, 1, 0)),
    ("one for another", {("c", "requests"): Used(2, Fraction(7), Fraction(4))}, DUE, (1, 1, 0)),
    ("nobody's", {("c", "requests"): WELL, ("d", "seats"): WELL}, DUE, (0, 2, 0)),
    ("a cent too much", {("c", "requests"): WELL}, DUE + 1, (0, 0, 1)),
    ("two too little", {("c", "requests"): WELL}, DUE - 2, (0, 0, 2)),
]


@pytest.mark.parametrize(
    ("used", "billed", "found"), [r[1:] for r in FOUND], ids=[r[0] for r in FOUND]
)
def test_what_is_lost_doubled_or_billed_wrong_is_counted(
    used: dict[tuple[str, str], Used], billed: int, found: tuple[int, int, int]
) -> None:
    row = difference(scene(used, billed))

    assert (row.lost, row.doubled, row.minor_wrong) == found
    assert row.well == (found == (0, 0, 0))
