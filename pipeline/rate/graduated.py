"""Graduated: each tier prices the units that fall into it (rules 16 to 18).

Readings: bounds are inclusive, so 10 units of `up_to` 10 leave the next tier untouched; a
tier's flat amount is due once a unit falls into it, the first tier's always, even at zero
usage (else rule 12 would have nothing to say about a past of 0).
"""

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from pipeline.rate.fields import Fields
from pipeline.rate.lines import ZERO, Kind, Part, tier_component
from pipeline.rate.tiers import Tier, read_tiers, tier_parts, tiers_json

KEYS = frozenset({"type", "tiers"})


@dataclass(frozen=True, slots=True)
class GraduatedPrice:
    """Tiers, each for its own share of the quantity."""

    tiers: tuple[Tier, ...]
    widths: tuple[Fraction, ...] = field(init=False, repr=False, compare=False)
    """What each bounded tier holds when it is full: computed once, not for every line."""

    def __post_init__(self) -> None:
        bounds = [ZERO, *(tier.up_to for tier in self.tiers if tier.up_to is not None)]
        widths = tuple(top - below for below, top in pairwise(bounds))
        object.__setattr__(self, "widths", widths)


def parts(price: GraduatedPrice, quantity: Fraction) -> list[Part]:
    """Return the lines of every tier the quantity reaches; it is within the last bound."""
    lines: list[Part] = []
    below = ZERO
    for number, tier in enumerate(price.tiers, 1):
        top = tier.up_to
        ends = top is None or quantity <= top
        share = quantity - below if ends else price.widths[number - 1]
        usage = tier_component(Kind.USAGE, number)
        lines += tier_parts(tier, share, number, usage, tier_component(Kind.FLAT, number))
        if ends or top is None:
            break
        below = top
    return lines


def read(fields: Fields) -> GraduatedPrice:
    """Read a graduated price."""
    return GraduatedPrice(read_tiers(fields))


def to_json(price: GraduatedPrice) -> dict[str, object]:
    """Return the shape of the contract."""
    return {"type": "graduated", "tiers": tiers_json(price.tiers)}
