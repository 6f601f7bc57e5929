"""Marketplace: what of a document is its sellers', and how a catalog says who sells what."""

from typing import Any

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
    log_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
    switch_of,
    tax_terms_of,
    taxed_in,
)
from json_schema import faults
from pipeline.catalog import shape
from pipeline.catalog.checking import check
from pipeline.catalog.rate_cards import card_body, plan_price
from pipeline.catalog.yaml import as_json
from pipeline.catalog.yaml import compose as read_yaml
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.marketplace import payouts, statements
from pipeline.invoice.notes import Cause, change_of, lines_of, note
from pipeline.invoice.planned import planned_lines

APRIL = "2026-04-01T00:00:00Z"


def by(seller: str, percent: str) -> dict[str, Json]:
    return {"id": seller, "commission_percent": percent}


def content_of(*prices: dict[str, Json], more: tuple[Decision, ...] = ()) -> dict[str, Any]:
    """The document of acme's March."""
    catalog = catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        customer_of("acme"),
        plan_of("suite", *prices),
        subscription_of("s", "acme", "suite", "2026-03-01T00:00:00Z"),
        *more,
    )
    lines = planned_lines(catalog, "acme", "EUR", instant(APRIL))
    (document,) = compose(catalog, "acme", "EUR", instant(APRIL), lines, {})
    return document.content


Told = tuple[str, str, int, int, int]


def told(content: dict[str, Any]) -> list[Told]:
    """Of each seller and rate: gross, commission, payout."""
    return [
        (each.seller.id, str(each.seller.commission), *_figures(each.whole))
        for each in statements(content)
    ]


def _figures(part: Any) -> tuple[int, int, int]:
    return part.gross, part.commission, part.payout


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ([price_of("own", flat("10"))], []),
        ([price_of("a", flat("10"), None, seller=by("x", "15"))], [("x", "15", 1000, 150, 850)]),
        ([price_of("a", flat("10"), None, seller=by("x", "0"))], [("x", "0", 1000, 0, 1000)]),
        ([price_of("a", flat("10"), None, seller=by("x", "100"))], [("x", "100", 1000, 1000, 0)]),
        (
            [price_of(n, flat("0.33"), None, seller=by("x", "15")) for n in "abc"],
            [("x", "15", 99, 15, 84)],  # 14.85, though each alone is 4.95
        ),
        (
            [price_of(n, flat("0.35"), None, seller=by("x", "10")) for n in "abc"],
            [("x", "10", 105, 11, 94)],  # 10.5; each alone rounded up made 12 of it
        ),
        (
            [
                price_of("a", flat("10"), None, seller=by("x", "15")),
                price_of("b", flat("10"), None, seller=by("x", "20")),
                price_of("c", flat("10"), None, seller=by("w", "15")),
            ],
            [("w", "15", 1000, 150, 850), ("x", "15", 1000, 150, 850), ("x", "20", 1000, 200, 800)],
        ),
        (
            [
                price_of(
                    "a",
                    flat("10"),
                    None,
                    seller=by("x", "15"),
                    discounts=[{"type": "percentage", "percent": "50"}],
                )
            ],
            [("x", "15", 500, 75, 425)],
        ),
    ],
)
def test_gross_is_commission_and_payout(
    prices: list[dict[str, Json]], expected: list[Told]
) -> None:
    content = content_of(*prices)

    assert told(content) == expected
    for each in statements(content):
        parts = [part for _, part in each.lines]
        assert _figures(each.whole) == tuple(map(sum, zip(*map(_figures, parts), strict=True)))


def test_gross_is_before_tax_whether_amounts_contain_it_or_not() -> None:
    taxed = (taxed_in(issuer_of(), "DE"), taxed_in(customer_of("acme"), "DE"))
    content = content_of(
        price_of("a", flat("10"), None, seller=by("x", "10")),
        price_of("b", flat("11.90"), None, seller=by("y", "10"), tax=tax_terms_of(inclusive=True)),
        more=taxed,
    )

    assert told(content) == [("x", "10", 1000, 100, 900), ("y", "10", 1000, 100, 900)]


