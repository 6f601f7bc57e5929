"""Request: everything one line is rated from, and what may not stand together.

Owns: RatingInput, its defaults (rule 5), its checks (rules 25, 33).
Does not own: the JSON shape (reading.py), a price's own checks (parse_price).
Readings:
- A negative percent, fixed discount, maximum, minimum, usage discount or pre quantity is an
  error, a negative rate in a price too; negative amounts in it are not (a credit per unit is a
  price). `minimum` is compared with `maximum` after both are rounded (rule 8).
- Event data beside any price but a percentage is an error: it would be ignored.
- `event_count` 1 beside a negative quantity is an error, as `per_event_amounts` of it would be.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from pipeline.core.quantity import exact_sum, rounded_times
from pipeline.rate.adjustments import Discount, FixedDiscount, PercentageDiscount
from pipeline.rate.conversion import UnitConversion
from pipeline.rate.faults import Fault, FaultCode
from pipeline.rate.flat import FlatPrice
from pipeline.rate.lines import ONE, ZERO
from pipeline.rate.matrix import MatrixPrice
from pipeline.rate.percentage import Events, PercentagePrice
from pipeline.rate.price import Price

NO_EVENTS = Events()


class Position(StrEnum):
    """Where the line stands among the lines of its period."""

    SINGLE = "single"
    FIRST = "first"
    MID = "mid"
    LAST = "last"

    @property
    def closes(self) -> bool:
        """Whether it is the last of its period, where the minimum is due (rule 32)."""
        return self is Position.SINGLE or self is Position.LAST


@dataclass(frozen=True, slots=True)
class RatingInput:
    """One line to rate; the names are those of `talea rate`.

    `quantity` and `pre_line_quantity` are unconverted (rule 10). `proration` is the share of
    the period served (rule 34), computed by the caller or by proration.py.
    """

    currency: str
    price: Price
    quantity: Fraction | None = None
    unit_conversion: UnitConversion | None = None
    usage_discount: Fraction = ZERO
    discounts: tuple[Discount, ...] = ()
    maximum: Fraction | None = None
    minimum: Fraction | None = None
    pre_line_quantity: Fraction = ZERO
    previously_billed_amount: Fraction | None = None
    line_position: Position = Position.SINGLE
    proration: Fraction | None = None
    event_count: int | None = None
    per_event_amounts: tuple[Fraction, ...] | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)
    """What the usage was told apart by, for a matrix price."""

    @property
    def bare(self) -> bool:
        """Whether it is but a quantity at a price: nothing to check, no past, no adjustment."""
        return (
            self.quantity is not None
            and self.line_position is Position.SINGLE
            and not self.discounts
            and self.maximum is None
            and self.minimum is None
            and self.proration is None
            and self.unit_conversion is None
            and self.usage_discount is ZERO
            and self.pre_line_quantity is ZERO
            and self.event_count is None
            and self.per_event_amounts is None
            and not self.dimensions
        )

    @property
    def continues(self) -> bool:
        """Whether the line stands after others of its period."""
        return self.line_position is Position.MID or self.line_position is Position.LAST

    @property
    def closes(self) -> bool:
        """Whether the line is the period's last, where the minimum is due (rule 32)."""
        return self.line_position.closes

    @property
    def has_past(self) -> bool:
        """Whether something billed earlier is subtracted (rules 11, 12, 15)."""
        if self.continues:
            return True
        return bool(self.pre_line_quantity) and not isinstance(self.price, FlatPrice)


def line_quantity(request: RatingInput) -> Fraction | Fault:
    """Return the line's own quantity, or why there is none (rule 5)."""
    if request.quantity is not None:
        return request.quantity
    if request.per_event_amounts is not None:
        return exact_sum(request.per_event_amounts)
    if isinstance(request.price, FlatPrice):
        return ONE
    return Fault(FaultCode.MISSING, "quantity", "required for this price, but absent or null")


def line_events(request: RatingInput) -> Events:
    """Return the event data; one counted event is known by the quantity (rule 20)."""
    if request.event_count is None and request.per_event_amounts is None:
        return NO_EVENTS
    amounts = request.per_event_amounts
    if amounts is None and request.event_count == 1 and request.quantity is not None:
        amounts = (request.quantity,)
    return Events(request.event_count, amounts)


