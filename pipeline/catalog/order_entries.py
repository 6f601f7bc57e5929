"""Order entries: what is bought once, as a sheet has it.

Owns: every check that one entry alone can answer: flat prices, due at once.
Does not own: who buys and who issues (checking.py), what was billed (edits.py).
"""

from functools import partial

from pipeline.catalog import shape
from pipeline.catalog.cards import read_card
from pipeline.catalog.entries import read_list
from pipeline.catalog.fields import (
    DEFAULT_PAYMENT_DAYS,
    parse_currency,
    parse_id,
    parse_moment,
    parse_payment_days,
)
from pipeline.catalog.orders import Order
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.yaml import Entry
from pipeline.core.calendar import EARLIEST, Duration
from pipeline.rate import FlatPrice

_AT_ONCE = Duration(0, 0, 1)


def read_order(entry: Entry, name: str) -> Order:
    """Return an order, or one to be thrown away beside its problems."""
    entry.close(*shape.ORDER.keys)
    currency = entry.needed("currency", parse_currency, "")
    if not entry.items("lines"):
        entry.missing("lines")
    return Order(
        id=name,
        customer=entry.needed("customer", parse_id, ""),
        issuer=entry.needed("issuer", parse_id, ""),
        currency=currency,
        at=entry.needed("at", parse_moment, EARLIEST),
        payment_days=entry.optional("payment_days", parse_payment_days, DEFAULT_PAYMENT_DAYS),
        lines=read_list(entry, "lines", partial(_line, currency=currency)),
    )


def _line(entry: Entry, name: str, currency: str) -> PlanPrice | None:
    card = read_card(entry, name, cycle=_AT_ONCE, currency=currency, meters={})
    if card is not None and not isinstance(card.price, FlatPrice):
        entry.note("price.type", "an order bills no usage: use flat, with a quantity")
    if card is not None and card.in_advance:
        entry.note("payment_term", "an order is due at its instant: remove it")
    if card is not None and card.covers is not None:
        entry.note("covers", "an order is bought once, and commits to no period: remove it")
    return card
