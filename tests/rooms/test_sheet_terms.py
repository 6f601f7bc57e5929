"""Terms beside a price in a sheet: what they come to, and each problem with its line and mend."""

from fractions import Fraction

import pytest

from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.rate import (
    FixedDiscount,
    Operation,
    PaymentTerm,
    PercentageDiscount,
    Reduction,
    Rounding,
    UnitConversion,
)

SHEET = """\
issuers: [{id: shop, name: The Shop, number_prefix: A-}]
meters:
  - {id: calls, aggregation: sum, unit: call, dimensions: [region]}
  - {id: turnover, aggregation: sum, unit: EUR}
plans:
  - id: pro
    name: Pro
    issuer: shop
    currency: EUR
    cycle: P1M
    prices:
      - id: seats
        name: Seats
        price: {type: flat, amount: "7.50"}
        quantity: "12"
        payment_term: in_advance
        discounts: [{type: percentage, percent: "10", duration: once, reason: welcome}]
      - id: calls
        name: Calls
        meter: calls
        price: {type: unit, unit_amount: "0.5"}
        unit_conversion: {operation: divide, factor: "1000", rounding: ceiling, precision: 2}
        usage_discount: "5"
        maximum: "200"
        minimum: "20"
        discounts:
          - {type: fixed, amount: "3"}
          - {type: percentage, percent: "25", duration: repeating, cycles: "3"}
      - {id: cut, name: Cut, meter: turnover, price: {type: percentage, rate_percent: "2.9"}}
"""

