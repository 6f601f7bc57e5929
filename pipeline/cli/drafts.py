"""`talea draft`: what a customer would be billed if the period closed now."""

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from pipeline.cli.screen import out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json, partition_of
from pipeline.invoice.text import invoice_text
from pipeline.replay.completeness import Incomplete, incomplete
from pipeline.stores.postgres.drafts import Draft, read_drafts


def draft_json(draft: Draft, producers: Sequence[Incomplete] = ()) -> dict[str, Json]:
    """Return a draft, the position it was rated at, and whose usage may be missing from it.

    A producer's sequence is known by partition, not by customer: more cannot be said.
    """
    missing = [one.json() for one in producers if one.partition == draft.position.partition]
    position = draft.position.json()
    return {**draft.content, "state": "draft", "position": position, "incomplete": [*missing]}


def draft(
    customer: Annotated[str, typer.Argument(help="Customer id.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it grow until Ctrl-C.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a list of drafts.")] = False,
) -> None:
    """Show the drafts of a customer."""
    if watch and json:
        raise BadInput("--watch draws on a terminal: leave --json away")
    with any_stack() as around, around.database.session("draft") as connection:
        partition = partition_of(customer, around.partitions)

        def read() -> tuple[list[Draft], list[Incomplete]]:
            producers = incomplete(connection.load_incomplete(partition))
            return read_drafts(connection, customer), list(producers)

        if json:
            drafts, producers = read()
            print_json([draft_json(draft, producers) for draft in drafts])
            return
        if not watch:
            out.print(_drawn(customer, *read()), soft_wrap=True)
            return
        with Live(console=out, auto_refresh=False) as live:
            while True:
                live.update(_drawn(customer, *read()), refresh=True)
                time.sleep(0.5)


def _drawn(customer: str, drafts: list[Draft], producers: list[Incomplete]) -> Text:
    if not drafts:
        return Text(f"no open draft for {customer}")
    warnings = [f"usage may be missing here: {one}" for one in producers]
    return Text("\n\n".join([*(invoice_text(draft_json(draft)) for draft in drafts), *warnings]))
