"""Currencies: which one is billed, listed prices, rates by date, and what lines say of it."""

from fractions import Fraction
from typing import Any

import pytest

from builders import (
    Decision,
    catalog_of,
    customer_of,
    flat,
    graduated,
    instant,
    issuer_of,
    line_edit_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rate_of,
    rules_of,
    subscription_of,
)
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.checking import check
from pipeline.catalog.currencies import FxRate, rate_at, tax_point, with_rates
from pipeline.catalog.offers import billed_in, offered
from pipeline.catalog.rate_cards import card_body, plan_price
from pipeline.core.identity import Json
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.drafts import open_closings
from pipeline.invoice.planned import carried_by_all, planned_lines, requests_of
from pipeline.invoice.text import invoice_text
from pipeline.invoice.usage import UsagePart
from rooms.test_catalog_cuts import walked
from rooms.test_sheet_changes import Desk
from rooms.test_sheet_problems import SHEET

JAN, FEB, MAR = (f"2026-0{month}-01T00:00:00Z" for month in (1, 2, 3))
RATE = rate_of("USD", "EUR", "2026-01-31", "0.9")


def shop(
    *more: Decision, price: dict[str, Json], meter: str | None = "calls", **terms: Json
) -> Catalog:
    """A plan in dollars, sold to acme in euros."""
    sold = subscription_of("s", "acme", "p", JAN)
    sold[2]["currency"] = "EUR"
    return catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", window_s=3600),
        meter_of("turnover", unit="USD", window_s=3600),
        plan_of("p", price_of("it", price, meter, **terms), currency="USD"),
        customer_of("acme"),
        sold,
        *more,
    )


def documents(catalog: Catalog, used: int, until: str = FEB) -> list[Composed]:
    lines = planned_lines(catalog, "acme", "EUR", instant(until))
    usage = {asked: [UsagePart(0, 1, used, used, used)] for asked in requests_of(lines)}
    return compose(catalog, "acme", "EUR", instant(until), lines, usage)


def line_of(catalog: Catalog, used: int, until: str = FEB) -> dict[str, Any]:
    (document,) = documents(catalog, used, until)
    assert document.issues == ()
    lines: Any = document.content["lines"]
    (line,) = lines
    found: dict[str, Any] = line
    return found


@pytest.mark.parametrize(
    ("plan", "customer", "subscription", "billed"),
    [
        ("USD", None, None, "USD"),
        ("USD", "EUR", None, "EUR"),
        ("USD", None, "GBP", "GBP"),
        ("USD", "EUR", "USD", "USD"),
    ],
)
def test_who_picks_the_currency(
    plan: str, customer: str | None, subscription: str | None, billed: str
) -> None:
    buyer, sold = customer_of("acme"), subscription_of("s", "acme", "p", JAN)
    if customer:
        buyer[2]["currency"] = customer
    if subscription:
        sold[2]["currency"] = subscription
    catalog = catalog_of(
        log_of(), rules_of(), plan_of("p", price_of("f", flat("1")), currency=plan), buyer, sold
    )
    (own,) = catalog.subscriptions.values()

    assert billed_in(catalog, own) == billed
    assert offered(catalog, "p", own).currency == billed
    assert open_closings(catalog, "acme", 0, instant(JAN), ()) == [(billed, instant(FEB))]


def test_a_price_that_lists_the_currency_needs_no_rate() -> None:
    catalog = shop(
        price=per_unit("1"),
        maximum="50",
        discounts=[{"type": "percentage", "percent": "10"}],
        currencies={"EUR": {"price": per_unit("0.8"), "maximum": "40"}},
    )
    line = line_of(catalog, 100)

    assert line["fx"] is None
    assert (line["currency"], line["totals"]["total_minor"]) == ("EUR", 4000)
    assert line["rate_card"]["price"] == per_unit("0.8")
    assert line["rate_card"]["maximum"] == "40"
    assert line["rate_card"]["discounts"] == [{"type": "percentage", "percent": "10"}]


# 0.9 euros for a dollar; (price, terms, used) => (amount, charges, discounts) in cents, and what
# it is in dollars before charges and discounts
CONVERTED = [
    (per_unit("0.01"), {}, 333, (300, 0, 0), 333),  # 2.997 is rounded once
    (per_unit("0.005"), {}, 1, (0, 0, 0), 1),  # 0.0045 and not 0.01 x 0.9
    (graduated(("10", "1", "2"), (None, "0.5", "0")), {}, 20, (1530, 0, 0), 1700),
    (per_unit("1"), {"maximum": "10"}, 20, (1800, 0, 900), 2000),
    (per_unit("1"), {"minimum": "30"}, 20, (1800, 900, 0), 2000),
    (per_unit("1"), {"discounts": [{"type": "fixed", "amount": "5"}]}, 20, (1800, 0, 450), 2000),
    (per_unit("1"), {"usage_discount": "5"}, 20, (1350, 0, 0), 1500),
    (
        {"type": "package", "package_size": "10", "package_amount": "3"},
        {},
        25,
        (810, 0, 0),
        900,
    ),
]


