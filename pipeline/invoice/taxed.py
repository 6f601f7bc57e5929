"""Taxed: the lines of a document with the tax that is due on them.

Owns: sums by category over the document, given back to lines and their children; what content
says of tax. Does not own: which tax is due (tax/deciding.py), rounding (tax/sums.py).
Law (EN 16931): the tax of a category is rounded once over the document; children sum to lines
and lines to the document in all seven totals. What a tax follows from stands in content, but for
personal values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias, cast

from pipeline.catalog.documents import Customer
from pipeline.catalog.tax_terms import NO_TAX_TERMS, IssuerTax, TaxTerms, tax_terms
from pipeline.core.calendar import day_of
from pipeline.core.identity import Json, derived_id
from pipeline.core.quantity import quantity_text
from pipeline.invoice.issues import Severity, ValidationIssue
from pipeline.invoice.lines import Line, tax_point_of
from pipeline.invoice.totals import Totals
from pipeline.tax.deciding import Question, Treatment, Unknown, decide
from pipeline.tax.sums import split_tax, tax_of, tax_share

Built: TypeAlias = tuple[Line, Totals]

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
    places: list[int]
    sources: set[str]
    reasons: set[str]

    @property
    def code(self) -> str:
        return self.treatment.code + (INCLUSIVE if self.inclusive else "")


def taxed(document_id: str, issuer: IssuerTax, customer: Customer, built: Sequence[Built]) -> Taxed:
    """Return the lines of a document with their tax; those it is not known of stay as they are."""
    groups: dict[tuple[str, str, bool], _Group] = {}
    unknown: dict[Unknown, None] = {}
    for place, (line, _) in enumerate(built):
        terms = _terms_of(line)
        found = _decided(issuer, customer, terms, line)
        if isinstance(found, Unknown):
            unknown[found] = None
            continue
        inclusive = terms.inclusive and found.percent != 0
        key = (found.jurisdiction, found.code, inclusive)
        group = groups.setdefault(key, _Group(found, inclusive, [], set(), set()))
        group.places.append(place)
        group.sources.add(found.source)
        if found.reason is not None:
            group.reasons.add(found.reason)
    lines, rows = list(built), list[Json]()
    for _, group in sorted(groups.items()):
        rows.append(_apply(group, lines))
    told: dict[str, Json] = {"tax": _evidence(issuer, customer), "taxes": rows}
    return Taxed(lines, told, [_undetermined(document_id, customer, each) for each in unknown])


def _terms_of(line: Line) -> TaxTerms:
    card = cast("Mapping[str, Json] | None", line["rate_card"]) or {}
    return tax_terms(card.get("tax")) or NO_TAX_TERMS


def _decided(
    issuer: IssuerTax, customer: Customer, terms: TaxTerms, line: Line
) -> Treatment | Unknown:
    if customer.tax is None:
        return Unknown(
            f"nothing is known of where {customer.id} is taxed",
            f"add tax with a country to customer {customer.id} in the catalog",
        )
    day = day_of(tax_point_of(line), customer.time_zone)
    return decide(Question(issuer, customer.tax, terms, day))


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
    subtotals = [Totals.of_json(cast(dict[str, int], child["totals"])) for child in children]
    shares = split_tax(own, [each.total for each in subtotals], share)
    for child, each, minor in zip(children, subtotals, shares, strict=True):
        yield _line_taxed(child, each.taxed(minor, inclusive=group.inclusive), minor, group)


def _line_taxed(line: Line, totals: Totals, tax: int, group: _Group) -> Line:
    return {
        **line,
        "tax_amount_minor": tax,
        "tax_code": group.code,
        "tax_jurisdiction": group.treatment.jurisdiction,
        "total_minor": totals.total,
        "totals": totals.json(),
    }


def _evidence(issuer: IssuerTax, customer: Customer) -> dict[str, Json]:
    """Return what the tax follows from, beside what the lines say."""
    return {
        "issuer": {
            "country": issuer.country,
            "vat_id": issuer.vat_id,
            "registrations": dict(issuer.registrations),
            "oss": issuer.oss,
        },
        "customer": None if customer.tax is None else customer.tax.body(),
    }


def _undetermined(document_id: str, customer: Customer, unknown: Unknown) -> ValidationIssue:
    return ValidationIssue(
        derived_id("iss", document_id, "tax", unknown.why),
        f"tax of {customer.id}",
        "tax_undetermined",
        Severity.CRITICAL,
        "taxes",
        unknown.why,
        unknown.mend,
    )
