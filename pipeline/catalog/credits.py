"""Prepaid credits: what a customer paid beforehand, and what of it may still pay.

Owns: grants, and their order.
Does not own: what may be granted (granting.py), what a document takes of them
(invoice/settling.py), what was taken (stores).
Law: a grant never grows, and nothing here counts what is left: that is the grant less what issued
documents took of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.core.money import Money


@dataclass(frozen=True, slots=True)
class Grant:
    """Prepaid money of one customer with one issuer, alive in [starts, expires).

    `meters` and `plans` say which lines it pays, empty: any. Lower `priority` pays first.
    `position` is the serial of its fact; what was voided pays nothing any more.
    """

    id: str
    customer: str
    issuer: str
    currency: str
    amount_minor: int
    starts: Instant
    expires: Instant | None = None
    priority: int = 0
    meters: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    position: int = 0
    voided: bool = False

    @property
    def turn(self) -> tuple[int, bool, Instant, int]:
        """Where it stands in the order of paying: priority, then earliest expiry, then age."""
        return self.priority, self.expires is None, self.expires or 0, self.position

    def alive(self, instant: Instant) -> bool:
        """Whether it pays for what falls due at an instant."""
        return self.starts <= instant and (self.expires is None or instant < self.expires)

    def body(self) -> dict[str, Json]:
        """Return the grant as its fact tells it."""
        return {
            "id": self.id,
            "customer": self.customer,
            "issuer": self.issuer,
            "currency": self.currency,
            "amount": Money(self.amount_minor, self.currency).text,
            "starts": instant_text(self.starts),
            "expires": None if self.expires is None else instant_text(self.expires),
            "priority": self.priority,
            "meters": [*self.meters],
            "plans": [*self.plans],
        }


def grant(position: int, body: Mapping[str, Json]) -> Grant:
    """Return the grant of a fact."""
    currency = cast(str, body["currency"])
    expires = body["expires"]
    return Grant(
        id=cast(str, body["id"]),
        customer=cast(str, body["customer"]),
        issuer=cast(str, body["issuer"]),
        currency=currency,
        amount_minor=Money.rounded(Fraction(cast(str, body["amount"])), currency).minor,
        starts=parse_instant(body["starts"]),
        expires=None if expires is None else parse_instant(expires),
        priority=cast(int, body["priority"]),
        meters=tuple(cast(list[str], body["meters"])),
        plans=tuple(cast(list[str], body["plans"])),
        position=position,
    )
