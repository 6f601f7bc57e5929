"""`talea replay`: fold the log once more beside the stack, compare, price otherwise."""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipeline.catalog.facts import Fact
from pipeline.catalog.sheet import Sheet
from pipeline.cli.catalog import changed_by, read_sheet
from pipeline.cli.deciding import in_force, moment
from pipeline.cli.diffs import rows_of, tell_diff, tell_waiting
from pipeline.cli.options import NOTHING_BETWEEN, Actor, AsJson, Reason, ids_of
from pipeline.cli.screen import amounts_text, out, print_done, print_json, steps
from pipeline.cli.stack import any_stack
from pipeline.collect.limits import BATCH_EVENTS_MAX
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.errors import BadInput, CheckFailed
from pipeline.core.identity import digest
from pipeline.core.money import Money
from pipeline.replay.bounds import Bound, Offsets, crossed, parse_bound
from pipeline.replay.diff import Selection
from pipeline.replay.revising import Bodies, as_known, priced_by
from pipeline.replay.what_if import Change
from pipeline.stores.postgres.facts import Author
from pipeline.workers.applying import apply_diff
from pipeline.workers.replaying import (
    Asked,
    Outcome,
    diff_replay,
    drop_replay,
    list_replays,
    run_replay,
    stop_replay,
    what_if_replay,
)
from pipeline.workers.shadowing import Pace, Stage, check_name
from pipeline.workers.surroundings import Surroundings

app = typer.Typer(
    help="Fold the log once more beside the stack, and compare.", no_args_is_help=True
)


def _named(name: str) -> str:
    check_name(name)
    return name


Name = Annotated[str, typer.Argument(help="What the replay is called.", callback=_named)]
_BOUND = "TIME|OFFSETS"


