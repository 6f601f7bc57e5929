"""`talea usage`: take usage back, put other usage in its place, list what was taken back."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.table import Table

from pipeline.book.reversing import ReversalState
from pipeline.cli.options import Actor, AsJson, Reason, span_of
from pipeline.cli.screen import counted, out, print_json
from pipeline.cli.stack import any_stack
from pipeline.collect.event import Refused, checked_dimensions, checked_value
from pipeline.core.calendar import instant_text
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.core.quantity import decimal_text, mantissa_scale
from pipeline.replay.amending import Change, Chosen
from pipeline.stores.postgres.facts import Author
from pipeline.workers.amending import Amended, Found, amend

app = typer.Typer(help="Take usage back: void, amend, list.", no_args_is_help=True)

_ROWS = 50

Customer = Annotated[str | None, typer.Option(help="Only this customer's.")]
Source = Annotated[str | None, typer.Option(help="The source of the ids.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="An event's id, as it was sent.")]
Meter = Annotated[str | None, typer.Option(help="Only of this meter.")]
Where = Annotated[list[str] | None, typer.Option(help="Only with this dimension: name=value.")]
From = Annotated[str | None, typer.Option("--from", help="Only with event time from here on.")]
To = Annotated[str | None, typer.Option("--to", help="Only with event time before this.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say only what would be.")]


def chosen(
    customer: str | None,
    source: str | None,
    ids: Sequence[str] | None,
    meter: str | None,
    where: Sequence[str] | None,
    start: str | None,
    end: str | None,
) -> Chosen:
    """Return what the options choose: never everything by leaving all out.

    Raises:
        BadInput: nothing, or what cannot be.

    """
    if ids and not (customer and source):
        raise BadInput("--id: an id is one of a customer and source: add --customer and --source")
    if source and not ids:
        raise BadInput("--source: it is known only together with ids: add --id")
    found = Chosen(
        customer,
        source,
        tuple(ids or ()),
        meter,
        _pairs(where, "--where"),
        *span_of(start, end),
    )
    if found == Chosen():
        raise BadInput("choose usage: --id, --customer, --meter, --where, --from, --to")
    return found


def _pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise BadInput(f"{option}: {text!r} is no name=value")
        pairs[name] = value
    return pairs


@app.command("void")
def void_usage(
    actor: Actor,
    reason: Reason,
    customer: Customer = None,
    source: Source = None,
    ids: Ids = None,
    meter: Meter = None,
    where: Where = None,
    start: From = None,
    end: To = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Take usage back: each event once, however often this is called."""
    wanted = chosen(customer, source, ids, meter, where, start, end)
    _do(wanted, None, Author(actor, reason), dry_run, json)


@app.command("amend")
def amend_usage(
    actor: Actor,
    reason: Reason,
    value: Annotated[str | None, typer.Option(help="The value it should have had.")] = None,
    dimension: Annotated[
        list[str] | None, typer.Option(help="A dimension it should have had: name=value.")
    ] = None,
    customer: Customer = None,
    source: Source = None,
    ids: Ids = None,
    meter: Meter = None,
    where: Where = None,
    start: From = None,
    end: To = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Take usage back and put the same with another value or dimensions in its place."""
    wanted = chosen(customer, source, ids, meter, where, start, end)
    _do(wanted, _change(value, dimension), Author(actor, reason), dry_run, json)


def _change(value: str | None, dimension: Sequence[str] | None) -> Change:
    try:
        number = None if value is None else mantissa_scale(checked_value(value, "--value"))
        dimensions = checked_dimensions(_pairs(dimension, "--dimension"), "--dimension")
    except Refused as refused:
        raise BadInput(f"{refused.rejection.path}: {refused.rejection.message}") from None
    found = Change(number, dimensions)
    if found == Change():
        raise BadInput("say what it should have been: --value, --dimension")
    return found


@app.command("list")
def list_reversals(
    customer: Customer = None,
    state: Annotated[ReversalState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows to show; all are counted.")] = _ROWS,
    json: AsJson = False,
) -> None:
    """List reversals, youngest first: what waits, what is matched, what its original denies."""
    with any_stack() as around, around.database.session("reversals") as connection:
        found = connection.list_reversals(customer, state and state.value)
    rows: list[dict[str, Json]] = [
        {
            "partition": partition,
            "place": str(place),
            "state": now,
            "original": str(original) if original else "",
            "customer": minus.customer,
            "meter": minus.meter,
            "time": instant_text(minus.time),
            "value": decimal_text(minus.mantissa, minus.scale),
        }
        for partition, place, now, original, minus in found[:limit]
    ]
    if json:
        print_json({"count": len(found), "reversals": rows})
        return
    if rows:
        out.print(_table(rows))
    shown = f" ({limit:,} rows shown)" if len(found) > limit else ""
    out.print(f"{len(found):,} reversals{shown}")


def _do(wanted: Chosen, change: Change | None, author: Author, dry_run: bool, json: bool) -> None:
    with any_stack() as around, counted("reading the log") as tell:
        done = amend(around, wanted, change, author, tell, dry_run=dry_run)
    if json:
        print_json(amended_json(done, dry_run))
    else:
        _tell(done, dry_run)


def amended_json(done: Amended, dry_run: bool) -> dict[str, Json]:
    """Return what was done as one document."""
    return {
        "dry_run": dry_run,
        "events": [row(found) for found in done.coming],
        "reversed_before": done.reversed_before,
        "already_so": done.alike,
        "not_found": list(done.not_found),
        "refused": [{**row(found), "why": why} for found, why in done.refused],
        "states": dict(done.states),
    }


def row(found: Found) -> dict[str, Json]:
    """Return an event in a line of a list."""
    event = found.event
    dimensions: dict[str, Json] = dict(event.dimensions)
    return {
        "partition": found.partition,
        "place": str(found.place),
        "customer": event.customer,
        "meter": event.meter,
        "time": instant_text(event.time),
        "value": decimal_text(event.mantissa, event.scale),
        "dimensions": dimensions,
    }


def _tell(done: Amended, dry_run: bool) -> None:
    if done.coming:
        out.print(_table([row(found) for found in done.coming[:_ROWS]]))
    for found, why in done.refused[:_ROWS]:
        out.print(f"{found.partition}/{found.place}: {why}", markup=False, soft_wrap=True)
    verb = "would be taken back" if dry_run else "taken back"
    told = [f"{len(done.coming):,} {verb}", f"{done.reversed_before:,} were before"]
    told += [f"{done.alike:,} are so already"] if done.alike else []
    told += [f"{len(done.refused):,} refused"] if done.refused else []
    told += [f"not found: {each}" for each in done.not_found]
    told += [f"{count:,} {state}" for state, count in sorted(done.states.items())]
    out.print(", ".join(told))


def _table(rows: Sequence[Mapping[str, Json]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in [name for name in rows[0] if name != "dimensions"]:
        table.add_column(name, no_wrap=True)
    for each in rows:
        table.add_row(*(str(each[str(column.header)]) for column in table.columns))
    return table
