"""Tax answers: what was said, from outside or by hand, of a tax that the rules do not know.

Owns: the record, its body, which of several answers to a question counts.
Does not own: what is asked (tax/asking.py), the rules (tax/deciding.py), who asks (workers).
Law: for a document the last answer by the facts at its cut counts, where there is none the first
that came after. So it does not matter when it is composed, and an answer may come late.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias, cast

from pipeline.core.identity import Json
from pipeline.core.quantity import exact, quantity_text


@dataclass(frozen=True, slots=True)
class TaxAnswer:
    """How one thing sold to one customer is taxed; `position` is the serial of its fact."""

    digest: str
    customer: str
    category: str
    jurisdiction: str
    percent: Fraction
    reason: str | None
    said_by: str
    position: int = 0

    def body(self, question: Mapping[str, Json]) -> dict[str, Json]:
        """Return it as its fact tells it, beside what was asked."""
        return {
            "customer": self.customer,
            "question": dict(question),
            "category": self.category,
            "jurisdiction": self.jurisdiction,
            "rate_percent": quantity_text(self.percent),
            "reason": self.reason,
            "said_by": self.said_by,
        }


Answers: TypeAlias = Mapping[str, TaxAnswer]
"""Of one customer, by the digest of the question."""

_NONE: Answers = {}


@dataclass(frozen=True, slots=True)
class TaxAnswers:
    """All answers at a position of the fact log, by customer; `later`: those of a later one."""

    first: Mapping[str, Answers] = field(default_factory=dict)
    last: Mapping[str, Answers] = field(default_factory=dict)
    later: "TaxAnswers | None" = None

    def of(self, customer: str) -> Answers:
        """Return the answers that count for a customer's documents."""
        own = self.last.get(customer, _NONE)
        if self.later is None:
            return own
        return {**self.later.first.get(customer, _NONE), **own}

    def after(self, told: TaxAnswer) -> "TaxAnswers":
        """Return them with one more."""
        first, last = (known.get(told.customer, _NONE) for known in (self.first, self.last))
        return TaxAnswers(
            {**self.first, told.customer: {told.digest: told, **first}},
            {**self.last, told.customer: {**last, told.digest: told}},
        )


def tax_answer(position: int, digest: str, body: Mapping[str, Json]) -> TaxAnswer:
    """Return the answer of a fact."""
    customer, category, jurisdiction, percent, said_by = (
        cast(str, body[key])
        for key in ("customer", "category", "jurisdiction", "rate_percent", "said_by")
    )
    reason = cast("str | None", body["reason"])
    return TaxAnswer(
        digest, customer, category, jurisdiction, exact(percent), reason, said_by, position
    )
