"""Validation issues: what is wrong with a would-be document, as data beside it.

Owns: their fields, and what is said of a line that cannot be rated.
Does not own: content (an issue never enters it), who shows them (cli, the billing topics).
Law: a document with a critical issue is never issued; its other lines stand as they would.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from pipeline.core.calendar import Instant, instant_text
from pipeline.core.identity import Json, derived_id
from pipeline.invoice.lines import LineKey
from pipeline.rate import Fault

INCOMPLETE, CUSTOMER_INCOMPLETE, TAX_MIXED = (
    "incomplete",
    "customer_incomplete",
    "tax_categories_mixed",
)
REFUSED, UNCLOSED = "refused_usage", "conservation_open"
WAIVABLE = frozenset((INCOMPLETE, CUSTOMER_INCOMPLETE, TAX_MIXED, REFUSED, UNCLOSED))
"""The codes of what may be accepted as it is."""


class Severity(StrEnum):
    """What an issue forbids."""

    WARNING = "warning"
    CRITICAL = "critical"
    """The document is not issued."""


@dataclass(frozen=True, slots=True)
class ValidationIssue:
    """What is wrong (`code`, `message`), where (`component`, `path` inside it), how to mend it."""

    id: str
    component: str
    code: str
    severity: Severity
    path: str
    message: str
    mend: str
    line: str | None = None
    """The id of the line that it is of."""

    @property
    def waivable(self) -> bool:
        """Whether it may be accepted as it is."""
        return self.code in WAIVABLE

    def json(self) -> dict[str, Json]:
        """Return it by name."""
        return {
            "id": self.id,
            "component": self.component,
            "code": self.code,
            "severity": self.severity.value,
            "path": self.path,
            "message": self.message,
            "mend": self.mend,
            "line": self.line,
        }

    def told_at(self, instant: Instant) -> dict[str, Json]:
        """Return it by name, with when it was found."""
        at = instant_text(instant)
        return {**self.json(), "created_at": at, "updated_at": at}

    def __str__(self) -> str:
        """Return it as a sentence: where, what, how to mend it."""
        return issue_text(self.json())


def issue_text(issue: Mapping[str, Json]) -> str:
    """Return an issue, given as JSON, as a sentence."""
    return f"{issue['component']}: {issue['message']}; {issue['mend']}"


def unrated(document_id: str, key: LineKey, plan: str, fault: Fault, line: str) -> ValidationIssue:
    """Return the issue of a line, by key and id, that cannot be rated."""
    start = instant_text(key.start)
    return ValidationIssue(
        derived_id("iss", document_id, key.source_id, start, fault.code),
        f"{key.source_id} from {start}",
        fault.code.value,
        Severity.CRITICAL,
        fault.path,
        fault.message,
        f"mend price {key.price} of plan {plan} in the catalog before the period is cut",
        line,
    )


AWAITED, UNDETERMINED = "tax_awaited", "tax_undetermined"
"""Codes of issues that an answer settles, also once the period is cut: they say so themselves."""


def held_up(issue: ValidationIssue) -> ValidationIssue:
    """Return the issue as it stands once the period is cut."""
    return replace(issue, mend=_HELD_UP) if issue.line else issue


_HELD_UP = (
    "its period is cut, so usage and prices stand: give its line an amount (`talea invoices edit`),"
    " or try again (`talea invoices retry`) once a release mends it"
)
