"""Exchange: a price and its terms in another currency, before anything is rounded.

Owns: which numbers of a price are money.  Does not own: rates and their dates (catalog).
Law: a quantity at an exchanged price is, exactly, the rate times the quantity at the price; so a
line is rounded once, in the currency it is billed in. Bounds of tiers, free amounts and whatever
else usage is held against stay in the currency that the usage is counted in.
"""

from dataclasses import replace
from fractions import Fraction
from typing import assert_never

from pipeline.rate.adjustments import FixedDiscount
from pipeline.rate.dynamic import DynamicPrice
from pipeline.rate.flat import FlatPrice
from pipeline.rate.graduated import GraduatedPrice
from pipeline.rate.graduated_percentage import GraduatedPercentagePrice
from pipeline.rate.matrix import MatrixPrice
from pipeline.rate.package import PackagePrice
from pipeline.rate.percentage import PercentagePrice
from pipeline.rate.price import Price
from pipeline.rate.terms import Reduction, Terms
from pipeline.rate.tiers import BlockTier, Tier, UnitTier
from pipeline.rate.unit import UnitPrice
from pipeline.rate.volume import VolumePrice


def exchanged(price: Price, rate: Fraction) -> Price:
    """Return a price in another currency, at so much of it for one of the price's own."""
    match price:
        case FlatPrice():
            return FlatPrice(price.amount * rate)
        case UnitPrice():
            return UnitPrice(price.unit_amount * rate)
        case GraduatedPrice():
            return GraduatedPrice(tuple(_tier(tier, rate) for tier in price.tiers))
        case VolumePrice():
            return VolumePrice(tuple(_tier(tier, rate) for tier in price.tiers))
        case PackagePrice():
            return replace(price, package_amount=price.package_amount * rate)
        case PercentagePrice():
            return replace(
                price,
                rate_percent=price.rate_percent * rate,
                fixed_per_event=price.fixed_per_event * rate,
                per_event_minimum=_times(price.per_event_minimum, rate),
                per_event_maximum=_times(price.per_event_maximum, rate),
            )
        case GraduatedPercentagePrice():
            tiers = (
                replace(t, rate_percent=t.rate_percent * rate, flat_amount=t.flat_amount * rate)
                for t in price.tiers
            )
            return GraduatedPercentagePrice(tuple(tiers))
        case DynamicPrice():
            return DynamicPrice(price.multiplier * rate)
        case MatrixPrice():
            cells = (replace(cell, unit_amount=cell.unit_amount * rate) for cell in price.cells)
            return MatrixPrice(price.dimensions, tuple(cells), price.default_unit_amount * rate)
        case _:
            assert_never(price)


def exchanged_terms(terms: Terms, rate: Fraction) -> Terms:
    """Return terms in another currency; what was configured is told as it was."""
    return replace(
        terms,
        discounts=tuple(_reduction(each, rate) for each in terms.discounts),
        maximum=_times(terms.maximum, rate),
        minimum=_times(terms.minimum, rate),
    )


def _reduction(each: Reduction, rate: Fraction) -> Reduction:
    if isinstance(each.discount, FixedDiscount):
        return replace(each, discount=FixedDiscount(each.discount.amount * rate))
    return each


def _tier(tier: Tier, rate: Fraction) -> Tier:
    match tier:
        case UnitTier():
            amounts = tier.unit_amount * rate, tier.flat_amount * rate
            return UnitTier(tier.up_to, *amounts)
        case BlockTier():
            return replace(tier, block_amount=tier.block_amount * rate)
        case _:
            assert_never(tier)


def _times(amount: Fraction | None, rate: Fraction) -> Fraction | None:
    return None if amount is None else amount * rate
