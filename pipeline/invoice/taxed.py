"""Taxed: the lines of a document with the tax that is due on them.

Owns: sums by category over the document, given back to lines and their children; what content
says of tax. Does not own: which tax is due (tax/deciding.py), rounding (tax/sums.py).
Law (EN 16931): the tax of a category is rounded once over the document; children sum to lines
and lines to the document in all seven totals. What a tax follows from stands in content, but for
personal values. What the rules do not know is asked (tax/asking.py): while there is no answer, its
lines stand without tax, the question stands beside them, and the document is not issued.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias, cast

from pipeline.catalog.documents import Customer, Issuer
from pipeline.catalog.tax_answers import Answers
from pipeline.catalog.tax_terms import (
    NO_TAX_TERMS,
    CustomerTax,
    Engine,
    IssuerTax,
    TaxTerms,
    on_day,
    tax_terms,
)
from pipeline.core.calendar import Instant, day_of
from pipeline.core.identity import Json, derived_id
from pipeline.core.quantity import quantity_text
from pipeline.invoice.issues import (
    AWAITED,
    CUSTOMER_INCOMPLETE,
    UNDETERMINED,
    Severity,
    ValidationIssue,
)
from pipeline.invoice.lines import Line, tax_point_of
from pipeline.invoice.totals import Totals
from pipeline.tax.asking import ANSWER, Asked, as_answered, asked
from pipeline.tax.deciding import Question, Treatment, Unknown, decide
from pipeline.tax.sums import split_tax, tax_of, tax_share

Built: TypeAlias = tuple[Line, Totals]

SHORT = 12
"""Hex digits that a question is named by to a person."""
INCLUSIVE = "-incl"
"""Behind the tax code of a line whose amounts contain the tax."""


@dataclass(frozen=True, slots=True)
class Taxed:
    """Lines with their tax, what content says of it, and what could not be found out."""

    lines: Sequence[Built]
    told: Mapping[str, Json]
    issues: Sequence[ValidationIssue]


@dataclass(frozen=True, slots=True)
class _Group:
    """The lines of one category: jurisdiction, category and rate, amounts with or without tax."""

    treatment: Treatment
    inclusive: bool
    code: str
    places: list[int] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    reasons: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Open:
    """A tax that is not known: what is asked, and why."""

    question: Asked
    unknown: Unknown


@dataclass(slots=True)
class _Parties:
    """Issuer and customer of a document, and what of their taxes it rests on."""

    issuer: Issuer
    customer: Customer
    answers: Answers
    sellers: dict[str, IssuerTax] = field(default_factory=dict)
    buyers: dict[str, CustomerTax] = field(default_factory=dict)

    def treat(self, terms: TaxTerms, day: str) -> Treatment | _Open | None:
        """Return how something sold on a day is taxed; None: the issuer was not taxed then."""
        seller, buyer = on_day(self.issuer.tax, day), on_day(self.customer.tax, day)
        if seller is None:
            return None
        self.sellers[seller.since or ""] = seller
        if buyer is not None:
            self.buyers[buyer.since or ""] = buyer
        found = self._decided(seller, buyer, terms, day)
        if isinstance(found, Treatment):
            return found
        question = asked(self.issuer.id, seller, self.customer.id, buyer, terms, day)
        answer = self.answers.get(question.digest)
        return _Open(question, found) if answer is None else as_answered(answer)

    def _decided(
        self, seller: IssuerTax, buyer: CustomerTax | None, terms: TaxTerms, day: str
    ) -> Treatment | Unknown:
        if seller.engine is Engine.OUTSIDE_ALWAYS:
            return _LEFT_OUTSIDE
        if buyer is None:
            name = self.customer.id
            return Unknown(
                f"nothing is known of where {name} is taxed",
                f"add tax with a country to customer {name}",
            )
        return decide(Question(seller, buyer, terms, day))

    def told(self) -> dict[str, Json]:
        """Return what the tax follows from, beside what the lines say: in order of time."""
        return {
            "issuer": [_seller_told(each) for _, each in sorted(self.sellers.items())],
            "customer": [each.body() for _, each in sorted(self.buyers.items())],
        }


_LEFT_OUTSIDE = Unknown("its issuer leaves all taxes to an outside engine", "wait for it")


def _seller_told(seller: IssuerTax) -> dict[str, Json]:
    told = seller.body()
    return {key: told[key] for key in ("country", "vat_id", "registrations", "oss", "since")}


def taxed(
    document_id: str,
    issuer: Issuer,
    customer: Customer,
    built: Sequence[Built],
    credited: Mapping[int, Instant],
    answers: Answers,
) -> Taxed:
    """Return the lines of a document with their tax; those it is not known of stay as they are.

    A line that gives back what was billed gives its tax back: `credited` has the tax point of
    what it corrects, by place.
    """
    parties = _Parties(issuer, customer, answers)
    groups: dict[tuple[str, str, bool], _Group] = {}
    open_ones: dict[str, _Open] = {}
    for place, (line, _) in enumerate(built):
        terms = _terms_of(line)
        tax_point = credited.get(place) or tax_point_of(line)
        found = parties.treat(terms, day_of(tax_point, customer.time_zone))
        if isinstance(found, _Open):
            open_ones[found.question.digest] = found
        if not isinstance(found, Treatment):
            continue
        inclusive = terms.inclusive and found.percent != 0
        key = (found.jurisdiction, found.code, inclusive)
        group = groups.get(key)
        if group is None:
            code = found.code + (INCLUSIVE if inclusive else "")
            group = groups[key] = _Group(found, inclusive, code)
        group.places.append(place)
        group.sources.add(found.source)
        if found.reason is not None:
            group.reasons.add(found.reason)
    lines, rows = list(built), list[Json]()
    for _, group in sorted(groups.items()):
        rows.append(_apply(group, lines))
    told = parties.told()
    if open_ones:
        told["awaited"] = [dict(each.question.body) for each in open_ones.values()]
    issues = [
        *(_open_issue(document_id, customer, each) for each in open_ones.values()),
        *_lacking(document_id, issuer, customer),
    ]
    return Taxed(lines, {"tax": told, "taxes": rows}, issues)


def awaited_in(content: Mapping[str, Json]) -> set[str]:
    """Return the digests of the questions that a would-be document awaits answers to."""
    tax = cast(Mapping[str, Json], content.get("tax", {}))
    questions = cast(list[Mapping[str, Json]], tax.get("awaited", []))
    return {Asked(question).digest for question in questions}


def answers_in(content: Mapping[str, Json]) -> set[str]:
    """Return the digests of the questions whose answers a document rests on."""
    rows = cast(list[Mapping[str, list[str]]], content.get("taxes", []))
    sources = (source for row in rows for source in row["sources"])
    return {each.removeprefix(ANSWER) for each in sources if each.startswith(ANSWER)}


def _terms_of(line: Line) -> TaxTerms:
    card = cast("Mapping[str, Json] | None", line["rate_card"]) or {}
    return tax_terms(card.get("tax")) or NO_TAX_TERMS


def _apply(group: _Group, lines: list[Built]) -> dict[str, Json]:
    """Give a category's tax to its lines, and return what content says of the category."""
    share = tax_share(group.treatment.percent, inclusive=group.inclusive)
    nets = [lines[place][1].total for place in group.places]
    tax = tax_of(sum(nets), share)
    for place, own in zip(group.places, split_tax(tax, nets, share), strict=True):
        line, totals = lines[place]
        told = totals.taxed(own, inclusive=group.inclusive)
        taxed_line = _line_taxed(line, told, own, group)
        if line["children"]:
            taxed_line["children"] = [*_children(line, own, share, group)]
        lines[place] = (taxed_line, told)
    treatment = group.treatment
    return {
        "category": treatment.category.value,
        "tax_code": group.code,
        "jurisdiction": treatment.jurisdiction,
        "rate_percent": quantity_text(treatment.percent),
        "taxable_minor": sum(nets) - (tax if group.inclusive else 0),
        "tax_minor": tax,
        "inclusive": group.inclusive,
        "reason": "; ".join(sorted(group.reasons)) or None,
        "sources": [*sorted(group.sources)],
    }