def test_a_note_takes_off_of_both_what_it_takes_off_of_their_lines() -> None:
    content = content_of(*(price_of(n, flat("0.33"), None, seller=by("x", "15")) for n in "abc"))

    whole = note(content, change_of(content, lines_of(content), -1), Cause("", "void"))
    one = note(content, change_of(content, lines_of(content)[:1], -1), Cause("", "credit"))

    assert told(whole) == [("x", "15", -99, -15, -84)]
    assert told(one) == [("x", "15", -33, -5, -28)]


def test_a_price_of_elsewhere_has_the_seller_of_the_one_it_stands_for() -> None:
    plain = price_of("a", flat("10"), None, seller=by("x", "15"))
    other = price_of("b", flat("10"), None, seller=by("x", "15"))
    books = (
        book_of("sale", suite=[price_of("a", flat("8"))]),
        switch_of("sale", "100"),
        subscription_of(
            "s", "acme", "suite", "2026-03-01T00:00:00Z", prices=[price_of("b", flat("6"))]
        ),
    )

    assert told(content_of(plain, other, more=books)) == [("x", "15", 1400, 210, 1190)]


def test_a_line_by_hand_of_a_listed_price_is_its_seller_s() -> None:
    hand = hand_line_of("more", "acme", "2026-03-10T00:00:00Z", flat("5"), plan="suite")
    hand[2]["card"] |= {"seller": by("x", "20")}  # type: ignore[operator]

    assert told(content_of(price_of("own", flat("1")), more=(hand,))) == [
        ("x", "20", 500, 100, 400)
    ]


def test_payouts_are_told_by_document_of_all_sellers_or_one() -> None:
    content = content_of(
        price_of("a", flat("10"), None, seller=by("x", "15")),
        price_of("b", flat("10"), None, seller=by("y", "15")),
    )

    rows = [*payouts([("T-1", content)], "y")]
    assert [(row["number"], row["seller"], row["payout_minor"]) for row in rows] == [
        ("T-1", "y", 850)
    ]
    assert len([*payouts([("T-1", content)], None)]) == 2


def test_a_card_s_seller_stands_in_its_body() -> None:
    card = plan_price(price_of("a", flat("10"), None, seller=by("x", "12.5")))

    assert plan_price(card_body(card)) == card
    assert card_body(card)["seller"] == by("x", "12.5")


PLAN = """
plans:
  - id: suite
    name: Suite
    issuer: talea
    currency: EUR
    cycle: P1M
    seller: {id: x, commission: "15"}
    prices:
      - {id: a, name: A, price: {type: flat, amount: "1"}}
      - {id: b, name: B, price: {type: flat, amount: "1"}, seller: {id: y, commission: 20}}
"""


def test_a_plan_says_it_for_the_prices_that_do_not() -> None:
    sheet, _ = check(PLAN, None)

    assert [card_body(price)["seller"] for price in sheet.plans[0].prices] == [
        by("x", "15"),
        by("y", "20"),
    ]
    assert [*faults(shape.sheet_schema(), as_json(read_yaml(PLAN)[0]))] == []


@pytest.mark.parametrize(
    ("seller", "problem"),
    [
        ("{id: x}", "plans[0].seller.commission: required, but absent or empty"),
        ("{commission: 5}", "plans[0].seller.id: required, but absent or empty"),
        ("{id: x, commission: 101}", "plans[0].seller.commission: '101' is no percent"),
        ("{id: x, commission: -1}", "plans[0].seller.commission: '-1' is no percent"),
        ("{id: x, commission: 5, fee: 1}", "plans[0].seller.fee: nobody reads this key"),
    ],
)
def test_a_seller_that_is_none_is_refused(seller: str, problem: str) -> None:
    _, problems = check(PLAN.replace('{id: x, commission: "15"}', seller), None)

    assert any(f"{each.path}: {each.message}".startswith(problem) for each in problems), problems
