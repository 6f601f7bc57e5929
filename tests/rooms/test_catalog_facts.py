"""The catalog as a fold of facts: what is in force at which position."""

from dataclasses import replace
from fractions import Fraction

import pytest

from builders import (
    catalog_of,
    customer_of,
    fact_log,
    facts,
    flat,
    issuer_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.changes import first_facts
from pipeline.catalog.documents import Customer, Issuer, Rules, log_parameters
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.catalog.subscriptions import Subscription
from pipeline.core.calendar import SECOND, Duration, parse_instant
from pipeline.core.errors import BrokenInvariant
from pipeline.meter.meters import Aggregation, Meter
from pipeline.rate import FlatPrice, UnitPrice

START = "2026-03-01T00:00:00Z"
DECISIONS = [
    log_of(partitions=8, horizon_s=60, tolerance_s=6),
    rules_of(grace_s=60),
    issuer_of(),
    meter_of("calls", unit="call", dimensions=["region"]),
    plan_of("basic", price_of("per-call", per_unit("0.01"), "calls"), price_of("seat", flat("5"))),
    customer_of("acme", "Europe/Berlin", name="c0ffee"),
    subscription_of("s-2", "acme", "basic", START),
    subscription_of("s-1", "acme", "basic", START, "2026-04-01T00:00:00Z"),
]


def test_every_kind_of_fact_is_in_force() -> None:
    catalog = catalog_of(*DECISIONS)

    assert catalog.position == len(DECISIONS)
    assert catalog.parameters.partitions == 8
    assert (catalog.parameters.gate.horizon, catalog.parameters.gate.tolerance) == (
        60 * SECOND,
        6 * SECOND,
    )
    assert catalog.rules_in_force == Rules(60 * SECOND, 1, "2026.6")
    assert catalog.issuers == {"talea": Issuer("talea", "Talea", "T-")}
    assert catalog.meters == {
        "calls": Meter("calls", Aggregation.SUM, "call", 900 * SECOND, ("region",))
    }
    plan = catalog.plans["basic"]
    assert (plan.currency, plan.cycle, plan.payment_days) == ("EUR", Duration(1, 0, 0), 14)
    assert [price.price for price in plan.prices] == [
        UnitPrice(Fraction(1, 100)),
        FlatPrice(Fraction(5)),
    ]
    assert [price.meter for price in plan.prices] == ["calls", None]
    assert catalog.customers["acme"] == Customer("acme", "Europe/Berlin", {"name": "c0ffee"})


def test_a_log_lives_by_the_walls_clock_unless_its_first_fact_says_since_when_not() -> None:
    by_the_wall, _ = first_facts(8, 60, 6, 60, "2026.6")
    by_its_own, _ = first_facts(8, 60, 6, 60, "2026.6", parse_instant(START))

    assert "test_clock" not in by_the_wall.body
    assert by_its_own.body["test_clock"] == START
    assert log_parameters(by_the_wall.body).test_clock is None
    assert log_parameters(by_its_own.body).test_clock == parse_instant(START)


def test_the_subscriptions_of_a_customer_by_id() -> None:
    start, end = parse_instant(START), parse_instant("2026-04-01T00:00:00Z")
    catalog = catalog_of(*DECISIONS)

    assert catalog.subscriptions_of("acme") == [
        Subscription("s-1", "acme", "basic", start, end),
        Subscription("s-2", "acme", "basic", start, None),
    ]
    assert catalog.subscriptions_of("nobody") == []


def test_a_later_fact_replaces_what_was_said_of_the_same_subject() -> None:
    log = fact_log(*DECISIONS, customer_of("acme", "UTC"), rules_of(grace_s=0))

    assert log.at(8).customers["acme"].time_zone == "Europe/Berlin"
    assert log.at(9).customers["acme"].time_zone == "UTC"
    assert log.at(9).rules_in_force.grace_us == 60 * SECOND
    assert log.at(10).rules_in_force.grace_us == 0


@pytest.mark.parametrize("order", [range(9), range(8, -1, -1), [5, 2, 8, 2, 0, 5]])
def test_the_catalog_at_a_position_does_not_depend_on_who_asked_before(order: list[int]) -> None:
    log = fact_log(*DECISIONS)
    for position in order:
        assert log.at(position) == catalog_of(*DECISIONS[:position])


def test_more_positions_than_are_remembered() -> None:
    log = fact_log(log_of(), *(rules_of(grace_s=n) for n in range(100)))

    for position in [*range(2, 102), *range(101, 1, -1)]:
        assert log.at(position).rules_in_force.grace_us == (position - 2) * SECOND


def test_facts_follow_one_another() -> None:
    one, two, three = facts(*DECISIONS[:3])

    assert extend(extend(Catalog(), [one]), [two, three]) == extend(Catalog(), [one, two, three])
    for wrong in ([two], [one, three], [one, one], [one, two, two]):
        with pytest.raises(BrokenInvariant, match="follows fact"):
            extend(Catalog(), wrong)
        with pytest.raises(BrokenInvariant, match="follows fact"):
            fact_log().append(wrong)


def test_the_parameters_of_a_log_are_set_once() -> None:
    with pytest.raises(BrokenInvariant, match="fact 2 sets the log's parameters anew"):
        catalog_of(log_of(8), log_of(16))


def test_what_is_missing_is_said() -> None:
    with pytest.raises(BrokenInvariant, match="no log parameters"):
        _ = Catalog().parameters
    with pytest.raises(BrokenInvariant, match="no rules"):
        _ = Catalog().rules_in_force
    with pytest.raises(BrokenInvariant, match="fact 9 was asked for, 8 read"):
        fact_log(*DECISIONS).at(9)


def test_a_price_that_is_none_cannot_be_in_force() -> None:
    with pytest.raises(BrokenInvariant, match="no price stands in the fact log"):
        catalog_of(log_of(), plan_of("basic", price_of("bad", {"type": "unit"})))


def test_the_same_decision_twice_is_one_fact() -> None:
    kind, subject, body = rules_of(grace_s=60)
    fact = NewFact(kind, subject, body)

    assert fact.id_after(3) == NewFact(kind, subject, dict(reversed(body.items()))).id_after(3)
    others = [
        fact.id_after(4),
        replace(fact, subject="other").id_after(3),
        replace(fact, kind=FactKind.PLAN).id_after(3),
        replace(fact, body={**body, "grace_s": 61}).id_after(3),
    ]
    assert len({fact.id_after(3), *others}) == 5
