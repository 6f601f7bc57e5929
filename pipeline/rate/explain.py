"""Explain: a rated line for a person, step by step in the order of DESIGN section 8.

Owns: the words. Does not own: the numbers; all come from the working that rated the line.
"""

from collections.abc import Iterator
from fractions import Fraction

from pipeline.core.money import Money
from pipeline.core.quantity import quantity_text
from pipeline.rate.adjustments import PercentageDiscount, in_order
from pipeline.rate.conversion import Operation, Rounding, UnitConversion
from pipeline.rate.flat import FlatPrice
from pipeline.rate.lines import ZERO, Part
from pipeline.rate.percentage import PercentagePrice, paying
from pipeline.rate.price import price_json
from pipeline.rate.rating import Side, Working
from pipeline.rate.request import RatingInput, line_events, line_quantity


def explanation(request: RatingInput, working: Working) -> str:
    """Return how each line came to be."""
    return "\n".join(_paragraphs(request, working))


def _paragraphs(request: RatingInput, working: Working) -> Iterator[str]:
    currency, rated = request.currency, working.rated
    model = price_json(request.price)["type"]
    yield f"  {model} price in {currency}, line position {request.line_position.value}"
    yield from _quantity(request, working)
    if isinstance(request.price, PercentagePrice):
        yield from _events(request, request.price)
    yield from _adjustments(request)
    if working.past is None:
        yield from _side("charges", request, working.now)
    else:
        yield from _side("charges of the running total", request, working.now)
        yield from _side("less the charges of what came before", request, working.past)
    yield from _commitments(request, working)
    yield "  lines"
    for line in rated.lines:
        yield (
            f"    {line.component.text}: {_exact(line.quantity)} x {_exact(line.unit_amount)}"
            f" = {_money(line.amount_minor, currency)},"
            f" discount {_money(line.discount_minor, currency)},"
            f" total {_money(line.total_minor, currency)}"
        )
    if not rated.lines:
        yield "    none"
    yield f"  amount {rated.amount.text} {currency}"


def _quantity(request: RatingInput, working: Working) -> Iterator[str]:
    """Say what is priced: the running total, converted, less the free usage (rules 9, 10)."""
    quantity = line_quantity(request)
    if not isinstance(quantity, Fraction):
        return
    before = request.pre_line_quantity
    if isinstance(request.price, FlatPrice) or not before:
        yield f"  quantity {_exact(quantity)}"
    else:
        total = _exact(before + quantity)
        yield f"  quantity {_exact(before)} before + {_exact(quantity)} = {total}"
    if request.unit_conversion is not None:
        yield f"  converted: {_conversion(request.unit_conversion)}"
    if request.usage_discount:
        yield f"  usage discount: {_exact(request.usage_discount)} of the running total free"
    yield f"  priced quantity {_exact(working.now.quantity)}" + (
        "" if working.past is None else f", before {_exact(working.past.quantity)}"
    )


def _events(request: RatingInput, price: PercentagePrice) -> Iterator[str]:
    """Say which events are free, and what bounds the others (rules 21 to 23)."""
    events = line_events(request)
    if events.amounts is None:
        if events.count is not None:
            yield f"  events {events.count}"
        return
    pay, money = paying(price, events.amounts), sum(events.amounts, ZERO)
    free, left = len(events.amounts) - len(pay), money - sum(pay, ZERO)
    yield f"  events {len(events.amounts)}, free: {free} and {_exact(left)} of {_exact(money)}"
    bounds = (("least", price.per_event_minimum), ("most", price.per_event_maximum))
    told = [f"at {word} {_exact(bound)}" for word, bound in bounds if bound is not None]
    if told:
        yield f"  each paying event costs {', '.join(told)}"


def _conversion(conversion: UnitConversion) -> str:
    verb = "divided" if conversion.operation is Operation.DIVIDE else "multiplied"
    rounding = ""
    if conversion.rounding is not Rounding.NONE:
        word = conversion.rounding.value.replace("_", " ")
        rounding = f", rounded ({word}) to {conversion.precision} decimals"
    return f"{verb} by {_exact(conversion.factor)}{rounding}"


def _adjustments(request: RatingInput) -> Iterator[str]:
    """Say what is done to amounts, in the order it is done (rules 26, 34)."""
    if request.proration is not None:
        share = request.proration
        yield f"  proration: amounts x {share.numerator}/{share.denominator} of the period"
    for discount in in_order(request.discounts):
        if isinstance(discount, PercentageDiscount):
            yield f"  discount: {_exact(discount.percent)} percent of what is left"
        else:
            amount = Money.rounded(discount.amount, request.currency)
            yield f"  discount: {amount.text} off what is left"


def _side(title: str, request: RatingInput, side: Side) -> Iterator[str]:
    currency = request.currency
    yield f"  {title}"
    for part, amount, off in zip(side.parts, side.amounts, side.discounts, strict=True):
        share = "" if request.proration is None else " x share of the period"
        yield (
            f"    {_place(part)}: {_exact(part.quantity)}"
            f" x {_exact(part.unit_amount)}{share}"
            f" = {_money(amount, currency)}, discount {_money(off, currency)}"
        )
    if not side.parts:
        yield "    none"


def _place(part: Part) -> str:
    """Return what a charge stands for, with the tier that prices a volume."""
    text = part.component.text
    return f"{text} at tier {part.tier}" if part.tier and part.component.tier is None else text


def _commitments(request: RatingInput, working: Working) -> Iterator[str]:
    """Say what maximum and minimum look at (rules 31, 32)."""
    currency = request.currency
    if request.maximum is None and request.minimum is None:
        return
    yield f"  billed earlier in the period: {_money(working.previous_minor, currency)}"
    if request.maximum is not None:
        maximum = Money.rounded(request.maximum, currency).text
        yield f"  maximum {maximum}: what goes beyond it is in the discounts"
    if request.minimum is not None:
        minimum = Money.rounded(request.minimum, currency).text
        due = _money(working.top_up_minor, currency)
        yield f"  minimum {minimum}: " + (
            f"topped up by {due}" if request.closes else "due on the last line of the period"
        )


def _exact(value: Fraction) -> str:
    return quantity_text(value)


def _money(minor: int, currency: str) -> str:
    return Money(minor, currency).text
