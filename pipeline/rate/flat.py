"""Flat: a fixed amount times a quantity of seats or the like (rule 15).

Owns: the flat price. Does not own: when it is due (catalog): no payment term here.
Readings: `pre_line_quantity` is ignored, so no past is subtracted on `single` and `first`;
`mid` and `last` bill nothing because the first line billed it all, which is also what
`previously_billed_amount` defaults to there (the minimum of a split flat fee is then that of
the whole one). Unit conversion and usage discount act on its quantity like on any other.
"""

from dataclasses import dataclass
from fractions import Fraction

from pipeline.core.quantity import quantity_text
from pipeline.rate.fields import Fields
from pipeline.rate.lines import FLAT, Part

KEYS = frozenset({"type", "amount"})


@dataclass(frozen=True, slots=True)
class FlatPrice:
    """`amount` for each of `quantity`."""

    amount: Fraction


def parts(price: FlatPrice, quantity: Fraction) -> list[Part]:
    """Return the one line, none for a quantity of zero."""
    return [Part(FLAT, quantity, price.amount)] if quantity.numerator else []


def read(fields: Fields) -> FlatPrice:
    """Read a flat price."""
    return FlatPrice(fields.needed("amount"))


def to_json(price: FlatPrice) -> dict[str, object]:
    """Return the shape of the contract."""
    return {"type": "flat", "amount": quantity_text(price.amount)}
