"""Tax answers: what was said, from outside or by hand, of a tax that the rules do not know.

Owns: the record, its body, who was first.
Does not own: what is asked (tax/asking.py), the rules (tax/deciding.py), who asks (workers).
Law: a question, known by its digest, has one answer for ever: the first. So it does not matter
when a document that rests on it is composed, and an answer may come after its cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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


TaxAnswers: TypeAlias = Mapping[str, Mapping[str, TaxAnswer]]
"""By customer, then by the digest of the question."""


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


def answered(before: TaxAnswers, told: TaxAnswer) -> TaxAnswers:
    """Return the answers with one more, unless its question has one."""
    own = before.get(told.customer, {})
    if told.digest in own:
        return before
    return {**before, told.customer: {**own, told.digest: told}}
