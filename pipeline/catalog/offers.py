"""Offers: the plan as one subscription buys it, by the price books that are on for its customer.

Owns: which rate cards a plan has for whom.
Does not own: what was agreed with the customer (legs.py): that stands above all of it.
Law: where no book is on, a plan is what it says.
"""

from pipeline.catalog.books import PriceBook, priced_by
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Plan
from pipeline.catalog.subscriptions import Subscription


def books_for(catalog: Catalog, customer: str) -> list[PriceBook]:
    """Return the books that are on for a customer, the one that was switched last at the end."""
    switched = sorted(catalog.deals.switches.items(), key=lambda each: each[1].position)
    return [catalog.deals.books[book] for book, on in switched if on.takes_in(book, customer)]


def offered(catalog: Catalog, plan: str, sold: Subscription) -> Plan:
    """Return a plan as a subscription buys it."""
    found = catalog.plans[plan]
    if not catalog.deals.switches:
        return found
    for book in books_for(catalog, sold.customer):
        cards = book.cards.get(plan)
        found = priced_by(found, cards) if cards else found
    return found
