"""Tiers: bounds and amounts, shared by the graduated and the volume price.

Owns: the shape of a tier, inclusive ascending bounds (rule 16), started blocks (rule 18).
Readings: bounds ascend strictly; a tier without `unit_amount` prices its units at 0 (rule 5),
which is the same as saying so; `block_size` and `block_amount` come together.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from pipeline.core.quantity import quantity_text
from pipeline.rate.faults import FaultCode
from pipeline.rate.fields import Fields
from pipeline.rate.limits import TIERS_MAX
from pipeline.rate.lines import ONE, ZERO, Component, Part

_KEYS = frozenset({"up_to", "unit_amount", "flat_amount", "block_size", "block_amount"})
_RATED_KEYS = frozenset({"up_to", "rate_percent", "flat_amount"})


@dataclass(frozen=True, slots=True)
class UnitTier:
    """So much per unit and so much for entering; `up_to` inclusive, None: no end."""

    up_to: Fraction | None
    unit_amount: Fraction = ZERO
    flat_amount: Fraction = ZERO


@dataclass(frozen=True, slots=True)
class BlockTier:
    """So much per started block of `block_size` units (rule 18)."""

    up_to: Fraction | None
    block_size: Fraction
    block_amount: Fraction


Tier: TypeAlias = UnitTier | BlockTier


def tier_parts(
    tier: Tier, share: Fraction, number: int, usage: Component, flat: Component
) -> list[Part]:
    """Return what a tier charges for its share: usage before flat (rule 17).

    A share of zero has no usage line, a fee of zero no flat line.
    """
    parts: list[Part] = []
    match tier:
        case UnitTier():
            if share.numerator:
                parts.append(Part(usage, share, tier.unit_amount, number))
            if tier.flat_amount.numerator:
                parts.append(Part(flat, ONE, tier.flat_amount, number))
        case BlockTier():
            if share.numerator:
                blocks = Fraction(_started(share, tier.block_size))
                parts.append(Part(usage, blocks, tier.block_amount, number))
    return parts


def _started(share: Fraction, size: Fraction) -> int:
    """Return how many blocks of a size a share begins."""
    numerator, denominator = share.as_integer_ratio()
    top, below = size.as_integer_ratio()
    return -(-numerator * below // (denominator * top))


def close_tier(fields: Fields, *, rated: bool) -> None:
    """Note unknown keys of a tier: of rates, or of unit or block amounts."""
    known, elsewhere = (_RATED_KEYS, _KEYS) if rated else (_KEYS, _RATED_KEYS)
    fields.close(known, elsewhere)


def read_tiers(fields: Fields) -> tuple[Tier, ...]:
    """Read `tiers` of a price."""
    return tuple(_read_tier(tier, up_to) for tier, up_to in tier_fields(fields))


def tier_fields(fields: Fields) -> list[tuple[Fields, Fraction | None]]:
    """Open the objects in `tiers` with their bounds; note what rule 16 forbids."""
    tiers = fields.objects("tiers", TIERS_MAX)
    if not fields.has("tiers") or fields.value("tiers") == []:
        fields.note(FaultCode.MISSING, "tiers", "there must be at least one tier")
    bounds: list[tuple[Fields, Fraction | None]] = []
    below = ZERO
    for tier in tiers:
        if bounds and bounds[-1][1] is None:
            bounds[-1][0].note(FaultCode.TIER_ORDER, "up_to", "only the last tier may be open")
        up_to = tier.number("up_to", positive=True)
        if up_to is not None:
            if bounds and up_to <= below:
                tier.note(FaultCode.TIER_ORDER, "up_to", "not above the bound of the tier before")
            below = up_to
        bounds.append((tier, up_to))
    return bounds


def _read_tier(fields: Fields, up_to: Fraction | None) -> Tier:
    close_tier(fields, rated=False)
    if not fields.has("block_size") and not fields.has("block_amount"):
        return UnitTier(
            up_to, fields.number("unit_amount") or ZERO, fields.number("flat_amount") or ZERO
        )
    for key in ("unit_amount", "flat_amount"):
        if fields.has(key):
            fields.note(FaultCode.TIER_MIXED, key, "a tier of blocks has no such amount")
    size = fields.needed("block_size", positive=True)
    return BlockTier(up_to, size, fields.needed("block_amount"))


def tiers_json(tiers: tuple[Tier, ...]) -> list[object]:
    """Return tiers in the shape of the contract."""
    return [_tier_json(tier) for tier in tiers]


def _tier_json(tier: Tier) -> dict[str, object]:
    up_to = None if tier.up_to is None else quantity_text(tier.up_to)
    match tier:
        case UnitTier():
            return {
                "up_to": up_to,
                "unit_amount": quantity_text(tier.unit_amount),
                "flat_amount": quantity_text(tier.flat_amount),
            }
        case BlockTier():
            return {
                "up_to": up_to,
                "block_size": quantity_text(tier.block_size),
                "block_amount": quantity_text(tier.block_amount),
            }
