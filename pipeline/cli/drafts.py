"""`talea draft`: what a customer would be billed if the period closed now."""

import time
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.invoice.text import invoice_text
from pipeline.stores.postgres.drafts import Draft, read_drafts


def draft_json(draft: Draft) -> dict[str, Json]:
    """Return a draft with the position it was rated at."""
    return {**draft.content, "state": "draft", "position": draft.position.json()}


def draft(
    customer: Annotated[str, typer.Argument(help="Customer id.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it grow until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a list of drafts.")] = False,
) -> None:
    """Show the drafts of a customer."""
    if watch and json:
        raise BadInput("--watch draws on a terminal: leave --json away")
    with any_stack() as around, around.database.session("draft") as connection:
        if json:
            print_json([draft_json(draft) for draft in read_drafts(connection, customer)])
            return
        if not watch:
            out.print(_drawn(customer, read_drafts(connection, customer)))
            return
        with Live(console=out, auto_refresh=False) as live:
            while True:
                live.update(_drawn(customer, read_drafts(connection, customer)), refresh=True)
                time.sleep(0.5)


def _drawn(customer: str, drafts: list[Draft]) -> Text:
    if not drafts:
        return Text(f"no open draft for {customer}")
    return Text("\n\n".join(invoice_text(draft_json(draft)) for draft in drafts))
