"""`talea bench`: events a second over the full path, totals checked.

Owns: its options, its throw-away home with servers of its own.
Does not own: what is measured, and how (bench).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from pipeline.bench.course import Plan, opening, run_course
from pipeline.bench.load import Shape
from pipeline.bench.report import HALF
from pipeline.bench.shop import customer_names, sheet
from pipeline.bench.stand import Stand, Tell
from pipeline.cli.catalog import apply_sheet
from pipeline.cli.screen import out, print_json, steps
from pipeline.cli.stack import own_stack
from pipeline.collect.batch import Mode
from pipeline.collect.limits import BATCH_EVENTS_MAX
from pipeline.core.calendar import Instant
from pipeline.settings import read_settings
from pipeline.stores.postgres.facts import Author

_SESSION_S = 600.0
"""Metering stands still while the log is filled, and is still the members it was."""


class _Mode(StrEnum):
    keyed = "keyed"
    sequenced = "sequenced"
    raw = "raw"


class _Baseline(StrEnum):
    faust = "faust"
    none = "none"


def bench(
    events: Annotated[int, typer.Option(min=1000, help="Events to drain.")] = 1_000_000,
    mode: Annotated[_Mode, typer.Option(help="How events are told apart.")] = _Mode.keyed,
    series: Annotated[int, typer.Option(min=1, help="Customers, each with one series.")] = 5000,
    partitions: Annotated[int, typer.Option(min=1, max=256, help="Of the log.")] = 4,
    workers: Annotated[int, typer.Option(min=1, help="Metering workers.")] = 2,
    pricing: Annotated[int, typer.Option(min=1, help="Pricing workers.")] = 1,
    baseline: Annotated[_Baseline, typer.Option(help="What to compare with.")] = _Baseline.faust,
    batch: Annotated[
        int, typer.Option(min=2, max=BATCH_EVENTS_MAX, help="Events in a batch.")
    ] = BATCH_EVENTS_MAX,
    batch_customers: Annotated[
        int, typer.Option(min=0, help="Customers in a batch, neighbours; 0: any.")
    ] = 0,
    collectors: Annotated[int, typer.Option(min=1, help="Collectors, in mode raw.")] = 1,
    latency_seconds: Annotated[
        float, typer.Option(min=0, help="Length of the latency phase; 0: none. Not in mode raw.")
    ] = 20.0,
    load: Annotated[
        list[float] | None,
        typer.Option(min=0.01, max=1, help="Share of the rate to measure latency at, besides 0.5."),
    ] = None,
    flame: Annotated[
        Path | None,
        typer.Option(help="Folder for flame graphs of the workers; takes time from the run."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure events per second, totals checked, on servers of its own."""
    raw = mode is _Mode.raw
    shape = Shape(
        Mode.KEYED if raw else Mode(mode.value), series, partitions, batch, batch_customers
    )
    latency_s = 0.0 if raw else latency_seconds
    with_faust = baseline is _Baseline.faust
    plan = Plan(shape, events, workers, pricing, latency_s, with_faust, collectors if raw else 0)
    plan = replace(plan, loads=tuple(sorted({HALF, *(load or ())})))
    with TemporaryDirectory(prefix="bench-") as home, steps("bench") as tell:
        start = opening()
        with bench_stand(Path(home), shape, start, tell) as stand:
            stand.flames = flame
            figures = run_course(stand, plan, start, tell)
    if json:
        print_json(figures.json())
    else:
        out.print(figures.table())


@contextmanager
def bench_stand(home: Path, shape: Shape, start: Instant, tell: Tell) -> Iterator[Stand]:
    """Start servers in a home of their own, with every customer on the plan."""
    settings = read_settings().model_copy(
        update={
            "home": home,
            "kafka": None,
            "redis": None,
            "postgres": None,
            "partitions": shape.partitions,
            "session_s": _SESSION_S,
        }
    )
    with own_stack(settings) as owned:
        around = owned.around
        tell(f"putting {shape.series:,} customers on a plan", None)
        found = sheet(customer_names(shape.series), start)
        apply_sheet(around, found, "the bench's catalog", Author("talea bench", "a run"))
        servers = dict(owned.embedded.pids()) if owned.embedded else {}
        logs = owned.home.path / "logs"
        connection = around.database.connect(name="bench", autocommit=True)
        with Stand(around, servers, logs, connection) as stand:
            yield stand
