"""`talea catalog`: what is sold, as a file."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipeline.bootstrap import TZDATA_VERSION
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.changes import Changes, changes
from pipeline.catalog.checking import check
from pipeline.catalog.cuts import horizon_at
from pipeline.catalog.edits import refused_edits
from pipeline.catalog.facts import Fact, NewFact
from pipeline.catalog.fields import parse_moment
from pipeline.catalog.history import KINDS, fact_json, in_force, known_at
from pipeline.catalog.shape import sheet_schema
from pipeline.catalog.sheet import Sheet, in_file_order, parse_sheet
from pipeline.catalog.yaml import Problem
from pipeline.cli.catalog_book import app as book_app
from pipeline.cli.catalog_plan import Outlook
from pipeline.cli.screen import err, out, print_json
from pipeline.cli.stack import any_stack, running_stack
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.errors import BadInput, CheckFailed
from pipeline.stores.postgres import facts as fact_store
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.database import Connection
from pipeline.stores.postgres.facts import Author
from pipeline.workers.announcing import await_named
from pipeline.workers.surroundings import Surroundings

app = typer.Typer(help="Meters, plans, customers, subscriptions.", no_args_is_help=True)
app.add_typer(book_app, name="book")

_SALT_BYTES = 16


def read_sheet(path: Path) -> Sheet:
    """Return the sheet of a file.

    Raises:
        BadInput: the file cannot be read, or is no catalog; every problem is told on stderr.

    """
    sheet = parse_sheet(_text(path))
    if isinstance(sheet, Sheet):
        return sheet
    raise refused(str(path), sheet)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}: name a YAML file") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: {error}: write it in UTF-8") from None


def refused(name: str, problems: Sequence[Problem]) -> BadInput:
    """Return the first problem as what is raised; print the others."""
    for problem in problems[1:]:
        err.print(f"{name}: {problem}", soft_wrap=True, markup=False)
    more = f" (and {len(problems) - 1} more, above)" if len(problems) > 1 else ""
    return BadInput(f"{name}: {problems[0]}{more}")


def apply_sheet(around: Surroundings, sheet: Sheet, name: str, author: Author) -> list[Fact]:
    """Write what a sheet changes as facts; return them once a tick names them everywhere.

    Raises:
        BadInput: the sheet contradicts what is in force.

    """
    return apply_made(around, lambda _: sheet, name, author)


def apply_made(
    around: Surroundings, make: Callable[[Catalog], Sheet], name: str, author: Author
) -> list[Fact]:
    """Write what a sheet changes that is made of what is in force, as `apply_sheet` does.

    Raises:
        BadInput: the sheet contradicts what is in force.

    """
    with around.database.session("catalog") as connection:
        known = fact_store.read_facts(connection, 0)
        before = extend(Catalog(), known)
        sheet = make(before)
        ahead = _accepted(name, _changes(connection, before, sheet))

        def decide(facts: Sequence[Fact]) -> Sequence[NewFact]:
            """Write what was worked out before the lock was taken, if that still stands."""
            if len(facts) > before.position:
                catalog = extend(before, facts[before.position :])
                found = _accepted(name, _changes(connection, catalog, make(catalog)))
            else:
                refusals = [*refused_edits(sheet, before, _passed(connection, before))]
                found = _accepted(name, in_file_order(refusals) or ahead)
            fact_store.remember_personal(connection, found.personal)
            return found.facts

        written = fact_store.append_facts(connection, decide, author, now(connection), known)
    if written:
        await_named(around, written[-1].serial)
    return written


def changed_by(connection: Connection, facts: Sequence[Fact], sheet: Sheet, name: str) -> Changes:
    """Return what a sheet would change, without writing it.

    Raises:
        BadInput: the sheet contradicts what is in force.

    """
    return _accepted(name, _changes(connection, extend(Catalog(), facts), sheet))


def _accepted(name: str, found: Changes | list[Problem]) -> Changes:
    if isinstance(found, list):
        raise refused(name, found)
    return found


def _changes(connection: Connection, catalog: Catalog, sheet: Sheet) -> Changes | list[Problem]:
    commitments = [c for customer in catalog.customers.values() for c in customer.profile.values()]
    known = fact_store.personal_values(connection, commitments)
    return changes(
        sheet,
        catalog,
        known,
        lambda: secrets.token_bytes(_SALT_BYTES),
        TZDATA_VERSION,
        _passed(connection, catalog),
    )


def _passed(connection: Connection, catalog: Catalog) -> Instant:
    """Return up to when periods are cut."""
    tick = fact_store.last_tick(connection)
    return 0 if tick is None else horizon_at(catalog, tick)


@app.command("apply")
def apply(
    file: Annotated[Path, typer.Argument(help="The catalog, YAML.")],
    actor: Annotated[str, typer.Option(help="Who decides.")] = "operator",
    message: Annotated[str, typer.Option(help="Why.")] = "catalog apply",
    json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
) -> None:
    """Put a catalog in force; returns once a tick in every partition names its facts."""
    sheet = read_sheet(file)
    with any_stack() as around:
        written = apply_sheet(around, sheet, str(file), Author(actor, message))
    if json:
        print_json(
            {
                "facts": [
                    {"serial": f.serial, "id": f.id, "kind": f.kind.value, "subject": f.subject}
                    for f in written
                ]
            }
        )
        return
    for fact in written:
        out.print(f"{fact.serial:>6}  {fact.kind.value:<13} {fact.subject}", markup=False)
    out.print(
        f"{len(written)} facts in force" if written else "nothing to change: already in force"
    )


@app.command("check")
def check_file(
    file: Annotated[Path, typer.Argument(help="The catalog, YAML.")],
    live: Annotated[
        bool | None,
        typer.Option(help="Also against what is in force; else if a stack runs. Starts none."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the problems as JSON.")] = False,
) -> None:
    """Tell everything that is wrong with a catalog, each with line, path and how to mend it."""
    text = _text(file)
    catalog, passed = (None, 0) if live is False else _in_force(needed=live is True)
    _, problems = check(text, catalog, passed)
    if json:
        told = [{"file": str(file), **asdict(problem)} for problem in problems]
        position = catalog.position if catalog else None
        print_json({"file": str(file), "fact_position": position, "problems": told})
    else:
        for problem in problems:
            out.print(f"{file}: {problem}", soft_wrap=True, markup=False)
        beside = f"with what is in force (fact {catalog.position})" if catalog else "by itself"
        out.print(f"{file}: problems: {len(problems)}; checked {beside}", soft_wrap=True)
    if problems:
        raise CheckFailed(f"{file}: problems: {len(problems)}; mend them and check again")


def _in_force(*, needed: bool) -> tuple[Catalog | None, Instant]:
    """Return the catalog at the head of the fact log, and up to when periods are cut.

    None where no stack runs or none is set up.

    Raises:
        BadInput: it is needed, and no stack runs, or none is set up.

    """
    there = running_stack()
    if there is not None:
        with there.database.session("catalog check", owner=True) as session:
            if fact_store.has_log(session):
                catalog = extend(Catalog(), session.read_facts(0))
                return catalog, _passed(session, catalog)
    if needed:
        raise BadInput("--live: no stack runs here: start one (talea up) or name its servers")
    return None, 0


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a catalog, for editors."""
    print_json(sheet_schema())


