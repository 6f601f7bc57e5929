"""`talea backfill`: old usage in bulk: what it would come to, committed, taken back whole."""

from collections.abc import Callable, Iterable
from typing import Annotated

import typer
from rich.table import Table

from pipeline.agents.cloudevents import Report, take_lines
from pipeline.catalog.catalog import Catalog, extend
from pipeline.cli.options import Actor, AsJson, Reason
from pipeline.cli.screen import amounts_text, counted, out, print_done, print_json, steps
from pipeline.cli.stack import any_stack
from pipeline.core.calendar import instant_text
from pipeline.core.errors import BadInput, Rejection
from pipeline.core.identity import Json
from pipeline.core.money import Money
from pipeline.replay.backfill import Gathering, Stage, Unit, Units, checked_name, unit_json
from pipeline.replay.foretold import Foretold
from pipeline.stores.postgres.backfills import Staged, staged_units
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.session import Session
from pipeline.workers import backfilling
from pipeline.workers.backfilling import Done, Previewed

app = typer.Typer(
    help="Old usage in bulk: preview, commit, take back, list. `talea send --backfill` stages it.",
    no_args_is_help=True,
)

_ROWS = 20

Name = Annotated[str, typer.Argument(help="What the backfill is called.")]


def stage_file(
    name: str,
    lines: Iterable[bytes],
    source: str,
    refused: Callable[[int, Rejection], None],
    json: bool,
) -> Report:
    """Stage the usage of a file's lines, and tell what it would come to.

    Raises:
        BadInput: the name is none, or another's; no line is good.

    """
    _checked(name)
    gathering = Gathering()
    with any_stack() as around:
        with steps("reading") as tell:
            report = take_lines(
                lines,
                gathering.take,
                lambda so_far: tell(f"reading: {so_far.lines:,} lines", None),
                refused,
            )
        if not gathering.events:
            raise BadInput(f"{source}: no line of it is usage: there is nothing to stage")
        with around.database.session("backfill") as session:
            events = [*gathering.events.values()]
            known = backfilling.stage(session, name, events, source, around.partitions)
            unit = _units(session).of(name)
        staged = {"events": len(events), "repeats": gathering.repeats}
        if unit.stage in (Stage.COMMITTED, Stage.REVERTED):
            if json:
                print_json({"already": True, **staged, **unit_json(unit)})
            else:
                out.print(f"{name} is {unit.stage} already: nothing was done", soft_wrap=True)
            return report
        with counted("reading the log") as told:
            found = backfilling.preview(around, name, told)
    if json:
        print_json({"already": known is not None, **staged, **_preview_json(found)})
    else:
        out.print(f"{len(events):,} events staged as {name}; nothing of them is billed yet")
        _tell_preview(found)
    return report


def _checked(name: str) -> str:
    try:
        return checked_name(name)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _units(session: Session) -> Units:
    facts = session.read_facts(0)
    return Units.after(facts, extend(Catalog(), facts[:1]).parameters.gate.generation_width)


@app.command("preview")
def preview(name: Name, json: AsJson = False) -> None:
    """Tell what a staged backfill would come to, in money, were it committed now."""
    with any_stack() as around, counted("reading the log") as tell:
        found = backfilling.preview(around, name, tell)
    if json:
        print_json(_preview_json(found))
    else:
        _tell_preview(found)


def _preview_json(found: Previewed) -> dict[str, Json]:
    checked = found.checked
    counts: dict[str, Json] = dict(checked.counts)
    refused: list[Json] = [
        {
            "customer": event.customer,
            "meter": event.meter,
            "time": instant_text(event.time),
            "why": why,
        }
        for event, why in checked.refused[:_ROWS]
    ]
    return {**unit_json(found.unit), "counts": counts, "refused": refused, **found.foretold.json()}


def _tell_preview(found: Previewed) -> None:
    name, counts = found.unit.name, found.checked.counts
    out.print(
        f"{counts['sent']:,} would be billed, {counts['standing']:,} stand in the log already,"
        f" {counts['refused']:,} cannot come",
        soft_wrap=True,
    )
    for event, why in found.checked.refused[:_ROWS]:
        out.print(f"{event.customer} {event.meter} {instant_text(event.time)}: {why}", markup=False)
    _tell_money(found.foretold)
    out.print(
        f"talea backfill commit {name} --actor YOU --reason WHY   # or talea backfill drop {name}",
        soft_wrap=True,
        markup=False,
    )


