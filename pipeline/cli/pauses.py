"""`talea skip` and `talea resume`: what a person does about a partition that is paused."""

from typing import Annotated

import typer

from pipeline.cli.screen import out, print_json, steps
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.pauses import RAW, USAGE
from pipeline.workers import pausing

_Partition = Annotated[int, typer.Option(min=0, help="The partition of the usage log.")]


def skip(
    partition: _Partition,
    offset: Annotated[int, typer.Option(min=0, help="The offset that it is paused at.")],
    actor: Annotated[str, typer.Option(help="Who decides.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    json: Annotated[bool, typer.Option("--json", help="Print the fact as JSON.")] = False,
) -> None:
    """Go on without the message that a partition is paused at; it is rejected, and kept."""
    with any_stack() as around, steps("talea") as tell:
        tell("writing the fact, waiting for a tick that names it", None)
        fact = pausing.skip(around, partition, offset, Author(actor, reason))
    if json:
        told = {"serial": fact.serial, "id": fact.id, "kind": fact.kind.value}
        print_json({"fact": {**told, "subject": fact.subject}})
        return
    out.print(f"offset {offset} of partition {partition} is skipped (fact {fact.serial})")


def resume(
    partition: Annotated[int | None, typer.Option(min=0, help="The partition.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Of raw usage: what collectors read.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every paused partition.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Let a paused partition go on with the message it stopped at, once the cause is mended."""
    if everything == (partition is not None):
        raise BadInput("name one partition, or say --all")
    with any_stack() as around:
        resumed = pausing.resume(around, partition, RAW if raw else USAGE)
    if json:
        print_json({"resumed": resumed})
        return
    for number in resumed:
        out.print(f"partition {number}{' of raw usage' if raw else ''} goes on")
