"""`talea retention`: contents of invoices that were kept long enough are removed, provably."""

from collections.abc import Sequence
from typing import Annotated

import typer

from pipeline.catalog.facts import Fact, FactKind
from pipeline.cli.options import Actor, AsJson, Reason
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.identity import Json
from pipeline.ledger.retention import oldest_kept, removal_text
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.facts import Author
from pipeline.workers.announcing import await_named
from pipeline.workers.retaining import Going, remove, to_remove
from pipeline.workers.surroundings import Surroundings

app = typer.Typer(
    help="Remove contents of invoices that are kept long enough: plan, apply, list.",
    no_args_is_help=True,
)

Years = Annotated[
    int | None, typer.Option(min=1, help="Kept so many years; TALEA_RETENTION_YEARS if left out.")
]


@app.command("plan")
def plan(years: Years = None, json: AsJson = False) -> None:
    """Show what may go: nothing is removed."""
    with any_stack() as around:
        before = _before(around, years)
        with around.database.session("retention") as connection:
            found = to_remove(connection, before)
    _tell(found, before, "may go", json=json)


@app.command("apply")
def apply(actor: Actor, reason: Reason, years: Years = None, json: AsJson = False) -> None:
    """Remove the contents that may go; numbers, totals, records and seals stay."""
    with any_stack() as around:
        before, written = _before(around, years), list[Fact]()
        with around.database.session("retention", owner=True) as connection:
            found = to_remove(connection, before)
            for going in found:
                written += remove(connection, going, Author(actor, reason), now(connection))
        if written:
            await_named(around, written[-1].serial)
    _tell(found, before, "removed", json=json)


@app.command("list")
def list_removals(json: AsJson = False) -> None:
    """Show who removed contents, when, why, and up to which number."""
    with any_stack() as around, around.database.session("retention") as connection:
        told = [each for each in connection.read_facts(0) if each.kind is FactKind.RETENTION]
    if json:
        print_json([_fact_json(each) for each in told])
        return
    for fact in told:
        out.print(removal_text(fact), markup=False, soft_wrap=True)
    if not told:
        out.print("every invoice is there with its content")


def _before(around: Surroundings, years: int | None) -> Instant:
    with around.database.session("retention") as connection:
        return oldest_kept(now(connection), years or around.settings.retention_years)


def _fact_json(fact: Fact) -> dict[str, Json]:
    return {
        "issuer": fact.subject,
        "at": instant_text(fact.recorded_at),
        "actor": fact.actor,
        "reason": fact.reason,
        **fact.body,
    }


def _tell(found: Sequence[Going], before: Instant, done: str, *, json: bool) -> None:
    if json:
        print_json({"before": instant_text(before), "removals": [each.json() for each in found]})
        return
    for each in found:
        removal = each.removal
        out.print(
            f"{removal.issuer}: {len(each.kept)} contents {done}, up to {removal.number}",
            markup=False,
        )
    if not found:
        day = instant_text(before)
        out.print(f"nothing is to go: no checkpoint before {day} holds contents that are there")
