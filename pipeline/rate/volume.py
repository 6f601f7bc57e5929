"""Volume: the tier that the whole quantity reaches prices all of it (rules 13, 16 to 18).

Readings: it bills at every position and reverses when a later total falls into another tier
(rule 13): the old tier's lines come back negative, the new tier's are billed, matched by
component and unit amount alone (rule 14). At zero usage the first tier's flat amount is due.
"""

from dataclasses import dataclass
from fractions import Fraction

from pipeline.core.quantity import at_most
from pipeline.rate.fields import Fields
from pipeline.rate.lines import FLAT, USAGE, Part
from pipeline.rate.tiers import Tier, read_tiers, tier_parts, tiers_json

KEYS = frozenset({"type", "tiers"})


@dataclass(frozen=True, slots=True)
class VolumePrice:
    """Tiers, one of which prices everything."""

    tiers: tuple[Tier, ...]


def parts(price: VolumePrice, quantity: Fraction) -> list[Part]:
    """Return the lines of the tier reached; the quantity is within the last bound."""
    for number, tier in enumerate(price.tiers, 1):
        if tier.up_to is None or at_most(quantity, tier.up_to):
            return tier_parts(tier, quantity, number, USAGE, FLAT)
    return []


def read(fields: Fields) -> VolumePrice:
    """Read a volume price."""
    return VolumePrice(read_tiers(fields))


def to_json(price: VolumePrice) -> dict[str, object]:
    """Return the shape of the contract."""
    return {"type": "volume", "tiers": tiers_json(price.tiers)}
