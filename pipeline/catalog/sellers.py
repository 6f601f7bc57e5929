"""Sellers: whose goods a price sells on a marketplace, and what the marketplace keeps of it.

Owns: the record, and how a fact's body becomes one and one a body.
Does not own: what of a document is whose (invoice/marketplace.py), YAML (cards.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from pipeline.core.identity import Json
from pipeline.core.quantity import exact, quantity_text


@dataclass(frozen=True, slots=True, order=True)
class Seller:
    """Who is paid out what a price comes to before tax, less `commission`, in percent of it."""

    id: str
    commission: Fraction

    def body(self) -> dict[str, Json]:
        """Return it as facts and documents tell it."""
        return {"id": self.id, "commission_percent": quantity_text(self.commission)}


def seller(body: Json) -> Seller | None:
    """Return the seller under a rate card's `seller`."""
    if body is None:
        return None
    told = cast(Mapping[str, str], body)
    return Seller(told["id"], exact(told["commission_percent"]))
