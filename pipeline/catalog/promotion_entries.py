"""Promotion entries: codes as a sheet has them.

Owns: every check that one code alone can answer.
Does not own: discounts (cards.py), whether a subscription may have it (redeeming.py).
"""

from pipeline.catalog import shape
from pipeline.catalog.cards import read_reduction
from pipeline.catalog.fields import parse_currency, parse_id, parse_limit, parse_moment
from pipeline.catalog.promotions import Promotion
from pipeline.catalog.yaml import Entry
from pipeline.rate import FixedDiscount, Reduction


def read_promotion(entry: Entry, name: str) -> Promotion | None:
    """Return a promotion, or one to be thrown away beside its problems."""
    entry.close(*shape.PROMOTION.keys)
    read = read_reduction(entry, "discount")
    starts = entry.optional("starts", parse_moment, None)
    ends = entry.optional("ends", parse_moment, None)
    if starts is not None and ends is not None and ends <= starts:
        entry.note("ends", "not after the start: choose a later one")
    currency = entry.optional("currency", parse_currency, None)
    prices = entry.texts("prices", parse_id)
    plans = entry.texts("plans", parse_id)
    limits = [
        entry.optional(key, parse_limit, None) for key in ("redemptions_max", "per_customer_max")
    ]
    if read is None:
        return None
    reduction, given = read
    _check_amount(entry, reduction, currency, len(prices))
    return Promotion(
        name,
        Reduction(reduction.discount, reduction.cycles, name),
        given,
        currency,
        tuple(sorted(plans)),
        tuple(sorted(prices)),
        starts,
        ends,
        *limits,
    )


def _check_amount(entry: Entry, reduction: Reduction, currency: str | None, prices: int) -> None:
    """Note what a fixed amount lacks, and what one of percent has no use for."""
    if not isinstance(reduction.discount, FixedDiscount):
        if currency is not None:
            entry.note("currency", "so many percent are of any currency: remove it")
        return
    if currency is None:
        entry.note("currency", "required, because the discount is so much money: add currency")
    if prices != 1:
        told = f"so much money comes off one price, and {prices} are named"
        entry.note("prices", f"{told}: name one, or use percent")