def _tell_money(found: Foretold) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("customer", "period end", "document", "before", "after", "difference"):
        right = title in ("before", "after", "difference")
        table.add_column(title, justify="right" if right else "left")
    moved = sorted(found.moved, key=lambda each: (-abs(each.difference_minor), each))
    for each in moved[:_ROWS]:
        figures = (each.before_minor, each.after_minor, each.difference_minor)
        amounts = [Money(minor, each.currency).text for minor in figures]
        what = f"note of {each.corrects}" if each.corrects else "draft"
        table.add_row(each.customer, each.cut_instant, what, *amounts)
    if moved:
        out.print(table)
    if len(moved) > _ROWS:
        out.print(f"and {len(moved) - _ROWS} more documents: --json has all")
    if found.uncovered:
        out.print(f"{found.uncovered:,} events are covered by no subscription: nobody pays them")
    for customer in found.unrated:
        out.print(f"a document of {customer} cannot be rated: talea doctor tells why", markup=False)
    out.print(f"in all {amounts_text(found.totals) or 'no difference'}")


@app.command("commit")
def commit(name: Name, actor: Actor, reason: Reason, json: AsJson = False) -> None:
    """Bill a staged backfill: each event once, whatever came of it before."""
    with any_stack() as around, counted("reading the log") as tell:
        done = backfilling.commit(around, name, Author(actor, reason), tell)
    _tell_done(done, json)


@app.command("revert")
def revert(name: Name, actor: Actor, reason: Reason, json: AsJson = False) -> None:
    """Take back all that a backfill brought, and nothing else."""
    with any_stack() as around, counted("reading the log") as tell:
        done = backfilling.revert(around, name, Author(actor, reason), tell)
    _tell_done(done, json)


def _tell_done(done: Done, json: bool) -> None:
    told = unit_json(done.unit)
    if json:
        print_json({"already": done.already, **told})
        return
    again = "already " if done.already else ""
    out.print(f"backfill {done.unit.name} is {again}{done.unit.stage}: {_figures(done.unit)}")


def _figures(unit: Unit) -> str:
    """Return what came of a unit's events, and how long it took."""
    if unit.reverted is not None:
        states = unit.reverted.body["reversals"]
        told = states.items() if isinstance(states, dict) else ()
        return ", ".join(f"{count:,} {state}" for state, count in told) or "nothing"
    if unit.committed is not None:
        counts = unit.committed.body["counts"]
        told = counts.items() if isinstance(counts, dict) else ()
        figures = ", ".join(f"{count:,} {name}" for name, count in told)
        return f"{figures}, booked within {(unit.took_ms or 0) / 1000:.1f} s"
    return ""


@app.command("drop")
def drop(name: Name, json: AsJson = False) -> None:
    """Forget a backfill that was only staged."""
    with any_stack() as around:
        backfilling.drop(around, name)
    print_done({"name": name, "dropped": True}, f"backfill {name} is forgotten", json=json)


@app.command("list")
def list_all(json: AsJson = False) -> None:
    """List all backfills: how far each is, and how long it took to be billed."""
    with any_stack() as around, around.database.session("backfill") as session:
        staged, units = staged_units(session), _units(session)
    if json:
        rows: list[Json] = [_row(each, units) for each in staged]
        print_json({"median_ms": units.median_ms, "backfills": rows})
        return
    table = Table(box=None, pad_edge=False)
    for title in ("name", "staged", "events", "stage", ""):
        table.add_column(title, justify="right" if title == "events" else "left")
    for each in staged:
        unit = units.of(each.name)
        when, figures = instant_text(each.staged), _figures(unit)
        table.add_row(each.name, when, f"{each.events:,}", unit.stage.value, figures)
    out.print(table)
    if units.median_ms is not None:
        out.print(f"from the first event sent to the last booked: {units.median_ms} ms at median")


@app.command("show")
def show(name: Name, json: AsJson = False) -> None:
    """Show a backfill: who decided what about it, when and why."""
    with any_stack() as around, around.database.session("backfill") as session:
        found = [each for each in staged_units(session) if each.name == name]
        units = _units(session)
    if not found:
        raise BadInput(f"no backfill is called {name!r}: `talea backfill list` tells all")
    told = _row(found[0], units)
    if json:
        print_json(told)
        return
    for key, value in told.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {each}" for name, each in value.items())
        out.print(f"{key:<10} {'-' if value is None else value}", markup=False, soft_wrap=True)


def _row(staged: Staged, units: Units) -> dict[str, Json]:
    told = unit_json(units.of(staged.name))
    when = instant_text(staged.staged)
    return {**told, "events": staged.events, "source": staged.source, "staged": when}
