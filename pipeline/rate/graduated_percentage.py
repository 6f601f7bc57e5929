"""Graduated percentage: each tier takes its rate of the money that falls into it.

Tiers behave as in graduated.py (rules 16, 17); the usage line's unit amount is rate / 100. A
negative rate is an error (rule 33).
"""

from dataclasses import dataclass, field
from fractions import Fraction

from pipeline.core.quantity import quantity_text
from pipeline.rate import graduated
from pipeline.rate.fields import Fields
from pipeline.rate.graduated import GraduatedPrice
from pipeline.rate.lines import ZERO, Part
from pipeline.rate.tiers import UnitTier, close_tier, tier_fields

KEYS = frozenset({"type", "tiers"})


@dataclass(frozen=True, slots=True)
class PercentageTier:
    """`rate_percent` of the money in this tier and so much for entering it."""

    up_to: Fraction | None
    rate_percent: Fraction = ZERO
    flat_amount: Fraction = ZERO


@dataclass(frozen=True, slots=True)
class GraduatedPercentagePrice:
    """Tiers, each for its own share of the money."""

    tiers: tuple[PercentageTier, ...]
    by_units: GraduatedPrice = field(init=False, repr=False, compare=False)
    """The same, a unit of money at rate / 100: worked out once, not for every line."""

    def __post_init__(self) -> None:
        tiers = (UnitTier(t.up_to, t.rate_percent / 100, t.flat_amount) for t in self.tiers)
        object.__setattr__(self, "by_units", GraduatedPrice(tuple(tiers)))


def parts(price: GraduatedPercentagePrice, quantity: Fraction) -> list[Part]:
    """Return the lines of every tier the money reaches."""
    return graduated.parts(price.by_units, quantity)


def read(fields: Fields) -> GraduatedPercentagePrice:
    """Read a graduated percentage price."""
    tiers = (_read_tier(tier, up_to) for tier, up_to in tier_fields(fields))
    return GraduatedPercentagePrice(tuple(tiers))


def _read_tier(fields: Fields, up_to: Fraction | None) -> PercentageTier:
    close_tier(fields, rated=True)
    rate = fields.number("rate_percent", signed=False) or ZERO
    return PercentageTier(up_to, rate, fields.number("flat_amount") or ZERO)


def to_json(price: GraduatedPercentagePrice) -> dict[str, object]:
    """Return the shape of the contract."""
    return {
        "type": "graduated_percentage",
        "tiers": [
            {
                "up_to": None if tier.up_to is None else quantity_text(tier.up_to),
                "rate_percent": quantity_text(tier.rate_percent),
                "flat_amount": quantity_text(tier.flat_amount),
            }
            for tier in price.tiers
        ],
    }
