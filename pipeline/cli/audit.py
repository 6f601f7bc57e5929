"""`talea audit`: the conservation equation, partition by partition."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.table import Table

from pipeline.cli.screen import counted, out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.calendar import instant_text
from pipeline.core.errors import CheckFailed
from pipeline.core.identity import Json
from pipeline.replay.audit import Collection, Conservation, total
from pipeline.replay.chain import ChainGap
from pipeline.replay.completeness import incomplete
from pipeline.stores.postgres.pauses import Pause
from pipeline.workers.auditing import conservation
from pipeline.workers.collected import collection
from pipeline.workers.healing import find_gaps
from pipeline.workers.pausing import paused, told


def conservation_table(
    partitions: Iterable[Conservation | Collection], title: str = "partition"
) -> Table:
    """Return the counts as a table for a person."""
    table = Table(box=None, pad_edge=False, show_footer=True)
    rows = list(partitions)
    names = [name for row in rows[:1] for name in row.__slots__ if name != "partition"]
    table.add_column(title, justify="right", footer="all")
    for name in names:
        footer = f"{sum(getattr(row, name) for row in rows):,}"
        table.add_column(name, justify="right", footer=footer)
    for row in rows:
        table.add_row(str(row.partition), *(f"{getattr(row, name):,}" for name in names))
    return table


def _paused_json(pause: Pause) -> dict[str, Json]:
    return {
        "partition": pause.partition,
        "offset": pause.offset,
        "reason": pause.reason,
        "cause": pause.cause,
        "since": instant_text(pause.since),
    }


def audit(
    json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Check that offered = billed + duplicate + conflict + late + rejected + pending."""
    with any_stack() as around, counted("counting the log") as tell:
        gaps = find_gaps(around)
        counted_partitions = conservation(around, tell)
        pauses = paused(around)
        with around.database.session("audit producers") as connection:
            producers = list(incomplete(connection.load_incomplete()))
        raw = collection(around, tell)
    open_ones = [p for p in counted_partitions.values() if p.missing]
    uncollected = [p for p in raw.values() if p.missing]
    closed = not open_ones and not uncollected
    if json:
        print_json(
            {
                "closed": closed,
                "gaps": [gap.json() for gap in gaps],
                "producers": [one.json() for one in producers],
                "partitions": [p.json() for p in counted_partitions.values()],
                "paused": [_paused_json(pause) for pause in pauses],
                "collector": {
                    "closed": not uncollected,
                    "partitions": [p.json() for p in raw.values()],
                    **total(raw),
                },
            }
        )
    else:
        _tell_gaps(gaps)
        out.print(conservation_table(counted_partitions.values()))
        if any(p.offered for p in raw.values()):
            out.print(conservation_table(raw.values(), "raw usage"))
        for pause in pauses:
            out.print(told(pause), markup=False, soft_wrap=True)
        for one in producers:
            out.print(f"incomplete: {one}", soft_wrap=True, markup=False)
        if closed:
            out.print("closed: offered = billed + duplicate + conflict + late + rejected + pending")
    if open_ones:
        first = open_ones[0]
        raise CheckFailed(
            f"the equation does not close: partition {first.partition} misses {first.missing}"
            " events; `talea verify --all` shows whether an invoice is touched"
        )
    _check_collected(uncollected)
    if gaps:
        raise CheckFailed(
            f"partition {gaps[0].partition} waits for offset {gaps[0].first}: run `talea heal`"
        )


def _check_collected(uncollected: Sequence[Collection]) -> None:
    if uncollected:
        lost = uncollected[0]
        raise CheckFailed(
            f"the collector's equation does not close: partition {lost.partition} of raw usage"
            f" misses {lost.missing} messages; the collectors' logs say what was not there to read"
        )


def _tell_gaps(gaps: Iterable[ChainGap]) -> None:
    for gap in gaps:
        mended = "restore the topic from a copy" if gap.lost else "`talea heal` mends it"
        out.print(
            f"GAP in partition {gap.partition}: the books wait for offsets {gap.first} to"
            f" {gap.last}; {mended}",
            soft_wrap=True,
        )