# ruff: noqa: E501
# After *: what stands in SHEET => what stands there instead. Below: the problems that makes.
BROKEN = r"""
* quantity: "12" => quantity: "0"
  line 15: plans[0].prices[0].quantity: '0' is not above zero: write a number above 0
* quantity: "12" => quantity: a dozen
  line 15: plans[0].prices[0].quantity: 'a dozen' is not a plain decimal string of at most 100
      digits: write it like 0.25
* quantity: "12" => quantity: [12]
  line 15: plans[0].prices[0].quantity: a list is not a plain decimal string of at most 100 digits:
      write it like 0.25
* in_advance => upfront
  line 16: plans[0].prices[0].payment_term: 'upfront' is none of in_advance, in_arrears: use one of
      these
* quantity: "12" => minimum: "12"
  line 15: plans[0].prices[0].minimum: a flat price bills no usage: remove it
* quantity: "12" => maximum: "12"
  line 15: plans[0].prices[0].maximum: a flat price bills no usage: remove it
* quantity: "12" => usage_discount: "12"
  line 15: plans[0].prices[0].usage_discount: a flat price bills no usage: remove it
* quantity: "12" => unit_conversion: {operation: divide, factor: "2"}
  line 15: plans[0].prices[0].unit_conversion: a flat price bills no usage: remove it
* usage_discount: "5" => quantity: "5"
  line 23: plans[0].prices[1].quantity: only a flat price has one: remove it
* usage_discount: "5" => payment_term: in_advance
  line 23: plans[0].prices[1].payment_term: only a flat price has one: remove it
* usage_discount: "5" => usage_discount: "-5"
  line 23: plans[0].prices[1].usage_discount: '-5' is below zero: write 0 or more
* operation: divide => operation: split
  line 22: plans[0].prices[1].unit_conversion.operation: 'split' is none of divide, multiply: use
      one of these
* operation: divide, => (nothing)
  line 22: plans[0].prices[1].unit_conversion.operation: required, but absent or null: add it
* factor: "1000" => factor: "0"
  line 22: plans[0].prices[1].unit_conversion.factor: '0' is not above zero: write
      a number above 0
* , factor: "1000" => (nothing)
  line 22: plans[0].prices[1].unit_conversion.factor: required, but absent or null: add it
* precision: 2 => precision: two
  line 22: plans[0].prices[1].unit_conversion.precision: 'two' is no whole number: write
      it like 2
* precision: 2 => precision: 41
  line 22: plans[0].prices[1].unit_conversion.precision: 41 is not from 0 to 40: keep fewer
* precision: 2 => digits: 2
  line 22: plans[0].prices[1].unit_conversion.digits: nobody reads this key: remove it, or use
      another type
* ceiling => up
  line 22: plans[0].prices[1].unit_conversion.rounding: 'up' is none of none, ceiling, floor,
      half_up: use one of these
* maximum: "200" => maximum: "19.99"
  line 25: plans[0].prices[1].minimum: above the maximum: lower it, or raise the maximum
* minimum: "20" => minimum: "-20"
  line 25: plans[0].prices[1].minimum: '-20' is below zero: write 0 or more
* {type: fixed, amount: "3"} => {type: fixed}
  line 27: plans[0].prices[1].discounts[0].amount: required, but absent or null: add it
* {type: fixed, amount: "3"} => {type: fixed, amount: "-3"}
  line 27: plans[0].prices[1].discounts[0].amount: '-3' is below zero: write 0 or more
* {type: fixed, amount: "3"} => {type: absolute, amount: "3"}
  line 27: plans[0].prices[1].discounts[0].type: 'absolute' is none of percentage, fixed: use one
      of these
* {type: fixed, amount: "3"} => {amount: "3"}
  line 27: plans[0].prices[1].discounts[0].type: required, but absent or null: add it
* {type: fixed, amount: "3"} => three euros
  line 27: plans[0].prices[1].discounts[0]: 'three euros' is no object: write the entries under it
* {type: fixed, amount: "3"} => {type: fixed, amount: "3", months: "2"}
  line 27: plans[0].prices[1].discounts[0].months: nobody reads this key: remove it, or use another
      type
* {type: fixed, amount: "3"} => {type: fixed, amount: "3", cycles: "2"}
  line 27: plans[0].prices[1].discounts[0].cycles: only a repeating discount has them: remove it
* {type: fixed, amount: "3"} => {type: fixed, amount: "3", duration: yearly}
  line 27: plans[0].prices[1].discounts[0].duration: 'yearly' is none of once, repeating, forever:
      use one of these
* , cycles: "3" => (nothing)
  line 28: plans[0].prices[1].discounts[1].cycles: required, but absent or null: add it
* cycles: "3" => cycles: "0"
  line 28: plans[0].prices[1].discounts[1].cycles: not from 1 to 1200
* percent: "25", duration: repeating, cycles: "3" => percent: "100"
  line 27: plans[0].prices[1].discounts[0].type: one of 100 percent before it leaves nothing:
      remove it
* reason: welcome => reason: "wel\x0acome"
  line 17: plans[0].prices[0].discounts[0].reason: not printable, or above 256 characters
* meter: calls\n        price => meter: calls\n        group_by: [region]\n        price
  line 24: plans[0].prices[1].usage_discount: the usage discount would count for each group by
      itself: remove it, or what tells groups apart
  line 25: plans[0].prices[1].maximum: the maximum would count for each group by itself: remove it,
      or what tells groups apart
  line 26: plans[0].prices[1].minimum: the minimum would count for each group by itself: remove it,
      or what tells groups apart
  line 28: plans[0].prices[1].discounts: a fixed discount would count for each group by itself:
      remove it, or what tells groups apart
* unit: EUR => unit: USD
  line 29: plans[0].prices[2].meter: turnover counts USD, and the plan is in EUR: this price is
      of the plan's currency, use another meter
* currency: EUR => currency: XXX
  line 9: plans[0].currency: XXX has no minor unit, so nothing can be billed in it: use
      one such as EUR
* rate_percent: "2.9"} => rate_percent: "2.9", fixed_per_event: "1"}, usage_discount: "1"
  line 29: plans[0].prices[2].usage_discount: a price that looks at single events cannot have one:
      remove it
* rate_percent: "2.9" => free_events: "3"
  line 29: plans[0].prices[2].meter: the price looks at single events, and turnover keeps none: make
      a new meter with points: true
* aggregation: sum, unit: EUR => aggregation: latest, points: true, unit: EUR
  line 4: meters[1].points: latest has no use for it, only sum and min and max: remove points
* aggregation: sum, unit: EUR => aggregation: sum, points: always, unit: EUR
  line 4: meters[1].points: 'always': use true or false
* price: {type: percentage, rate_percent: "2.9"} => price: {type: dynamic, multiplier: "-1"}
  line 29: plans[0].prices[2].price.multiplier: '-1' is below zero: write 0 or more
* price: {type: unit, unit_amount: "0.5"} => price: {type: matrix}
  line 21: plans[0].prices[1].price.dimensions: there must be at least one: add it
  line 21: plans[0].prices[1].price.cells: there must be at least one: add it
  line 21: plans[0].prices[1].price.default_unit_amount: required, but absent or null: add it
* price: {type: unit, unit_amount: "0.5"} => price: {type: matrix, dimensions: [region, region], default_unit_amount: "1", cells: [{values: [eu, us], unit_amount: "1"}]}
  line 21: plans[0].prices[1].price.dimensions: one stands twice: remove one
* price: {type: unit, unit_amount: "0.5"} => price: {type: matrix, dimensions: [region], default_unit_amount: "1", cells: [{values: [eu, us], unit_amount: "1"}]}
  line 21: plans[0].prices[1].price.cells[0].values: 2 values for 1 dimensions: write one for each
* price: {type: unit, unit_amount: "0.5"} => price: {type: matrix, dimensions: [region], default_unit_amount: "1", cells: [{values: [eu], unit_amount: "1"}, {values: [eu], unit_amount: "2"}]}
  line 21: plans[0].prices[1].price.cells[1].values: another cell has them: remove one
* rate_percent: "2.9" => rate_percent: "-2.9"
  line 29: plans[0].prices[2].price.rate_percent: '-2.9' is below zero: write 0 or more
"""


