"""Rating: the one rule behind drafts, progressive billing, late usage and corrections.

    bill = adjusted(lines of pre + quantity) - adjusted(lines of pre)            (rule 11)

"Adjusted" is line rounding, discounts and maximum, in that order (rules 7, 26 to 31); lines
match by component and unit amount (rule 14). The minimum comes last, once (rule 32).

Owns: running totals (rules 9, 10), the two sides, the difference, the top-up.
Does not own: what a price charges (one file per model), the adjustments.
Law: split a quantity anywhere, at first/mid/last, and the pieces sum to the single line, line
by line; for the amount this holds with discounts, maximum and minimum too.
Readings:
- A difference that is zero in quantity, amount and discount is no line.
- Volume's two tiers stand in the order of rule 17 as well: the lower tier's lines first,
  whether billed or reversed.
- Rule 31 where the past alone is worth more than the maximum but less than that was billed,
  and the line is not negative: its closing sentence decides (the line may bill up to
  maximum - previously billed); taken to the letter its first sentence would bill less.
- `minimum` is topped up on corrections too, if they stand last.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from pipeline.core.money import minor_digits
from pipeline.core.quantity import at_most, minus, ratio, rounded_times
from pipeline.rate.adjustments import capped, discounted
from pipeline.rate.conversion import converted
from pipeline.rate.faults import Fault, FaultCode
from pipeline.rate.flat import FlatPrice
from pipeline.rate.lines import MINIMUM, ONE, ZERO, Part, Rated, RatedLine, part_minor
from pipeline.rate.percentage import Events
from pipeline.rate.price import Price, looks_at_events, price_parts, quantity_max
from pipeline.rate.request import NO_EVENTS, RatingInput, fault_in, line_events, line_quantity


class Side(NamedTuple):
    """One side of rule 11: a running total, its parts, and money per part."""

    quantity: Fraction
    parts: Sequence[Part]
    amounts: Sequence[int]
    discounts: Sequence[int]
    shares: Sequence[tuple[int, ...]]
    """Each discount by what took it."""

    @property
    def net_minor(self) -> int:
        """Amounts less discounts."""
        return sum(self.amounts) - sum(self.discounts)


class Working(NamedTuple):
    """How an answer came to be: both sides as adjusted, and what was billed before."""

    now: Side
    past: Side | None
    billed_minor: int
    """What rule 11 bills for the past."""
    previous_minor: int
    """What was billed before, as given; what rule 11 bills for the past where it was not."""
    top_up_minor: int
    rated: Rated


def rate(request: RatingInput) -> Rated | Fault:
    """Rate one line; a fault is data (its path names the field of the request)."""
    if request.bare and request.quantity is not None:
        rated = rate_bare(request.currency, request.price, request.quantity)
        if rated is not None:
            return rated
    working = work(request)
    return working if isinstance(working, Fault) else working.rated


def rate_bare(currency: str, price: Price, quantity: Fraction) -> Rated | None:
    """Rate a quantity at a price, as `work` would: no past, nothing taken off, nothing to reach.

    Most requests are that. None where only `work` can tell: beyond the last tier, or of a price
    that looks at single events.
    """
    if quantity.numerator < 0:
        quantity = ZERO
    bound = quantity_max(price)
    if (bound is not None and not at_most(quantity, bound)) or looks_at_events(price):
        return None
    scale = 10 ** minor_digits(currency)
    lines = [
        RatedLine(component, counted, unit, part_minor(counted, unit, None, scale), 0)
        for component, counted, unit, _ in price_parts(price, quantity, NO_EVENTS, {})
    ]
    return Rated(currency, tuple(lines))


def work(request: RatingInput) -> Working | Fault:
    """Rate one line and keep how.

    Raises:
        ValueError: the currency is none (the edges check it).

    """
    scale = 10 ** minor_digits(request.currency)
    quantity = line_quantity(request)
    if isinstance(quantity, Fault):
        return quantity
    fault = fault_in(request, scale)
    if fault is not None:
        return fault
    return _worked(request, quantity, line_events(request), scale)


def is_sound(request: RatingInput) -> bool:
    """Return whether a request can be rated for any quantity, but for one beyond the last tier."""
    events = request.event_count is not None or request.per_event_amounts is not None
    return not events and fault_in(request, 10 ** minor_digits(request.currency)) is None


def rate_sound(request: RatingInput, quantity: Fraction) -> Rated | Fault:
    """Rate a quantity as a sound request would have it, whose own quantity does not matter."""
    scale = 10 ** minor_digits(request.currency)
    working = _worked(request, quantity, NO_EVENTS, scale)
    return working if isinstance(working, Fault) else working.rated


def _worked(
    request: RatingInput, quantity: Fraction, events: Events, scale: int
) -> Working | Fault:
    sides = _sides(request, quantity, events, scale)
    if isinstance(sides, Fault):
        return sides
    return _settled(request, sides[0], sides[1], scale)


def _sides(
    request: RatingInput, quantity: Fraction, events: Events, scale: int
) -> tuple[Side, Side | None] | Fault:
    """Return both sides of rule 11, discounted, before the maximum."""
    if isinstance(request.price, FlatPrice):
        now = _side(request, quantity, events, scale, "quantity")
        return now if isinstance(now, Fault) else (now, now if request.has_past else None)
    total = request.pre_line_quantity + quantity if request.pre_line_quantity else quantity
    now = _side(request, total, events, scale, "quantity")
    if isinstance(now, Fault):
        return now
    if not request.has_past:
        return now, None
    past = _side(request, request.pre_line_quantity, events, scale, "pre_line_quantity")
    return past if isinstance(past, Fault) else (now, past)


def running_total(request: RatingInput, raw: Fraction) -> Fraction:
    """Return a metered total as it is priced: from 0, converted, less the free usage (rule 9)."""
    if raw.numerator < 0:
        raw = ZERO
    if request.unit_conversion is not None:
        raw = converted(request.unit_conversion, raw)
    free = request.usage_discount
    if free is not ZERO:
        raw = ZERO if at_most(raw, free) else minus(raw, free)
    return raw


def _side(
    request: RatingInput, raw: Fraction, events: Events, scale: int, path: str
) -> Side | Fault:
    quantity = running_total(request, raw)
    bound = quantity_max(request.price)
    if bound is not None and not at_most(quantity, bound):
        message = "the running total is beyond the bound of the last tier"
        return Fault(FaultCode.BEYOND_LAST_TIER, path, message)
    parts = price_parts(request.price, quantity, events, request.dimensions)
    amounts = [part_minor(counted, unit, request.proration, scale) for _, counted, unit, _ in parts]
    if request.discounts:
        shares = discounted(amounts, request.discounts, scale)
        return Side(quantity, parts, amounts, [sum(share) for share in shares], shares)
    return Side(quantity, parts, amounts, [0] * len(amounts), [()] * len(amounts))


def _settled(request: RatingInput, now: Side, past: Side | None, scale: int) -> Working:
    """Apply the maximum to both sides, subtract, and top up to the minimum."""
    maximum = None if request.maximum is None else rounded_times(request.maximum, scale)
    gross = 0 if past is None else past.net_minor
    billed = gross if maximum is None else min(gross, maximum)
    given = request.previously_billed_amount
    previous = billed if given is None else rounded_times(given, scale)
    if maximum is not None:
        extra = previous - billed
        if previous < maximum < gross <= now.net_minor:
            extra = previous - gross
        room = max(0, maximum - extra)
        now, past = _cap(now, room), None if past is None else _cap(past, room)
    lines = _lines(now) if past is None else _difference(now, past)
    top_up = 0
    if request.minimum is not None and request.closes:
        net = sum(line.total_minor for line in lines)
        top_up = max(0, rounded_times(request.minimum, scale) - previous - net)
        if top_up:
            lines.append(RatedLine(MINIMUM, ONE, ratio(top_up, scale), top_up, 0))
    return Working(now, past, billed, previous, top_up, Rated(request.currency, tuple(lines)))


def _cap(side: Side, room: int) -> Side:
    """Return a side with the maximum added to its discounts."""
    if side.net_minor <= room:
        return side._replace(shares=[(*share, 0) for share in side.shares])
    nets = [amount - off for amount, off in zip(side.amounts, side.discounts, strict=True)]
    cuts = capped(nets, room)
    discounts = [off + cut for off, cut in zip(side.discounts, cuts, strict=True)]
    shares = [(*share, cut) for share, cut in zip(side.shares, cuts, strict=True)]
    return Side(side.quantity, side.parts, side.amounts, discounts, shares)


def _lines(side: Side) -> list[RatedLine]:
    """Return the lines of a side that has no past."""
    return [
        RatedLine(part.component, part.quantity, part.unit_amount, amount, discount, shares)
        for part, amount, discount, shares in zip(
            side.parts, side.amounts, side.discounts, side.shares, strict=True
        )
    ]


def _difference(now: Side, past: Side) -> list[RatedLine]:
    """Subtract the past line by line, in the order of rule 17 (rules 11, 14)."""
    pasts = {_matched_by(part): line for part, line in zip(past.parts, _lines(past), strict=True)}
    placed: list[tuple[tuple[int, bool], RatedLine]] = []
    for part, line in zip(now.parts, _lines(now), strict=True):
        before = pasts.pop(_matched_by(part), None)
        left = line if before is None else _less(line, before)
        if before is None or not left.is_nothing:
            placed.append((part.place, left))
    for part in past.parts if pasts else ():  # mostly all have met theirs
        gone = pasts.pop(_matched_by(part), None)
        if gone is not None:
            none = (0,) * len(gone.shares)
            nothing = RatedLine(part.component, ZERO, part.unit_amount, 0, 0, none)
            placed.append((part.place, _less(nothing, gone)))
    if len(placed) > 1:
        placed.sort(key=lambda item: item[0])
    return [line for _, line in placed]


def _matched_by(part: Part) -> tuple[str, int | None, int, int]:
    """Return what lines are matched by (rule 14), of what hashes quickly."""
    component = part.component
    return component.kind._value_, component.tier, *part.unit_amount.as_integer_ratio()


def _less(line: RatedLine, before: RatedLine) -> RatedLine:
    """Return a line less what was billed of it before."""
    return RatedLine(
        line.component,
        minus(line.quantity, before.quantity),
        line.unit_amount,
        line.amount_minor - before.amount_minor,
        line.discount_minor - before.discount_minor,
        tuple(share - taken for share, taken in zip(line.shares, before.shares, strict=True)),
    )
