"""What a sheet may agree with a customer: read, written, read again; each problem with its mend."""

import json
from fractions import Fraction
from typing import Any

import pytest

from builders import instant
from json_schema import faults
from pipeline.catalog import shape
from pipeline.catalog.changes import Changes, changes
from pipeline.catalog.checking import check
from pipeline.catalog.legs import legs
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.catalog.subscriptions import Alignment, Pause, subscription_body
from pipeline.catalog.yaml import as_json, compose
from rooms.test_sheet_changes import TZDATA, Desk
from rooms.test_sheet_problems import cases

SHEET = """\
issuers: [{id: shop, name: The Shop, number_prefix: A-}]
meters:
  - {id: calls, aggregation: sum, unit: call}
  - {id: hours, aggregation: sum, unit: h, window: PT1H}
plans:
  - id: pro
    name: Pro
    issuer: shop
    currency: EUR
    cycle: P1M
    trial: P14D
    phases:
      - {id: intro, length: P3M, percent_off: "50"}
      - {id: next, length: P2M, prices: [{id: seats, name: Seats, price: {type: flat, amount: 5}}]}
    prices:
      - {id: seats, name: Seats, price: {type: flat, amount: 7}, payment_term: in_advance}
      - {id: calls, name: Calls, meter: calls, price: {type: unit, unit_amount: "0.5"}}
  - {id: plus, name: Plus, issuer: shop, currency: EUR, cycle: P1Y, prices: []}
  - id: help
    name: Help
    issuer: shop
    currency: EUR
    cycle: P1M
    prices: [{id: fee, name: Fee, price: {type: flat, amount: 9}}]
  - {id: usd, name: Dollars, issuer: shop, currency: USD, cycle: P1M, prices: []}
  - {id: odd, name: Odd, issuer: shop, currency: EUR, cycle: P1DT1H, prices: []}
customers: [{id: acme}]
subscriptions:
  - id: acme-1
    customer: acme
    plan: pro
    start: 2026-04-01T00:00:00Z
    end: null
    anchor: calendar
    trial_end: 2026-04-08T00:00:00Z
    quantities: {seats: "3", help-1/fee: "2"}
    prices: [{id: calls, name: Calls, meter: calls, price: {type: unit, unit_amount: "0.4"}}]
    changes:
      - {at: 2026-05-01T00:00:00Z, quantities: {seats: 5.5}}
      - {at: 2026-06-01T00:00:00Z, plan: plus}
    pauses:
      - {start: 2026-07-01T00:00:00Z, end: 2026-08-01T00:00:00Z}
      - {start: 2026-09-01T00:00:00Z, end: null}
    add_ons:
      - {id: help-1, plan: help, start: 2026-04-11T00:00:00Z, end: null}
"""

