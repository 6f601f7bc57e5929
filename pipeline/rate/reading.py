"""Reading: one `talea rate` request from its JSON shape (rules 2 to 5).

Owns: the keys of the request and their order. Does not own: text to JSON (jsonline.py).
Readings: `id` may be any JSON value. A key of the request or of a sibling price model that is
null counts as absent; any other unknown key is an error, null or not.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from pipeline.core.money import is_currency, minor_digits
from pipeline.rate.adjustments import read_discounts
from pipeline.rate.conversion import read_conversion
from pipeline.rate.faults import Fault, FaultCode
from pipeline.rate.fields import Fields, plain_number, shown
from pipeline.rate.limits import EVENTS_MAX, MATRIX_DIMENSIONS_MAX
from pipeline.rate.lines import ZERO
from pipeline.rate.price import Price, remembered_price
from pipeline.rate.proration import read_factor
from pipeline.rate.request import Position, RatingInput

_PLAIN_KEYS = frozenset({"id", "currency", "price", "quantity"})
REQUEST_KEYS = frozenset(
    {
        "id",
        "currency",
        "price",
        "quantity",
        "unit_conversion",
        "usage_discount",
        "discounts",
        "maximum",
        "minimum",
        "pre_line_quantity",
        "previously_billed_amount",
        "line_position",
        "proration",
        "event_count",
        "per_event_amounts",
        "dimensions",
    }
)


def parse_input(value: object) -> RatingInput | tuple[Fault, ...]:
    """Return the request that a JSON object makes, or every fault in it."""
    faults: list[Fault] = []
    fields = Fields(value, "", faults)
    fields.close(REQUEST_KEYS)
    currency = read_currency(fields)
    price = None
    if fields.has("price"):
        price = remembered_price(fields.value("price"), faults)
    elif fields.opened:
        fields.note(FaultCode.MISSING, "price", "required, but absent or null")
    amounts = None
    if fields.has("per_event_amounts"):
        amounts = fields.numbers("per_event_amounts", EVENTS_MAX)
    conversion, proration = fields.value("unit_conversion"), fields.value("proration")
    request = None
    if price is not None:
        request = RatingInput(
            currency=currency,
            price=price,
            quantity=fields.number("quantity"),
            unit_conversion=None
            if conversion is None
            else read_conversion(Fields(conversion, "unit_conversion", faults)),
            usage_discount=fields.number("usage_discount") or ZERO,
            discounts=read_discounts(fields) if fields.has("discounts") else (),
            maximum=fields.number("maximum"),
            minimum=fields.number("minimum"),
            pre_line_quantity=fields.number("pre_line_quantity") or ZERO,
            previously_billed_amount=fields.number("previously_billed_amount"),
            line_position=fields.word("line_position", Position, Position.SINGLE),
            proration=None
            if proration is None
            else read_factor(Fields(proration, "proration", faults)),
            event_count=fields.count("event_count"),
            dimensions=_read_dimensions(fields),
            per_event_amounts=amounts,
        )
    return tuple(faults) if request is None or faults else request


class PlainRequest(NamedTuple):
    """What most lines are: a quantity at a price."""

    currency: str
    price: Price
    quantity: Fraction


def plain_request(value: object) -> PlainRequest | None:
    """Return a quantity at a price; None for any other request."""
    if type(value) is not dict or not value.keys() <= _PLAIN_KEYS:
        return None
    currency, quantity = value.get("currency"), value.get("quantity")
    if type(currency) is not str or type(quantity) is not str or not is_currency(currency):
        return None
    number = plain_number(quantity)
    price = None if number is None else remembered_price(value.get("price"), [])
    if price is None or number is None:
        return None
    return PlainRequest(currency, price, number)


def _read_dimensions(fields: Fields) -> Mapping[str, str]:
    value = fields.value("dimensions")
    if value is None:
        return {}
    told = Fields(value, "dimensions", fields.faults)
    if isinstance(value, dict) and len(value) > MATRIX_DIMENSIONS_MAX:
        message = f"{len(value)} entries; at most {MATRIX_DIMENSIONS_MAX}"
        fields.note(FaultCode.TOO_LARGE, "dimensions", message)
    return {name: told.text(name) or "" for name in told.names if told.has(name)}


def read_currency(fields: Fields) -> str:
    """Read `currency` (rule 3); a stand-in after a fault."""
    currency = fields.text("currency")
    if currency is None:
        return ""
    try:
        minor_digits(currency)
    except ValueError:
        message = f"{shown(currency)} is no upper-case ISO 4217 currency with a minor unit"
        fields.note(FaultCode.BAD_CURRENCY, "currency", message)
    return currency
