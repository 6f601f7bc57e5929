"""`talea doctor`: what a stack costs to keep, and which documents cannot be issued."""

from typing import Annotated

import typer
from rich.table import Table

from pipeline.cli.screen import out, print_json, steps
from pipeline.cli.stack import any_stack
from pipeline.core.calendar import SECOND, instant_text
from pipeline.invoice.issues import issue_text
from pipeline.stores.kept_claims import KeptClaims, kept_claims
from pipeline.stores.postgres.drafts import Draft
from pipeline.workers.knowledge import Knowledge


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Say what claims take in Redis, and which documents cannot be issued, and why."""
    with any_stack() as around, steps("doctor") as tell:
        tell("asking Redis what claims take", None)
        kept = kept_claims(around.redis, around.stack, range(around.partitions))
        with around.database.session("doctor") as connection:
            width = Knowledge(connection).catalog(1).parameters.gate.generation_width
            faulty = connection.faulty_drafts()
    keys, size = sum(one.keys for one in kept), sum(one.bytes for one in kept)
    if json:
        print_json(
            {
                "claims": {
                    "keys": keys,
                    "bytes": size,
                    "generation_width_s": width // SECOND,
                    "generations": [
                        {
                            "partition": one.partition,
                            "generation": one.generation,
                            "keys": one.keys,
                            "bytes": one.bytes,
                        }
                        for one in kept
                    ],
                },
                "unrateable": [
                    {
                        "customer": draft.payer,
                        "document": draft.id,
                        "cut_instant": instant_text(draft.instant),
                        "held_up": held_up,
                        "validation_issues": [dict(issue) for issue in draft.issues],
                    }
                    for draft, held_up in faulty
                ],
            }
        )
        return
    for draft, held_up in faulty:
        out.print(_faulty(draft, held_up), markup=False, soft_wrap=True)
    out.print(_table(kept))
    each = f", {size / keys:.0f} bytes a key" if keys else ""
    out.print(
        f"claims: {keys:,} keys take {size:,} bytes{each}; a generation lasts"
        f" {width // SECOND:,} s, two or three are kept",
        soft_wrap=True,
    )


def _faulty(draft: Draft, held_up: bool) -> str:
    instant = instant_text(draft.instant)
    state = "is held up, cut at" if held_up else "could not be issued; it is cut at"
    told = "; ".join(issue_text(issue) for issue in draft.issues)
    return f"the document of {draft.payer} {state} {instant}: {told}"


def _table(kept: list[KeptClaims]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("partition", "generation", "keys", "bytes", "a key"):
        table.add_column(name, justify="right")
    for one in kept:
        figures = (one.partition, one.generation, one.keys, one.bytes)
        each = f"{one.bytes / one.keys:.0f}" if one.keys else ""
        table.add_row(*(f"{figure:,}" for figure in figures), each)
    return table
