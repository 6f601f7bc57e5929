"""How a diff is told: to a person, and as rows.

Owns: its tables.  Does not own: what differs (replay/diff.py), its JSON.
"""

from collections.abc import Iterator

from rich.table import Table

from pipeline.cli.screen import amounts_text, out
from pipeline.core.money import Money
from pipeline.replay.diff import Diff

_COLUMNS = (
    "number",
    "customer",
    "line",
    "name",
    "currency",
    "before_minor",
    "after_minor",
    "difference_minor",
    "cause",
    "of_cause_minor",
)


def rows_of(found: Diff) -> Iterator[tuple[object, ...]]:
    """Yield the titles, then a row for each cause of each line."""
    yield _COLUMNS
    for each in found.documents:
        for line in each.lines:
            figures = line.before_minor, line.after_minor, line.difference_minor
            told = each.pair.number, each.pair.customer, line.line["id"], line.line["name"]
            causes = [(cause.value, minor) for cause, minor in line.causes.items()]
            for cause in causes or [("", 0)]:
                yield *told, each.currency, *figures, *cause


def tell_diff(found: Diff) -> None:
    """Print a diff for a person."""
    table = Table(box=None, pad_edge=False)
    for title in ("number", "customer", "before", "after", "difference", "causes"):
        right = title in ("before", "after", "difference")
        table.add_column(title, justify="right" if right else "left")
    for each in found.documents:
        figures = (each.before_minor, each.after_minor, each.difference_minor)
        amounts = [Money(minor, each.currency).text for minor in figures]
        causes = ", ".join(
            f"{cause.value} {Money(minor, each.currency).text}"
            for cause, minor in each.causes.items()
        )
        number = each.pair.number or str(each.told["id"])
        table.add_row(number, each.pair.customer, *amounts, causes)
    told = found.json()
    if found.documents:
        out.print(table)
    out.print(
        f"{len(found.documents)} documents of {told['customers_touched']} customers differ"
        f" ({told['diff_id']})"
    )
    tell_waiting(found.waiting)
    for currency, minor in found.totals.items():
        out.print(f"in all {Money(minor, currency).text} {currency}")
    for cause, of in found.by_cause.items():
        out.print(f"  {cause.value}: {amounts_text(of)}")


def tell_waiting(waiting: int) -> None:
    """Print how many documents wait in a replay, if any do."""
    if waiting:
        out.print(f"{waiting:,} more wait in the replay, and are not compared")
