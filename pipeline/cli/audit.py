"""`talea audit`: the conservation equation, partition by partition."""

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.table import Table

from pipeline.cli.screen import counted, out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.errors import CheckFailed
from pipeline.replay.audit import Conservation
from pipeline.replay.chain import ChainGap
from pipeline.replay.completeness import incomplete
from pipeline.workers.auditing import conservation
from pipeline.workers.healing import find_gaps


def conservation_table(partitions: Iterable[Conservation]) -> Table:
    """Return the counts as a table for a person."""
    names = [name for name in Conservation.__slots__ if name != "partition"]
    table = Table(box=None, pad_edge=False, show_footer=True)
    rows = list(partitions)
    table.add_column("partition", justify="right", footer="all")
    for name in names:
        footer = f"{sum(getattr(row, name) for row in rows):,}"
        table.add_column(name, justify="right", footer=footer)
    for row in rows:
        table.add_row(str(row.partition), *(f"{getattr(row, name):,}" for name in names))
    return table


def audit(
    json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Check that offered = billed + duplicate + conflict + late + rejected + pending."""
    with any_stack() as around, counted("counting the log") as tell:
        gaps = find_gaps(around)
        counted_partitions = conservation(around, tell)
        with around.database.session("audit producers") as connection:
            producers = list(incomplete(connection.load_incomplete()))
    open_ones = [p for p in counted_partitions.values() if p.missing]
    if json:
        print_json(
            {
                "closed": not open_ones,
                "gaps": [gap.json() for gap in gaps],
                "producers": [one.json() for one in producers],
                "partitions": [p.json() for p in counted_partitions.values()],
            }
        )
    else:
        _tell_gaps(gaps)
        out.print(conservation_table(counted_partitions.values()))
        for one in producers:
            out.print(f"incomplete: {one}", soft_wrap=True, markup=False)
        if not open_ones:
            out.print("closed: offered = billed + duplicate + conflict + late + rejected + pending")
    if open_ones:
        first = open_ones[0]
        raise CheckFailed(
            f"the equation does not close: partition {first.partition} misses {first.missing}"
            " events; `talea verify --all` shows whether an invoice is touched"
        )
    if gaps:
        raise CheckFailed(
            f"partition {gaps[0].partition} waits for offset {gaps[0].first}: run `talea heal`"
        )


def _tell_gaps(gaps: Iterable[ChainGap]) -> None:
    for gap in gaps:
        mended = "restore the topic from a copy" if gap.lost else "`talea heal` mends it"
        out.print(
            f"GAP in partition {gap.partition}: the books wait for offsets {gap.first} to"
            f" {gap.last}; {mended}",
            soft_wrap=True,
        )