# ruff: noqa: E501
# After *: what stands in SHEET => what stands there instead. Below: the problems that makes.
BROKEN = r"""
* trial: P14D => trial: a while
  line 11: plans[0].trial: 'a while' is not an ISO 8601 duration such as P1M or PT1M: P counts by
      the calendar, PT by the clock
* length: P3M, => (nothing)
  line 13: plans[0].phases[0].length: required, but absent or empty: add length
* percent_off: "50" => percent_off: "150"
  line 13: plans[0].phases[0].percent_off: '150' is no percent: write a decimal above 0, up to 100
* percent_off: "50" => off: "50"
  line 13: plans[0].phases[0].off: nobody reads this key: remove it, or use id, length, percent_off,
      prices
* id: next => id: intro
  line 14: plans[0].phases[1].id: intro stands on line 13 already: rename or remove one
* id: seats, name: Seats, price: {type: flat, amount: 5} => id: seats, name: Seats, meter: no, price: {type: flat, amount: 5}
  line 14: plans[0].phases[1].prices[0].meter: a flat price bills no usage: remove meter, or use
      another type
* anchor: calendar => anchor: monday
  line 34: subscriptions[0].anchor: 'monday' is not an RFC 3339 instant with a zone: write it like
      2026-11-01T00:00:00Z
* trial_end: 2026-04-08 => trial_end: 2026-03-08
  line 35: subscriptions[0].trial_end: lies before the start: choose the start itself for no trial
* seats: "3" => seats: "-3"
  line 36: subscriptions[0].quantities.seats: '-3' is no quantity: write a decimal of 0 or more
* seats: "3" => a/b/c: "3"
  line 36: subscriptions[0].quantities.a/b/c: 'a/b/c' is no fee: write its id, or add-on/id
* seats: "3" => chairs: "3"
  line 36: subscriptions[0].quantities.chairs: no flat fee 'chairs' in its plans: use one of
      help-1/fee, seats
* seats: "3" => calls: "3"
  line 36: subscriptions[0].quantities.calls: no flat fee 'calls' in its plans: use one of
      help-1/fee, seats
* help-1/fee: "2" => help-2/fee: "2"
  line 36: subscriptions[0].quantities.help-2/fee: no flat fee 'help-2/fee' in its plans: use one of
      help-1/fee, seats
* prices: [{id: calls, name: Calls, meter: calls, price: {type: unit, unit_amount: "0.4"}}] => prices: [{id: base, name: Base, price: {type: flat, amount: 1}}]
  line 37: subscriptions[0].prices[0].id: its plans have no price base: use one of calls, seats
* meter: calls, price: {type: unit, unit_amount: "0.4"} => meter: phone, price: {type: unit, unit_amount: "0.4"}
  line 37: subscriptions[0].prices[0].meter: no meter phone, in this file: add it under meters, or
      mend the id
* meter: calls, price: {type: unit, unit_amount: "0.4"} => meter: calls, group_by: [zone], price: {type: unit, unit_amount: "0.4"}
  line 37: subscriptions[0].prices[0].group_by: calls does not keep dimension 'zone', it keeps none:
      use one of these, or make a new meter
* meter: calls, price: {type: unit, unit_amount: "0.4"} => meter: calls, currency: USD, price: {type: unit, unit_amount: "0.4"}
  line 37: subscriptions[0].prices[0].currency: USD is not the currency of pro, EUR: remove it
* 2026-05-01T00:00:00Z, quantities => 2026-03-01T00:00:00Z, quantities
  line 39: subscriptions[0].changes[0].at: not after the start: sort changes by time, one for each
      instant
* 2026-06-01T00:00:00Z, plan => 2026-05-01T00:00:00Z, plan
  line 40: subscriptions[0].changes[1].at: not after the change before it: sort changes by time, one
      for each instant
* , plan: plus => (nothing)
  line 40: subscriptions[0].changes[1].at: changes nothing: add plan, quantities or prices, or
      remove it
* , plan: plus => , plan: max
  line 40: subscriptions[0].changes[1].plan: no plan max, in this file: add it under plans, or mend
      the id
* , plan: plus => , plan: usd
  line 40: subscriptions[0].changes[1].plan: usd is in USD and pro in EUR: a subscription bills in
      one currency, make another subscription
* , plan: plus => , plan: odd
  line 34: subscriptions[0].anchor: odd has a cycle of P1DT1H, which no calendar shows: remove it,
      or name an instant
* {at: 2026-06-01T00:00:00Z, plan: plus} => {plan: plus}
  line 40: subscriptions[0].changes[1].at: required, but absent or empty: add at
  line 40: subscriptions[0].changes[1].at: changes nothing: add plan, quantities or prices, or
      remove it
* end: 2026-08-01 => end: 2026-07-01
  line 42: subscriptions[0].pauses[0].end: not after the start of the pause: choose a later one, or
      remove both
* end: 2026-08-01T00:00:00Z => end: null
  line 43: subscriptions[0].pauses[1].start: the pause before it is not over: end that first, sort
      by time
* start: 2026-07-01 => start: 2026-03-01
  line 42: subscriptions[0].pauses[0].start: lies before the subscription: choose a later start
* start: 2026-04-11 => start: 2026-03-11
  line 45: subscriptions[0].add_ons[0].start: lies before the subscription: choose a later start
* start: 2026-04-11T00:00:00Z, end: null => start: 2026-04-11T00:00:00Z, end: 2026-04-10T00:00:00Z
  line 45: subscriptions[0].add_ons[0].end: lies before its start: choose a later end, or its start
      to void it
* plan: help, start => plan: usd, start
  line 36: subscriptions[0].quantities.help-1/fee: no flat fee 'help-1/fee' in its plans: use one of
      seats
  line 45: subscriptions[0].add_ons[0].plan: usd is in USD and pro in EUR: a subscription bills in
      one currency, make another subscription
"""


