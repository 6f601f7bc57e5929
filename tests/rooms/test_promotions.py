"""Promotion codes: who may redeem one, for which cycles it counts, how it stacks."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from builders import (
    Decision,
    catalog_of,
    customer_of,
    facts,
    flat,
    instant,
    issuer_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    redemption_of,
    rules_of,
    subscription_of,
)
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.checking import check
from pipeline.catalog.facts import FactKind
from pipeline.catalog.redeeming import redeeming
from pipeline.cli.promotion import promotions_json
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.planned import Carried, planned_lines, requests_of, with_lines
from pipeline.invoice.usage import UsagePart
from rooms.test_catalog_cuts import walked
from rooms.test_sheet_changes import Desk
from rooms.test_sheet_problems import SHEET

JAN = "2026-01-01T00:00:00Z"
MONTHS = [f"2026-{month:02}-01T00:00:00Z" for month in range(1, 8)]


def percent(number: str, **lasting: Json) -> dict[str, Json]:
    return {"type": "percentage", "percent": number, **lasting}


def fixed(amount: str, **lasting: Json) -> dict[str, Json]:
    return {"type": "fixed", "amount": amount, **lasting}


def shop(*more: Decision, discounts: Sequence[Json] = ()) -> Catalog:
    """A fee of 20.00 in arrears, one of 10.00 in advance, and 100 calls of 0.50 a month."""
    return catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", window_s=3600),
        plan_of(
            "p",
            price_of("ahead", flat("10"), payment_term="in_advance"),
            price_of("calls", per_unit("0.5"), "calls"),
            price_of("fee", flat("20"), discounts=[*discounts]),
        ),
        plan_of("other", price_of("fee", flat("1"))),
        customer_of("acme"),
        subscription_of("s", "acme", "p", JAN),
        *more,
    )


def billed(catalog: Catalog) -> dict[str, list[int]]:
    """What each price comes to in the documents of January to June, month by month."""
    carried: Carried = {}
    found: dict[str, list[int]] = {"ahead": [], "calls": [], "fee": []}
    for edge in MONTHS[:6]:
        lines = planned_lines(catalog, "acme", "EUR", instant(edge), carried)
        carried = with_lines(carried, lines)
        usage = {asked: [UsagePart(0, 100, 100, 1, 1)] for asked in requests_of(lines)}
        (document,) = compose(catalog, "acme", "EUR", instant(edge), lines, usage)
        told: Any = document.content["lines"]
        for line in told:
            found[line["rate_card"]["id"]].append(line["total_minor"])
    return found


FULL = {"ahead": [1000] * 6, "calls": [5000] * 5, "fee": [2000] * 5}


@pytest.mark.parametrize(
    ("at", "discount", "terms", "changed"),
    [
        ("2025-12-01T00:00:00Z", percent("50", duration="once"), {}, ({0}, {0}, {0})),
        (JAN, percent("50", duration="once"), {}, ({0}, {0}, {0})),
        # a fee of January in advance is billed already, its usage is not
        ("2026-01-01T00:00:00.000001Z", percent("50", duration="once"), {}, ({1}, {0}, {0})),
        ("2026-01-20T00:00:00Z", percent("50", duration="once"), {}, ({1}, {0}, {0})),
        ("2026-02-01T00:00:00Z", percent("50", duration="once"), {}, ({1}, {1}, {1})),
        (
            "2026-02-10T00:00:00Z",
            percent("50", duration="repeating", cycles="2"),
            {},
            ({2, 3}, {1, 2}, {1, 2}),
        ),
        ("2026-03-10T00:00:00Z", percent("50"), {}, ({3, 4, 5}, {2, 3, 4}, {2, 3, 4})),
        (JAN, percent("50"), {"prices": ["fee"]}, (set(), set(), {0, 1, 2, 3, 4})),
        (JAN, percent("50"), {"plans": ["other"]}, (set(), set(), set())),
        (JAN, percent("50", duration="once"), {"plans": ["p"]}, ({0}, {0}, {0})),
    ],
)
def test_which_cycles_a_code_counts_for(
    at: str,
    discount: dict[str, Json],
    terms: dict[str, Json],
    changed: tuple[set[int], set[int], set[int]],
) -> None:
    found = billed(shop(redemption_of("HALF", "s", at, discount, **terms)))

    halved = {
        name: {place for place, minor in enumerate(found[name]) if minor == FULL[name][place] // 2}
        for name in FULL
    }
    assert halved == dict(zip(FULL, changed, strict=True))
    assert all(
        minor in (FULL[name][place], FULL[name][place] // 2)
        for name, minors in found.items()
        for place, minor in enumerate(minors)
    )


def test_a_fixed_amount_comes_off_behind_every_percentage() -> None:
    """RATING rule 26, whatever was redeemed first: 20.00 less 10 %, less half, less 3.00."""
    catalog = shop(
        redemption_of("THREE", "s", JAN, fixed("3"), prices=["fee"]),
        redemption_of("HALF", "s", JAN, percent("50"), prices=["fee"]),
        discounts=[percent("10")],
    )

    assert billed(catalog)["fee"] == [600] * 5


@pytest.mark.parametrize(
    ("used", "totals"),
    [
        ({"eu": 30, "us": 10}, [1200, 400]),  # 4.00 off 20.00: by what is left of each
        ({"eu": 3, "us": 0, "asia": 2}, [0, 0, 0]),  # no more than there is
        ({"eu": 10, "us": 10, "asia": 10}, [366, 367, 367]),
    ],
)
def test_a_fixed_amount_comes_off_once_where_a_price_is_told_apart_later(
    used: dict[str, int], totals: list[int]
) -> None:
    """The code was redeemed while calls were one line; now there is one for each region."""
    calls = price_of("calls", per_unit("0.5"), "calls", group_by=["region"])
    catalog = catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", window_s=3600, dimensions=["region"]),
        plan_of("p", calls),
        customer_of("acme"),
        subscription_of("s", "acme", "p", JAN),
        redemption_of("FOUR", "s", JAN, fixed("4"), prices=["calls"]),
    )
    lines = planned_lines(catalog, "acme", "EUR", instant(MONTHS[1]))
    parts = [
        UsagePart(0, 1, number, 1, 1, 0, (("region", region),)) for region, number in used.items()
    ]
    usage = {asked: parts for asked in requests_of(lines)}
    (document,) = compose(catalog, "acme", "EUR", instant(MONTHS[1]), lines, usage)
    told: Any = document.content["lines"]

    assert [line["total_minor"] for line in told] == totals
    children = [child for line in told for child in line["children"]]
    taken = sum(each["amount_minor"] for child in children for each in child["discounts"])
    assert taken == min(400, sum(used.values()) * 50)


def test_a_line_names_the_code_that_took_something_off() -> None:
    catalog = shop(redemption_of("HALF", "s", JAN, percent("50", reason="inside"), prices=["fee"]))
    lines = planned_lines(catalog, "acme", "EUR", instant(MONTHS[1]), {})
    (document,) = compose(catalog, "acme", "EUR", instant(MONTHS[1]), lines, {})
    told: Any = document.content["lines"]
    (fee, *_) = [line for line in told if line["rate_card"]["id"] == "fee"]

    discount = {"type": "percentage", "percent": "50", "reason": "HALF"}
    assert fee["discounts"] == [{**discount, "amount_minor": 1000}]
    assert fee["rate_card"]["discounts"] == [discount]


def test_a_change_of_plan_does_not_begin_the_cycles_of_a_code_anew() -> None:
    moved = subscription_of("s", "acme", "p", JAN)
    moved[2]["changes"] = [{"at": "2026-02-15T00:00:00Z", "plan": "p2"}]
    second = plan_of("p2", price_of("fee", flat("20")))
    once = redemption_of("HALF", "s", JAN, percent("50", duration="once"), prices=["fee"])

    assert billed(shop(second, moved, once))["fee"][0] == 1000
    assert sum(billed(shop(second, moved, once))["fee"][1:]) == sum(
        billed(shop(second, moved))["fee"][1:]
    )


def test_a_redemption_has_drafts_rated_anew() -> None:
    day = "2026-01-02T00:00:0{}Z".format

    assert walked(
        (JAN, [subscription_of("a", "acme", "monthly", JAN)]),
        (day(1), [redemption_of("HALF", "a", JAN, percent("50"))]),
        (day(2), []),
    ) == [([], ["acme"]), ([], [])]


CODES = """\
promotions:
  - id: HALF
    discount: {type: percentage, percent: "50", duration: repeating, cycles: "3"}
    starts: 2026-11-01T00:00:00Z
    ends: 2026-12-01T00:00:00Z
    redemptions_max: 2
    per_customer_max: "1"
  - id: FIVE
    discount: {type: fixed, amount: "5.00", duration: once}
    currency: EUR
    prices: [base]
    plans: [standard]
