"""What validation looks at and says: earlier totals, and the issues of issued documents.

Owns: both queries.  Does not own: which checks there are (invoice/validation.py).
"""

import json
from collections.abc import Iterable, Sequence

from pipeline.core.calendar import from_datetime, instant_text
from pipeline.core.identity import Json, canonical
from pipeline.invoice.issues import ValidationIssue
from pipeline.stores.postgres.connection import Connection


def earlier_totals(
    connection: Connection, payers: Sequence[str], count_max: int
) -> dict[tuple[str, str], list[int]]:
    """Return what the last invoices of payers came to, in minor units, by currency too."""
    rows = connection.execute(
        "SELECT payer, currency, (coalesce(kept, convert_from(content, 'UTF8'))::json"
        " #>> '{totals,total_minor}')::bigint FROM unnest(%s::text[]) AS of (name), LATERAL"
        " (SELECT payer, currency, content, kept FROM document"
        " WHERE payer = name AND kind = 'invoice'"
        " ORDER BY instant_us DESC, ordinal DESC LIMIT %s) AS d",
        [sorted(set(payers)), count_max],
    )
    found: dict[tuple[str, str], list[int]] = {}
    for payer, currency, total in rows:
        found.setdefault((payer, currency), []).append(total)
    return found


def note_issues(
    connection: Connection, document_id: str, issues: Iterable[ValidationIssue]
) -> None:
    """Keep what is said of a document that is prepared with it."""
    for issue in issues:
        connection.execute(
            "INSERT INTO validation_issue (document_id, id, body) VALUES (%s, %s, %s)"
            " ON CONFLICT (document_id, id) DO NOTHING",
            [document_id, issue.id, canonical(issue.json()).decode()],
        )


def issues_of(connection: Connection, document_id: str) -> list[dict[str, Json]]:
    """Return what was said of a document as it was prepared."""
    rows = connection.execute(
        "SELECT body, created_at, updated_at FROM validation_issue WHERE document_id = %s"
        " ORDER BY created_at, id",
        [document_id],
    )
    return [
        {
            **json.loads(body),
            "created_at": instant_text(from_datetime(created)),
            "updated_at": instant_text(from_datetime(updated)),
        }
        for body, created, updated in rows
    ]
