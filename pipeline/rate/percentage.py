"""Percentage: a rate of money, a fee per event, an allowance, bounds per event (rules 20-25).

Owns: the allowance in event order, paying events, what event data the price needs.
Readings:
- `free_events` absent sets no limit of its own, nor does `free_amount` absent; both absent:
  nothing is free. An explicit 0 is a limit of 0 (with `free_events` 0 nothing is free at all,
  so it needs no event data; with `free_amount` 0 only events of amount 0 fit).
- Without event data `free_amount` comes off the running total, so it may be progressive.
- The remainder of the event that ends the allowance pays rate and fee, and is what its
  per-event bounds see; an event wholly free meets no bound.
- A negative rate, free amount or bound, and `per_event_minimum` above `per_event_maximum`, are
  errors (rule 33); a negative fee is not.
- No paying event, no line; a fee of 0 has no flat line.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm

from pipeline.core.quantity import at_most, exact_sum, minus, quantity_text
from pipeline.rate.faults import FaultCode
from pipeline.rate.fields import Fields
from pipeline.rate.lines import FLAT, ONE, USAGE, ZERO, Part

KEYS = frozenset(
    {
        "type",
        "rate_percent",
        "fixed_per_event",
        "free_events",
        "free_amount",
        "per_event_minimum",
        "per_event_maximum",
    }
)


@dataclass(frozen=True, slots=True)
class PercentagePrice:
    """`rate_percent` of the money and `fixed_per_event`, less the allowance."""

    rate_percent: Fraction = ZERO
    fixed_per_event: Fraction = ZERO
    free_events: int | None = None
    free_amount: Fraction | None = None
    per_event_minimum: Fraction | None = None
    per_event_maximum: Fraction | None = None
    unit_amount: Fraction = field(init=False, repr=False, compare=False)
    """What one of the money costs: worked out once, not for every line."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit_amount", self.rate_percent / 100)

    @property
    def bounded(self) -> bool:
        """Whether each paying event has a minimum or maximum of its own."""
        return self.per_event_minimum is not None or self.per_event_maximum is not None

    @property
    def needs_amounts(self) -> bool:
        """Whether the amount of every single event must be known (rule 25)."""
        fee_beside_amount = self.free_amount is not None and self.fixed_per_event != 0
        return bool(self.free_events) or self.bounded or (fee_beside_amount and self._allows)

    @property
    def looks_at_events(self) -> bool:
        """Whether events must be told one by one, or at least counted (rule 25)."""
        return self.needs_amounts or self.fixed_per_event != 0

    @property
    def _allows(self) -> bool:
        """Whether anything is free at all."""
        return self.free_events != 0 and not (self.free_events is None and self.free_amount is None)


@dataclass(frozen=True, slots=True)
class Events:
    """What is known of the single events: how many, perhaps the amount of each in order."""

    count: int | None = None
    amounts: tuple[Fraction, ...] | None = None

    @property
    def known(self) -> bool:
        """Whether anything is."""
        return self.count is not None or self.amounts is not None


def parts(price: PercentagePrice, quantity: Fraction, events: Events) -> list[Part]:
    """Return the usage line and the flat line (rule 20), or the one line of rule 23."""
    if events.amounts is not None:
        payable = paying(price, events.amounts)
        if price.bounded:
            return [Part(USAGE, ONE, _bounded_cost(price, payable))] if payable else []
        billable, count = exact_sum(payable), len(payable)
    else:
        free = price.free_amount if price.free_events != 0 else None
        billable = quantity
        if free is not None:
            billable = ZERO if at_most(quantity, free) else minus(quantity, free)
        count = events.count or 0
    lines: list[Part] = []
    if billable.numerator:
        lines.append(Part(USAGE, billable, price.unit_amount))
    if count and price.fixed_per_event.numerator:
        lines.append(Part(FLAT, Fraction(count), price.fixed_per_event))
    return lines


def paying(price: PercentagePrice, amounts: Sequence[Fraction]) -> list[Fraction]:
    """Return what each paying event has to pay on, in order (rules 21, 22)."""
    if price.free_events is None and price.free_amount is None:
        return list(amounts)
    rest = price.free_amount
    for index, amount in enumerate(amounts):
        counted = price.free_events is None or index < price.free_events
        if counted and (rest is None or amount <= rest):
            rest = None if rest is None else rest - amount
            continue
        used = rest if counted and rest is not None else ZERO
        return [amount - used, *amounts[index + 1 :]]
    return []


def _bounded_cost(price: PercentagePrice, payable: Iterable[Fraction]) -> Fraction:
    """Return what paying events cost: rate and fee, then minimum, then maximum of each (rule 23).

    In whole numbers, of the amounts of one denominator after the other: there may be very many.
    """
    rate, fee = price.unit_amount, price.fixed_per_event
    bounds = price.per_event_minimum, price.per_event_maximum
    numerators: dict[int, list[int]] = {}
    for amount in payable:
        numerators.setdefault(amount.denominator, []).append(amount.numerator)
    whole = ZERO
    for denominator, told in numerators.items():
        slope = rate / denominator
        unit = lcm(*(each.denominator for each in (slope, fee, *bounds) if each is not None))
        steep, flat = _units(slope, unit), _units(fee, unit)
        low, high = (None if bound is None else _units(bound, unit) for bound in bounds)
        costs = [each * steep + flat for each in told]
        if low is not None:
            costs = [max(cost, low) for cost in costs]
        if high is not None:
            costs = [min(cost, high) for cost in costs]
        whole += Fraction(sum(costs), unit)
    return whole


def _units(number: Fraction, unit: int) -> int:
    """Return how many `unit`ths a number is, of whose denominator that is a multiple."""
    return number.numerator * (unit // number.denominator)


def read(fields: Fields) -> PercentagePrice:
    """Read a percentage price."""
    price = PercentagePrice(
        fields.number("rate_percent", signed=False) or ZERO,
        fields.number("fixed_per_event") or ZERO,
        fields.count("free_events"),
        fields.number("free_amount", signed=False),
        fields.number("per_event_minimum", signed=False),
        fields.number("per_event_maximum", signed=False),
    )
    low, high = price.per_event_minimum, price.per_event_maximum
    if low is not None and high is not None and low > high:
        fields.note(FaultCode.MINIMUM_ABOVE_MAXIMUM, "per_event_minimum", "above per_event_maximum")
    return price


def to_json(price: PercentagePrice) -> dict[str, object]:
    """Return the shape of the contract; absent limits stay absent."""
    optional = {
        "free_events": None if price.free_events is None else Fraction(price.free_events),
        "free_amount": price.free_amount,
        "per_event_minimum": price.per_event_minimum,
        "per_event_maximum": price.per_event_maximum,
    }
    return {
        "type": "percentage",
        "rate_percent": quantity_text(price.rate_percent),
        "fixed_per_event": quantity_text(price.fixed_per_event),
        **{key: quantity_text(value) for key, value in optional.items() if value is not None},
    }