def test_what_is_agreed_is_read() -> None:
    sheet = parse_sheet(SHEET)
    assert isinstance(sheet, Sheet), sheet
    (sold,) = sheet.subscriptions

    assert sold.anchor is Alignment.CALENDAR
    assert sold.trial_end == instant("2026-04-08T00:00:00Z")
    assert sold.quantities == {"seats": 3, "help-1/fee": 2}
    assert [price.id for price in sold.prices] == ["calls"]
    assert [change.plan for change in sold.changes] == [None, "plus"]
    assert sold.changes[0].quantities == {"seats": Fraction(11, 2)}
    assert sold.pauses[1] == Pause(instant("2026-09-01T00:00:00Z"), None)
    assert sold.plans == {"pro", "plus", "help"}


def test_what_is_agreed_is_in_force_then_and_changes_nothing_twice() -> None:
    desk = Desk()
    desk.apply(SHEET)
    sheet = parse_sheet(SHEET)
    assert isinstance(sheet, Sheet)

    assert desk.catalog.subscriptions["acme-1"] == sheet.subscriptions[0]
    assert desk.catalog.plans["pro"] == sheet.plans[0]
    assert desk.ask(SHEET) == Changes((), ())


def test_a_good_sheet_has_no_problem_and_passes_in_an_editor() -> None:
    assert check(SHEET, None)[1] == []
    assert [*faults(shape.sheet_schema(), as_json(compose(SHEET)[0]))] == []


@pytest.mark.parametrize(("old", "new", "expected"), cases(BROKEN))
def test_a_broken_agreement(old: str, new: str, expected: list[str]) -> None:
    assert old in SHEET

    assert [str(problem) for problem in check(SHEET.replace(old, new, 1), None)[1]] == expected


def test_a_plan_has_so_many_phases_that_instants_last() -> None:
    """900 phases of ten years went beyond the year 9999, and stopped the books."""
    phases = [f"{{id: p{number}, length: P10Y}}" for number in range(101)]
    before, after = SHEET.split("    phases:\n")
    cut = after.index("    prices:\n")
    told = f"    phases: [{', '.join(phases)}]\n"

    _, problems = check(before + told + after[cut:], None)
    assert [str(each) for each in problems] == [
        "line 12: plans[0].phases: 101 phases: keep 100 at most"
    ]
    most = before + told.replace(f", {phases[-1]}", "") + after[cut:]
    desk = Desk()
    desk.apply(most.replace("trial: P14D", "trial: P10Y").replace("2026-", "2099-"))
    assert legs(desk.catalog, desk.catalog.subscriptions["acme-1"])


def test_a_start_in_the_past_owes_no_more_periods_than_can_be_billed() -> None:
    desk, quarters = Desk(), SHEET.replace("cycle: P1Y", "cycle: PT15M")
    desk.apply(quarters.partition("subscriptions:")[0])

    assert isinstance(_later(desk, quarters, "2029-01-01T00:00:00Z"), Changes)
    (problem,) = _later(desk, quarters, "2030-04-01T00:00:00Z")
    assert str(problem).split(": ", 1)[1] == (
        "subscriptions[0].start: 140256 periods would be billed at once: 100000 at most, choose a"
        " later start or a plan of longer cycles"
    )


