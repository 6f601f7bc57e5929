"""Offers: the plan as one subscription buys it: by the price books that are on, in its currency.

Owns: which rate cards a plan has for whom, in which currency a subscription is billed.
Does not own: what was agreed with the customer (legs.py): that stands above all of it.
Law: where no book is on and no other currency agreed, a plan is what it says.
"""

from pipeline.catalog.books import PriceBook, priced_by
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Plan
from pipeline.catalog.subscriptions import Subscription


def books_for(catalog: Catalog, customer: str) -> list[PriceBook]:
    """Return the books that are on for a customer, the one that was switched last at the end."""
    switched = sorted(catalog.deals.switches.items(), key=lambda each: each[1].position)
    return [catalog.deals.books[book] for book, on in switched if on.takes_in(book, customer)]


def billed_in(catalog: Catalog, sold: Subscription) -> str:
    """Return the currency of a subscription's documents."""
    agreed = sold.currency or catalog.customers[sold.customer].currency
    return agreed or catalog.plans[sold.plan].currency


def offered(catalog: Catalog, plan: str, sold: Subscription) -> Plan:
    """Return a plan as a subscription buys it."""
    found = catalog.plans[plan]
    if catalog.deals.switches:
        books = books_for(catalog, sold.customer)
        cards = {card.id: card for book in books for card in book.cards.get(plan, ())}
        found = priced_by(found, cards.values()) if cards else found
    agreed = sold.currency or catalog.customers[sold.customer].currency
    return found if agreed is None else found.in_currency(agreed)
