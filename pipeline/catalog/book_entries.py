"""Book entries: price books as a sheet has them, held against the plans that they price.

Owns: every check of a price book.  Does not own: rate cards (cards.py), switching (books.py).
Law: a book without a fault here can be switched on and off at any time: nothing falls due at
another time by it, and all it says can be rated.
"""

from collections.abc import Iterator, Mapping
from functools import partial

from pipeline.catalog import shape
from pipeline.catalog.books import PriceBook
from pipeline.catalog.cards import meter_faults, read_card
from pipeline.catalog.commitments import agreed_faults
from pipeline.catalog.documents import Plan
from pipeline.catalog.entries import read_list
from pipeline.catalog.fields import parse_text
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.yaml import Entry
from pipeline.core.calendar import Duration
from pipeline.meter.meters import Meter

_ANY_CYCLE = Duration(1, 0, 0)
"""A card is held against its plan's cycle once that is known."""


def read_book(entry: Entry, name: str) -> PriceBook:
    """Return a price book, or one to be thrown away beside its problems."""
    entry.close(*shape.PRICE_BOOK.keys)
    label = entry.needed("name", parse_text, "")
    if entry.value("plans") is None:
        entry.missing("plans")
    return PriceBook(name, label, dict(read_list(entry, "plans", _plan)))


def _plan(entry: Entry, name: str) -> tuple[str, tuple[PlanPrice, ...]]:
    entry.close(*shape.BOOK_PLAN.keys)
    if entry.value("prices") is None:
        entry.missing("prices")
    card = partial(read_card, cycle=_ANY_CYCLE, currency="", meters={})
    return name, read_list(entry, "prices", card)


def book_faults(
    book: PriceBook, plans: Mapping[str, Plan], meters: Mapping[str, Meter]
) -> Iterator[tuple[str, str]]:
    """Yield (path below the book, what is wrong); nothing of plans nobody knows."""
    for place, (name, cards) in enumerate(book.cards.items()):
        plan = plans.get(name)
        if plan is None:
            continue
        own = {price.id: price for _, _, each in plan.spans() for price in each.prices}
        for at, card in enumerate(cards):
            path, before = f"plans[{place}].prices[{at}]", own.get(card.id)
            if before is None:
                told = f"{name} has no price {card.id}: use one of {', '.join(sorted(own))}"
                yield f"{path}.id", told
                continue
            for key, fault in _card_faults(card, before, plan, meters):
                yield f"{path}.{key}", fault
            for fault in agreed_faults(card, before, own.values()):
                yield f"{path}.covers", fault


def _card_faults(
    card: PlanPrice, before: PlanPrice, plan: Plan, meters: Mapping[str, Meter]
) -> Iterator[tuple[str, str]]:
    if card.meter != before.meter:
        told = f"{plan.id} bills {before.meter or 'no usage'} by it: a book changes prices alone"
        yield "meter", f"{told}, use the same"
    if card.scope.where != before.scope.where:
        yield "filter", f"it bills other usage than in {plan.id}: use the same filter"
    if card.in_advance != before.in_advance:
        told = f"it falls due {before.terms.payment_term} in {plan.id}: use the same"
        yield "payment_term", told
    meter = meters.get(card.meter) if card.meter is not None else None
    yield from meter_faults(meter, plan.cycle, plan.currency, card)