@pytest.mark.parametrize(("price", "terms", "used", "cents", "before"), CONVERTED)
def test_a_price_in_another_currency_is_converted_and_rounded_once(
    price: dict[str, Json],
    terms: dict[str, Any],
    used: int,
    cents: tuple[int, int, int],
    before: int,
) -> None:
    line = line_of(shop(RATE, price=price, **terms), used)
    totals = line["totals"]

    names = ("amount_minor", "charges_total_minor", "discounts_total_minor")
    assert tuple(totals[name] for name in names) == cents
    assert line["fx"] == {
        "from": "USD",
        "to": "EUR",
        "date": "2026-01-31",
        "rate": "0.9",
        "source": "ECB",
        "from_amount_minor": before,
        "to_amount_minor": cents[0],
    }
    assert line["rate_card"]["currency"] == "USD"
    assert line["rate_card"]["price"] == price


def test_a_percentage_of_money_is_of_the_money_that_was_counted() -> None:
    price: dict[str, Json] = {"type": "percentage", "rate_percent": "2", "free_amount": "100"}
    line = line_of(shop(RATE, price=price, meter="turnover"), 1100)

    # 2 % of the 1000 dollars beyond the free ones: 20.00, in euros 18.00
    assert (line["totals"]["total_minor"], line["fx"]["from_amount_minor"]) == (1800, 2000)


@pytest.mark.parametrize(
    ("dates", "advance", "until", "rate"),
    [
        (["2026-01-01"], False, FEB, "2026-01-01"),
        (["2026-01-31", "2026-02-01"], False, FEB, "2026-01-31"),  # served until the 31st
        (["2026-01-01", "2026-01-02"], True, JAN, "2026-01-01"),  # due on the 1st
        (["2025-12-31", "2026-01-02"], True, JAN, "2025-12-31"),
        (["2026-02-01"], False, FEB, None),
        (["2026-01-02"], True, JAN, None),
        ([], False, FEB, None),
    ],
)
def test_the_rate_is_that_of_the_tax_point(
    dates: list[str], advance: bool, until: str, rate: str | None
) -> None:
    rates = [rate_of("USD", "EUR", date, f"0.{place + 1}") for place, date in enumerate(dates)]
    terms: dict[str, Any] = {"payment_term": "in_advance"} if advance else {}
    catalog = shop(*rates, price=flat("10"), meter=None, **terms)
    (document,) = documents(catalog, 0, until)
    lines: Any = document.content["lines"]

    assert [line["fx"]["date"] for line in lines] == ([] if rate is None else [rate])
    if rate is None:
        (issue,) = document.issues
        day = "2026-01-31" if until == FEB else "2026-01-01"
        assert (issue.code, issue.severity.value) == ("missing_rate", "critical")
        assert issue.message == (
            f"no rate from USD to EUR dated {day} or before: add one under fx_rates, or list the"
            " price in its currencies"
        )


def test_what_was_billed_by_hand_for_want_of_a_rate_is_an_issue_of_the_rest() -> None:
    """A document ended on the 16th: its first part has no rate, the second is listed in euros."""
    listed: Json = {"EUR": {"price": per_unit("2"), "minimum": "20"}}
    other = price_of("it", per_unit("2"), "calls", minimum="20", currencies=listed)
    changes: list[Json] = [{"at": "2026-01-11T00:00:00Z", "prices": [other]}]

    def sold(end: str | None, *more: Decision) -> Catalog:
        agreed = subscription_of("s", "acme", "p", JAN, end, changes=changes)
        agreed[2]["currency"] = "EUR"
        return shop(agreed, *more, price=per_unit("1"))

    (stopped,) = documents(sold(mid := "2026-01-16T00:00:00Z"), 5, mid)
    (issue,) = stopped.issues
    name, line = str(stopped.content["id"]), str(issue.line)
    edit = line_edit_of(name, "acme", line, amount_minor=500)
    (by_hand,) = documents(sold(mid, edit), 5, mid)
    assert not by_hand.issues

    catalog, until = sold(None, edit), instant(FEB)
    lines = planned_lines(catalog, "acme", "EUR", until, carried_by_all([by_hand.content]))
    usage = {asked: [UsagePart(0, 1, 5, 5, 5)] for asked in requests_of(lines)}
    (rest,) = compose(catalog, "acme", "EUR", until, lines, usage)
    assert [each.code for each in rest.issues] == [issue.code] == ["missing_rate"]


