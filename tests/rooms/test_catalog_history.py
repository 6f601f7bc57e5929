"""Two times of a decision: when it was recorded, and from when on it is in force."""

import pytest

from builders import (
    Decision,
    customer_of,
    facts,
    instant,
    issuer_of,
    log_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from pipeline.catalog.facts import Fact, FactKind
from pipeline.catalog.history import fact_json, in_force, known_at
from pipeline.core.calendar import DAY

JAN, FEB, MAR, APR = (f"2026-0{month}-01T00:00:00Z" for month in (1, 2, 3, 4))
RECORDED = instant(JAN)


def calls(amount: str, effective: str | None = None) -> Decision:
    return plan_of("p", price_of("calls", per_unit(amount), "calls"), effective=effective)


DECISIONS = (
    log_of(),  # 1
    rules_of(),
    issuer_of(),
    customer_of("acme"),
    calls("1"),  # 5
    calls("2", MAR),
    subscription_of("s", "acme", "p", FEB),
    calls("3", MAR),  # thought better of it
    subscription_of("s", "acme", "p", FEB, APR),
    calls("4", APR),  # 10
)


def decided() -> list[Fact]:
    """One decision a day."""
    return [
        Fact(f.serial, f.id, f.kind, f.subject, f.body, f.actor, f.reason, RECORDED + day * DAY)
        for day, f in enumerate(facts(*DECISIONS))
    ]


@pytest.mark.parametrize(
    ("known", "as_of", "plan", "subscription"),
    [
        (4, MAR, None, None),
        (5, JAN, 5, None),
        (5, APR, 5, None),
        (6, FEB, 5, None),
        (6, MAR, 6, None),
        (7, JAN, 5, None),  # not begun
        (7, FEB, 5, 7),
        (7, APR, 6, 7),  # until further notice, as far as was known
        (8, MAR, 8, 7),
        (9, APR, 8, None),  # ended
        (9, MAR, 8, 9),
        (10, FEB, 5, 9),
        (10, MAR, 8, 9),
        (10, APR, 10, None),
    ],
)
def test_what_is_in_force_at_one_time_as_known_at_another(
    known: int, as_of: str, plan: int | None, subscription: int | None
) -> None:
    found = in_force(decided()[:known], instant(as_of))
    serials = {fact.kind: fact.serial for fact in found}

    assert serials.get(FactKind.PLAN) == plan
    assert serials.get(FactKind.SUBSCRIPTION) == subscription
    assert len(serials) == len(found)


def test_kinds_stand_in_the_order_that_they_lean_on_each_other() -> None:
    found = in_force(decided(), instant(MAR))

    assert [fact.kind.value for fact in found] == [
        "rules",
        "issuer",
        "plan",
        "customer",
        "subscription",
    ]


@pytest.mark.parametrize(("day", "serial"), [(-1, 0), (0, 1), (3, 4), (99, 10)])
def test_what_was_known_at_an_instant(day: int, serial: int) -> None:
    assert len(known_at(decided(), RECORDED + day * DAY)) == serial


def test_a_clock_that_stepped_back_hides_no_fact_before_a_later_one() -> None:
    early, late = decided()[:2]
    stepped = [
        Fact(1, early.id, early.kind, early.subject, early.body, "", "", RECORDED + 9 * DAY),
        late,
    ]

    assert known_at(stepped, RECORDED + DAY) == stepped


def test_a_fact_tells_who_when_and_why() -> None:
    assert fact_json(decided()[4]) == {
        "serial": 5,
        "time": "2026-01-05T00:00:00Z",
        "kind": "plan",
        "subject": "p",
        "actor": "ada",
        "reason": "test",
    }
