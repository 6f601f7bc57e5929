"""Workflow: what a composed document waits for before it may be issued.

Owns: which decisions stop it, as issues: a hold, an approval that is needed.
Does not own: the decisions (catalog/by_hand.py), who obeys (workers/finalizer.py).
Law: a document with a critical issue is not issued; whoever decides otherwise says so in a fact.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from pipeline.catalog.by_hand import ByHand, Holds
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Completeness
from pipeline.core.identity import Json, derived_id
from pipeline.invoice.compose import Composed
from pipeline.invoice.issues import INCOMPLETE, REFUSED, Severity, ValidationIssue

HELD = "held"
APPROVAL_NEEDED = "approval_needed"
ASKS_PEOPLE = frozenset((HELD, APPROVAL_NEEDED))
WAITS = (HELD, APPROVAL_NEEDED, INCOMPLETE, REFUSED)
"""The codes of what a document waits for, though nothing is wrong with it."""


def waiting(catalog: Catalog, document: Composed, missing: Sequence[str] = ()) -> Composed:
    """Return a document with what it waits for beside what is wrong with it.

    `missing` says which producers of its partition miss events. An issue that is waived stays, as
    a warning.
    """
    by_hand = catalog.by_hand
    found = (
        *document.issues,
        *_waits(catalog, by_hand, document),
        *_gaps(catalog, document, missing),
    )
    return replace(document, issues=tuple(_waived(by_hand, issue) for issue in found))


def _waived(by_hand: ByHand, issue: ValidationIssue) -> ValidationIssue:
    if issue.id not in by_hand.waivers or not issue.waivable:
        return issue
    return replace(issue, severity=Severity.WARNING)


def _waits(catalog: Catalog, by_hand: ByHand, document: Composed) -> Iterator[ValidationIssue]:
    name, customer = str(document.content["id"]), str(document.content["customer"])
    found = held(by_hand.holds, customer, document.content)
    if found is not None:
        what, option = found
        yield _issue(name, HELD, f"{what} is held", f"release it: talea hold {option} --release")
    asked = catalog.issuers[document.issuer].approval or catalog.customers[customer].approval
    if asked and document.kind == "invoice" and name not in by_hand.approvals:
        mend = f"approve it: talea invoices approve {name}"
        yield _issue(name, APPROVAL_NEEDED, "it needs an approval", mend)


def _gaps(
    catalog: Catalog, document: Composed, missing: Sequence[str]
) -> Iterator[ValidationIssue]:
    """Yield what its issuer wants to be said of events that are missing."""
    policy = catalog.issuers[document.issuer].completeness
    if policy is None or not missing or document.kind != "invoice":
        return
    name = str(document.content["id"])
    holds = policy is Completeness.HOLD
    issue = _issue(
        name,
        INCOMPLETE,
        "; ".join(missing),
        "let the producer send them, or accept it: talea invoices waive",
    )
    severity = Severity.CRITICAL if holds else Severity.WARNING
    yield replace(issue, severity=severity, mend=f"{issue.mend} {issue.id}")


def _issue(document: str, code: str, message: str, mend: str) -> ValidationIssue:
    return ValidationIssue(
        derived_id("iss", document, code), document, code, Severity.CRITICAL, "", message, mend
    )


def held(holds: Holds, customer: str, content: Mapping[str, Json]) -> tuple[str, str] | None:
    """Return what is held of a document, and the option that says so."""
    if holds.everything:
        return "everything", "--all"
    if customer in holds.customers:
        return f"customer {customer}", f"--customer {customer}"
    if holds.prices:
        for line in cast(list[Mapping[str, Json]], content["lines"]):
            card = cast("Mapping[str, Json] | None", line["rate_card"]) or {}
            names = {str(card.get("id")), f"{card.get('plan')}/{card.get('id')}"}
            found = sorted(names & holds.prices)
            if found:
                return f"price {found[0]}", f"--price {found[0]}"
    return None
