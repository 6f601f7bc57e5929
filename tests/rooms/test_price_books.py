"""Price books: who is taken in, what they pay then, and that off is as if it had never been."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import (
    Decision,
    book_of,
    catalog_of,
    customer_of,
    flat,
    issuer_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
    switch_of,
)
from pipeline.catalog.books import Switch
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.checking import check
from pipeline.catalog.offers import books_for, offered
from pipeline.catalog.sellers import Seller
from pipeline.core.identity import Json
from pipeline.rate import UnitPrice
from rooms.test_catalog_cuts import walked
from rooms.test_catalog_effective import billed
from rooms.test_sheet_changes import Desk
from rooms.test_sheet_problems import SHEET

JAN, MID = "2026-01-01T00:00:00Z", "2026-01-16T12:00:00Z"

SHOP: list[Decision] = [
    log_of(),
    rules_of(),
    issuer_of(),
    meter_of("calls", window_s=3600),
    plan_of("p", price_of("calls", per_unit("1"), "calls"), price_of("fee", flat("31"))),
    customer_of("acme"),
    subscription_of("s", "acme", "p", JAN),
    book_of("cheap", p=[price_of("calls", per_unit("0.5"), "calls")]),
    book_of("free", p=[price_of("calls", per_unit("0"), "calls")]),
]
CHEAPER = switch_of("cheap", "100")
USED = [("calls", "2026-01-03T00:00:00Z", 10), ("calls", "2026-01-20T00:00:00Z", 10)]


def owed(*more: Decision) -> int:
    """What acme pays in January for 20 calls and a fee of 31."""
    found: list[dict[str, Any]] = billed(catalog_of(*SHOP, *more), USED)
    return sum(line["total_minor"] for line in found)


@pytest.mark.parametrize(
    ("switches", "minor"),
    [
        ([], 2000),
        ([switch_of("cheap", "100")], 1000),
        ([switch_of("cheap", "0", "acme")], 1000),
        ([switch_of("cheap", "0", "globex")], 2000),
        ([switch_of("cheap", "100"), switch_of("cheap", on=False)], 2000),
        ([switch_of("cheap", "100"), switch_of("free", "100")], 0),
        ([switch_of("free", "100"), switch_of("cheap", "100")], 1000),  # the last one switched
        ([switch_of("free", "100"), switch_of("cheap", "100"), switch_of("free", "100")], 0),
        ([switch_of("free", "100"), switch_of("cheap", "100"), switch_of("cheap", on=False)], 0),
    ],
)
def test_what_usage_costs_while_books_are_on(switches: list[Decision], minor: int) -> None:
    assert owed(*switches) == minor + 3100


def test_a_book_prices_every_revision_of_a_plan() -> None:
    dearer = plan_of(
        "p",
        price_of("calls", per_unit("3"), "calls"),
        price_of("fee", flat("31")),
        effective=MID,
    )

    assert owed(dearer) == 1000 + 3000 + 3100
    assert owed(dearer, switch_of("cheap", "100")) == 1000 + 3100


def test_what_a_book_leaves_open_is_the_plans_whichever_books_are_on_below_it() -> None:
    """Whose it is and how it is taxed, too: nobody pays the price of the book below any more."""
    zoo: Json = {"id": "zoo", "commission_percent": "10"}
    listed = plan_of("p", price_of("calls", per_unit("1"), "calls", seller=zoo))
    other = price_of("calls", per_unit("2"), "calls", tax={"code": "reduced", "inclusive": True})
    other["seller"] = {"id": "apps", "commission_percent": "50"}
    catalog = catalog_of(
        *SHOP, listed, book_of("other", p=[other]), switch_of("other", "100"), CHEAPER
    )
    (card,) = offered(catalog, "p", catalog.subscriptions["s"]).prices

    assert (card.price, card.tax) == (UnitPrice(Fraction(1, 2)), None)
    assert card.seller == Seller("zoo", Fraction(10))


def test_what_was_agreed_with_a_customer_stands_above_a_book() -> None:
    own = subscription_of("s", "acme", "p", JAN)
    own[2]["prices"] = [price_of("calls", per_unit("2"), "calls")]

    assert owed(own) == 4000 + 3100
    assert owed(own, switch_of("cheap", "100")) == 4000 + 3100


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20), st.integers(0, 100))
def test_a_larger_share_takes_in_all_of_a_smaller_one(names: list[str], percent: int) -> None:
    small = Switch(1, Fraction(percent), frozenset())
    large = Switch(2, Fraction(percent + 1), frozenset())

    for name in names:
        assert not small.takes_in("b", name) or large.takes_in("b", name)
        assert not Switch(1, Fraction(0), frozenset()).takes_in("b", name)
        assert Switch(1, Fraction(100), frozenset()).takes_in("b", name)


@pytest.mark.parametrize("percent", [1, 10, 50])
def test_a_share_is_about_that_many_and_another_for_another_book(percent: int) -> None:
    names = [f"customer-{number}" for number in range(5000)]
    on = Switch(1, Fraction(percent), frozenset())
    one, other = ({n for n in names if on.takes_in(book, n)} for book in ("a", "b"))

    assert len(one) == pytest.approx(50 * percent, rel=0.25)
    assert one != other


def test_off_leaves_the_plan_as_it_says() -> None:
    on = catalog_of(*SHOP, switch_of("cheap", "100"))
    off = catalog_of(*SHOP, switch_of("cheap", "100"), switch_of("cheap", on=False))

    def plan(catalog: Catalog) -> object:
        return offered(catalog, "p", catalog.subscriptions["s"])

    assert [book.id for book in books_for(on, "acme")] == ["cheap"]
    assert plan(on) != plan(off) == on.plans["p"]


def test_a_switch_has_the_drafts_of_those_it_takes_in_rated_anew() -> None:
    sold = [
        subscription_of("a", "acme", "monthly", JAN),
        subscription_of("g", "globex", "monthly", JAN),
        book_of("cheap", monthly=[price_of("fee", flat("0"))]),
    ]
    day = "2026-01-02T00:00:0{}Z".format

    assert walked(
        (JAN, sold),
        (day(1), [switch_of("cheap", "0", "acme")]),
        (day(2), []),
        (day(3), [switch_of("cheap", "100")]),
        (day(4), [switch_of("cheap", on=False)]),
    ) == [([], ["acme"]), ([], []), ([], ["globex"]), ([], ["acme", "globex"])]


BOOK = """\
price_books:
  - id: cheap
    name: Cheaper
    plans:
      - id: standard
        prices:
          - {id: cpu, name: CPU, meter: cpu, price: {type: unit, unit_amount: "0.001"}}
