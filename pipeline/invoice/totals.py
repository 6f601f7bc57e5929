"""The seven totals of a line or a document.

Law: total = amount + charges - discounts + exclusive taxes; children sum to parents in all
seven, exactly.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter, itemgetter
from typing import cast

from pipeline.core.identity import Json


@dataclass(frozen=True, slots=True)
class Totals:
    """Minor units of one currency."""

    amount: int = 0
    charges_total: int = 0
    discounts_total: int = 0
    taxes_inclusive_total: int = 0
    taxes_exclusive_total: int = 0
    taxes_total: int = 0
    total: int = 0

    @classmethod
    def of(cls, *, amount: int = 0, charges: int = 0, discounts: int = 0) -> "Totals":
        """Return the totals of one untaxed line."""
        return cls(
            amount=amount,
            charges_total=charges,
            discounts_total=discounts,
            total=amount + charges - discounts,
        )

    def taxed(self, tax: int, *, inclusive: bool) -> "Totals":
        """Return the totals of an untaxed line with its tax: contained, or on top."""
        on_top = 0 if inclusive else tax
        return Totals(
            self.amount,
            self.charges_total,
            self.discounts_total,
            tax - on_top,
            on_top,
            tax,
            self.total + on_top,
        )

    @classmethod
    def sum(cls, parts: Iterable["Totals"]) -> "Totals":
        """Return the totals of a parent."""
        rows = [_FIGURES(part) for part in parts]
        return cls(*map(sum, zip(*rows, strict=True))) if rows else cls()

    @classmethod
    def of_json(cls, told: Json) -> "Totals":
        """Return the totals of a line or document in content."""
        return cls(*_FIGURES_TOLD(cast(Mapping[str, int], told)))

    def plus(self, other: "Totals", sign: int = 1) -> "Totals":
        """Return them with others added, or taken off (-1)."""
        pairs = zip(_FIGURES(self), _FIGURES(other), strict=True)
        return Totals(*(one + sign * two for one, two in pairs))

    def json(self) -> dict[str, Json]:
        """Return the totals under their names, each with its unit."""
        return dict(zip(_NAMES, _FIGURES(self), strict=True))


_FIGURES = attrgetter(*(field.name for field in fields(Totals)))
_NAMES = tuple(f"{field.name}_minor" for field in fields(Totals))
_FIGURES_TOLD = itemgetter(*_NAMES)
