"""Graduated: each tier prices the units that fall into it (rules 16 to 18).

Readings: bounds are inclusive, so 10 units of `up_to` 10 leave the next tier untouched; a
tier's flat amount is due once a unit falls into it, the first tier's always, even at zero
usage (else rule 12 would have nothing to say about a past of 0).
"""

from dataclasses import dataclass, field
from fractions import Fraction

from pipeline.core.quantity import at_most, minus
from pipeline.rate.fields import Fields
from pipeline.rate.lines import ZERO, Kind, Part, tier_component
from pipeline.rate.tiers import Tier, read_tiers, tier_parts, tiers_json

KEYS = frozenset({"type", "tiers"})


@dataclass(frozen=True, slots=True)
class GraduatedPrice:
    """Tiers, each for its own share of the quantity."""

    tiers: tuple[Tier, ...]
    full: tuple[tuple[Part, ...], ...] = field(init=False, repr=False, compare=False)
    """What each bounded tier charges when it is full: worked out once, not for every line."""

    def __post_init__(self) -> None:
        full, below = [], ZERO
        for number, tier in enumerate(self.tiers, 1):
            if tier.up_to is not None:
                full.append(tuple(_parts(tier, minus(tier.up_to, below), number)))
                below = tier.up_to
        object.__setattr__(self, "full", tuple(full))


def parts(price: GraduatedPrice, quantity: Fraction) -> list[Part]:
    """Return the lines of every tier the quantity reaches; it is within the last bound."""
    lines: list[Part] = []
    below = ZERO
    for index, tier in enumerate(price.tiers):
        top = tier.up_to
        if top is None or at_most(quantity, top):
            return lines + _parts(tier, minus(quantity, below), index + 1)
        lines += price.full[index]
        below = top
    return lines


def _parts(tier: Tier, share: Fraction, number: int) -> list[Part]:
    """Return what a tier, counted from 1, charges for its share."""
    usage, flat = tier_component(Kind.USAGE, number), tier_component(Kind.FLAT, number)
    return tier_parts(tier, share, number, usage, flat)


def read(fields: Fields) -> GraduatedPrice:
    """Read a graduated price."""
    return GraduatedPrice(read_tiers(fields))


def to_json(price: GraduatedPrice) -> dict[str, object]:
    """Return the shape of the contract."""
    return {"type": "graduated", "tiers": tiers_json(price.tiers)}
