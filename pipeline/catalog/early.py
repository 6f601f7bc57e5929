"""Early: a running period is billed before it ends, because a threshold is reached or at will.

Owns: what is billed early, thresholds of spending.
Does not own: the decision and its cut (corrections.py, cuts.py), what its document bills (invoice).
Law: a threshold of a period is told once, whoever sees that it is reached, however often.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.core.quantity import exact, quantity_text

PeriodKey = tuple[str, str, Instant]
"""(subscription, add-on, start) of a period."""


@dataclass(frozen=True, slots=True)
class EarlyUsage:
    """What is billed early: the usage of a subscription's periods that run at an instant.

    Of those of one `add_on`, empty for its own plan; None: of all. `ordinal` is the threshold that
    was reached, counted from 1; 0: none, somebody decided.
    """

    subscription: str
    running_at: Instant
    add_on: str | None = None
    ordinal: int = 0
    threshold: str | None = None

    @property
    def period(self) -> PeriodKey:
        """The period that came to a threshold."""
        return self.subscription, self.add_on or "", self.running_at

    @property
    def subject(self) -> str:
        """What a decision about it is about: of a threshold there is one."""
        if not self.ordinal:
            return self.subscription
        start = instant_text(self.running_at)
        return f"{self.subscription}/{self.add_on or ''}/{start}/{self.ordinal}"

    def body(self) -> dict[str, Json]:
        """Return it as its fact tells it."""
        return {
            "subscription": self.subscription,
            "running_at": instant_text(self.running_at),
            "add_on": self.add_on,
            "ordinal": self.ordinal,
            "threshold": self.threshold,
        }


def early_usage(body: Mapping[str, Json]) -> EarlyUsage:
    """Return what a fact has billed early."""
    return EarlyUsage(
        str(body["subscription"]),
        parse_instant(body["running_at"]),
        cast("str | None", body["add_on"]),
        cast(int, body["ordinal"]),
        cast("str | None", body["threshold"]),
    )


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Amounts of spending in a period at which it is billed, ascending, then every so much."""

    at: tuple[Fraction, ...] = ()
    every: Fraction | None = None

    def reached(self, spent: Fraction) -> int:
        """Return how many thresholds an amount has come to."""
        count = sum(amount <= spent for amount in self.at)
        last = self.at[-1] if self.at else Fraction(0)
        if self.every is None or count < len(self.at) or spent < last:
            return count
        return count + (spent - last) // self.every

    def amount(self, ordinal: int) -> Fraction:
        """Return a threshold, counted from 1."""
        if ordinal <= len(self.at):
            return self.at[ordinal - 1]
        last = self.at[-1] if self.at else Fraction(0)
        return last + (ordinal - len(self.at)) * (self.every or 0)

    def body(self) -> dict[str, Json]:
        """Return them as facts tell them."""
        body: dict[str, Json] = {"at": [quantity_text(amount) for amount in self.at]}
        return body if self.every is None else {**body, "every": quantity_text(self.every)}


def thresholds(body: Mapping[str, Json] | None) -> Thresholds | None:
    """Return the thresholds of a fact, if it has any."""
    if body is None:
        return None
    every = body.get("every")
    return Thresholds(
        tuple(exact(amount) for amount in cast(list[str], body["at"])),
        None if every is None else exact(cast(str, every)),
    )