def test_a_rate_is_not_turned_round() -> None:
    catalog = shop(rate_of("EUR", "USD", "2026-01-01", "1.1"), price=per_unit("1"))
    (document,) = documents(catalog, 1)

    assert [issue.code for issue in document.issues] == ["missing_rate"]


def test_a_later_rate_of_the_same_day_stands_instead() -> None:
    catalog = shop(RATE, rate_of("USD", "EUR", "2026-01-31", "0.5"), price=per_unit("1"))

    assert line_of(catalog, 100)["totals"]["total_minor"] == 5000


def test_a_fee_that_was_billed_ahead_comes_back_at_its_own_rate() -> None:
    """Half of January is not served: half of 31.00 dollars, at January's rate, in the end."""
    ahead = flat("31")
    terms: dict[str, Any] = {"payment_term": "in_advance"}
    rates = [rate_of("USD", "EUR", date, rate) for date, rate in (("2026-01-01", "0.9"),)]
    first = shop(*rates, price=ahead, meter=None, **terms)
    (billed,) = documents(first, 0, JAN)
    ended = subscription_of("s", "acme", "p", JAN, "2026-01-16T12:00:00Z")
    ended[2]["currency"] = "EUR"
    later = rate_of("USD", "EUR", "2026-01-10", "0.1")
    second = shop(*rates, later, ended, price=ahead, meter=None, **terms)
    carried = carried_by_all([billed.content])
    end = instant("2026-01-16T12:00:00Z")
    lines = planned_lines(second, "acme", "EUR", end, carried)
    (credited,) = compose(second, "acme", "EUR", end, lines, {})
    told: Any = credited.content["lines"]
    (line,) = told

    assert line["totals"]["total_minor"] == -1395
    assert (line["fx"]["from_amount_minor"], line["fx"]["to_amount_minor"]) == (-1550, -1395)


def test_a_new_rate_has_drafts_rated_anew_where_it_counts() -> None:
    sold = [subscription_of(n, c, "monthly", JAN) for n, c in (("a", "acme"), ("g", "globex"))]
    sold[0][2]["currency"] = "USD"
    day = "2026-01-02T00:00:0{}Z".format

    assert walked(
        (JAN, sold),
        (day(1), [rate_of("EUR", "USD", "2026-01-01", "1.1")]),
        (day(2), [rate_of("EUR", "GBP", "2026-01-01", "0.8")]),
    ) == [([], ["acme"]), ([], [])]


def test_an_invoice_in_another_currency_reads() -> None:
    (document,) = documents(shop(RATE, price=per_unit("0.01")), 333)

    told = invoice_text(document.content)
    assert "  3.33 USD at 0.9 (ECB, 2026-01-31)\n" in told


def test_a_card_s_body_gives_the_card_again() -> None:
    body: dict[str, Json] = price_of(
        "it",
        per_unit("1"),
        "calls",
        maximum="50",
        discounts=[{"type": "percentage", "percent": "10"}],
        usage_discount="5",
        currencies={
            "EUR": {"price": per_unit("0.8"), "maximum": "40"},
            "JPY": {
                "price": per_unit("100"),
                "discounts": [{"type": "fixed", "amount": "7"}],
            },
        },
    )
    card = plan_price(body)

    assert card_body(card) == body
    assert card.currencies["EUR"].terms.usage_discount == 5
    assert card.currencies["JPY"].terms.maximum is None


def test_rates_are_found_by_date() -> None:
    known = [FxRate("A", "B", f"2026-01-{day:02}", Fraction(day), "x") for day in (20, 5, 10)]
    rates = with_rates({}, known)

    def found(day: int) -> object:
        at = rate_at(rates, "A", "B", instant(f"2026-01-{day:02}T23:59:59Z"))
        return at if isinstance(at, str) else at.rate

    assert [found(day) for day in (5, 9, 10, 19, 20, 31)] == [5, 5, 10, 10, 20, 20]
    assert "no rate from A to B" in str(found(4))
    assert (tax_point(7, in_advance=True), tax_point(7, in_advance=False)) == (7, 6)


MONEY = """\
fx_rates:
  - {from: EUR, to: USD, date: 2026-11-01, rate: "1.08", source: ECB}
"""


def sold_in(currency: str, card: str = "") -> str:
    text = SHEET.replace("plan: standard", f"plan: standard\n    currency: {currency}")
    return text.replace(
        'price: {type: flat, amount: "5.00"}', f'price: {{type: flat, amount: "5.00"}}{card}'
    )


