"""Package: so much per bundle of units, the free ones off first (rule 19).

Readings: the line counts packages at the package's amount; `down` bills full packages only;
`free_units` below zero is an error.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from pipeline.core.quantity import quantity_text
from pipeline.rate.fields import Fields
from pipeline.rate.lines import USAGE, ZERO, Part

KEYS = frozenset({"type", "package_size", "package_amount", "free_units", "rounding"})


class PackageRounding(StrEnum):
    """What a package begun counts."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class PackagePrice:
    """`package_amount` per `package_size` units beyond the free ones."""

    package_size: Fraction
    package_amount: Fraction
    free_units: Fraction = ZERO
    rounding: PackageRounding = PackageRounding.UP


def parts(price: PackagePrice, quantity: Fraction) -> list[Part]:
    """Return the one line, none where no package is billed."""
    numerator, denominator = quantity.as_integer_ratio()
    if price.free_units is not ZERO:
        free, of = price.free_units.as_integer_ratio()
        numerator, denominator = numerator * of - free * denominator, denominator * of
    if numerator <= 0:
        return []
    size, below = price.package_size.as_integer_ratio()
    paid, size = numerator * below, denominator * size
    match price.rounding:
        case PackageRounding.UP:
            packages = -(-paid // size)
        case PackageRounding.DOWN:
            packages = paid // size
    return [Part(USAGE, Fraction(packages), price.package_amount)] if packages else []


def read(fields: Fields) -> PackagePrice:
    """Read a package price."""
    return PackagePrice(
        fields.needed("package_size", positive=True),
        fields.needed("package_amount"),
        fields.number("free_units", signed=False) or ZERO,
        fields.word("rounding", PackageRounding, PackageRounding.UP),
    )


def to_json(price: PackagePrice) -> dict[str, object]:
    """Return the shape of the contract."""
    return {
        "type": "package",
        "package_size": quantity_text(price.package_size),
        "package_amount": quantity_text(price.package_amount),
        "free_units": quantity_text(price.free_units),
        "rounding": price.rounding.value,
    }
