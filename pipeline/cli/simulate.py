"""`talea simulate`: the worker loops under crashes, stalls and losses, seed by seed."""

from typing import Annotated

import typer

from pipeline.cli.screen import counted, out, print_json
from pipeline.core.errors import CheckFailed
from pipeline.simulate.play import Scale
from pipeline.simulate.seeds import LEAST, length_of, play_seeds

_MINUTE_S = 60.0


def simulate(
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Begin no seed after so many minutes.")
    ] = None,
    length: Annotated[
        float | None,
        typer.Option(min=LEAST, help="How long each lasts; else most are short, some last 1."),
    ] = None,
    usage: Annotated[float, typer.Option(min=LEAST, help="How much usage.")] = 1.0,
    decisions: Annotated[float, typer.Option(min=LEAST, help="How many decisions.")] = 1.0,
    faults: Annotated[float, typer.Option(min=0, help="How many faults.")] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Play the workers over servers in memory, every fault drawn from a seed, and audit them."""

    def scale_of(each: int) -> Scale:
        return Scale(length_of(each) if length is None else length, usage, decisions, faults)

    with counted("simulating") as tell:
        report = play_seeds(seed, seeds, scale_of, minutes and minutes * _MINUTE_S, tell)
    if json:
        print_json(report.json())
    else:
        for name, figure in report.json().items():
            if isinstance(figure, int):
                out.print(f"{name.replace('_', ' '):>13} {figure:>12,}")
        for each in report.violations:
            out.print(f"seed {each.seed} breaks {each.law}: {each.detail}")
    if report.failed:
        first = report.failed[0]
        raise CheckFailed(f"{len(report.failed)} seeds break a law: `{first.replay}` shows one")