def fault_in(request: RatingInput, scale: int) -> Fault | None:
    """Return the first thing wrong with a request, apart from its price and quantity."""
    if request.dimensions and not isinstance(request.price, MatrixPrice):
        return Fault(FaultCode.UNFIT, "dimensions", "only a matrix price looks at dimensions")
    return _sign_fault(request) or _commitment_fault(request, scale) or _event_fault(request)


def _sign_fault(request: RatingInput) -> Fault | None:
    """Refuse what is below zero (rule 33)."""
    path = None
    if request.pre_line_quantity.numerator < 0:
        path = "pre_line_quantity"
    elif request.usage_discount.numerator < 0:
        path = "usage_discount"
    elif request.maximum is not None and request.maximum.numerator < 0:
        path = "maximum"
    elif request.minimum is not None and request.minimum.numerator < 0:
        path = "minimum"
    elif request.proration is not None and request.proration.numerator < 0:
        path = "proration"
    for index, discount in enumerate(request.discounts):
        match discount:
            case PercentageDiscount():
                key, value = "percent", discount.percent
            case FixedDiscount():
                key, value = "amount", discount.amount
        if value.numerator < 0:
            path = path or f"discounts[{index}].{key}"
    return None if path is None else Fault(FaultCode.NEGATIVE, path, "must not be below zero")


def _commitment_fault(request: RatingInput, scale: int) -> Fault | None:
    """Refuse a minimum above the maximum (rule 33)."""
    low, high = request.minimum, request.maximum
    if low is None or high is None:
        return None
    if rounded_times(low, scale) <= rounded_times(high, scale):
        return None
    return Fault(FaultCode.MINIMUM_ABOVE_MAXIMUM, "minimum", "above the maximum")


def _event_fault(request: RatingInput) -> Fault | None:
    """Refuse event data that is missing, contradicts itself, or cannot be used (rule 25)."""
    count, amounts = request.event_count, request.per_event_amounts
    path = "per_event_amounts" if amounts is not None else "event_count"
    if not isinstance(request.price, PercentagePrice):
        if count is None and amounts is None:
            return None
        return Fault(FaultCode.EVENTS_FORBIDDEN, path, "only a percentage price looks at events")
    events = line_events(request)
    if request.price.needs_amounts and events.amounts is None:
        message = "needed by the price's free events, free amount beside a fee, or event bounds"
        return Fault(FaultCode.EVENTS_NEEDED, "per_event_amounts", message)
    if request.price.fixed_per_event and count is None and amounts is None:
        return Fault(FaultCode.EVENTS_NEEDED, "event_count", "needed by the price's fee per event")
    if count is None and amounts is None:
        return None
    if request.has_past or request.usage_discount or request.unit_conversion is not None:
        message = "event data cannot stand beside a past, a usage discount or a unit conversion"
        return Fault(FaultCode.EVENTS_FORBIDDEN, path, message)
    return _amounts_fault(request, events)


def _amounts_fault(request: RatingInput, events: Events) -> Fault | None:
    """Refuse amounts that are negative or do not add up (rules 25, 33)."""
    if events.count is not None and events.count < 0:
        return Fault(FaultCode.NEGATIVE, "event_count", "must not be below zero")
    if events.amounts is None:
        return None
    if request.per_event_amounts is None:
        if events.amounts[0] < 0:
            return Fault(FaultCode.NEGATIVE, "quantity", "the amount of an event is not below zero")
        return None
    for index, amount in enumerate(events.amounts):
        if amount.numerator < 0:
            path = f"per_event_amounts[{index}]"
            return Fault(FaultCode.NEGATIVE, path, "must not be below zero")
    if events.count is not None and events.count != len(events.amounts):
        message = f"{len(events.amounts)} amounts, but {events.count} events counted"
        return Fault(FaultCode.EVENTS_MISMATCH, "per_event_amounts", message)
    if request.quantity is not None and exact_sum(events.amounts) != request.quantity:
        message = "the amounts do not sum to the quantity"
        return Fault(FaultCode.EVENTS_MISMATCH, "per_event_amounts", message)
    return None
