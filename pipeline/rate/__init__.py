"""Rate: from a quantity and a price to exact, rounded lines. Pure.

Owns: the price models, adjustments, proration and the cumulative rule of schemas/RATING.md.
Does not own: which price is in force (catalog), what was used (meter), documents (invoice).
Law: split a quantity anywhere, rate the pieces one after another: they sum to the whole.

The entry is `rate(RatingInput(...)) -> Rated | Fault`; rule numbers in the docstrings of this
room are those of that page.
"""

from pipeline.rate.adjustments import Discount, FixedDiscount, PercentageDiscount
from pipeline.rate.commands import answer_allocate, answer_rate, explain_rate
from pipeline.rate.conversion import Operation, Rounding, UnitConversion
from pipeline.rate.dynamic import DynamicPrice
from pipeline.rate.exchange import exchanged, exchanged_terms
from pipeline.rate.faults import Fault, FaultCode
from pipeline.rate.flat import FlatPrice
from pipeline.rate.graduated import GraduatedPrice
from pipeline.rate.graduated_percentage import GraduatedPercentagePrice, PercentageTier
from pipeline.rate.lines import ZERO, Component, Kind, Rated, RatedLine
from pipeline.rate.matrix import Cell, MatrixPrice
from pipeline.rate.package import PackagePrice, PackageRounding
from pipeline.rate.percentage import Events, PercentagePrice
from pipeline.rate.price import (
    MODELS,
    Price,
    looks_at_events,
    parse_price,
    price_json,
    quantity_max,
)
from pipeline.rate.rating import rate, rate_bare
from pipeline.rate.request import Position, RatingInput
from pipeline.rate.terms import KEYS as TERMS_KEYS
from pipeline.rate.terms import (
    NO_TERMS,
    PaymentTerm,
    Reduction,
    Terms,
    parse_terms,
    reductions_in,
)
from pipeline.rate.tiers import BlockTier, Tier, UnitTier
from pipeline.rate.unit import UnitPrice
from pipeline.rate.volume import VolumePrice

__all__ = [
    "MODELS",
    "NO_TERMS",
    "TERMS_KEYS",
    "ZERO",
    "BlockTier",
    "Cell",
    "Component",
    "Discount",
    "DynamicPrice",
    "Events",
    "Fault",
    "FaultCode",
    "FixedDiscount",
    "FlatPrice",
    "GraduatedPercentagePrice",
    "GraduatedPrice",
    "Kind",
    "MatrixPrice",
    "Operation",
    "PackagePrice",
    "PackageRounding",
    "PaymentTerm",
    "PercentageDiscount",
    "PercentagePrice",
    "PercentageTier",
    "Position",
    "Price",
    "Rated",
    "RatedLine",
    "RatingInput",
    "Reduction",
    "Rounding",
    "Terms",
    "Tier",
    "UnitConversion",
    "UnitPrice",
    "UnitTier",
    "VolumePrice",
    "answer_allocate",
    "answer_rate",
    "exchanged",
    "exchanged_terms",
    "explain_rate",
    "looks_at_events",
    "parse_price",
    "parse_terms",
    "price_json",
    "quantity_max",
    "rate",
    "rate_bare",
    "reductions_in",
]