@app.command("plan")
def plan(
    file: Annotated[Path, typer.Argument(help="The catalog, YAML.")],
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Tell what a catalog would change, whom it touches, and what open drafts would come to."""
    sheet = read_sheet(file)
    with any_stack() as around, around.database.session("catalog plan") as session:
        facts = session.read_facts(0)
        found = changed_by(session, facts, sheet, str(file))
        planned = Outlook(session, facts, sheet, found)
    if json:
        print_json({"file": str(file), **planned.json()})
    else:
        planned.tell()


@app.command("log")
def log(
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """List every decision: who put what in force, when, and why."""
    with any_stack() as around, around.database.session("catalog log") as session:
        facts = session.read_facts(0)
    if json:
        print_json([fact_json(fact) for fact in facts])
    else:
        out.print(fact_table(facts))


@app.command("show")
def show(
    kind: Annotated[str | None, typer.Argument(help="Only these: meter, plan, ...")] = None,
    name: Annotated[str | None, typer.Argument(metavar="ID", help="Only this one.")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="In force at this instant; now if left out.")
    ] = None,
    known: Annotated[
        str | None, typer.Option(help="As recorded up to a fact's serial, or an instant.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Show what is in force at one time, as it was known at another."""
    if kind is not None and kind not in KINDS:
        raise BadInput(f"{kind} is no kind: use one of {', '.join(KINDS)}")
    asked = None if as_of is None else _instant("--as-of", as_of)
    with any_stack() as around, around.database.session("catalog show") as session:
        instant = now(session) if asked is None else asked
        facts = _known(session.read_facts(0), known)
    found = [
        fact
        for fact in in_force(facts, instant)
        if kind in (None, fact.kind) and name in (None, fact.subject)
    ]
    if name is not None and not found:
        head = facts[-1].serial if facts else 0
        when = f"in force at {instant_text(instant)}, as known at fact {head}"
        raise BadInput(f"no {kind} {name} {when}: `talea catalog log` lists what was decided")
    if json:
        print_json([{**fact_json(fact), "document": dict(fact.body)} for fact in found])
        return
    out.print(fact_table(found))
    if name is not None:
        print_json(found[0].body)


def _known(facts: Sequence[Fact], known: str | None) -> Sequence[Fact]:
    if known is None:
        return facts
    if known.isascii() and known.isdigit():
        return facts[: int(known)]
    return known_at(facts, _instant("--known", known))


def _instant(option: str, text: str) -> Instant:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def fact_table(facts: Sequence[Fact]) -> Table:
    """Return facts as a table for a person."""
    table = Table(box=None, pad_edge=False)
    for name in ("serial", "time", "kind", "subject", "actor", "reason"):
        table.add_column(name, no_wrap=name in ("serial", "time", "kind"))
    for fact in facts:
        table.add_row(*(Text(str(value)) for value in fact_json(fact).values()))
    return table
