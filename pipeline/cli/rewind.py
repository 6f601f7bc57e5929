"""`talea rewind`: let metering read from an earlier place again; no total moves."""

from typing import Annotated

import typer
from rich.table import Table

from pipeline.cli.screen import out, print_json, steps
from pipeline.cli.stack import any_stack
from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.errors import BadInput, CheckFailed
from pipeline.workers.rewinding import Outcome, targets
from pipeline.workers.rewinding import rewind as rewind_group


def rewind(
    to: Annotated[str, typer.Option(help="An offset (of one partition), or a time, RFC 3339.")],
    partition: Annotated[int | None, typer.Option(help="This partition.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every partition.")] = False,
    claims: Annotated[
        bool, typer.Option("--claims", help="Forget their claims too; the log makes them again.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Set the metering group back. Safe at any time: what is booked is not booked again."""
    if (partition is None) is not everything:
        raise BadInput("say --partition P, or --all")
    offset, time = _place(to)
    if everything and offset is not None:
        raise BadInput("--all goes back to a time: an offset means something in one partition only")
    with any_stack() as around, steps("rewind") as tell:
        if partition is not None and not 0 <= partition < around.partitions:
            raise BadInput(f"--partition: this log has partitions 0 to {around.partitions - 1}")
        numbers = list(range(around.partitions)) if partition is None else [partition]
        wanted = targets(around, numbers, offset, time)
        outcome = rewind_group(around, wanted, tell, claims=claims)
    if json:
        print_json(
            {
                "unmoved": outcome.unmoved,
                "running": outcome.running,
                "claims_forgotten": outcome.claims,
                "seconds": round(outcome.seconds, 1),
                "partitions": [one.json() for one in outcome.partitions],
            }
        )
    else:
        _tell(outcome)
    moved = [one.target.partition for one in outcome.partitions if not one.unmoved]
    if moved:
        raise CheckFailed(f"partition {moved[0]}: totals moved by more than what arrived")


def _place(to: str) -> tuple[int | None, Instant | None]:
    """Return (offset, None) or (None, time)."""
    if to.isascii() and to.isdigit():
        return int(to), None
    try:
        return None, parse_instant(to)
    except ValueError as error:
        raise BadInput(f"--to: neither an offset nor a time: {error}") from None


def _tell(outcome: Outcome) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("partition", "set to", "read again", "offered before", "after", "arrived"):
        table.add_column(name, justify="right")
    table.add_column("totals")
    for one in outcome.partitions:
        figures = (
            one.target.partition,
            one.target.offset,
            one.target.behind,
            one.before.offered,
            one.after.offered,
            one.arrived,
        )
        verdict = "unmoved" if one.unmoved else "MOVED"
        table.add_row(*(f"{figure:,}" for figure in figures), verdict)
    out.print(table)
    if not outcome.running:
        out.print("no metering worker runs: the next one starts there")
    if outcome.claims:
        out.print(f"{outcome.claims:,} claims forgotten: the log makes them again")
    out.print(f"took {outcome.seconds:.1f} s")
