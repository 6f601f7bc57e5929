"""`talea bench-prices`: how long until every draft holds a new price.

Owns: its options, the change.  Does not own: what is measured, and how (bench/repricing.py).
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from pipeline.bench.course import SPAN_US, WINDOWS, opening
from pipeline.bench.expected import Expected
from pipeline.bench.load import Load, Shape
from pipeline.bench.repricing import reprice
from pipeline.bench.shop import customer_names, sheet
from pipeline.cli.bench import bench_stand
from pipeline.cli.catalog import apply_sheet
from pipeline.cli.screen import out, print_json, steps
from pipeline.collect.batch import Mode
from pipeline.collect.limits import BATCH_EVENTS_MAX
from pipeline.stores.postgres.facts import Author
from pipeline.workers.supervisor import default_workers


def bench_prices(
    drafts: Annotated[int, typer.Option(min=1, help="Customers, each with a draft.")] = 20_000,
    partitions: Annotated[int, typer.Option(min=1, max=256, help="Of the log.")] = 4,
    pricing: Annotated[int, typer.Option(min=1, help="Pricing workers.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure the rating of every draft after a price change, totals checked."""
    shape = Shape(Mode.KEYED, drafts, partitions, BATCH_EVENTS_MAX)
    customers = customer_names(drafts)
    with TemporaryDirectory(prefix="bench-") as home, steps("bench") as tell:
        start = opening()
        with bench_stand(Path(home), shape, start, tell) as stand:

            def change() -> int:
                doubled = sheet(customers, start, unit_amount="0.0002")
                author = Author("talea bench-prices", "the price doubles")
                return apply_sheet(stand.around, doubled, "the bench's catalog", author)[-1].serial

            expected = Expected(customers, start, WINDOWS)
            load, times = Load(shape, customers, expected), (start, start + SPAN_US)
            workers = default_workers(1, pricing)
            found = reprice(stand, load, expected, times, workers, change, tell)
    if json:
        print_json(found.json())
    else:
        out.print(
            f"{found.drafts:,} drafts at a new price, totals checked, in {found.seconds:.1f} s:"
            f" {found.drafts / found.seconds:,.0f} a second",
            soft_wrap=True,
        )
