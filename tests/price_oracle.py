"""What each price of the shop in tests/integration/test_prices.py comes to, the plainest way.

It shares nothing with the rating room: sums of fractions, each line rounded once by the oracle.
`cycle` counts from 0.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import ceil

from oracle import Event, exact_sum, minor

Priced = Callable[[Sequence[Event], int], int]


def _sum(events: Sequence[Event]) -> Fraction:
    return exact_sum(event.value for event in events)


def _base(events: Sequence[Event], cycle: int) -> int:
    return minor(Fraction(5))


def _seats(events: Sequence[Event], cycle: int) -> int:
    """Three at 7.55; a tenth off the first time."""
    whole = minor(3 * Fraction("7.55"))
    return whole - minor(Fraction(whole, 1000)) if cycle == 0 else whole


def _unit(events: Sequence[Event], cycle: int) -> int:
    """0.37 for each 12 begun but for 5 of them; 1.05 off; at least 20."""
    dozens = max(Fraction(ceil(_sum(events) / 12)) - 5, Fraction(0))
    return max(minor(dozens * Fraction("0.37")) - 105, 2000)


def _graduated(events: Sequence[Event], cycle: int) -> int:
    """100 at 0.101, 300 at 0.05 and 2.50, the rest at 0.0303; 15 percent off; at most 40."""
    used, below = _sum(events), Fraction(0)
    amounts: list[int] = []
    for end, unit, fee in ((100, "0.101", "0"), (400, "0.05", "2.50"), (None, "0.0303", "0")):
        if amounts and used <= below:
            break
        top = used if end is None else min(used, Fraction(end))
        amounts += [minor((top - below) * Fraction(unit)), minor(Fraction(fee))]
        below = top
    whole = sum(amounts)
    return min(whole - minor(Fraction(whole, 100) * Fraction(15, 100)), 4000)


def _volume(events: Sequence[Event], cycle: int) -> int:
    used = _sum(events)
    return minor(used * Fraction("0.2")) + 100 if used <= 500 else minor(used * Fraction("0.15"))


def _package(events: Sequence[Event], cycle: int) -> int:
    return minor(max(ceil((_sum(events) - 30) / 100), 0) * Fraction("4.99"))


def _percentage(events: Sequence[Event], cycle: int) -> int:
    return minor(max(_sum(events) - 50, Fraction(0)) * Fraction("0.029"))


def _fee(events: Sequence[Event], cycle: int) -> int:
    return minor(_sum(events) * Fraction("0.014")) + minor(len(events) * Fraction("0.25"))


def _single(events: Sequence[Event], cycle: int) -> int:
    """The first three are free; 1.5 percent and 0.25 of each other, at least 0.4, at most 0.9."""
    paying = sorted(events, key=lambda event: event.time)[3:]
    costs = [Fraction(event.value) * Fraction("0.015") + Fraction("0.25") for event in paying]
    return minor(sum((min(max(c, Fraction("0.4")), Fraction("0.9")) for c in costs), Fraction(0)))


def _steps(events: Sequence[Event], cycle: int) -> int:
    money = _sum(events)
    low, high = min(money, Fraction(200)), max(money - 200, Fraction(0))
    return minor(low * Fraction("0.03")) + (minor(high * Fraction("0.02")) + 100 if high else 0)


def _dynamic(events: Sequence[Event], cycle: int) -> int:
    return minor(_sum(events) * Fraction("1.15"))


def _matrix(events: Sequence[Event], cycle: int) -> int:
    """A line for each region: 0.2 in eu, 0.35 in us, 0.5 elsewhere; 5 percent off each."""
    total = 0
    regions = {event.dimensions.get("region") for event in events}
    for region in regions:
        unit = {"eu": "0.2", "us": "0.35"}.get(region or "", "0.5")
        used = _sum([e for e in events if e.dimensions.get("region") == region])
        line = minor(used * Fraction(unit))
        total += line - minor(Fraction(line, 100) * Fraction(5, 100))
    return total


PRICES: Mapping[str, tuple[str | None, Priced]] = {
    "base": (None, _base),
    "seats": (None, _seats),
    "unit": ("calls", _unit),
    "graduated": ("calls", _graduated),
    "volume": ("calls", _volume),
    "package": ("calls", _package),
    "percentage": ("money", _percentage),
    "fee": ("money", _fee),
    "single": ("money", _single),
    "steps": ("money", _steps),
    "dynamic": ("money", _dynamic),
    "matrix": ("calls", _matrix),
}
"""Each price with its meter."""

COMMITMENTS: Mapping[str, tuple[int, Sequence[str]]] = {
    "spend": (150_000, [*PRICES]),
    "reserved": (4_500, ["unit", "graduated"]),
}
"""Each with its least, and what counts for it."""


def topped_up(worth: Mapping[str, int]) -> dict[str, int]:
    """What each commitment charges of a cycle in which the prices come to so much."""
    return {
        name: max(0, least - sum(worth[price] for price in prices))
        for name, (least, prices) in COMMITMENTS.items()
    }


CATALOG = """
  - {id: base, name: Base, price: {type: flat, amount: "5.00"}}
  - id: seats
    name: Seats
    price: {type: flat, amount: "7.55"}
    quantity: "3"
    payment_term: in_advance
    discounts: [{type: percentage, percent: "10", duration: once}]
  - id: unit
    name: Unit
    meter: calls
    price: {type: unit, unit_amount: "0.37"}
    unit_conversion: {operation: divide, factor: "12", rounding: ceiling}
    usage_discount: "5"
    discounts: [{type: fixed, amount: "1.05"}]
    minimum: "20"
  - id: graduated
    name: Graduated
    meter: calls
    price:
      type: graduated
      tiers:
        - {up_to: "100", unit_amount: "0.101"}
        - {up_to: "400", unit_amount: "0.05", flat_amount: "2.50"}
        - {unit_amount: "0.0303"}
    discounts: [{type: percentage, percent: "15"}]
    maximum: "40"
  - id: volume
    name: Volume
    meter: calls
    price:
      type: volume
      tiers:
        - {up_to: "500", unit_amount: "0.2", flat_amount: "1"}
        - {unit_amount: "0.15"}
  - id: package
    name: Package
    meter: calls
    price: {type: package, package_size: "100", package_amount: "4.99", free_units: "30"}
  - id: percentage
    name: Percentage
    meter: money
    price: {type: percentage, rate_percent: "2.9", free_amount: "50"}
  - id: fee
    name: Fee
    meter: money
    price: {type: percentage, rate_percent: "1.4", fixed_per_event: "0.25"}
  - id: single
    name: Single events
    meter: money
    price:
      type: percentage
      rate_percent: "1.5"
      fixed_per_event: "0.25"
      free_events: "3"
      per_event_minimum: "0.4"
      per_event_maximum: "0.9"
  - id: steps
    name: Steps
    meter: money
    price:
      type: graduated_percentage
      tiers:
        - {up_to: "200", rate_percent: "3"}
        - {rate_percent: "2", flat_amount: "1"}
  - id: dynamic
    name: Dynamic
    meter: money
    price: {type: dynamic, multiplier: "1.15"}
  - id: matrix
    name: Matrix
    meter: calls
    price:
      type: matrix
      dimensions: [region]
      cells:
        - {values: [eu], unit_amount: "0.2"}
        - {values: [us], unit_amount: "0.35"}
      default_unit_amount: "0.5"
    discounts: [{type: percentage, percent: "5"}]
  - {id: spend, name: Spend, price: {type: flat, amount: "1500"}, covers: all}
  - {id: reserved, name: Reserved, price: {type: flat, amount: "45"}, covers: [unit, graduated]}
"""
