"""Promotion codes: what a code takes off, who may redeem it, and what was redeemed.

Owns: promotions, redemptions, their limits.
Does not own: how discounts stack (rate), which lines they fall on (invoice/planned.py).
Law: a redemption says all that it gives, so that a code that changes later changes no promise; of
two who redeem at once, the second sees the first.
"""

from dataclasses import dataclass
from typing import cast

from pipeline.catalog.documents import moment_in
from pipeline.catalog.rate_cards import Body
from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json
from pipeline.rate import Reduction, parse_terms


@dataclass(frozen=True, slots=True)
class Promotion:
    """A code. It may be redeemed in [starts, ends), so often in all and by each customer.

    It takes `reduction` off what its `plans` and `prices` bill (empty: any), for so many cycles. A
    fixed amount is in `currency`, and off one price.
    """

    id: str
    reduction: Reduction
    discount: Body
    currency: str | None = None
    plans: tuple[str, ...] = ()
    prices: tuple[str, ...] = ()
    starts: Instant | None = None
    ends: Instant | None = None
    redemptions_max: int | None = None
    per_customer_max: int | None = None

    def body(self) -> dict[str, Json]:
        """Return it as its fact tells it."""
        return {
            "id": self.id,
            "discount": dict(self.discount),
            "currency": self.currency,
            "plans": [*self.plans],
            "prices": [*self.prices],
            "starts": None if self.starts is None else instant_text(self.starts),
            "ends": None if self.ends is None else instant_text(self.ends),
            "redemptions_max": self.redemptions_max,
            "per_customer_max": self.per_customer_max,
        }


@dataclass(frozen=True, slots=True)
class Redemption:
    """A code that a subscription has from `at` on, with what it gives."""

    promotion: str
    customer: str
    subscription: str
    at: Instant
    reduction: Reduction
    discount: Body
    plans: tuple[str, ...]
    prices: tuple[str, ...]

    def body(self) -> dict[str, Json]:
        """Return it as its fact tells it."""
        return {
            "promotion": self.promotion,
            "customer": self.customer,
            "subscription": self.subscription,
            "at": instant_text(self.at),
            "discount": dict(self.discount),
            "plans": [*self.plans],
            "prices": [*self.prices],
        }

    def falls_on(self, plan: str, price: str) -> bool:
        """Whether it takes something off a price of a plan."""
        return (not self.plans or plan in self.plans) and (not self.prices or price in self.prices)


def promotion(body: Body) -> Promotion:
    """Return the promotion of a fact."""
    name = cast(str, body["id"])
    return Promotion(
        id=name,
        reduction=_reduction(name, body),
        discount=cast(Body, body["discount"]),
        currency=cast("str | None", body["currency"]),
        plans=_names(body, "plans"),
        prices=_names(body, "prices"),
        starts=moment_in(body, "starts"),
        ends=moment_in(body, "ends"),
        redemptions_max=cast("int | None", body["redemptions_max"]),
        per_customer_max=cast("int | None", body["per_customer_max"]),
    )


def redemption(body: Body) -> Redemption:
    """Return the redemption of a fact."""
    code = cast(str, body["promotion"])
    return Redemption(
        promotion=code,
        customer=cast(str, body["customer"]),
        subscription=cast(str, body["subscription"]),
        at=parse_instant(body["at"]),
        reduction=_reduction(code, body),
        discount=cast(Body, body["discount"]),
        plans=_names(body, "plans"),
        prices=_names(body, "prices"),
    )


def _reduction(code: str, body: Body) -> Reduction:
    """Return what a code takes off; lines give the code as the reason."""
    told = {**cast(Body, body["discount"]), "reason": code}
    terms = parse_terms({"discounts": [told]}, None, "discount")
    if isinstance(terms, tuple):
        raise BrokenInvariant(f"a discount that is none stands in the fact log: {terms[0]}")
    return terms.discounts[0]


def _names(body: Body, key: str) -> tuple[str, ...]:
    return tuple(cast(list[str], body[key]))
