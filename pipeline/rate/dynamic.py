"""Dynamic: whoever sends the usage says what it is worth; the price multiplies it.

Readings: the metered value is money in the currency of the line, told by the events themselves,
so that it may change with every one; the multiplier (1 where absent) is a margin on it. A
negative multiplier is an error (rule 33). A price that differs by dimension is a matrix.
"""

from dataclasses import dataclass
from fractions import Fraction

from pipeline.core.quantity import quantity_text
from pipeline.rate.fields import Fields
from pipeline.rate.lines import ONE, USAGE, Part

KEYS = frozenset({"type", "multiplier"})


@dataclass(frozen=True, slots=True)
class DynamicPrice:
    """`multiplier` times the value told."""

    multiplier: Fraction = ONE


def parts(price: DynamicPrice, quantity: Fraction) -> list[Part]:
    """Return the one line, none for a value of zero."""
    return [Part(USAGE, quantity, price.multiplier)] if quantity.numerator else []


def read(fields: Fields) -> DynamicPrice:
    """Read a dynamic price."""
    multiplier = fields.number("multiplier", signed=False)
    return DynamicPrice(ONE if multiplier is None else multiplier)


def to_json(price: DynamicPrice) -> dict[str, object]:
    """Return the shape of the contract."""
    return {"type": "dynamic", "multiplier": quantity_text(price.multiplier)}
