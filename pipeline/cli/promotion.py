"""`talea promotion`: codes, redeemed by subscriptions."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import NewFact
from pipeline.catalog.redeeming import redeeming
from pipeline.cli.deciding import decided_with, in_force, moment, tell
from pipeline.cli.options import Actor, AsJson, Reason
from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.identity import Json
from pipeline.stores.postgres.clocks import now
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.session import Session

app = typer.Typer(help="Promotion codes: redeem, list.", no_args_is_help=True)


@app.command("redeem")
def redeem(
    code: Annotated[str, typer.Argument(help="The promotion code.")],
    subscription: Annotated[str, typer.Argument(help="Which subscription has it from now on.")],
    actor: Actor,
    reason: Reason,
    at: Annotated[str | None, typer.Option(help="From when on; now if left out.")] = None,
    json: AsJson = False,
) -> None:
    """Give a subscription what a code takes off, within the code's limits; twice is once."""
    since = moment("--at", at)

    def decide(connection: Session, known: Catalog) -> Sequence[NewFact]:
        instant = now(connection) if since is None else since
        return redeeming(known, code, subscription, instant)

    tell(decided_with(decide, Author(actor, reason)), json=json)


@app.command("list")
def list_promotions(json: AsJson = False) -> None:
    """Show every code, what it gives, and how often it was redeemed."""
    with any_stack() as around, around.database.session("promotions") as connection:
        catalog = in_force(connection)
    found = promotions_json(catalog)
    if json:
        print_json([*found])
        return
    table = Table(box=None, pad_edge=False)
    for name in ("code", "redeemed", "of", "starts", "ends"):
        table.add_column(name, no_wrap=True)
    for each in found:
        told = (each["id"], each["redeemed"], each["redemptions_max"] or "any")
        times = (each["starts"] or "-", each["ends"] or "-")
        table.add_row(*(Text(str(cell)) for cell in (*told, *times)))
    out.print(table if found else "no promotions yet")


def promotions_json(catalog: Catalog) -> list[dict[str, Json]]:
    """Return every code with who redeemed it."""
    redeemed = [each for own in catalog.deals.redemptions.values() for each in own]
    found = []
    for name, promotion in sorted(catalog.deals.promotions.items()):
        own: list[Json] = [each.body() for each in redeemed if each.promotion == name]
        found.append({**promotion.body(), "redeemed": len(own), "redemptions": own})
    return found
