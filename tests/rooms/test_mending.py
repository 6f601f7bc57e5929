"""The catalog by other prices is the one of facts that had always said these."""

from collections.abc import Sequence

import pytest

from builders import (
    Decision,
    book_of,
    catalog_of,
    facts,
    issuer_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rate_of,
    rules_of,
)
from pipeline.catalog.facts import Fact, FactKind
from pipeline.catalog.mending import priced_by
from pipeline.core.identity import Json


def shop(cent: int) -> tuple[Decision, ...]:
    """A shop whose prices are of so many cents; its plan and its book were said twice."""
    amount = f"0.{cent:02}"
    calls = price_of("calls", per_unit(amount), "calls")
    kind, issuer, terms = issuer_of()
    off: dict[str, Json] = {"type": "percentage", "percent": str(cent)}
    code: dict[str, Json] = {
        "id": "X",
        "discount": off,
        "currency": None,
        "plans": [],
        "prices": [],
    }
    ends: dict[str, Json] = {
        "starts": None,
        "ends": None,
        "redemptions_max": None,
        "per_customer_max": None,
    }
    return (
        log_of(),
        rules_of(),
        (kind, issuer, {**terms, "notes_from": amount}),
        meter_of("calls"),
        plan_of("pro", calls),
        plan_of("pro", calls, effective="2026-03-02T00:00:00Z"),
        plan_of("other", price_of("calls", per_unit("1"), "calls")),
        book_of("partners", pro=[calls]),
        (FactKind.PROMOTION, "X", {**code, **ends}),
        rate_of("USD", "EUR", "2026-03-01", amount),
        book_of("partners", pro=[calls]),
    )


def prices(told: Sequence[Fact]) -> tuple[Fact, ...]:
    """What facts say of subjects whose prices are others."""
    return tuple(f for f in told if f.kind not in {FactKind.LOG, FactKind.RULES, FactKind.METER})


@pytest.mark.parametrize("position", range(2, len(shop(1)) + 1))
def test_it_is_the_catalog_of_facts_that_always_said_these(position: int) -> None:
    known, dearer, dearest = (facts(*shop(cent)) for cent in (10, 20, 30))
    ours = catalog_of(*shop(10)[:position])

    for _ in range(2):
        for others, cent in ((known, 10), (dearer, 20), (dearest, 30)):
            assert priced_by(ours, prices(others)) == catalog_of(*shop(cent)[:position])


def test_what_prices_say_is_read_once() -> None:
    """Each document is composed by a catalog of its own: very many read the same prices."""
    others = prices(facts(*shop(20)))
    one, two = (priced_by(catalog_of(*shop(10)[:position]), others) for position in (8, 9))

    assert one.plans["other"] is two.plans["other"]
    assert one.deals.books["partners"] is two.deals.books["partners"]