LATER = [
    ("amount: 9}", "amount: 10}"),  # of a plan: prices may change
    ("quantities: {seats: 5.5}", "quantities: {seats: 6}"),
    ("{at: 2026-05-01", "{at: 2026-05-20"),
    ("start: 2026-07-01", "start: 2026-07-04"),
    ("end: null\n    anchor", "end: 2026-05-15T00:00:00Z\n    anchor"),
]
SOONER = [
    ('seats: "3"', 'seats: "4"', "quantities"),
    ('unit_amount: "0.4"', 'unit_amount: "0.3"', "prices"),
    ("2026-04-08", "2026-04-07", "trial_end"),
    ("calendar", "2026-01-31T00:00:00Z", "anchor"),
    ("2026-04-11T00:00:00Z, end: null", "2026-04-10T00:00:00Z, end: null", "add_ons"),
    ("end: null\n    anchor", "end: 2026-04-09T00:00:00Z\n    anchor", "end"),
    (
        "pauses:\n",
        "pauses:\n      - {start: 2026-04-10T00:00:00Z, end: 2026-04-12T00:00:00Z}\n",
        "pauses",
    ),
    (
        "changes:\n",
        "changes:\n      - {at: 2026-04-09T00:00:00Z, quantities: {seats: 1}}\n",
        "changes",
    ),
]


@pytest.mark.parametrize(("old", "new"), LATER)
def test_what_was_not_billed_yet_may_change(old: str, new: str) -> None:
    desk = Desk()
    desk.apply(SHEET)

    assert old in SHEET
    assert isinstance(_later(desk, SHEET.replace(old, new, 1), "2026-05-02T00:00:00Z"), Changes)


@pytest.mark.parametrize(("old", "new", "key"), SOONER)
def test_what_was_billed_stays_as_it_was(old: str, new: str, key: str) -> None:
    desk = Desk()
    desk.apply(SHEET)

    assert old in SHEET
    (problem,) = _later(desk, SHEET.replace(old, new, 1), "2026-05-02T00:00:00Z")
    assert problem.path == f"subscriptions[0].{key}"
    assert problem.message == (
        "acme-1 was billed up to 2026-05-01T00:00:00Z, and this would change what was:"
        " leave all before that instant as it is in force"
    )
    assert isinstance(_later(desk, SHEET.replace(old, new, 1), "2026-04-01T00:00:00Z"), Changes)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("trial: P14D", "trial: P7D", "trial"),
        ("length: P3M", "length: P4M", "phases"),
        ("id: next, length", "id: then, length", "phases"),
        (
            "price: {type: flat, amount: 5}}",
            "price: {type: flat, amount: 5}, payment_term: in_advance}",
            "phases",
        ),
    ],
)
def test_a_plan_that_is_sold_keeps_its_trial_and_phases(old: str, new: str, key: str) -> None:
    desk = Desk()
    desk.apply(SHEET)

    assert desk.refused(SHEET.replace(old, new, 1))[0].split(": ", 1)[1] == (
        f"plans[0].{key}: the {key} of pro cannot change while pro has subscriptions:"
        " make a new plan"
    )


def _later(desk: Desk, text: str, passed: str) -> Any:
    sheet = parse_sheet(text)
    assert isinstance(sheet, Sheet), sheet
    return changes(sheet, desk.catalog, desk.known, desk.salt, TZDATA, instant(passed))


def test_what_a_fact_says_is_a_sheet_again() -> None:
    """So `talea subscription` may edit a fact and have it checked as a catalog is."""
    desk = Desk()
    desk.apply(SHEET)
    sold = desk.catalog.subscriptions["acme-1"]
    again = parse_sheet(json.dumps({"subscriptions": [subscription_body(sold)]}))
    assert isinstance(again, Sheet), again

    assert again.subscriptions == (sold,)
