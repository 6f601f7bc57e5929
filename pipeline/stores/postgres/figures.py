"""Figures of what was issued and corrected.

Owns: the counts, month by month.  Does not own: what a correction is (invoice/notes.py).
"""

from dataclasses import dataclass

from pipeline.core.identity import Json
from pipeline.stores.postgres.connection import Connection


@dataclass(frozen=True, slots=True)
class MonthOfIssue:
    """What was issued in a month: `usage_notes` follow usage, `manual_corrections` a decision.

    `disputes` were opened in it.
    """

    month: str
    invoices: int = 0
    usage_notes: int = 0
    manual_corrections: int = 0
    disputes: int = 0

    @property
    def disputes_per_1000(self) -> str:
        """Disputes a thousand invoices, to one decimal; "0" without invoices."""
        if not self.invoices:
            return "0"
        tenths = (10_000 * self.disputes + self.invoices // 2) // self.invoices
        return f"{tenths // 10}.{tenths % 10}"

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        return {
            "month": self.month,
            "invoices": self.invoices,
            "usage_notes": self.usage_notes,
            "manual_corrections": self.manual_corrections,
            "disputes": self.disputes,
            "disputes_per_1000_invoices": self.disputes_per_1000,
        }


def months_of_issue(connection: Connection) -> list[MonthOfIssue]:
    """Return the figures of every month with any, in order."""
    rows = connection.execute(_MONTHS).fetchall()
    return [MonthOfIssue(*row) for row in rows]


_MONTHS = """
WITH issued AS (
    SELECT left(convert_from(record, 'UTF8')::json ->> 'issued_at', 7) AS month, kind,
        CASE WHEN kind <> 'invoice'
            THEN coalesce(kept, convert_from(content, 'UTF8'))::json ->> 'cause' END AS cause
    FROM document
), told AS (
    SELECT month, count(*) FILTER (WHERE kind = 'invoice') AS invoices,
        count(*) FILTER (WHERE kind <> 'invoice' AND cause IS NULL) AS usage_notes,
        count(*) FILTER (WHERE cause IS NOT NULL) AS manual, 0 AS disputes
    FROM issued GROUP BY month
    UNION ALL
    SELECT to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM'), 0, 0, 0, count(*)
    FROM fact WHERE kind = 'dispute' AND body::json ->> 'state' = 'open' GROUP BY 1
)
SELECT month, sum(invoices)::bigint, sum(usage_notes)::bigint, sum(manual)::bigint,
    sum(disputes)::bigint FROM told GROUP BY month ORDER BY month
"""
