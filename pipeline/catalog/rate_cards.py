"""Rate cards: one price of a plan, with its terms, in its currencies, as facts tell it.

Owns: the record, its body, what it is in another currency.
Does not own: how a sheet tells it (cards.py), plans (documents.py), price models (rate).
Law: plan_price(card_body(card)) == card.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TypeAlias, cast

from pipeline.catalog.currencies import FxRate
from pipeline.catalog.sellers import Seller, seller
from pipeline.catalog.tax_terms import NO_TAX_TERMS, TaxTerms, tax_terms
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json
from pipeline.meter.scope import EVERYTHING, Scope
from pipeline.rate import (
    NO_TERMS,
    PaymentTerm,
    Price,
    Terms,
    exchanged,
    exchanged_terms,
    parse_price,
    parse_terms,
)

Body: TypeAlias = Mapping[str, Json]

OF_MONEY = ("discounts", "maximum", "minimum")
"""The terms that each currency of a price tells for itself; discounts, where it has others."""

FX_AMOUNTS = ("from_amount_minor", "to_amount_minor")

COVERS_ALL = "all"
"""What a commitment to all other prices of its plan says instead of their ids."""


@dataclass(frozen=True, slots=True)
class PlanPrice:
    """One rate card of a plan. `meter` is None for a flat fee; `configured` is `price` as given.

    Cards are equal that mean the same, however it was given.

    `scope` says which usage of the meter it bills: a line for each group of it. `currencies`: what
    it is in other currencies than the plan's. `currency`: what its amounts are in, where that is
    not what is billed; they are exchanged by `fx` once it is known when.
    """

    id: str
    name: str
    meter: str | None
    price: Price
    configured: Mapping[str, Json] = field(compare=False)
    scope: Scope = EVERYTHING
    terms: Terms = NO_TERMS
    currencies: Mapping[str, "PlanPrice"] = field(default_factory=dict)
    currency: str | None = None
    fx: "Exchange | None" = None
    tax: TaxTerms | None = None
    """What it says of tax; None: nothing."""
    seller: Seller | None = None
    """Whose it is, where its issuer only sells it."""
    covers: tuple[str, ...] | None = None
    """A commitment: the least that these prices come to in a period, or all others (none named)."""

    def in_currency(self, own: str, billed: str) -> "PlanPrice":
        """Return it as it is billed, where its amounts are in `own`."""
        if own == billed:
            return self
        return self.currencies.get(billed) or replace(self, currency=own)

    def bills_like(self, other: "PlanPrice") -> bool:
        """Whether the two bill the same, whatever they are in currencies that nobody asks for."""
        if self is other:  # as most: what is agreed anew seldom names it
            return True
        one, two = (
            replace(each, currencies={}, tax=each.tax or NO_TAX_TERMS) for each in (self, other)
        )
        return one == two

    def exchanged(self, rate: FxRate) -> "PlanPrice":
        """Return it in the currency that a rate leads to."""
        return replace(
            self,
            price=exchanged(self.price, rate.rate),
            terms=exchanged_terms(self.terms, rate.rate),
            fx=Exchange(rate, self),
        )

    def told_as(self, tax: TaxTerms | None, seller: Seller | None) -> "PlanPrice":
        """Return it with tax terms and seller of elsewhere, where it says nothing itself."""
        tax, seller = self.tax or tax, self.seller or seller
        if (tax, seller) == (self.tax, self.seller):
            return self
        listed = {n: each.told_as(tax, seller) for n, each in self.currencies.items()}
        return replace(self, tax=tax, seller=seller, currencies=listed)

    @property
    def in_advance(self) -> bool:
        """Whether it is due when a period starts."""
        return self.terms.payment_term is PaymentTerm.IN_ADVANCE

    def of_quantity(self, quantity: Fraction) -> "PlanPrice":
        """Return the fee for so many."""
        return replace(self, terms=self.terms.of_quantity(quantity))

    def terms_json(self) -> Mapping[str, Json]:
        """Return the terms as facts and documents tell them: only what was given."""
        return cast(Body, self.terms.configured)

    def covers_json(self) -> dict[str, Json]:
        """Return what it covers as facts and documents tell it; nothing of what is none."""
        if self.covers is None:
            return {}
        return {"covers": [*self.covers] if self.covers else COVERS_ALL}


@dataclass(frozen=True, slots=True)
class Exchange:
    """How a rate card came to its amounts: the rate, and the card before."""

    rate: FxRate
    before: PlanPrice

    def json(self, before_minor: int, after_minor: int) -> dict[str, Json]:
        """Return it for a line, with its amounts, before charges and discounts, on both sides."""
        sums = zip(FX_AMOUNTS, (before_minor, after_minor), strict=True)
        return {**self.rate.body(), **dict(sums)}


def plan_price(body: Body) -> PlanPrice:
    """Return a rate card as facts tell it."""
    price = parse_price(body["price"])
    if isinstance(price, tuple):
        raise BrokenInvariant(f"a price that is no price stands in the fact log: {price[0]}")
    terms = parse_terms(body, price, "")
    if isinstance(terms, tuple):
        raise BrokenInvariant(f"terms that are none stand in the fact log: {terms[0]}")
    listed = cast(dict[str, Body], body.get("currencies", {}))
    return PlanPrice(
        id=cast(str, body["id"]),
        name=cast(str, body["name"]),
        meter=cast("str | None", body["meter"]),
        price=price,
        configured=cast(Body, body["price"]),
        scope=_scope(body),
        terms=terms,
        tax=tax_terms(body.get("tax")),
        seller=seller(body.get("seller")),
        currencies={currency: plan_price(_listed(body, each)) for currency, each in listed.items()},
        covers=_covers(body.get("covers")),
    )


def _listed(body: Body, each: Body) -> Body:
    """Return a rate card as it is in one of its currencies."""
    rest = {key: value for key, value in body.items() if key not in (*OF_MONEY, "currencies")}
    discounts = {"discounts": body["discounts"]} if "discounts" in body else {}
    return {**rest, **discounts, **each}


def card_body(price: PlanPrice) -> dict[str, Json]:
    """Return a rate card as facts tell it.

    A scope that makes no difference is not told, as before there was one.
    """
    body: dict[str, Json] = {
        "id": price.id,
        "name": price.name,
        "meter": price.meter,
        "price": dict(price.configured),
    }
    body |= {**price.terms_json(), **price.scope.json(), **price.covers_json()}
    if price.tax is not None:
        body["tax"] = price.tax.body()
    if price.seller is not None:
        body["seller"] = price.seller.body()
    if price.currencies:
        listed = {name: _listed_body(price, each) for name, each in price.currencies.items()}
        body["currencies"] = {**listed}
    return body


def _listed_body(price: PlanPrice, each: PlanPrice) -> dict[str, Json]:
    own = {key: value for key, value in each.terms_json().items() if key in OF_MONEY}
    if own.get("discounts") == price.terms_json().get("discounts"):
        own.pop("discounts", None)
    return {"price": dict(each.configured), **own}


def _covers(told: Json) -> tuple[str, ...] | None:
    if told is None:
        return None
    return () if told == COVERS_ALL else tuple(cast(list[str], told))


def _scope(body: Body) -> Scope:
    where = cast(dict[str, list[str]], body.get("filter", {}))
    return Scope(
        tuple((name, tuple(values)) for name, values in sorted(where.items())),
        tuple(cast(list[str], body.get("group_by", []))),
    )
