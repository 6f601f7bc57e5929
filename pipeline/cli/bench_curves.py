"""`talea bench-curves`: families of runs, kept as files, and the pages made of them.

Owns: its options, running families one point after another.
Does not own: which runs (bench/families.py), what pages say (bench/pages.py, plots.py, costs.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.markdown import Markdown

from pipeline.bench.course import Plan, opening, run_course, run_flushes
from pipeline.bench.families import (
    BASE,
    FAMILIES,
    FLUSH,
    FLUSH_RATE,
    FLUSHES_S,
    MODES,
    Family,
    smaller,
)
from pipeline.bench.pages import family_page, write_pages
from pipeline.bench.results import Figures, Found, Machine, Result, read_results, this_machine
from pipeline.bench.stand import Stand, Tell
from pipeline.cli.bench import bench_stand
from pipeline.cli.screen import out, print_json, steps
from pipeline.core.calendar import Instant
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
    size: Annotated[
        float,
        typer.Option(min=0.001, max=1, help="Share of each run's events and series; a rehearsal."),
    ] = 1.0,
    flame: Annotated[
        bool, typer.Option("--flame", help="Draw flame graphs of each mode, in runs of their own.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure families of runs, totals checked, and write tables, plots and the cost model."""
    if size < 1 and folder == _FOLDER:
        raise BadInput("what a rehearsal finds are no results: keep them out of it by --folder")
    wanted = families or list(FAMILIES)
    for name in wanted:
        if name not in FAMILIES:
            raise BadInput(f"no family is called {name!r}: {', '.join(FAMILIES)}")
        known = {str(point.x) for point in FAMILIES[name].points} or set(map(str, FLUSHES_S))
        if points and not known & set(points):
            raise BadInput(f"{name} has no point {points[0]!r}: {', '.join(sorted(known))}")
    with steps("bench") as tell:
        runs = _Runs(size, tell)
        machine = this_machine()  # before the first run: later the load is our own
        for name in [] if pages else wanted:
            before = read_results(folder).get(name)
            _measure(FAMILIES[name], machine, points or [], before, runs).write(folder)
        if flame:
            for point in FAMILIES[MODES].points:
                name = f"{point.x}-{point.line}" if point.line else str(point.x)
                runs.course(point.plan, flames=folder / "flames" / name)
        found = read_results(folder)
        tell("writing pages", None)
        write_pages(found, folder, readme)
    chosen = [found[name] for name in wanted if name in found]
    if json:
        print_json([result.json() for result in chosen])
        return
    for result in chosen:
        out.print(Markdown(family_page(result)))


@dataclass(frozen=True, slots=True)
class _Runs:
    """Makes runs, each on a throw-away stack, at a share of their size."""

    size: float
    tell: Tell
    _made: dict[Plan, Figures] = field(default_factory=dict)

    def measured(self, plan: Plan) -> Figures:
        """Return what a run finds; it is made once."""
        if plan not in self._made:
            self._made[plan] = self.course(plan)
        return self._made[plan]

    def course(self, plan: Plan, flames: Path | None = None) -> Figures:
        """Make a run; `flames` is the folder for flame graphs of its workers."""
        plan = smaller(plan, self.size)
        if flames is not None:
            plan = replace(plan, latency_s=0.0, baseline=False)
        start = opening()
        with self._stand(plan, start) as stand:
            stand.flames = flames
            return run_course(stand, plan, start, self.tell).json()

    def flushes(self, flushes_s: list[float]) -> list[Found]:
        """Measure one rate by how long the pricing worker gathers."""
        plan = smaller(replace(BASE, latency_s=_FLUSH_LATENCY_S), self.size)
        rate, start = FLUSH_RATE * self.size, opening()
        with self._stand(plan, start) as stand:
            found = run_flushes(stand, plan, start, rate, flushes_s, self.tell)
        return [Found(flush_s, "", steady.json()) for flush_s, steady in found.items()]

    @contextmanager
    def _stand(self, plan: Plan, start: Instant) -> Iterator[Stand]:
        with (
            TemporaryDirectory(prefix="bench-") as home,
            bench_stand(Path(home), plan.shape, start, self.tell) as stand,
        ):
            yield stand


def _measure(
    family: Family, machine: Machine, points: list[str], before: Result | None, runs: _Runs
) -> Result:
    """Measure a family; where some points were asked for, others stay as they were."""
    kept = before.points if before and points else ()
    found = {(one.x, one.line): one for one in kept}
    if family.name == FLUSH:
        flushes_s = [flush_s for flush_s in FLUSHES_S if not points or str(flush_s) in points]
        found |= {(one.x, one.line): one for one in runs.flushes(flushes_s)}
        order: list[tuple[float | str, str]] = [(flush_s, "") for flush_s in FLUSHES_S]
    else:
        for point in family.points:
            if not points or str(point.x) in points:
                runs.tell(f"{family.axis}: {point.x} {point.line}", None)
                found[point.x, point.line] = Found(point.x, point.line, runs.measured(point.plan))
        order = [(point.x, point.line) for point in family.points]
    return Result(family, machine, tuple(found[place] for place in order if place in found))
