"""`talea bench-curves`: families of runs, kept as files, and the pages made of them.

Owns: its options, running families one point after another.
Does not own: which runs (bench/families.py), what pages say (bench/pages.py, plots.py, costs.py).
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.markdown import Markdown

from pipeline.bench.course import Plan, opening, run_course, run_flushes
from pipeline.bench.families import BASE, FAMILIES, FLUSH, FLUSH_RATE, FLUSHES_S, Family
from pipeline.bench.pages import family_page, write_pages
from pipeline.bench.results import Figures, Found, Machine, Result, read_results, this_machine
from pipeline.bench.stand import Tell
from pipeline.cli.bench import bench_stand
from pipeline.cli.screen import out, print_json, steps
from pipeline.core.errors import BadInput

_FOLDER = Path("tests/bench/results")
_FLUSH_LATENCY_S = 8.0


def bench_curves(
    families: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(FAMILIES)}; none: all of them.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where results and pages lie.")] = _FOLDER,
    readme: Annotated[
        Path | None, typer.Option(help="A page whose section `How fast` is written anew.")
    ] = None,
    pages: Annotated[bool, typer.Option("--pages", help="Measure nothing, write pages.")] = False,
    points: Annotated[
        list[str] | None, typer.Option("--point", help="Measure these points, keep the others.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure families of runs, totals checked, and write tables, plots and the cost model."""
    wanted = families or list(FAMILIES)
    for name in wanted:
        if name not in FAMILIES:
            raise BadInput(f"no family is called {name!r}: {', '.join(FAMILIES)}")
        known = {str(point.x) for point in FAMILIES[name].points} or set(map(str, FLUSHES_S))
        if points and not known & set(points):
            raise BadInput(f"{name} has no point {points[0]!r}: {', '.join(sorted(known))}")
    with steps("bench") as tell:
        made: dict[Plan, Figures] = {}
        machine = this_machine()  # before the first run: later the load is our own
        for name in [] if pages else wanted:
            before = read_results(folder).get(name)
            _measure(FAMILIES[name], machine, points or [], before, made, tell).write(folder)
        found = read_results(folder)
        tell("writing pages", None)
        write_pages(found, folder, readme)
    chosen = [found[name] for name in wanted if name in found]
    if json:
        print_json([result.json() for result in chosen])
        return
    for result in chosen:
        out.print(Markdown(family_page(result)))


def _measure(
    family: Family,
    machine: Machine,
    points: list[str],
    before: Result | None,
    made: dict[Plan, Figures],
    tell: Tell,
) -> Result:
    """Measure a family; where some points were asked for, others stay as they were."""
    kept = before.points if before and points else ()
    found = {(one.x, one.line): one for one in kept}
    if family.name == FLUSH:
        flushes_s = [flush_s for flush_s in FLUSHES_S if not points or str(flush_s) in points]
        found |= {(one.x, one.line): one for one in _flushes(flushes_s, tell)}
        order: list[tuple[float | str, str]] = [(flush_s, "") for flush_s in FLUSHES_S]
    else:
        for point in family.points:
            if not points or str(point.x) in points:
                tell(f"{family.axis}: {point.x} {point.line}", None)
                if point.plan not in made:
                    made[point.plan] = _run(point.plan, tell)
                found[point.x, point.line] = Found(point.x, point.line, made[point.plan])
        order = [(point.x, point.line) for point in family.points]
    return Result(family, machine, tuple(found[place] for place in order if place in found))


def _run(plan: Plan, tell: Tell) -> Figures:
    with TemporaryDirectory(prefix="bench-") as home:
        start = opening()
        with bench_stand(Path(home), plan.shape, start, tell) as stand:
            return run_course(stand, plan, start, tell).json()


def _flushes(flushes_s: list[float], tell: Tell) -> list[Found]:
    plan = replace(BASE, latency_s=_FLUSH_LATENCY_S)
    with TemporaryDirectory(prefix="bench-") as home:
        start = opening()
        with bench_stand(Path(home), plan.shape, start, tell) as stand:
            found = run_flushes(stand, plan, start, FLUSH_RATE, flushes_s, tell)
    return [Found(flush_s, "", steady.json()) for flush_s, steady in found.items()]
