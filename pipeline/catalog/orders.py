"""Orders: what is bought once, at an instant: set-up fees, checkouts, work by the hour.

Owns: the record, and how a fact's body becomes one and one a body.
Does not own: which document bills it (invoice/planned.py), YAML (order_entries.py).
Law: an order is known by its id: told twice it is one order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pipeline.catalog.rate_cards import Body, PlanPrice, card_body, plan_price
from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer buys at `at`, when it is cut: lines of flat prices, each with a quantity."""

    id: str
    customer: str
    issuer: str
    currency: str
    at: Instant
    payment_days: int
    lines: tuple[PlanPrice, ...]

    def item(self, line: PlanPrice) -> str:
        """Return what a line is billed as."""
        return f"{self.id}/{line.id}"

    def body(self) -> dict[str, Json]:
        """Return what a fact says of it."""
        return {
            "id": self.id,
            "customer": self.customer,
            "issuer": self.issuer,
            "currency": self.currency,
            "at": instant_text(self.at),
            "payment_days": self.payment_days,
            "lines": [card_body(line) for line in self.lines],
        }


def order(body: Body) -> Order:
    """Return the order of a fact."""
    return Order(
        id=cast(str, body["id"]),
        customer=cast(str, body["customer"]),
        issuer=cast(str, body["issuer"]),
        currency=cast(str, body["currency"]),
        at=parse_instant(body["at"]),
        payment_days=cast(int, body["payment_days"]),
        lines=tuple(plan_price(line) for line in cast(list[Body], body["lines"])),
    )


@dataclass(frozen=True, slots=True)
class Orders:
    """Every order in force, by id and by customer."""

    by_id: Mapping[str, Order]
    _of: Mapping[str, Sequence[Order]]

    def of(self, customer: str) -> Sequence[Order]:
        """Return a customer's orders, in the order of time."""
        return self._of.get(customer, ())

    def after(self, told: Iterable[Order]) -> "Orders":
        """Return them with more, each instead of what was told under its id before."""
        by_id, of = dict(self.by_id), dict(self._of)
        for new in told:
            old = by_id.get(new.id)
            if old is not None:
                of[old.customer] = tuple(each for each in of[old.customer] if each.id != new.id)
            by_id[new.id] = new
            own = [*of.get(new.customer, ()), new]
            of[new.customer] = tuple(sorted(own, key=lambda each: (each.at, each.id)))
        return Orders(by_id, of) if by_id else self


NO_ORDERS = Orders({}, {})