"""
NOV = instant("2026-11-05T00:00:00Z")


@pytest.fixture
def desk() -> Desk:
    """Two codes; acme has two subscriptions, bolt and cato one each."""
    desk = Desk()
    desk.apply(SHEET + CODES)
    sold = "".join(
        f"  - {{id: {customer}-{n}, customer: {customer}, plan: standard,"
        " start: 2026-11-01T00:00:00Z}\n"
        for customer, n in (("acme", 2), ("bolt", 1), ("cato", 1))
    )
    desk.apply(f"customers: [{{id: bolt}}, {{id: cato}}]\nsubscriptions:\n{sold}")
    return desk


def redeem(desk: Desk, code: str, subscription: str, at: int = NOV) -> None:
    desk.write(redeeming(desk.catalog, code, subscription, at))


def test_codes_come_from_a_sheet_and_the_same_one_changes_nothing(desk: Desk) -> None:
    assert desk.apply(CODES) == []
    assert check(CODES, desk.catalog)[1] == []
    half = desk.catalog.deals.promotions["HALF"]
    assert (half.redemptions_max, half.per_customer_max, half.reduction.cycles) == (2, 1, 3)


def test_a_code_is_redeemed_once_however_often_it_is_asked(desk: Desk) -> None:
    redeem(desk, "HALF", "acme-1")

    assert redeeming(desk.catalog, "HALF", "acme-1", NOV + 1) == []
    (told, *_) = [each for each in promotions_json(desk.catalog) if each["id"] == "HALF"]
    assert (told["redeemed"], len(cast(list[Json], told["redemptions"]))) == (1, 1)


def test_what_was_promised_stays_when_the_code_changes(desk: Desk) -> None:
    redeem(desk, "HALF", "acme-1")
    desk.apply(CODES.replace('"50"', '"5"'))

    (own,) = desk.catalog.deals.redemptions["acme-1"]
    assert own.discount["percent"] == "50"
    assert desk.catalog.deals.promotions["HALF"].discount["percent"] == "5"


@pytest.mark.parametrize(
    ("code", "subscription", "at", "told"),
    [
        ("NONE", "acme-1", "2026-11-05", "no promotion NONE: `talea promotion list` shows all"),
        ("HALF", "nobody", "2026-11-05", "no subscription nobody: `talea catalog show"),
        ("HALF", "acme-1", "2026-10-31", "HALF may be redeemed from 2026-11-01T00:00:00Z on"),
        ("HALF", "acme-1", "2026-12-01", "HALF could be redeemed before 2026-12-01T00:00:00Z: it"),
        ("HALF", "acme-2", "2026-11-05", "acme redeemed HALF 1 times, and that is all for a"),
        ("HALF", "cato-1", "2026-11-05", "HALF was redeemed 2 times, and that is all: make"),
    ],
)
def test_what_cannot_be_redeemed(
    desk: Desk, code: str, subscription: str, at: str, told: str
) -> None:
    if subscription in ("acme-2", "cato-1"):
        redeem(desk, "HALF", "acme-1")
    if subscription == "cato-1":
        redeem(desk, "HALF", "bolt-1")
    with pytest.raises(ValueError, match=told):
        redeeming(desk.catalog, code, subscription, instant(f"{at}T00:00:00Z"))


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({"plans": ["other"]}, "X is for other, and s is on neither"),
        ({"prices": ["none"]}, "X takes something off none, and s has none such"),
        ({"discount": fixed("3"), "currency": "USD"}, "X is in USD, and s is billed in EUR"),
    ],
)
def test_what_a_subscription_has_no_use_for(terms: dict[str, Json], told: str) -> None:
    body: dict[str, Json] = {
        "id": "X",
        "discount": percent("5"),
        "currency": None,
        "plans": [],
        "prices": [],
        "starts": None,
        "ends": None,
        "redemptions_max": None,
        "per_customer_max": None,
        **terms,
    }
    base = shop()
    decided = facts(*[(FactKind.PROMOTION, "X", body)] * (base.position + 1))[base.position :]
    with pytest.raises(ValueError, match=told):
        redeeming(extend(base, decided), "X", "s", instant(JAN))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            'percent: "50", duration: repeating, cycles: "3"',
            'percent: "-1"',
            "promotions[0].discount.percent: '-1' is below zero: write 0 or more",
        ),
        (
            ', cycles: "3"',
            "",
            "promotions[0].discount.cycles: required, but absent or null: add it",
        ),
        (
            "2026-12-01",
            "2026-10-01",
            "promotions[0].ends: not after the start: choose a later one",
        ),
        (
            "redemptions_max: 2",
            "redemptions_max: 0",
            "promotions[0].redemptions_max: '0' is no limit: use a whole number above 0",
        ),
        (
            "    currency: EUR\n",
            "",
            "promotions[1].currency: required, because the discount is so much money: add"
            " currency",
        ),
        (
            "    prices: [base]\n",
            "",
            "promotions[1].prices: so much money comes off one price, and 0 are named: name one,"
            " or use percent",
        ),
        (
            "    redemptions_max: 2",
            "    currency: EUR",
            "promotions[0].currency: so many percent are of any currency: remove it",
        ),
        (
            "plans: [standard]",
            "plans: [gold]",
            "promotions[1].plan: no plan gold, in this file: add it under plans, or mend the id",
        ),
        (
            "    discount: {type: fixed, amount: \"5.00\", duration: once}\n",
            "",
            "promotions[1].discount: required, but absent or empty: add discount",
        ),
    ],
)  # fmt: skip
def test_broken_promotions(old: str, new: str, told: str) -> None:
    assert old in CODES
    _, problems = check(SHEET + CODES.replace(old, new), None)

    assert [str(problem).split(": ", 1)[1] for problem in problems] == [told]