@app.command("run")
def run(
    name: Name,
    workers: Annotated[int, typer.Option(min=1, help="Metering and pricing workers.")] = 1,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar=_BOUND,
            help="Only documents cut from here on: a time, or offsets by partition (0:1200,3:77).",
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", metavar=_BOUND, help="Only documents cut before: as --from."),
    ] = None,
    customers: Annotated[
        list[str] | None, typer.Option(help="Only documents of these, comma between.")
    ] = None,
    meters: Annotated[
        list[str] | None, typer.Option(help="Only lines of these, comma between.")
    ] = None,
    catalog: Annotated[
        Path | None, typer.Option(help="Price by this catalog, as if it had always held.")
    ] = None,
    known: Annotated[
        str | None, typer.Option("--as-known", help="Price by no later prices than known then.")
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Fold a copy of the log over so many partitions."),
    ] = None,
    batch_events: Annotated[
        int | None,
        typer.Option(
            min=1, max=BATCH_EVENTS_MAX, help="Fold a copy of the log in batches of so many events."
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Replay all that is booked in a shadow of the stack, or go on with that; compare documents."""
    selection = Selection(
        ids_of("--customers", customers),
        ids_of("--meters", meters),
        _bound("--from", start),
        _bound("--to", end),
    )
    if crossed(selection.start, selection.end):
        raise BadInput(NOTHING_BETWEEN)
    since = moment("--as-known", known)
    if catalog is not None and since is not None:
        raise BadInput("say --catalog or --as-known, not both")
    sheet = None if catalog is None else read_sheet(catalog)
    with any_stack() as around:
        _check_partitions(around, selection)
        _check_names(around, selection)
        asked = _asked(around, selection, since, catalog, sheet)
        if partitions is not None or batch_events is not None:
            asked = asked.of_copy(partitions or around.partitions, batch_events)
        with paced(f"replay {name}") as tell:
            outcome = run_replay(around, name, asked, workers, tell)
    if json:
        print_json(_json(outcome))
    else:
        _tell(outcome)
    if outcome.identical is False:
        raise CheckFailed(
            f"{len(outcome.differing)} of {outcome.documents} documents differ:"
            f" `talea replay diff {name}` tells how"
        )


def _bound(option: str, text: str | None) -> Bound | None:
    try:
        return None if text is None else parse_bound(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def _check_partitions(around: Surroundings, selection: Selection) -> None:
    for option, bound in (("--from", selection.start), ("--to", selection.end)):
        if isinstance(bound, Offsets) and max(bound.by_partition) >= around.partitions:
            raise BadInput(f"{option}: this log has partitions 0 to {around.partitions - 1}")


def _check_names(around: Surroundings, selection: Selection) -> None:
    """Refuse whoever has no documents of its own: nothing differs of nothing."""
    if selection.customers is None and selection.meters is None:
        return
    with around.database.session("replay names") as connection:
        known = in_force(connection)
    for option, names, there in (
        ("--customers", selection.customers, known.customers),
        ("--meters", selection.meters, known.meters),
    ):
        if unknown := sorted((names or frozenset()) - there.keys()):
            raise BadInput(f"{option}: {', '.join(unknown)}: no fact names any such")
    for name, payer in known.accounts.without_payer(selection.customers or ()).items():
        raise BadInput(f"--customers: {name} is paid by {payer}: name {payer}, too")


def _asked(
    around: Surroundings,
    selection: Selection,
    known: Instant | None,
    catalog: Path | None,
    sheet: Sheet | None,
) -> Asked:
    """Return what is asked of a replay; `sheet` is what the catalog says.

    Raises:
        BadInput: the catalog changes more than prices.

    """
    told = selection.json()
    if known is not None:
        told["as_known"] = instant_text(known)
        return Asked(told, lambda facts: as_known(facts, known))
    if catalog is None or sheet is None:
        return Asked(told)
    told["catalog"] = digest(catalog.read_bytes())
    with around.database.session("replay catalog") as session:
        found = changed_by(session, session.read_facts(0), sheet, str(catalog))

    def revise(facts: Sequence[Fact]) -> Bodies:
        try:
            return priced_by(facts, found.facts)
        except ValueError as error:
            raise BadInput(f"{catalog}: {error}") from None

    return Asked(told, revise)


@contextmanager
def paced(title: str) -> Iterator[Callable[[Pace], None]]:
    """Show how far a replay is, how fast it is, and how long it will take."""
    with steps(title) as tell:

        def told(pace: Pace) -> None:
            share = pace.done / pace.records if pace.records else 1.0
            left = "" if not share else f", {pace.seconds * (1 - share) / share:.0f} s left"
            what = "periods" if pace.stage is Stage.BILLING else "events"
            rate = f"{pace.events:,} {what}, {pace.events_per_s:,.0f} a second"
            tell(f"{title}: {pace.stage}, {rate}{left}", share)

        yield told


def _json(outcome: Outcome) -> dict[str, object]:
    return {
        **outcome.json(),
        "name": outcome.name,
        "seconds": round(outcome.seconds, 3),
        "events_per_s": round(outcome.events_per_s, 1),
        "identical": outcome.identical,
    }


def _tell(outcome: Outcome) -> None:
    rate = f"{outcome.events_per_s:,.0f} a second"
    out.print(f"{outcome.events:,} events in {outcome.seconds:.1f} s, {rate}")
    same = outcome.documents - len(outcome.differing)
    out.print(f"{same:,} of {outcome.documents:,} documents have the same content, byte for byte")
    tell_waiting(outcome.waiting)
    for number in outcome.differing if outcome.identical is False else ():
        out.print(f"{number} differs", markup=False)


@app.command("list")
def list_all(json: AsJson = False) -> None:
    """List the replays that there are."""
    with any_stack() as around:
        found = list_replays(around)
    if json:
        print_json(
            [
                {
                    "name": each.name,
                    "began": instant_text(each.shadow.began),
                    "running": each.running,
                    "records_done": each.done,
                    "records": each.records,
                    "seconds": each.shadow.worked_ms / 1000,
                    "asked": dict(each.shadow.asked),
                    "outcome": each.shadow.outcome,
                }
                for each in found
            ]
        )
        return
    table = Table(box=None, pad_edge=False)
    for title in ("name", "began", "done", "of", "stands"):
        table.add_column(title, justify="right" if title in ("done", "of") else "left")
    for each in found:
        stands = "runs" if each.running else "through" if each.shadow.outcome else "stopped"
        began = instant_text(each.shadow.began)
        table.add_row(each.name, began, f"{each.done:,}", f"{each.records:,}", stands)
    out.print(table)


@app.command("stop")
def stop(name: Name, json: AsJson = False) -> None:
    """Stop a replay; running it again goes on where it was."""
    with any_stack() as around:
        ran = stop_replay(around, name)
    told = f"replay {name} {'stopped' if ran else 'does not run'}"
    print_done({"name": name, "stopped": ran}, told, json=json)


@app.command("drop")
def drop(name: Name, json: AsJson = False) -> None:
    """Take a replay off the servers, with all that it made."""
    with any_stack() as around:
        drop_replay(around, name)
    print_done({"name": name, "dropped": True}, f"replay {name} dropped", json=json)


@app.command("diff")
def show_diff(
    name: Name,
    json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print lines as CSV.")] = False,
) -> None:
    """Tell how what was issued differs from a replay: document, line, cause."""
    if json and as_csv:
        raise BadInput("say --json or --csv, not both")
    with any_stack() as around:
        found = diff_replay(around, name)
    if json:
        print_json(found.json())
    elif as_csv:
        csv.writer(sys.stdout).writerows(rows_of(found))
    else:
        tell_diff(found)


@app.command("apply")
def apply(
    name: Name,
    shown: Annotated[str, typer.Option("--diff", help="The id of the diff that you looked at.")],
    actor: Actor,
    reason: Reason,
    json: AsJson = False,
) -> None:
    """Have the notes issued that a diff shows, once; refused where anything moved since."""
    with any_stack() as around:
        applied = apply_diff(around, name, shown, Author(actor, reason))
    total = applied.total_minor
    if json:
        print_json(applied.json(shown))
    elif applied.already:
        out.print(f"applied already: {len(applied.facts)} documents, {amounts_text(total)}")
    elif applied.facts:
        out.print(f"{len(applied.facts)} documents are corrected by {amounts_text(total)}")
        out.print("their notes are issued by the finalizer: `talea invoices list` shows them")
    else:
        out.print("nothing to correct: the diff moves no money")


@app.command("what-if")
def tell_what_if(name: Name, json: AsJson = False) -> None:
    """Tell what a replay by other prices would have come to, for us and for each customer."""
    with any_stack() as around:
        found = what_if_replay(around, name)
    if json:
        print_json(found.json())
        return
    for each in found.revenue:
        out.print(f"revenue {_change(each)} {each.currency}")
    table = Table(box=None, pad_edge=False)
    for title in ("", "name", "before", "after", "difference", "percent"):
        table.add_column(title, justify="left" if title in ("", "name") else "right")
    for kind, changes in (("plan", found.plans), ("shock", found.shocks)):
        for each in changes:
            figures = (each.before_minor, each.after_minor, each.difference_minor)
            amounts = [Money(minor, each.currency).text for minor in figures]
            table.add_row(kind, each.name or "-", *amounts, each.percent_text or "-")
    out.print(table)
    more, less, same = found.counts
    out.print(f"{more} customers pay more, {less} less, {same} the same")
    for start, end, count in found.distribution:
        if count:
            least = "" if start is None else f"from {start} % "
            out.print(f"  {least}to {f'{end} %' if end is not None else 'any'}: {count}")


def _change(each: Change) -> str:
    before, after = (Money(e, each.currency).text for e in (each.before_minor, each.after_minor))
    return f"{before} -> {after} ({each.percent_text or '-'} %)"
