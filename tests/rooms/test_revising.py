"""Which facts say something else in a replay that prices otherwise."""

from dataclasses import replace

import pytest

from builders import (
    HOUR,
    T0,
    Decision,
    customer_of,
    facts,
    flat,
    issuer_of,
    log_of,
    plan_of,
    price_of,
    rules_of,
)
from pipeline.catalog.facts import Fact, NewFact
from pipeline.replay.revising import as_known, priced_by


def plan(amount: str, effective: str | None = None) -> Decision:
    return plan_of("basic", price_of("fee", flat(amount)), effective=effective)


CHEAP, DEAR, DATED = plan("1"), plan("2"), plan("3", "2026-04-01T00:00:00Z")
KNOWN = facts(log_of(), rules_of(), issuer_of(), CHEAP, customer_of("acme"), DEAR)


def test_a_revision_stands_wherever_its_subject_was_said() -> None:
    assert priced_by(KNOWN, [NewFact(*plan("5"))]) == {4: plan("5")[2], 6: plan("5")[2]}
    assert priced_by(KNOWN, []) == {}


@pytest.mark.parametrize(
    ("revision", "told"),
    [
        (customer_of("globex"), "customer globex would change: only issuer, plan"),
        (DATED, "plan basic has a day: in a replay it is in force throughout"),
        (plan_of("pro", price_of("fee", flat("1"))), "plan pro is new"),
    ],
)
def test_what_moves_more_than_prices_is_refused(revision: Decision, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        priced_by(KNOWN, [NewFact(*revision)])


def recorded(*hours: int) -> list[Fact]:
    """The facts, each recorded so many hours after T0."""
    pairs = zip(KNOWN, hours, strict=True)
    return [replace(fact, recorded_at=T0 + hour * HOUR) for fact, hour in pairs]


def test_later_prices_are_not_known() -> None:
    told = recorded(0, 0, 0, 1, 2, 3)
    assert as_known(told, T0 + 2 * HOUR) == {6: CHEAP[2]}
    assert as_known(told, T0 + 3 * HOUR) == {}


def test_what_nobody_had_priced_yet_stays_as_it_was_first_priced() -> None:
    """Of a plan that is told later nothing was known: it is not billed at nothing."""
    assert as_known(recorded(0, 0, 0, 1, 2, 3), T0) == {}
