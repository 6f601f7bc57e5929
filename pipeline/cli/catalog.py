"""`talea catalog`: what is sold, as a file."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipeline.bootstrap import TZDATA_VERSION
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.changes import Changes, changes
from pipeline.catalog.facts import Fact, NewFact
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.catalog.yaml import Problem
from pipeline.cli.screen import err, out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput
from pipeline.stores.clock import wall_clock
from pipeline.stores.postgres import facts as fact_store
from pipeline.stores.postgres.database import Connection
from pipeline.stores.postgres.facts import Author
from pipeline.workers.announcing import await_named
from pipeline.workers.surroundings import Surroundings

app = typer.Typer(help="Meters, plans, customers, subscriptions.", no_args_is_help=True)

_SALT_BYTES = 16


def read_sheet(path: Path) -> Sheet:
    """Return the sheet of a file.

    Raises:
        BadInput: the file cannot be read, or is no catalog; every problem is told on stderr.

    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: {error}") from None
    sheet = parse_sheet(text)
    if isinstance(sheet, Sheet):
        return sheet
    raise _refused(str(path), sheet)


def _refused(name: str, problems: Sequence[Problem]) -> BadInput:
    for problem in problems[1:]:
        err.print(f"{name}: {problem}", soft_wrap=True, markup=False)
    more = f" (and {len(problems) - 1} more, above)" if len(problems) > 1 else ""
    return BadInput(f"{name}: {problems[0]}{more}")


def apply_sheet(around: Surroundings, sheet: Sheet, name: str, author: Author) -> list[Fact]:
    """Write what a sheet changes as facts; return them once a tick names them everywhere.

    Raises:
        BadInput: the sheet contradicts what is in force.

    """
    with around.database.session("catalog") as connection:

        def decide(known: Sequence[Fact]) -> Sequence[NewFact]:
            found = _changes(connection, extend(Catalog(), known), sheet)
            if isinstance(found, list):
                raise _refused(name, found)
            fact_store.remember_personal(connection, found.personal)
            return found.facts

        written = fact_store.append_facts(connection, decide, author, wall_clock())
    if written:
        await_named(around, written[-1].serial)
    return written


def _changes(connection: Connection, catalog: Catalog, sheet: Sheet) -> Changes | list[Problem]:
    commitments = [c for customer in catalog.customers.values() for c in customer.profile.values()]
    known = fact_store.personal_values(connection, commitments)
    return changes(sheet, catalog, known, lambda: secrets.token_bytes(_SALT_BYTES), TZDATA_VERSION)


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
