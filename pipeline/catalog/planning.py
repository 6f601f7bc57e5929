"""Planning: what a sheet would change, before anybody decides.

Owns: what is added, what is changed from what to what, and who is touched by it.
Does not own: the facts themselves (changes.py), what it comes to in money (invoice/effect.py).
Law: whoever is not touched is billed to the byte as before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.offers import billed_in, books_for
from pipeline.catalog.sheet import Sheet
from pipeline.catalog.subscriptions import Subscription
from pipeline.core.identity import Json


@dataclass(frozen=True, slots=True)
class Difference:
    """One document that a sheet adds (`before` is None) or changes."""

    kind: FactKind
    id: str
    before: Mapping[str, Json] | None
    after: Mapping[str, Json]

    def json(self) -> dict[str, Json]:
        """Return it for a report; what is added has no `before`."""
        told: dict[str, Json] = {"kind": self.kind.value, "id": self.id}
        before: dict[str, Json] = {} if self.before is None else {"before": dict(self.before)}
        return {**told, **before, "after": dict(self.after)}

    @property
    def keys(self) -> list[str]:
        """The keys whose values differ."""
        before = self.before or {}
        keys = dict.fromkeys([*before, *self.after])
        return [key for key in keys if before.get(key) != self.after.get(key)]


def differences(known: Iterable[Fact], new: Iterable[NewFact]) -> list[Difference]:
    """Return what new facts add and change."""
    last = {(fact.kind, fact.subject): fact.body for fact in known}
    return [
        Difference(fact.kind, fact.subject, last.get((fact.kind, fact.subject)), fact.body)
        for fact in new
    ]


def unchanged_count(sheet: Sheet, new: Sequence[NewFact]) -> int:
    """Return how many entries of a sheet say what is in force already."""
    entries = (
        sheet.issuers,
        sheet.meters,
        sheet.plans,
        sheet.price_books,
        sheet.promotions,
        sheet.fx_rates,
        sheet.customers,
        sheet.subscriptions,
        sheet.orders,
    )
    return sum(map(len, entries)) + (sheet.grace_us is not None) - len(new)


def as_written(catalog: Catalog, new: Iterable[NewFact]) -> Catalog:
    """Return the catalog as it would be with new facts."""
    return extend(
        catalog,
        (
            Fact(serial, "", fact.kind, fact.subject, fact.body, "", "", 0)
            for serial, fact in enumerate(new, start=catalog.position + 1)
        ),
    )


def buyers(new: Iterable[NewFact]) -> set[str]:
    """Return the customers of new orders."""
    return {str(fact.body["customer"]) for fact in new if fact.kind is FactKind.ORDER}


def touched(after: Catalog, new: Iterable[NewFact]) -> list[Subscription]:
    """Return the subscriptions whose documents new facts can change, by id.

    Grace moves no content, and a meter in force never changes.
    """
    named = {(fact.kind, fact.subject) for fact in new}
    return [
        subscription
        for _, subscription in sorted(after.subscriptions.items())
        if not named.isdisjoint(
            {
                (FactKind.SUBSCRIPTION, subscription.id),
                (FactKind.CUSTOMER, subscription.customer),
                *((FactKind.PLAN, plan) for plan in subscription.plans),
                *((FactKind.FX_RATE, rate) for rate in _rates_of(after, subscription)),
                *((FactKind.BOOK, book.id) for book in books_for(after, subscription.customer)),
                *((FactKind.ISSUER, after.plans[plan].issuer) for plan in subscription.plans),
            }
        )
    ]


def _rates_of(after: Catalog, subscription: Subscription) -> list[str]:
    """Return the subjects of the rates that a subscription can be billed by."""
    billed = billed_in(after, subscription)
    pairs = {(after.plans[plan].currency, billed) for plan in subscription.plans}
    return [rate.subject for pair in pairs for rate in after.deals.rates.get(pair, ())]
