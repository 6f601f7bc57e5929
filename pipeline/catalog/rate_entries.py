"""Rate entries: rates of exchange as a sheet has them; and whether prices lack one.

Owns: every check that rates alone can answer, and who would be billed without one.
Does not own: which rate counts when (currencies.py).
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction

from pipeline.catalog import shape
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.currencies import FxRate
from pipeline.catalog.documents import Plan
from pipeline.catalog.fields import parse_currency, parse_date, parse_rate, parse_text
from pipeline.catalog.offers import billed_in
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.subscriptions import Subscription
from pipeline.catalog.yaml import Entry


def rate_subject(entry: Entry) -> str:
    """Return what a rate is found by: it has no id of its own."""
    return f"{entry.word('from')}/{entry.word('to')}/{entry.word('date')}"


def read_rates(top: Entry) -> tuple[FxRate, ...]:
    """Read the rates of a sheet; those with a problem are left out."""
    found: list[FxRate] = []
    lines: dict[str, int] = {}
    for entry in top.items("fx_rates"):
        before = len(entry.problems)
        entry.close(*shape.FX_RATE.keys)
        rate = FxRate(
            entry.needed("from", parse_currency, ""),
            entry.needed("to", parse_currency, ""),
            entry.needed("date", parse_date, ""),
            entry.needed("rate", parse_rate, Fraction(1)),
            entry.needed("source", parse_text, ""),
        )
        if rate.base == rate.quote and rate.base:
            entry.note("to", f"{rate.base} is worth itself: choose another currency")
        if rate.subject in lines and len(entry.problems) == before:
            told = f"{rate.subject} stands on line {lines[rate.subject]} already: remove one"
            entry.note("date", told)
        lines.setdefault(rate.subject, entry.line)
        if len(entry.problems) == before:
            found.append(rate)
    return tuple(found)


def lacking(
    catalog: Catalog, sold: Iterable[Subscription], pairs: Iterable[tuple[str, str]]
) -> Iterator[tuple[Subscription, Plan, PlanPrice, str]]:
    """Yield what is sold in a currency that its price lacks, with no rate that leads there."""
    known = {*pairs, *catalog.deals.rates}
    for each in sold:
        billed = billed_in(catalog, each)
        for plan in (catalog.plans[name] for name in sorted(each.plans)):
            if plan.currency == billed or (plan.currency, billed) in known:
                continue
            cards = (card for _, _, revision in plan.spans() for card in revision.prices)
            for card in {card.id: card for card in cards}.values():
                if billed not in card.currencies:
                    yield each, plan, card, billed
