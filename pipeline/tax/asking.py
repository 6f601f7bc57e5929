"""Asking: what an outside engine, or a person, is asked where the rules do not know a tax.

Owns: the question as it is asked and its digest, which answers are ones.
Does not own: the rules (deciding.py), asking itself (stores/tax_engine.py, workers/taxing.py).
Law: what is asked holds no personal value, and all that an answer may depend on besides what the
engine knows of the customer under its id; one question has one digest.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.catalog.fields import TEXT_CHARS_MAX
from pipeline.catalog.tax_answers import TaxAnswer
from pipeline.catalog.tax_terms import (
    CustomerTax,
    IssuerTax,
    TaxTerms,
    customer_tax,
    issuer_tax,
    tax_terms,
)
from pipeline.core.identity import Json, canonical, digest
from pipeline.core.quantity import parse_decimal
from pipeline.tax.deciding import REASONS, Category, Question, Treatment, Unknown, decide

FORMAT = "talea.tax-question.1"
ANSWER = "answer "
"""Before the digest of a question, where its answer is the source of a tax."""

_PLACE = re.compile(r"[A-Z]{2}(?:-[A-Z0-9]{1,32})?", re.ASCII)
_SILENT = frozenset({Category.STANDARD, Category.ZERO})
"""Categories that give no reason."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it is asked."""

    body: Mapping[str, Json]

    @property
    def digest(self) -> str:
        """What it is known by."""
        return digest(canonical(dict(self.body)))


def asked(
    issuer: str,
    seller: IssuerTax,
    customer: str,
    buyer: CustomerTax | None,
    terms: TaxTerms,
    day: str,
) -> Asked:
    """Return the question of how something sold on a day is taxed, by what holds on that day."""
    return Asked(
        {
            "format": FORMAT,
            "issuer": issuer,
            "issuer_tax": seller.body(),
            "customer": customer,
            "customer_tax": None if buyer is None else buyer.body(),
            "terms": terms.body(),
            "day": day,
        }
    )


def by_own_rules(question: Mapping[str, Json]) -> Treatment | Unknown:
    """Return what the rules here say of a question that was asked outside."""
    seller, buyer = issuer_tax(question["issuer_tax"]), customer_tax(question["customer_tax"])
    terms = tax_terms(question["terms"])
    if seller is None or buyer is None or terms is None:
        return Unknown("nothing is known of where it is taxed", "add tax to it in the catalog")
    return decide(Question(seller, buyer, terms, str(question["day"])))


def read_answer(
    question: Mapping[str, Json], told: Mapping[str, object], said_by: str
) -> TaxAnswer | str:
    """Return what an engine or a person said as an answer, or why it is none.

    `told` has category, jurisdiction, rate_percent (a string) and, if there is one, a reason.
    """
    category, place = told.get("category"), told.get("jurisdiction")
    if not isinstance(category, str) or category not in [*Category]:
        return f"category {category!r} is none of {', '.join(Category)}"
    if not isinstance(place, str) or not _PLACE.fullmatch(place):
        return f"jurisdiction {place!r} is no country or part of one, such as US or US-CA"
    try:
        percent = Fraction(parse_decimal(told.get("rate_percent", "0")))
    except ValueError as error:
        return f"rate_percent: {error}"
    taxed = category == Category.STANDARD
    if not (0 < percent <= 100 if taxed else percent == 0):
        return f"rate_percent {percent} does not go with category {category}"
    reason = told.get("reason")
    if reason is not None and (not isinstance(reason, str) or len(reason) > TEXT_CHARS_MAX):
        return f"reason must be a text of {TEXT_CHARS_MAX} characters at most"
    if reason is None and category not in _SILENT:
        reason = REASONS[Category(category)]
    return TaxAnswer(
        Asked(question).digest,
        str(question["customer"]),
        category,
        place,
        percent,
        reason,
        said_by,
    )


def answering(
    known: Catalog, question: Mapping[str, Json], told: Mapping[str, object], said_by: str
) -> list[NewFact]:
    """Return what a person says of a question; nothing where it is answered.

    Raises:
        ValueError: it is no answer: why.

    """
    said = read_answer(question, told, said_by)
    if isinstance(said, str):
        raise ValueError(said)
    if said.digest in known.deals.tax_answers.of(said.customer):
        return []
    return [NewFact(FactKind.TAX_ANSWER, said.digest, said.body(question))]


def own_answer(question: Mapping[str, Json], treatment: Treatment) -> TaxAnswer:
    """Return the answer that the rules here give in an engine's stead."""
    return TaxAnswer(
        Asked(question).digest,
        str(question["customer"]),
        treatment.category.value,
        treatment.jurisdiction,
        treatment.percent,
        treatment.reason,
        f"own rules ({treatment.source}), for no engine answered",
    )


def as_answered(answer: TaxAnswer) -> Treatment:
    """Return how something is taxed by an answer."""
    source = f"{ANSWER}{answer.digest}"
    category = Category(answer.category)
    return Treatment(category, answer.jurisdiction, answer.percent, answer.reason, source)
