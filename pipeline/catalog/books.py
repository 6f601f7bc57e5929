"""Price books: other prices for some customers, switched on and off as one.

Owns: which customers a book is on for, and what their plans cost by it.
Does not own: who switches (cli), plans themselves (documents.py).
Law: whom a share takes in follows from the book and the customer alone: a larger share takes in
all of a smaller one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias, cast

from pipeline.catalog.documents import Plan
from pipeline.catalog.rate_cards import Body, PlanPrice, card_body, plan_price
from pipeline.core.identity import Json, derived_id
from pipeline.core.quantity import exact, quantity_text

Cards: TypeAlias = Mapping[str, tuple[PlanPrice, ...]]


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Rate cards that stand instead of those of the same ids, by plan."""

    id: str
    name: str
    cards: Cards

    def body(self) -> dict[str, Json]:
        """Return the book as its fact tells it."""
        plans: list[Json] = [
            {"id": plan, "prices": [card_body(card) for card in cards]}
            for plan, cards in self.cards.items()
        ]
        return {"id": self.id, "name": self.name, "plans": plans}


@dataclass(frozen=True, slots=True)
class Switch:
    """For whom a book is on: `share` percent of all customers, and those named.

    Of several books that price the same, the one with the highest `position` does.
    """

    position: int
    share: Fraction
    customers: frozenset[str]

    def takes_in(self, book: str, customer: str) -> bool:
        """Whether the book is on for a customer."""
        return customer in self.customers or _place(book, customer) < self.share


def _place(book: str, customer: str) -> Fraction:
    """Return where a customer stands among all, in percent from 0 to below 100."""
    drawn = derived_id("place", book, customer).rpartition("_")[2]
    return Fraction(100 * int(drawn, 16), 16 ** len(drawn))


def price_book(body: Body) -> PriceBook:
    """Return the book of a fact."""
    plans = cast(list[Body], body["plans"])
    cards = {
        cast(str, plan["id"]): tuple(map(plan_price, cast(list[Body], plan["prices"])))
        for plan in plans
    }
    return PriceBook(cast(str, body["id"]), cast(str, body["name"]), cards)


def switch(position: int, body: Body) -> Switch | None:
    """Return for whom a fact switches a book on; None: it is off."""
    if not body["on"]:
        return None
    customers = frozenset(cast(list[str], body["customers"]))
    return Switch(position, exact(cast(str, body["share"])), customers)


def switch_body(book: str, share: Fraction, customers: Iterable[str], *, on: bool) -> Body:
    """Return what a fact says that switches a book."""
    return {
        "book": book,
        "on": on,
        "share": quantity_text(share),
        "customers": [*sorted(set(customers))],
    }


def priced_by(plan: Plan, cards: Iterable[PlanPrice]) -> Plan:
    """Return a plan with other rate cards, in all its revisions."""
    own = {card.id: card for card in cards}
    earlier = None if plan.earlier is None else priced_by(plan.earlier, own.values())
    prices = tuple(
        own.get(price.id, price).told_as(price.tax, price.seller) for price in plan.prices
    )
    return replace(plan, prices=prices, earlier=earlier)