def _children(line: Line, own: int, share: Fraction, group: _Group) -> Iterator[Line]:
    """Yield the children of a line with their shares of its tax."""
    children = cast(list[Line], line["children"])
    subtotals = [Totals.of_json(child["totals"]) for child in children]
    shares = [own] if len(children) == 1 else _split(own, subtotals, share)
    for child, each, minor in zip(children, subtotals, shares, strict=True):
        yield _line_taxed(child, each.taxed(minor, inclusive=group.inclusive), minor, group)


def _split(tax: int, subtotals: Sequence[Totals], share: Fraction) -> list[int]:
    return split_tax(tax, [each.total for each in subtotals], share)


def _line_taxed(line: Line, totals: Totals, tax: int, group: _Group) -> Line:
    return {
        **line,
        "tax_amount_minor": tax,
        "tax_code": group.code,
        "tax_jurisdiction": group.treatment.jurisdiction,
        "total_minor": totals.total,
        "totals": totals.json(),
    }


def _open_issue(document_id: str, customer: Customer, each: _Open) -> ValidationIssue:
    """Return the issue of a tax that is not known."""
    body, digest = each.question.body, each.question.digest
    terms = tax_terms(body["terms"]) or NO_TAX_TERMS
    by_hand = f"talea tax answer {digest[:SHORT]}"
    outside = cast(Mapping[str, Json], body["issuer_tax"])["engine"] != Engine.OWN.value
    mend = (
        f"an outside engine is asked; {by_hand} answers in its stead"
        if outside
        else f"{each.unknown.mend}; once the period is cut, {by_hand}"
    )
    return ValidationIssue(
        derived_id("iss", document_id, "tax", digest),
        f"tax of {customer.id}, {terms.code} of {body['day']}",
        AWAITED if outside else UNDETERMINED,
        Severity.CRITICAL,
        "taxes",
        each.unknown.why,
        mend,
    )


def _lacking(document_id: str, issuer: Issuer, customer: Customer) -> Iterator[ValidationIssue]:
    """Yield the issues of values that the issuer needs of a customer and that are not there."""
    for name in issuer.tax.requires if issuer.tax else ():
        if name not in customer.profile:
            yield ValidationIssue(
                derived_id("iss", document_id, "profile", name),
                f"customer {customer.id}",
                CUSTOMER_INCOMPLETE,
                Severity.CRITICAL,
                f"billing_profile.{name}",
                f"its issuer needs {name} on every document",
                f"add {name} to its profile; once the period is cut, the issue can be waived",
            )
