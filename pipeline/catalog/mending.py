"""Mending: the catalog by other prices than its facts said.

Owns: which parts of a catalog say something else then.
Does not own: the prices (mends.py), whose documents are corrected by them (invoice/layers.py).
Law: it is the catalog of facts that had always said these prices, at its position.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from pipeline.catalog import documents
from pipeline.catalog.books import price_book
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import Fact, FactKind
from pipeline.catalog.promotions import promotion
from pipeline.catalog.rate_cards import Body

T = TypeVar("T")


def priced_by(catalog: Catalog, prices: Sequence[Fact]) -> Catalog:
    """Return a catalog by other prices: all that is said of their subjects, in order."""
    said = [fact for fact in prices if fact.serial <= catalog.position]
    if not said:
        return catalog
    about = {(fact.kind, fact.subject) for fact in said}
    issuers = {n: e for n, e in catalog.issuers.items() if (FactKind.ISSUER, n) not in about}
    plans = {n: e for n, e in catalog.plans.items() if (FactKind.PLAN, n) not in about}
    books, promotions = dict(catalog.deals.books), dict(catalog.deals.promotions)
    rest = []
    for fact in said:
        match fact.kind:
            case FactKind.ISSUER:
                issuer = _ISSUERS.of(fact.body)
                issuers[issuer.id] = issuer.after(issuers.get(issuer.id))
            case FactKind.PLAN:
                plan = _PLANS.of(fact.body)
                plans[plan.id] = plan.after(plans.get(plan.id))
            case FactKind.BOOK:
                books[fact.subject] = _BOOKS.of(fact.body)
            case FactKind.PROMOTION:
                promotions[fact.subject] = _PROMOTIONS.of(fact.body)
            case _:
                rest.append(fact)
    deals = replace(catalog.deals.after(rest), books=books, promotions=promotions)
    return replace(catalog, issuers=issuers, plans=plans, deals=deals)


class _Read(Generic[T]):
    """What bodies say, read once: each is that of very many documents, at as many catalogs.

    By identity: a body is kept with what it says, so no other is taken for it.
    """

    def __init__(self, read: Callable[[Body], T]) -> None:
        self._read = read
        self._known: dict[int, tuple[Body, T]] = {}

    def of(self, body: Body) -> T:
        known = self._known.get(id(body))
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[id(body)] = body, self._read(body)
        return known[1]


_REMEMBERED = 1 << 10
_ISSUERS, _PLANS = _Read(documents.issuer), _Read(documents.plan)
_BOOKS, _PROMOTIONS = _Read(price_book), _Read(promotion)
