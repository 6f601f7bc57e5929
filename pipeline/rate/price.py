"""Price: the closed union of price models, and its JSON shape.

Owns: which model a `type` names, dispatch to it, the bound a quantity must keep.
Does not own: a model's own keys and rules (one file each).
Law: parse_price(price_json(p)) == p.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TypeAlias, assert_never

from pipeline.rate import (
    dynamic,
    flat,
    graduated,
    graduated_percentage,
    matrix,
    package,
    percentage,
    unit,
    volume,
)
from pipeline.rate.dynamic import DynamicPrice
from pipeline.rate.faults import Fault, FaultCode
from pipeline.rate.fields import Fields
from pipeline.rate.flat import FlatPrice
from pipeline.rate.graduated import GraduatedPrice
from pipeline.rate.graduated_percentage import GraduatedPercentagePrice
from pipeline.rate.limits import PRICE_CHARS_MAX, PRICES_MAX
from pipeline.rate.lines import Part
from pipeline.rate.matrix import MatrixPrice
from pipeline.rate.package import PackagePrice
from pipeline.rate.percentage import Events, PercentagePrice
from pipeline.rate.unit import UnitPrice
from pipeline.rate.volume import VolumePrice

Price: TypeAlias = (
    FlatPrice
    | UnitPrice
    | GraduatedPrice
    | VolumePrice
    | PackagePrice
    | PercentagePrice
    | GraduatedPercentagePrice
    | DynamicPrice
    | MatrixPrice
)

MODELS: Mapping[str, tuple[frozenset[str], Callable[[Fields], Price]]] = {
    "flat": (flat.KEYS, flat.read),
    "unit": (unit.KEYS, unit.read),
    "graduated": (graduated.KEYS, graduated.read),
    "volume": (volume.KEYS, volume.read),
    "package": (package.KEYS, package.read),
    "percentage": (percentage.KEYS, percentage.read),
    "graduated_percentage": (graduated_percentage.KEYS, graduated_percentage.read),
    "dynamic": (dynamic.KEYS, dynamic.read),
    "matrix": (matrix.KEYS, matrix.read),
}
_ALL_KEYS = frozenset[str]().union(*(keys for keys, _ in MODELS.values()))


def parse_price(value: object, path: str = "price") -> Price | tuple[Fault, ...]:
    """Return the price of a JSON value, or every fault in it, with paths below `path`."""
    faults: list[Fault] = []
    price = read_price(Fields(value, path, faults))
    return price if price is not None and not faults else tuple(faults)


_remembered: dict[str, Price] = {}


def remembered_price(value: object, faults: list[Fault]) -> Price | None:
    """Return the price of `price` in a request; one seen before is not parsed again.

    Lines of one run share few prices, and a picture of the JSON is far cheaper than parsing.
    """
    picture = repr(value)
    price = _remembered.get(picture)
    if price is not None:
        return price
    parsed = parse_price(value)
    if isinstance(parsed, tuple):
        faults += parsed
        return None
    if len(_remembered) >= PRICES_MAX:
        _remembered.clear()
    if len(picture) <= PRICE_CHARS_MAX:
        _remembered[picture] = parsed
    return parsed


def read_price(fields: Fields) -> Price | None:
    """Read a price; None, or faults noted, where it is none."""
    if not fields.opened:
        return None
    name = fields.value("type")
    if name is None:
        fields.note(FaultCode.MISSING, "type", "required, but absent or null")
        return None
    model = MODELS.get(name) if isinstance(name, str) else None
    if model is None:
        fields.choice("type", name, MODELS)
        return None
    keys, read = model
    fields.close(keys, _ALL_KEYS)
    return read(fields)


def price_json(price: Price) -> dict[str, object]:
    """Return a price in the shape of the contract."""
    match price:
        case FlatPrice():
            return flat.to_json(price)
        case UnitPrice():
            return unit.to_json(price)
        case GraduatedPrice():
            return graduated.to_json(price)
        case VolumePrice():
            return volume.to_json(price)
        case PackagePrice():
            return package.to_json(price)
        case PercentagePrice():
            return percentage.to_json(price)
        case GraduatedPercentagePrice():
            return graduated_percentage.to_json(price)
        case DynamicPrice():
            return dynamic.to_json(price)
        case MatrixPrice():
            return matrix.to_json(price)
        case _:
            assert_never(price)


def price_parts(
    price: Price, quantity: Fraction, events: Events, told: Mapping[str, str]
) -> list[Part]:
    """Return the exact lines of a quantity from 0 on, in the order of rule 17.

    `told` are the dimensions of the usage.
    """
    match price:
        case UnitPrice():
            return unit.parts(price, quantity)
        case FlatPrice():
            return flat.parts(price, quantity)
        case GraduatedPrice():
            return graduated.parts(price, quantity)
        case VolumePrice():
            return volume.parts(price, quantity)
        case PackagePrice():
            return package.parts(price, quantity)
        case PercentagePrice():
            return percentage.parts(price, quantity, events)
        case GraduatedPercentagePrice():
            return graduated_percentage.parts(price, quantity)
        case DynamicPrice():
            return dynamic.parts(price, quantity)
        case MatrixPrice():
            return matrix.parts(price, quantity, told)
        case _:
            assert_never(price)


def looks_at_events(price: Price) -> bool:
    """Return whether single events must be told, or at least counted (rule 25)."""
    return isinstance(price, PercentagePrice) and price.looks_at_events


def quantity_max(price: Price) -> Fraction | None:
    """Return the bound of a bounded last tier; None where any quantity has a price (rule 16)."""
    match price:
        case (
            UnitPrice()
            | FlatPrice()
            | PackagePrice()
            | PercentagePrice()
            | DynamicPrice()
            | MatrixPrice()
        ):
            return None
        case GraduatedPrice() | VolumePrice() | GraduatedPercentagePrice():
            return price.tiers[-1].up_to
        case _:
            assert_never(price)
