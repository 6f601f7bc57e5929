"""Terms: what a rate card says beside its price: units, discounts, bounds, when it is due.

Owns: the terms, their JSON shape, which of them may stand beside which price.
Does not own: what they do to money (adjustments.py, rating.py), which cycle it is (catalog).
Law: a request made of terms, a price they were read for and any usage from 0 on has no fault but
a total beyond the last tier.
Readings:
- The names are those of a request. A discount lasts `once`, `repeating` so many `cycles`, or
  `forever` (the default), counted in cycles of the subscription from its start.
- `minimum` and `maximum` are those of every service period, whole however short it is (rule 35).
- A discount that can never take anything, behind one of 100 percent, is a fault.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction

from pipeline.core.quantity import quantity_text
from pipeline.rate.adjustments import Discount, FixedDiscount, PercentageDiscount, read_discount
from pipeline.rate.conversion import UnitConversion, read_conversion
from pipeline.rate.faults import Fault, FaultCode
from pipeline.rate.fields import Fields, shown
from pipeline.rate.flat import FlatPrice
from pipeline.rate.limits import CYCLES_MAX, DISCOUNTS_MAX, REASON_CHARS_MAX
from pipeline.rate.lines import ONE, ZERO
from pipeline.rate.price import Price, looks_at_events
from pipeline.rate.request import RatingInput

KEYS = (
    "unit_conversion",
    "usage_discount",
    "discounts",
    "maximum",
    "minimum",
    "quantity",
    "payment_term",
)
_OF_USAGE = ("unit_conversion", "usage_discount", "maximum", "minimum")
_OF_FEES = ("quantity", "payment_term")
_HUNDRED = Fraction(100)


class Duration(StrEnum):
    """How long a discount lasts."""

    ONCE = "once"
    REPEATING = "repeating"
    FOREVER = "forever"


class PaymentTerm(StrEnum):
    """When a fee is due: with the start of its period or with its end."""

    IN_ADVANCE = "in_advance"
    IN_ARREARS = "in_arrears"


@dataclass(frozen=True, slots=True)
class Reduction:
    """A discount for the first `cycles` of a subscription (None: all); `reason` is for people."""

    discount: Discount
    cycles: int | None = None
    reason: str | None = None

    def holds(self, cycle: int) -> bool:
        """Whether it is given in a cycle, counted from 0."""
        return self.cycles is None or cycle < self.cycles

    def json(self) -> dict[str, str]:
        """Return what it is, for a line that it takes from."""
        match self.discount:
            case PercentageDiscount(percent):
                told = {"type": "percentage", "percent": quantity_text(percent)}
            case FixedDiscount(amount):
                told = {"type": "fixed", "amount": quantity_text(amount)}
        return told if self.reason is None else {**told, "reason": self.reason}

    @property
    def is_fixed(self) -> bool:
        """Whether it comes after all percentages (rule 26)."""
        return isinstance(self.discount, FixedDiscount)

    @property
    def takes_all(self) -> bool:
        """Whether it leaves nothing for those behind it."""
        match self.discount:
            case PercentageDiscount(percent):
                return percent >= _HUNDRED
            case FixedDiscount():
                return False


@dataclass(frozen=True, slots=True)
class Terms:
    """What stands beside a price; `configured` is that as given, `discounts` in rule 26's order.

    Terms are equal that mean the same, however they were given: a quantity of 1 said or not.
    """

    unit_conversion: UnitConversion | None = None
    usage_discount: Fraction = ZERO
    discounts: tuple[Reduction, ...] = ()
    maximum: Fraction | None = None
    minimum: Fraction | None = None
    quantity: Fraction = ONE
    payment_term: PaymentTerm = PaymentTerm.IN_ARREARS
    configured: Mapping[str, object] = field(default_factory=dict, compare=False)

    def reductions(self, cycle: int) -> tuple[Reduction, ...]:
        """Return the discounts of a cycle, in the order they are taken."""
        return tuple(each for each in self.discounts if each.holds(cycle))

    @property
    def bounded(self) -> bool:
        """Whether a period has a minimum or a maximum."""
        return self.minimum is not None or self.maximum is not None

    def of_quantity(self, quantity: Fraction) -> "Terms":
        """Return the terms of a fee for so many."""
        told = {**self.configured, "quantity": quantity_text(quantity)}
        return replace(self, quantity=quantity, configured=told)

    def less(self, reduction: Reduction) -> "Terms":
        """Return the terms with one more discount."""
        found = sorted((*self.discounts, reduction), key=lambda each: each.is_fixed)
        given = self.configured.get("discounts")
        told = [*(given if isinstance(given, list) else []), reduction.json()]
        configured = {**self.configured, "discounts": told}
        return replace(self, discounts=tuple(found), configured=configured)

    def added(self, request: RatingInput, cycle: int) -> RatingInput:
        """Return a request for a line of a cycle with these terms."""
        if not self.configured:
            return request
        return replace(
            request,
            unit_conversion=self.unit_conversion,
            usage_discount=self.usage_discount,
            discounts=tuple(each.discount for each in self.reductions(cycle)),
            maximum=self.maximum,
            minimum=self.minimum,
        )


NO_TERMS = Terms()


def parse_terms(
    given: Mapping[str, object], price: Price | None, path: str
) -> Terms | tuple[Fault, ...]:
    """Return the terms in a rate card of a price, or every fault in them, with paths below `path`.

    Keys that are no terms are not looked at. Numbers are strings, `precision` too.
    """
    configured = {key: given[key] for key in KEYS if given.get(key) is not None}
    if not configured:
        return NO_TERMS
    faults: list[Fault] = []
    fields = Fields(configured, path, faults)
    terms = Terms(
        _read_conversion(fields),
        fields.number("usage_discount", signed=False) or ZERO,
        _read_reductions(fields),
        fields.number("maximum", signed=False),
        fields.number("minimum", signed=False),
        fields.number("quantity", positive=True) or ONE,
        fields.word("payment_term", PaymentTerm, PaymentTerm.IN_ARREARS),
        configured,
    )
    if terms.minimum is not None and terms.maximum is not None and terms.minimum > terms.maximum:
        fields.note(FaultCode.MINIMUM_ABOVE_MAXIMUM, "minimum", "above the maximum")
    _note_unfit(fields, price)
    return tuple(faults) or terms


def reductions_in(configured: Mapping[str, object]) -> tuple[Reduction, ...]:
    """Return the discounts among terms that were configured before.

    Promotions and phases make terms that no rate card could begin with: no fault is told.
    """
    return _read_reductions(Fields(configured, "", []))


def _read_conversion(fields: Fields) -> UnitConversion | None:
    """Read `unit_conversion`, its precision from a string: the contract has an integer (rule 2)."""
    given = fields.value("unit_conversion")
    if given is None:
        return None
    precision = given.get("precision") if isinstance(given, dict) else None
    if isinstance(given, dict) and isinstance(precision, str):
        whole = len(precision) < 4 and precision.isascii() and precision.isdigit()
        if not whole:
            message = f"{shown(precision)} is no whole number: write it like 2"
            fields.note(FaultCode.OUT_OF_RANGE, "unit_conversion.precision", message)
        given = {**given, "precision": int(precision) if whole else 0}
    return read_conversion(Fields(given, fields.at("unit_conversion"), fields.faults))


def _note_unfit(fields: Fields, price: Price | None) -> None:
    """Note the terms that can do nothing beside a price."""
    if price is None:
        return
    flat = isinstance(price, FlatPrice)
    for key in _OF_USAGE if flat else _OF_FEES:
        if fields.has(key):
            what = "a flat price bills no usage" if flat else "only a flat price has one"
            fields.note(FaultCode.UNFIT, key, what)
    if looks_at_events(price):
        for key in ("unit_conversion", "usage_discount"):
            if fields.has(key):
                message = "a price that looks at single events cannot have one"
                fields.note(FaultCode.EVENTS_FORBIDDEN, key, message)


def _read_reductions(fields: Fields) -> tuple[Reduction, ...]:
    """Read `discounts` in the order of rule 26; note those that never take anything."""
    read = [(item, _read_reduction(item)) for item in fields.objects("discounts", DISCOUNTS_MAX)]
    found = [(item, reduction) for item, reduction in read if reduction is not None]
    found.sort(key=lambda pair: pair[1].is_fixed)
    nothing_left: int | None = -1
    for item, reduction in found:
        lasts = reduction.cycles
        if nothing_left is None or (lasts is not None and lasts <= nothing_left):
            item.note(FaultCode.UNREACHABLE, "type", "one of 100 percent before it leaves nothing")
        elif reduction.takes_all:
            nothing_left = lasts
    return tuple(reduction for _, reduction in found)


def _read_reduction(fields: Fields) -> Reduction | None:
    if not fields.opened:
        return None
    discount = read_discount(fields, frozenset({"duration", "cycles", "reason"}))
    match discount:
        case PercentageDiscount():
            fields.number("percent", signed=False)
        case FixedDiscount():
            fields.number("amount", signed=False)
        case None:
            pass
    duration = fields.word("duration", Duration, Duration.FOREVER)
    cycles = fields.count("cycles")
    match duration:
        case Duration.REPEATING:
            if cycles is None:
                fields.note(FaultCode.MISSING, "cycles", "required, but absent or null")
            elif not 0 < cycles <= CYCLES_MAX:
                fields.note(FaultCode.OUT_OF_RANGE, "cycles", f"not from 1 to {CYCLES_MAX}")
        case Duration.ONCE | Duration.FOREVER:
            if cycles is not None:
                fields.note(FaultCode.UNFIT, "cycles", "only a repeating discount has them")
            cycles = 1 if duration is Duration.ONCE else None
    reason = fields.text("reason") if fields.has("reason") else None
    if reason is not None and (len(reason) > REASON_CHARS_MAX or not reason.isprintable()):
        message = f"not printable, or above {REASON_CHARS_MAX} characters"
        fields.note(FaultCode.OUT_OF_RANGE, "reason", message)
    return None if discount is None else Reduction(discount, cycles, reason)
