"""`talea schemas`: hold our schemas to their promise, here and in a registry; register them.

Subjects are full record names (RecordNameStrategy): a topic of ours carries several records, and
a record keeps its promise whatever topic, prefix or tenant it travels in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import typer
from rich.table import Table

from pipeline.cli.screen import counted, out, print_json
from pipeline.core.errors import BadInput, CheckFailed, ServerFailed
from pipeline.settings import read_settings
from pipeline.stores.codec import OurSchema, our_schemas
from pipeline.stores.evolution import broken_promises
from pipeline.stores.registry import Refusal, Registry, fits_registered

app = typer.Typer(help="Schemas of the records on topics.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class _Line:
    """What is told of one schema; `faults` is empty where it keeps its promise."""

    schema: OurSchema
    told: str
    faults: Sequence[str] = ()


@app.command()
def check(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check each version against the one before, and against TALEA_REGISTRY where it is set."""
    url, ours = read_settings().registry, our_schemas()
    lines = [_Line(ours[0], "the first version", ())] if ours else []
    for older, newer in pairwise(ours):
        if older.subject != newer.subject:
            lines.append(_Line(newer, "the first version"))
            continue
        faults = broken_promises(older.parsed, newer.parsed)
        lines.append(_Line(newer, f"keeps the promise of {older.name}", faults))
    if url:
        registry = Registry(url)
        with counted("asking the registry") as tell:
            for done, schema in enumerate(ours):
                tell(done, len(ours))
                try:
                    told, faults = fits_registered(registry, schema)
                except Refusal as refusal:
                    raise ServerFailed(
                        f"the registry will not say what stands under {schema.subject}: {refusal}"
                    ) from None
                lines.append(_Line(schema, told, faults))
    _show(lines, json)
    if wrong := [line for line in lines if line.faults]:
        raise CheckFailed(
            f"{wrong[0].schema.name}: {wrong[0].faults[0]}: make it a new version that keeps the"
            " promise (schemas/README.md)"
        )


@app.command()
def register(
    json: Annotated[bool, typer.Option("--json", help="Print the ids as JSON.")] = False,
) -> None:
    """Register every schema in TALEA_REGISTRY, under its record's name. Twice is once."""
    url = read_settings().registry
    if not url:
        raise BadInput("schemas register needs TALEA_REGISTRY, such as http://host:8081")
    registry, lines, ours = Registry(url), [], our_schemas()
    with counted("registering") as tell:
        for done, schema in enumerate(ours):
            tell(done, len(ours))
            try:
                given = registry.register(schema.subject, schema.text)
            except Refusal as refusal:
                raise CheckFailed(
                    f"{schema.name}: the registry refuses it under {schema.subject}: {refusal}:"
                    " see what stands there (talea schemas check)"
                ) from None
            lines.append(_Line(schema, f"id {given}"))
    _show(lines, json)


def _show(lines: Sequence[_Line], json: bool) -> None:
    if json:
        print_json(
            [
                {
                    "schema": line.schema.name,
                    "subject": line.schema.subject,
                    "told": line.told,
                    "faults": list(line.faults),
                }
                for line in lines
            ]
        )
        return
    table = Table("schema", "subject", "found")
    for line in lines:
        table.add_row(line.schema.name, line.schema.subject, "; ".join(line.faults) or line.told)
    out.print(table)
