"""Unit: every unit costs the same."""

from dataclasses import dataclass
from fractions import Fraction

from pipeline.core.quantity import quantity_text
from pipeline.rate.fields import Fields
from pipeline.rate.lines import USAGE, Part

KEYS = frozenset({"type", "unit_amount"})


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """`unit_amount` per unit."""

    unit_amount: Fraction


def parts(price: UnitPrice, quantity: Fraction) -> list[Part]:
    """Return the one line, none for a quantity of zero."""
    return [Part(USAGE, quantity, price.unit_amount)] if quantity.numerator else []


def read(fields: Fields) -> UnitPrice:
    """Read a unit price."""
    return UnitPrice(fields.needed("unit_amount"))


def to_json(price: UnitPrice) -> dict[str, object]:
    """Return the shape of the contract."""
    return {"type": "unit", "unit_amount": quantity_text(price.unit_amount)}