"""


def test_a_book_comes_from_a_sheet_and_the_same_one_changes_nothing() -> None:
    desk = Desk()

    assert desk.apply(SHEET + BOOK)[-3:] == [
        "price_book cheap",
        "customer acme",
        "subscription acme-1",
    ]
    assert desk.apply(SHEET + BOOK) == []
    (card,) = desk.catalog.deals.books["cheap"].cards["standard"]
    assert (card.id, card.meter) == ("cpu", "cpu")
    assert check(BOOK, desk.catalog)[1] == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "id: standard",
            "id: gold",
            "price_books[0].plans[0].plan: no plan gold, in this file: add it under plans, or"
            " mend the id",
        ),
        (
            "id: cpu,",
            "id: ram,",
            "price_books[0].plans[0].prices[0].id: standard has no price ram: use one of base, cpu",
        ),
        (
            'meter: cpu, price: {type: unit, unit_amount: "0.001"}',
            'price: {type: flat, amount: "1"}',
            "price_books[0].plans[0].prices[0].meter: standard bills cpu by it: a book changes"
            " prices alone, use the same",
        ),
        (
            "meter: cpu,",
            "meter: cpu, currency: USD,",
            "price_books[0].plans[0].prices[0].currency: USD is not the currency of standard, EUR:"
            " remove it",
        ),
        (
            "meter: cpu,",
            "meter: cpu, filter: {region: [eu]},",
            "price_books[0].plans[0].prices[0].filter: it bills other usage than in standard: use"
            " the same filter",
        ),
        (
            "id: cpu, name: CPU, meter: cpu, price: {type: unit, unit_amount: \"0.001\"}",
            'id: base, name: B, price: {type: flat, amount: "1"}, payment_term: in_advance',
            "price_books[0].plans[0].prices[0].payment_term: it falls due in_arrears in standard:"
            " use the same",
        ),
        (
            "    name: Cheaper\n",
            "",
            "price_books[0].name: required, but absent or empty: add name",
        ),
        (
            '"0.001"',
            "a cent",
            "price_books[0].plans[0].prices[0].price.unit_amount: 'a cent' is not a plain decimal"
            " string of at most 100 digits: write it like 0.25",
        ),
    ],
)  # fmt: skip
def test_broken_books(old: str, new: str, told: str) -> None:
    assert old in BOOK
    _, problems = check(SHEET + BOOK.replace(old, new), None)

    assert [str(problem).split(": ", 1)[1] for problem in problems] == [told]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "meter: cpu\n        price:",
            "meter: cpu\n        filter: {region: [eu]}\n        price:",
            "it bills other usage than in standard: use the same filter",
        ),
        (
            "- id: cpu\n        name: CPU time",
            "- id: chip\n        name: CPU time",
            "standard has no price cpu: use one of base, chip",
        ),
    ],
)
def test_a_plan_that_nobody_has_keeps_to_the_books_in_force(old: str, new: str, told: str) -> None:
    """A book switched on later would bill other usage, or none."""
    desk, unsold = Desk(), SHEET.partition("customers:")[0]
    desk.apply(unsold + BOOK)
    edited = unsold.replace(old, new)

    assert edited != unsold
    found = [problem.split(": ", 1)[1] for problem in desk.refused(edited)]
    assert f"plans[0]: price book cheap, in force, would not fit: {told}" in found
