"""Tax on the lines of a document: which day counts, whose terms, since when."""

from collections.abc import Mapping
from typing import cast

import pytest

from builders import (
    Decision,
    book_of,
    catalog_of,
    customer_of,
    flat,
    hand_line_of,
    instant,
    issuer_of,
    line_edit_of,
    log_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
    switch_of,
    tax_terms_of,
    taxed_in,
)
from pipeline.catalog.facts import FactKind
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.lines import document_id_of
from pipeline.invoice.planned import planned_lines

BERLIN = taxed_in(issuer_of(), "DE")
NEW_YEAR_IN_BERLIN = "2020-12-31T23:00:00Z"
DECEMBER_IN_BERLIN = "2020-11-30T23:00:00Z"


def lines(until: str, *decisions: Decision) -> dict[str, Mapping[str, Json]]:
    """The lines of acme's document at an instant, by price."""
    catalog = catalog_of(log_of(), rules_of(), *decisions)
    planned = planned_lines(catalog, "acme", "EUR", instant(until))
    (composed,) = compose(catalog, "acme", "EUR", instant(until), planned, {})
    found = cast(list[Mapping[str, Json]], composed.content["lines"])
    return {str(line["source_id"]).rpartition("/")[2]: line for line in found}


def codes(told: Mapping[str, Mapping[str, Json]]) -> dict[str, Json]:
    return {price: line["tax_code"] for price, line in told.items()}


@pytest.mark.parametrize(
    ("zone", "start", "until"),
    [
        ("Europe/Berlin", DECEMBER_IN_BERLIN, NEW_YEAR_IN_BERLIN),
        ("UTC", "2020-12-01T00:00:00Z", "2021-01-01T00:00:00Z"),
        ("Pacific/Auckland", "2020-11-30T11:00:00Z", "2020-12-31T11:00:00Z"),
    ],
)
def test_the_day_is_the_one_that_the_period_names_in_the_customer_s_zone(
    zone: str, start: str, until: str
) -> None:
    """German rates went from 16 % back to 19 % on New Year's Day 2021."""
    ahead = price_of("ahead", flat("10"), None, payment_term="in_advance")
    told = lines(
        until,
        BERLIN,
        plan_of("basic", price_of("served", flat("10")), ahead),
        taxed_in(customer_of("acme", zone), "DE"),
        subscription_of("s", "acme", "basic", start),
    )

    assert codes(told) == {"served": "S-16", "ahead": "S-19"}


def test_an_order_is_taxed_on_its_own_day() -> None:
    bought: dict[str, Json] = {
        "id": "o-1",
        "customer": "acme",
        "issuer": "talea",
        "currency": "EUR",
        "at": NEW_YEAR_IN_BERLIN,
        "payment_days": 0,
        "lines": [price_of("set-up", flat("10"))],
    }
    zone = taxed_in(customer_of("acme", "Europe/Berlin"), "DE")
    told = lines(NEW_YEAR_IN_BERLIN, BERLIN, zone, (FactKind.ORDER, "o-1", bought))

    assert codes(told) == {"set-up": "S-19"}


def test_lines_by_hand_are_taxed_on_their_own_day_and_edited_ones_by_what_they_say_now() -> None:
    document = document_id_of("acme", "EUR", NEW_YEAR_IN_BERLIN, "talea")
    sold = [
        BERLIN,
        plan_of("basic", price_of("served", flat("10"))),
        taxed_in(customer_of("acme", "Europe/Berlin"), "DE"),
        subscription_of("s", "acme", "basic", DECEMBER_IN_BERLIN),
        hand_line_of("set-up", "acme", NEW_YEAR_IN_BERLIN, flat("100")),
    ]
    before = lines(NEW_YEAR_IN_BERLIN, *sold)
    edit = line_edit_of(document, "acme", str(before["served"]["id"]), amount_minor=5000)
    after = lines(NEW_YEAR_IN_BERLIN, *sold, edit)

    assert codes(before) == codes(after) == {"served": "S-16", "set-up": "S-19"}
    assert [told["served"]["total_minor"] for told in (before, after)] == [1160, 5800]
    assert before["set-up"]["total_minor"] == 11900


def test_terms_of_the_plan_hold_where_a_book_or_an_agreement_says_nothing_else() -> None:
    reduced, exempt = tax_terms_of("reduced"), tax_terms_of("exempt")
    told = lines(
        "2026-04-01T00:00:00Z",
        BERLIN,
        plan_of(
            "basic", *(price_of(name, flat("10"), None, tax=reduced) for name in ("a", "b", "c"))
        ),
        book_of("sale", basic=[price_of("a", flat("9"))]),
        switch_of("sale", "100"),
        taxed_in(customer_of("acme"), "DE"),
        subscription_of(
            "s",
            "acme",
            "basic",
            "2026-03-01T00:00:00Z",
            prices=[price_of("b", flat("8")), price_of("c", flat("7"), None, tax=exempt)],
        ),
    )

    assert {price: line["subtotal_minor"] for price, line in told.items()} == {
        "a": 900,
        "b": 800,
        "c": 700,
    }
    assert codes(told) == {"a": "S-7", "b": "S-7", "c": "E"}


def test_who_is_taxed_since_a_day_was_not_before() -> None:
    later = taxed_in(issuer_of(), "DE", since="2026-04-01")
    ahead = price_of("ahead", flat("10"), None, payment_term="in_advance")
    told = lines(
        "2026-04-01T00:00:00Z",
        later,
        plan_of("basic", price_of("served", flat("10")), ahead),
        taxed_in(customer_of("acme"), "DE"),
        subscription_of("s", "acme", "basic", "2026-03-01T00:00:00Z"),
    )

    assert codes(told) == {"served": None, "ahead": "S-19"}
    assert told["served"]["tax_amount_minor"] is None


def test_who_says_nothing_of_tax_issues_what_it_always_did() -> None:
    told = lines(
        "2026-04-01T00:00:00Z",
        issuer_of(),
        plan_of("basic", price_of("served", flat("10"))),
        taxed_in(customer_of("acme"), "DE"),
        subscription_of("s", "acme", "basic", "2026-03-01T00:00:00Z"),
    )

    assert "tax" not in cast(Mapping[str, Json], told["served"]["rate_card"])
    assert codes(told) == {"served": None}
