"""Revenue: what documents billed, by where it came from.

Owns: the groups and their sums.  Does not own: which documents (stores), figures of lines.
Law: the groups of a currency sum to its documents' totals, whatever they are grouped by.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from pipeline.core.identity import Json

Record = Mapping[str, Json]


class By(StrEnum):
    """What revenue is grouped by."""

    SOURCE = "source"
    PRODUCT = "product"
    SUBSCRIPTION = "subscription"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class Revenue:
    """What a group came to in one currency: `net_minor` without tax."""

    group: str
    currency: str
    lines: int
    net_minor: int
    tax_minor: int
    total_minor: int

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        return {
            "group": self.group,
            "currency": self.currency,
            "lines": self.lines,
            "net_minor": self.net_minor,
            "tax_minor": self.tax_minor,
            "total_minor": self.total_minor,
        }


def revenue(contents: Iterable[Record], by: By) -> list[Revenue]:
    """Return what documents billed, by group and currency; notes take off what they take off."""
    sums: dict[tuple[str, str], list[int]] = {}
    for content in contents:
        for line in cast(list[Record], content["lines"]):
            totals = cast(Mapping[str, int], line["totals"])
            own = sums.setdefault((_group(content, line, by), str(line["currency"])), [0, 0, 0])
            own[0] += 1
            own[1] += totals["taxes_total_minor"]
            own[2] += totals["total_minor"]
    return [
        Revenue(group, currency, lines, total - tax, tax, total)
        for (group, currency), (lines, tax, total) in sorted(sums.items())
    ]


def _group(content: Record, line: Record, by: By) -> str:
    """Return the group of a line; what belongs to no subscription is of none."""
    match by:
        case By.SOURCE:
            return str(line["source_type"])
        case By.SUBSCRIPTION:
            return str(line["subscription"] or "none")
        case By.CUSTOMER:
            return str(line.get("sub_account") or content["customer"])
        case By.PRODUCT:
            card = cast("Record | None", line["rate_card"]) or {}
            owner = card.get("plan") or card.get("order")
            return f"{owner}/{card.get('id')}" if owner else str(line["source_id"])
