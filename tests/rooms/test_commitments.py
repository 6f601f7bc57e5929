"""Commitments over several prices: what counts, what is topped up, what a sheet may say of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from builders import (
    billed_in,
    catalog_of,
    customer_of,
    flat,
    graduated,
    instant,
    issuer_of,
    log_of,
    meter_of,
    plan_of,
    price_of,
    rate_of,
    redemption_of,
    rules_of,
    sub_account_of,
    subscription_of,
)
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.changes import Changes
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.core.identity import Json
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.planned import carried_by_all, planned_lines, requests_of, with_lines
from pipeline.invoice.usage import UsagePart, UsageRequest
from rooms.test_sheet_changes import Desk
from rooms.test_subscriptions import APR, CALLS, JUN, MAY, SEATS, april, books, issued, seats

HALF: dict[str, Json] = {"id": "half", "length": "P1M", "percent_off": "50"}


def spend(amount: str = "100", covers: Json = "all", name: str = "spend", **more: Any) -> Any:
    return price_of(name, flat(amount), covers=covers, **more)


TEAM = plan_of("team", SEATS, CALLS, spend())


def calls(count: int, day: int = 2) -> list[str]:
    """So many calls, an hour apart."""
    return [april(day + number // 24, f"{number % 24:02}:00:00") for number in range(count)]


def told(lines: Sequence[Any], prefix: str = "spend") -> list[tuple[str, str, str, int]]:
    """Of each line of a commitment: price, what it says, its end, total."""
    return [
        (
            line["source_id"].removeprefix("s/"),
            line["description"].partition(", ")[2],
            line["period_end"][5:10],
            line["total_minor"],
        )
        for line in lines
        if line["category"] == "commitment"
    ]


def test_what_all_prices_of_a_period_lack_of_its_least_is_a_charge_at_its_end() -> None:
    catalog = books(TEAM)
    first, second, third = issued([(each, catalog) for each in (APR, MAY, JUN)], calls(5))

    assert told(first) == []  # seats alone, in advance
    assert told(second) == [("spend", "at least 100.00: 65.00 spent", "05-01", 3500)]
    assert told(third) == [("spend", "at least 100.00: 60.00 spent", "06-01", 4000)]
    (line,) = (each for each in second if each["category"] == "commitment")
    assert (line["type"], line["quantity"], line["unit_amount"]) == ("charge", "1", "35")
    assert line["totals"]["charges_total_minor"] == line["totals"]["total_minor"] == 3500
    assert (line["payment_term"], line["invoice_at"]) == ("in_arrears", MAY)
    assert line["rate_card"]["covers"] == "all"


@pytest.mark.parametrize(
    ("prices", "agreed", "expected"),
    [
        # 60.00 of seats and 45 calls are above it; the line stands, or nobody would know
        ([spend()], {"calls": 45}, [("spend", "at least 100.00: 105.00 spent", "05-01", 0)]),
        ([spend(covers=["calls"])], {}, [("spend", "at least 100.00: 5.00 spent", "05-01", 9500)]),
        ([spend("10", quantity="7")], {}, [("spend", "at least 70.00: 65.00 spent", "05-01", 500)]),
        # none counts for another, and each looks at its own
        (
            [spend("20", ["calls"], "least"), spend("90", name="spend")],
            {},
            [
                ("least", "at least 20.00: 5.00 spent", "05-01", 1500),
                ("spend", "at least 90.00: 65.00 spent", "05-01", 2500),
            ],
        ),
        # half a month: half of it, and of the seats
        ([spend()], {"end": april(16)}, [("spend", "at least 50.00: 35.00 spent", "04-16", 1500)]),
        # two seats for half a month, five for the other: 30.00 + 75.00 and the calls
        (
            [spend("130")],
            {"changes": [seats(april(16), "5")]},
            [("spend", "at least 130.00: 110.00 spent", "05-01", 2000)],
        ),
        # another plan, which commits to nothing: half of it is over
        (
            [spend()],
            {"changes": [{"at": april(16), "plan": "pro"}]},
            [("spend", "at least 50.00: 35.00 spent", "04-16", 1500)],
        ),
        # six days of thirty are not served
        (
            [spend()],
            {"pauses": [{"start": april(10), "end": april(16)}]},
            [
                ("spend", "at least 30.00: 23.00 spent", "04-10", 700),
                ("spend", "at least 50.00: 30.00 spent", "05-01", 2000),
            ],
        ),
        ([spend()], {"trial_end": MAY}, []),
        # the customer's own
        (
            [spend()],
            {"prices": [spend("66")]},
            [("spend", "at least 66.00: 65.00 spent", "05-01", 100)],
        ),
        # a change at a date: 10/30 of 90 and 20/30 of 120
        (
            [spend("90")],
            {"changes": [{"at": april(11), "prices": [spend("120")]}]},
            [("spend", "at least 110.00: 65.00 spent", "05-01", 4500)],
        ),
    ],
)
def test_what_counts_and_what_the_least_is(
    prices: list[Any], agreed: dict[str, Any], expected: list[Any]
) -> None:
    used = calls(agreed.pop("calls", 5))
    edges = sorted({agreed.get("end", MAY), april(10), april(16), MAY} - {APR})
    catalog = books(plan_of("team", SEATS, CALLS, *prices), **agreed)
    found = issued([(each, catalog) for each in (APR, *edges)], used)

    assert told([line for lines in found for line in lines]) == expected


def test_a_phase_takes_its_percentage_off_the_least_too() -> None:
    plan = plan_of("team", SEATS, CALLS, spend(), phases=[HALF])
    _, may, june = issued([(each, books(plan)) for each in (APR, MAY, JUN)], calls(4))

    # seats 30.00 and calls 2.00 of 50.00; then the seats of May, 60.00 of 100.00
    assert told(may) == [("spend", "at least 50.00: 32.00 spent", "05-01", 1800)]
    assert told(june) == [("spend", "at least 100.00: 60.00 spent", "06-01", 4000)]


def test_an_end_moved_later_takes_back_what_was_topped_up_too_early() -> None:
    """Half a month lacked 18.00 of 50.00; the whole month comes to 60.00 + 60 calls: nothing."""
    used = [*calls(2), *calls(58, 20)]
    known = [(APR, books(TEAM)), (april(16), books(TEAM, end=april(16))), (MAY, books(TEAM))]
    found = issued(known, used)

    assert told(found[1]) == [("spend", "at least 50.00: 32.00 spent", "04-16", 1800)]
    assert told(found[2]) == [("spend", "at least 100.00: 120.00 spent", "05-01", -1800)]


def test_what_was_billed_of_a_price_that_is_gone_counts() -> None:
    """Calls are sold until the 16th, when a document ended; 60.00 of seats and 5 calls count."""
    after = books(plan_of("team", SEATS, spend(), effective=april(16)), TEAM)
    known = [(APR, books(TEAM)), (april(16), books(TEAM, end=april(16))), (MAY, after)]
    found = issued(known, calls(5))

    assert told(found[1]) == [("spend", "at least 50.00: 35.00 spent", "04-16", 1500)]
    assert told(found[2]) == [("spend", "at least 100.00: 65.00 spent", "05-01", 2000)]


def dollars(**terms: Any) -> Composed:
    """A plan in dollars, sold in euros: 50 calls of 1.00."""
    catalog = catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", window_s=3600),
        plan_of("team", CALLS, spend(**terms), currency="USD"),
        customer_of("acme"),
        billed_in(subscription_of("s", "acme", "team", APR), "EUR"),
        rate_of("USD", "EUR", "2026-04-01", "0.9"),
    )
    (document,) = _documents(catalog, 50)
    return document


def _documents(catalog: Catalog, used: int, payer: str = "acme") -> list[Composed]:
    lines = planned_lines(catalog, payer, "EUR", instant(MAY))
    usage = {asked: [UsagePart(0, 1, used, used, used)] for asked in requests_of(lines)}
    made = compose(catalog, payer, "EUR", instant(MAY), lines, usage)
    if not made[0].issues:
        assert carried_by_all([made[0].content]) == with_lines({}, lines)
    return made


def lines_of(document: Composed) -> list[Any]:
    lines: Any = document.content["lines"]
    return list(lines)


def test_its_least_is_exchanged_as_its_prices_are() -> None:
    document = dollars()

    assert told(lines_of(document)) == [("spend", "at least 90.00: 45.00 spent", "05-01", 4500)]
    (line,) = (each for each in lines_of(document) if each["category"] == "commitment")
    assert (line["fx"]["from_amount_minor"], line["fx"]["to_amount_minor"]) == (10000, 9000)


def test_or_is_listed_in_the_currency_that_is_billed() -> None:
    listed = {"EUR": {"price": flat("85")}}

    assert told(lines_of(dollars(currencies=listed))) == [
        ("spend", "at least 85.00: 45.00 spent", "05-01", 4000)
    ]


def test_a_promotion_takes_off_what_counts_and_not_off_the_least() -> None:
    code = redemption_of("SAVE", "s", APR, {"type": "percentage", "percent": "20"})
    plain = books(TEAM)
    known = catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", window_s=3600),
        TEAM,
        customer_of("acme"),
        subscription_of("s", "acme", "team", APR),
        code,
    )
    found, promoted = (
        told(issued([(APR, each), (MAY, each)], calls(50))[1]) for each in (plain, known)
    )

    assert found == [("spend", "at least 100.00: 110.00 spent", "05-01", 0)]
    # 48.00 of seats and 40.00 of calls
    assert promoted == [("spend", "at least 100.00: 88.00 spent", "05-01", 1200)]


def test_a_sub_account_commits_by_itself_on_its_parents_document() -> None:
    catalog = catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", window_s=3600),
        plan_of("team", CALLS, spend()),
        customer_of("acme"),
        sub_account_of("lab", "acme"),
        subscription_of("a", "acme", "team", APR),
        subscription_of("l", "lab", "team", APR),
    )
    (document,) = _documents(catalog, 70)
    found = [line for line in lines_of(document) if line["category"] == "commitment"]

    assert [(line.get("sub_account"), line["total_minor"]) for line in found] == [
        (None, 3000),
        ("lab", 3000),
    ]


def test_what_cannot_be_rated_stops_the_commitment_too() -> None:
    """30 calls are beyond the last tier, and nobody knows what they count for."""
    catalog = catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", window_s=3600),
        plan_of("team", price_of("calls", graduated(("20", "1", "0")), "calls"), spend()),
        customer_of("acme"),
        subscription_of("s", "acme", "team", APR),
    )
    (document,) = _documents(catalog, 30)

    assert document.stopped
    assert [issue.component for issue in document.issues] == [
        f"s/{price} from {APR}" for price in ("calls", "spend")
    ]
    assert not lines_of(document)


def test_what_has_no_rate_of_exchange_stops_a_commitment_that_needs_none() -> None:
    catalog = catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", window_s=3600),
        plan_of("team", CALLS, spend(currencies={"EUR": {"price": flat("85")}}), currency="USD"),
        customer_of("acme"),
        billed_in(subscription_of("s", "acme", "team", APR), "EUR"),
    )
    (document,) = _documents(catalog, 50)

    assert [(issue.component, issue.code) for issue in document.issues] == [
        (f"s/{price} from {APR}", document.issues[0].code) for price in ("calls", "spend")
    ]


# ---- what a sheet may say ------------------------------------------------------------------

SHEET = """\
issuers: [{id: shop, name: The Shop, number_prefix: A-}]
meters: [{id: calls, aggregation: sum, unit: call}]
plans:
  - id: pro
    name: Pro
    issuer: shop
    currency: EUR
    cycle: P1M
    phases:
      - id: first
        length: P1M
        prices:
          - {id: calls, name: Calls, meter: calls, price: {type: unit, unit_amount: "1"}}
          - {id: spend, name: Minimum spend, price: {type: flat, amount: "20"}, covers: [calls]}
    prices:
      - {id: calls, name: Calls, meter: calls, price: {type: unit, unit_amount: "2"}}
      - {id: seats, name: Seats, price: {type: flat, amount: "9"}, quantity: "3"}
      - {id: spend, name: Minimum spend, price: {type: flat, amount: "50"}, covers: all}
      - id: floor
        name: Floor
        price: {type: flat, amount: "40"}
        covers: [calls]
        quantity: "2"
        tax_code: reduced
        currencies: {USD: {price: {type: flat, amount: "44"}}}