def cases() -> list[tuple[str, str, list[str]]]:
    found = []
    for case in BROKEN.split("\n* ")[1:]:
        edit, *told = case.rstrip("\n").split("\n  line ")
        old, new = edit.split(" => ")
        lines = [f"line {' '.join(each.split())}" for each in told]
        found.append((unescaped(old), unescaped(new.replace("(nothing)", "")), lines))
    return found


def unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\x0a", "\\n")


def cards(text: str = SHEET) -> dict[str, PlanPrice]:
    sheet = parse_sheet(text)
    assert isinstance(sheet, Sheet), sheet
    return {card.id: card for card in sheet.plans[0].prices}


@pytest.mark.parametrize(("old", "new", "expected"), cases())
def test_broken_terms(old: str, new: str, expected: list[str]) -> None:
    assert SHEET.count(old) >= 1
    found = parse_sheet(SHEET.replace(old, new, 1))

    assert not isinstance(found, Sheet)
    assert [str(problem) for problem in found] == expected


def test_at_least_35_broken_terms_are_told_apart() -> None:
    assert len({new for _, new, _ in cases()}) >= 25
    assert len(cases()) >= 35


def test_a_fee_s_terms() -> None:
    card = cards()["seats"]

    assert card.terms.quantity == 12
    assert card.terms.payment_term is PaymentTerm.IN_ADVANCE
    assert card.in_advance
    assert card.terms.discounts == (
        Reduction(PercentageDiscount(Fraction(10)), cycles=1, reason="welcome"),
    )


def test_a_usage_price_s_terms_percentages_first() -> None:
    terms = cards()["calls"].terms

    assert terms.unit_conversion == UnitConversion(
        Operation.DIVIDE, Fraction(1000), Rounding.CEILING, 2
    )
    assert [terms.usage_discount, terms.minimum, terms.maximum] == [5, 20, 200]
    assert terms.discounts == (
        Reduction(PercentageDiscount(Fraction(25)), cycles=3),
        Reduction(FixedDiscount(Fraction(3))),
    )


@pytest.mark.parametrize(("cycle", "reductions"), [(0, 2), (2, 2), (3, 1), (99, 1)])
def test_a_discount_lasts_as_many_cycles_as_it_says(cycle: int, reductions: int) -> None:
    assert len(cards()["calls"].terms.reductions(cycle)) == reductions


MATRIX = """\
  - id: m
    name: M
    issuer: shop
    currency: EUR
    cycle: P1M
    prices:
      - id: calls
        name: Calls
        meter: calls
        group_by: [zone]
        price:
          type: matrix
          dimensions: [region]
          cells: [{values: [eu], unit_amount: "1"}]
          default_unit_amount: "2"
"""


def test_a_matrix_tells_usage_apart_by_its_dimensions() -> None:
    sheet = parse_sheet(SHEET.replace("[region]", "[region, zone]") + MATRIX)
    assert isinstance(sheet, Sheet), sheet

    assert sheet.plans[1].prices[0].scope.group_by == ("region", "zone")


def test_a_matrix_of_a_dimension_that_the_meter_does_not_keep() -> None:
    text = SHEET + MATRIX.replace("dimensions: [region]", "dimensions: [colour]").replace(
        "        group_by: [zone]\n", ""
    )
    found = parse_sheet(text)

    assert isinstance(found, list)
    assert [str(problem) for problem in found] == [
        "line 41: plans[1].prices[0].price.dimensions: calls does not keep dimension 'colour', it"
        " keeps region: use one of these, or make a new meter"
    ]


def test_without_terms_there_are_none() -> None:
    assert cards()["cut"].terms_json() == {}
