"""Validation: what is looked at before a document is issued, beside its price and its tax.

Owns: sums, currency, which tax categories may stand together, whether an amount is unusual for its
customer, and what is said of usage that was refused or has no outcome.
Does not own: what cannot be rated (compose.py) or taxed (taxed.py), what people decide
(workflow.py), who obeys (workers/finalizer.py).
Law: the same document and the same history have the same issues; a check that fails is told, and
never mends anything.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from statistics import median
from typing import cast

from pipeline.catalog.documents import Completeness
from pipeline.core.identity import Json, derived_id
from pipeline.core.money import Money
from pipeline.invoice.compose import Composed
from pipeline.invoice.issues import (
    REFUSED,
    TAX_MIXED,
    UNCLOSED,
    Severity,
    ValidationIssue,
)
from pipeline.invoice.shown import sum_faults
from pipeline.tax.deciding import Category

HISTORY_MIN = 6
"""Below so many earlier invoices nothing is unusual."""
HISTORY_MAX = 12
DEVIATIONS = 6
"""So many deviations above the median are unusual; a deviation is 1.4826 x MAD."""
_NORMAL = Fraction(14826, 10_000)
_DEVIATION_MIN = Fraction(1, 20)
"""Of the median: a customer who always pays the same is not unusual for a cent more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known beside a document.

    `earlier`: totals of its customer's invoices, in minor units, the last first. `refused`: how
    many of its customer's events in its period nobody billed, by code. `unclosed`: how many events
    of its partition have no outcome. `policy`: what its issuer says of events that are missing.
    """

    earlier: Sequence[int] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    unclosed: int = 0
    policy: Completeness | None = None


def validated(document: Composed, seen: Seen) -> Composed:
    """Return a document with what these checks say of it."""
    found = (*_issues(document, seen.earlier), *_usage_issues(document, seen))
    return replace(document, issues=(*document.issues, *found)) if found else document


def unusual(total: int, earlier: Sequence[int]) -> bool:
    """Return whether a total is far above what a customer was invoiced before."""
    if len(earlier) < HISTORY_MIN:
        return False
    middle = _median(earlier)
    deviation = _NORMAL * _median([abs(each - middle) for each in earlier])
    return total > middle + DEVIATIONS * max(deviation, abs(middle) * _DEVIATION_MIN)


def _median(values: Sequence[int] | Sequence[Fraction]) -> Fraction:
    return median(map(Fraction, values))


def _issues(document: Composed, earlier: Sequence[int]) -> Iterator[ValidationIssue]:
    content, name = document.content, str(document.content["id"])
    lines = cast(list[Mapping[str, Json]], content["lines"])
    for parent in (content, *(line for line in lines if line["children"])):
        children = cast(
            list[Mapping[str, Json]], parent["lines" if parent is content else "children"]
        )
        for fault in sum_faults(str(parent["id"]), parent, children):
            yield _broken(name, "sums_differ", "totals", fault)
    for line in lines:
        if line["currency"] != content["currency"]:
            told = f"line {line['id']} is in {line['currency']}"
            yield _broken(name, "currency_differs", "lines", told)
    if document.kind == "invoice":  # a note takes off what its invoice has, whatever that is
        yield from _mixed(name, content)
    total = cast(Mapping[str, int], content["totals"])["total_minor"]
    if document.kind == "invoice" and unusual(total, earlier):
        money, middle = (
            Money(each, str(content["currency"])) for each in (total, int(_median(earlier)))
        )
        yield ValidationIssue(
            derived_id("iss", name, "unusual_amount"),
            name,
            "unusual_amount",
            Severity.WARNING,
            "totals.total_minor",
            f"{money.text} {money.currency} is far above the usual {middle.text}",
            "look at its lines; correct it by a note if it is wrong",
        )


def _usage_issues(document: Composed, seen: Seen) -> Iterator[ValidationIssue]:
    """Yield what is said of usage that is on no document: both may be accepted as they are.

    Refused usage stops a document only where its issuer waits for missing events; an equation that
    does not close stops it unless its issuer only wants to be told.
    """
    if document.kind != "invoice":
        return
    name, customer = str(document.content["id"]), document.content["customer"]
    if seen.refused:
        count = sum(seen.refused.values())
        told = ", ".join(f"{number} {code}" for code, number in sorted(seen.refused.items()))
        issue = derived_id("iss", name, REFUSED)
        mend = f"talea rejected list --customer {customer}: redrive or waive them and retry, or"
        yield ValidationIssue(
            issue,
            name,
            REFUSED,
            Severity.CRITICAL if seen.policy is Completeness.HOLD else Severity.WARNING,
            "usage",
            f"{count} events of {customer} in its period were refused ({told})",
            f"{mend} talea invoices waive {issue}",
        )
    if seen.unclosed:
        issue = derived_id("iss", name, UNCLOSED)
        yield ValidationIssue(
            issue,
            name,
            UNCLOSED,
            Severity.WARNING if seen.policy is Completeness.FLAG else Severity.CRITICAL,
            "usage",
            f"{seen.unclosed} events of its partition have no outcome",
            f"talea audit shows where; or talea invoices waive {issue}",
        )


def _mixed(name: str, content: Mapping[str, Json]) -> Iterator[ValidationIssue]:
    """Yield that a document has what is outside the scope of tax beside anything else.

    EN 16931 forbids it (BR-O-11 to 14).
    """
    rows = cast(list[Mapping[str, Json]], content.get("taxes", []))
    others = sorted({str(row["category"]) for row in rows} - {Category.OUT_OF_SCOPE.value})
    if not others or len(others) == len({row["category"] for row in rows}):
        return
    issue = derived_id("iss", name, TAX_MIXED)
    yield ValidationIssue(
        issue,
        name,
        TAX_MIXED,
        Severity.CRITICAL,
        "taxes",
        f"what is outside the scope of VAT stands beside category {', '.join(others)}, and EN 16931"
        " lets it stand alone",
        "sell it under a plan of another issuer; once the period is cut, accept it:"
        f" talea invoices waive {issue}",
    )


def _broken(document: str, code: str, path: str, message: str) -> ValidationIssue:
    mend = "this is a defect: keep it held and report it"
    return ValidationIssue(
        derived_id("iss", document, code, message),
        document,
        code,
        Severity.CRITICAL,
        path,
        message,
        mend,
    )
