"""`talea doctor`: what a stack costs to keep."""

from typing import Annotated

import typer
from rich.table import Table

from pipeline.cli.screen import out, print_json, steps
from pipeline.cli.stack import any_stack
from pipeline.core.calendar import SECOND
from pipeline.stores.kept_claims import KeptClaims, kept_claims
from pipeline.workers.knowledge import Knowledge


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Say what claims take in Redis: keys and bytes, by generation, from Redis itself."""
    with any_stack() as around, steps("doctor") as tell:
        tell("asking Redis what claims take", None)
        kept = kept_claims(around.redis, around.stack, range(around.partitions))
        with around.database.session("doctor") as connection:
            width = Knowledge(connection).catalog(1).parameters.gate.generation_width
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
                }
            }
        )
        return
    out.print(_table(kept))
    each = f", {size / keys:.0f} bytes a key" if keys else ""
    out.print(
        f"claims: {keys:,} keys take {size:,} bytes{each}; a generation lasts"
        f" {width // SECOND:,} s, two or three are kept",
        soft_wrap=True,
    )


def _table(kept: list[KeptClaims]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("partition", "generation", "keys", "bytes", "a key"):
        table.add_column(name, justify="right")
    for one in kept:
        figures = (one.partition, one.generation, one.keys, one.bytes)
        each = f"{one.bytes / one.keys:.0f}" if one.keys else ""
        table.add_row(*(f"{figure:,}" for figure in figures), each)
    return table