def test_rates_come_from_a_sheet_and_the_same_one_changes_nothing() -> None:
    desk = Desk()

    assert "fx_rate EUR/USD/2026-11-01" in desk.apply(sold_in("USD") + MONEY)
    assert desk.apply(sold_in("USD") + MONEY) == []
    assert desk.catalog.subscriptions["acme-1"].currency == "USD"


def test_listed_prices_come_from_a_sheet() -> None:
    listed = ', currencies: {USD: {price: {type: flat, amount: "5.50"}}}'
    desk = Desk()
    desk.apply(sold_in("USD", listed) + MONEY)

    (base, _) = desk.catalog.plans["standard"].prices
    assert base.currencies["USD"].configured == {"type": "flat", "amount": "5.50"}
    assert desk.apply(sold_in("USD", listed)) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            sold_in("USD"),
            [
                "subscriptions[0]: acme-1 is billed in USD, and standard has base in EUR: list it"
                " under its currencies, or add a rate from EUR under fx_rates",
                "subscriptions[0]: acme-1 is billed in USD, and standard has cpu in EUR: list it"
                " under its currencies, or add a rate from EUR under fx_rates",
            ],
        ),
        (sold_in("EUR"), []),
        (sold_in("USD") + MONEY, []),
        (
            SHEET + MONEY.replace("to: USD", "to: EUR"),
            ["fx_rates[0].to: EUR is worth itself: choose another currency"],
        ),
        (
            SHEET + MONEY.replace('"1.08"', '"0"'),
            ["fx_rates[0].rate: '0' is no rate: write a decimal above 0"],
        ),
        (
            SHEET + MONEY.replace("2026-11-01", "2026-11-01T00:00:00Z"),
            ["fx_rates[0].date: '2026-11-01T00:00:00Z' is no day: write it like 2026-11-01"],
        ),
        (
            SHEET + MONEY.replace(", source: ECB", ""),
            ["fx_rates[0].source: required, but absent or empty: add source"],
        ),
        (
            SHEET + MONEY + MONEY.split("\n")[1],
            ["fx_rates[1].date: EUR/USD/2026-11-01 stands on line 38 already: remove one"],
        ),
        (
            sold_in("EUR", ', currencies: {EUR: {price: {type: flat, amount: "1"}}}'),
            [
                "plans[0].prices[0].currencies.EUR.price: EUR is the plan's own currency: remove"
                " it, use price"
            ],
        ),
        (
            sold_in("EUR", ', currencies: {XXX: {price: {type: flat, amount: "1"}}}'),
            [
                "plans[0].prices[0].currencies.XXX: XXX has no minor unit, so nothing can be"
                " billed in it: use one such as EUR"
            ],
        ),
        (
            sold_in("EUR", ', currencies: {USD: {price: {type: unit, unit_amount: "1"}}}'),
            [
                "plans[0].prices[0].currencies.USD.price.type: another type than the plan's: use"
                " the same"
            ],
        ),
        (
            sold_in(
                "EUR",
                "}\n      - {id: cut, name: Cut, meter: cpu, price: {type: dynamic},"
                " currencies: {USD: {price: {type: dynamic}}}",
            ),
            [
                "plans[0].prices[1].currencies: the usage is money itself, which no list exchanges:"
                " remove it, a rate under fx_rates does"
            ],
        ),
        (
            sold_in(
                "EUR",
                ", discounts: [{type: fixed, amount: '1'}],"
                ' currencies: {USD: {price: {type: flat, amount: "1"}}}',
            ),
            [
                "plans[0].prices[0].currencies.USD.discounts: required, because the card takes off"
                " so much of its own currency: add discounts"
            ],
        ),
    ],
)
def test_what_a_sheet_is_told_about_currencies(text: str, told: list[str]) -> None:
    _, problems = check(text, None)

    assert [str(problem).split(": ", 1)[1] for problem in problems] == told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            sold_in("USD") + MONEY,
            "subscriptions[0].currency: the currency of acme-1 cannot change from None to USD: end"
            " it and make a new one",
        ),
        (
            SHEET.replace("  - id: acme\n", "  - id: acme\n    currency: USD\n") + MONEY,
            "customers[0].currency: the currency cannot change from none to USD while acme has"
            " subscriptions, it would move billed periods: make a new customer",
        ),
    ],
)
def test_a_currency_stays_once_there_is_a_subscription(change: str, told: str) -> None:
    desk = Desk()
    desk.apply(SHEET)

    assert [each.split(": ", 1)[1] for each in desk.refused(change)] == [told]