price_books:
  - {id: cheap, name: Cheap, plans: [{id: pro, prices: [
      {id: spend, name: Less, price: {type: flat, amount: "5"}, covers: [calls]}]}]}
customers: [{id: acme}]
subscriptions:
  - id: s
    customer: acme
    plan: pro
    start: 2026-04-01T00:00:00Z
    prices: [{id: floor, name: Own floor, price: {type: flat, amount: "7"}, covers: all}]
"""
SPEND = 'amount: "50"}, covers: all'


def problems(old: str, new: str) -> list[str]:
    assert SHEET.count(old) == 1
    desk = Desk()
    if new.startswith("later: "):
        desk.apply(SHEET)
        new = new.removeprefix("later: ")
    text = SHEET.replace(old, new)
    read = parse_sheet(text)
    if not isinstance(read, Sheet):
        return [str(problem) for problem in read]
    found = desk.ask(text)
    return [] if isinstance(found, Changes) else [str(problem) for problem in found]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (SPEND, 'amount: "50"}, covers: some', (
            "line 18: plans[0].prices[2].covers: must be a list of prices, or all: write one of"
            " them"
        )),
        (SPEND, 'amount: "50"}, covers: []', (
            "line 18: plans[0].prices[2].covers: names no price: name one, or write all"
        )),
        (SPEND, 'amount: "50"}, covers: [calls, calls]', (
            "line 18: plans[0].prices[2].covers: 'calls' stands here twice: remove one"
        )),
        (SPEND, 'amount: "50"}, covers: [cals]', (
            "line 18: plans[0].prices[2].covers: there is no price 'cals' beside it: use one of"
            " calls, seats"
        )),
        (SPEND, 'amount: "50"}, covers: [spend]', (
            "line 18: plans[0].prices[2].covers: 'spend' is a commitment, and none counts for"
            " another: use one of calls, seats"
        )),
        (SPEND, 'amount: "50"}, covers: [floor]', (
            "line 18: plans[0].prices[2].covers: 'floor' is a commitment, and none counts for"
            " another: use one of calls, seats"
        )),
        (SPEND, 'amount: "50"}, covers: {calls: 1}', (
            "line 18: plans[0].prices[2].covers: must be a list: start each entry with `- `"
        )),
        (SPEND, 'amount: "0"}, covers: all', (
            "line 18: plans[0].prices[2].price.amount: a commitment to nothing: write a number"
            " above 0"
        )),
        (SPEND, 'amount: "50"}, covers: all, payment_term: in_advance', (
            "line 18: plans[0].prices[2].payment_term: a commitment is the least of a period, due"
            " at its end: remove payment_term, or covers"
        )),
        (SPEND, 'amount: "50"}, covers: all, discounts: [{type: fixed, amount: "1"}]', (
            "line 18: plans[0].prices[2].discounts: a commitment is the least of a period, due at"
            " its end: remove discounts, or covers"
        )),
        ('unit_amount: "2"}}', 'unit_amount: "2"}, covers: [seats]}', (
            "line 16: plans[0].prices[0].price.type: a commitment is an amount of money, which the"
            " usage of others comes to: use flat, or remove covers"
        )),
        ('amount: "20"}, covers: [calls]', 'amount: "20"}, covers: [seats]', (
            "line 14: plans[0].phases[0].prices[1].covers: there is no price 'seats' beside it:"
            " use one of calls"
        )),
        ('amount: "5"}, covers: [calls]', 'amount: "5"}', (
            "line 28: price_books[0].plans[0].prices[0].covers: spend is a commitment in force,"
            " and never a fee: use another id"
        )),
        ('amount: "5"}, covers: [calls]', 'amount: "5"}, covers: [cpu]', (
            "line 28: price_books[0].plans[0].prices[0].covers: there is no price 'cpu' beside it:"
            " use one of calls, seats"
        )),
        ('amount: "7"}, covers: all', 'amount: "7"}, covers: [none]', (
            "line 35: subscriptions[0].prices[0].covers: there is no price 'none' beside it: use"
            " one of calls, seats"
        )),
        ('amount: "7"}, covers: all', 'amount: "7"}', (
            "line 35: subscriptions[0].prices[0].covers: floor is a commitment in force, and never"
            " a fee: use another id"
        )),
        (SPEND, 'later: amount: "50"}', (
            "line 18: plans[0].prices[2].covers: spend is a commitment in force, and never a fee:"
            " use another id"
        )),
        ('amount: "20"}, covers: [calls]', 'later: amount: "20"}', (
            "line 14: plans[0].phases[0].prices[1].covers: spend is a commitment in force, and"
            " never a fee: use another id"
        )),
        ('amount: "9"}, quantity: "3"', 'later: amount: "9"}, covers: [calls]', (
            "line 17: plans[0].prices[1].covers: seats is a fee in force, and never a commitment:"
            " use another id"
        )),
    ],
)  # fmt: skip
def test_a_broken_commitment(old: str, new: str, expected: str) -> None:
    assert expected in problems(old, new)


def test_what_is_agreed_is_a_commitment_wherever_the_plan_has_one() -> None:
    """A fee while the first phase runs, a commitment ever after: neither takes both places."""
    text = SHEET.replace('amount: "20"}, covers: [calls]', 'amount: "20"}')
    own = "{id: floor, name: Own floor"
    agreed = text.replace(own, "{id: spend, name: X, price: {type: flat, amount: '1'}}, " + own)

    found = Desk().ask(agreed)
    assert isinstance(found, list)
    assert [str(problem).partition(": ")[2] for problem in found] == [
        "subscriptions[0].prices[0].covers: spend is a commitment in force, and never a fee: use"
        " another id"
    ]


def test_an_order_commits_to_no_period() -> None:
    order = (
        "\norders: [{id: o, customer: acme, issuer: shop, currency: EUR, at: 2026-04-01T00:00:00Z,"
        " lines: [{id: x, name: X, price: {type: flat, amount: '1'}, covers: all}]}]\n"
    )
    found = parse_sheet(SHEET + order)

    assert [str(each) for each in found] == [  # type: ignore[union-attr]
        "line 37: orders[0].lines[0].covers: an order is bought once, and commits to no period:"
        " remove it"
    ]


def test_a_sheet_of_commitments_becomes_facts_and_comes_back() -> None:
    desk = Desk()
    desk.apply(SHEET)
    plan = desk.catalog.plans["pro"]

    assert [card.covers for card in plan.prices] == [None, None, (), ("calls",)]
    assert plan.prices[3].currencies["USD"].covers == ("calls",)
    assert desk.ask(SHEET) == Changes((), ())


class Asked(dict[UsageRequest, list[UsagePart]]):
    """Usage that counts how often it is asked for."""

    def __init__(self, usage: Mapping[UsageRequest, list[UsagePart]]) -> None:
        super().__init__(usage)
        self.times = Counter[UsageRequest]()

    def get(self, request: UsageRequest, default: Any = None) -> Any:
        self.times[request] += 1
        return super().get(request, default)


def test_what_commitments_count_is_worked_out_once_a_document() -> None:
    team = plan_of("team", spend("9", ["calls"], "least"), SEATS, CALLS, spend())
    lines = planned_lines(books(team), "acme", "EUR", instant(MAY))
    requests = requests_of(lines)
    usage = Asked({each: [UsagePart(0, 3, 3, 3, 3)] for each in requests})
    (made,) = compose(books(team), "acme", "EUR", instant(MAY), lines, usage)
    billed: Any = made.content["lines"]

    assert requests
    assert usage.times == dict.fromkeys(requests, 1)
    assert [each[1] for each in told(billed, "")] == [
        "at least 9.00: 3.00 spent",
        "at least 100.00: 63.00 spent",
    ]
