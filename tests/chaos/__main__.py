"""`make chaos`: a whole stack on servers of its own, everything broken several times, nothing lost.

Bounded in time; the seed that is printed strikes in the same order again.
"""

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from secrets import randbits
from shutil import rmtree
from tempfile import mkdtemp
from time import monotonic

from rich.console import Console
from rich.table import Table

from chaos.course import Report, Row, Tell, close, plan, run
from chaos.faults import FAULTS, WORKERS, Fault
from chaos.scene import OwnServers, Scene
from integration.own_redis import OwnRedis
from integration.running import RunningStack
from integration.story import SESSION_S, open_shop
from pipeline.cli.screen import steps
from pipeline.embedded import EmbeddedServers

TUNING = {"session_s": SESSION_S, "horizon_s": 60, "tolerance_s": 30, "stall_s": 20.0}
CYCLE_S, GRACE_S = 30, 45
"""A period is cut so late that usage which an outage held up is in time."""
CLOSING_S = 120
"""What ending, draining and proving take."""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="in all, at most")
    parser.add_argument("--seed", type=int, default=None, help="of a run to be seen again")
    parser.add_argument("--only", default="", help="faults with this in their name")
    parser.add_argument("--json", action="store_true", help="the report as one JSON document")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run and report; 0 where nothing was lost, doubled or wrong."""
    given = parse(arguments)
    seed = randbits(32) if given.seed is None else given.seed
    faults = [fault for fault in FAULTS if given.only in fault.name]
    print(f"chaos: seed {seed}", file=sys.stderr)
    folder = mkdtemp(prefix="chaos-")
    report = None
    try:
        with steps("chaos") as tell:
            seconds = given.minutes * 60
            report = _run(Path(folder), seed, faults, seconds, lambda text: tell(text, None))
    finally:
        if report is not None and report.well:
            rmtree(folder)
        else:
            print(f"chaos: what everybody said is in {folder}", file=sys.stderr)
    if given.json:
        print(json.dumps({**asdict(report), "well": report.well}, indent=2))
    else:
        _show(report)
    return 0 if report.well else 1


def _run(folder: Path, seed: int, faults: list[Fault], seconds: float, tell: Tell) -> Report:
    started = monotonic()
    chance = Random(seed)
    with ExitStack() as held:
        redis = held.enter_context(OwnRedis(_made(folder / "redis")))
        own = EmbeddedServers(folder / "servers", only=frozenset({"kafka", "postgres"}))
        servers = replace(held.enter_context(own).start(), redis=redis.url)
        stack = held.enter_context(RunningStack.on(servers, _made(folder / "home"), TUNING))
        stack.start(*WORKERS)
        story = open_shop(stack, seed, cycle_s=CYCLE_S, grace_s=GRACE_S)
        scene = held.enter_context(Scene.of(stack, story, chance, OwnServers(own, redis)))
        blows = plan(faults, chance, lambda: monotonic() - started > seconds - CLOSING_S)
        rows: dict[str, Row] = {}
        wrong = []
        try:
            run(scene, blows, rows, tell)
            tell("drain, invoices, audit, verify")
            wrong += close(scene)
        except AssertionError as stuck:
            wrong.append(str(stuck))
        return Report(
            seed=seed,
            seconds=round(monotonic() - started, 1),
            events=story.traffic.oracle.offered,
            documents=len(stack.documents()),
            restarts=sum(stack.supervisor(kind).restarts for kind in WORKERS),
            rows=sorted(rows.values(), key=lambda row: row.fault),
            wrong=wrong,
        )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _show(report: Report) -> None:
    table = Table("fault", "times", "lost", "doubled", "minor units wrong", "longest stall")
    for row in report.rows:
        figures = (row.times, row.lost, row.doubled, row.minor_wrong)
        table.add_row(row.fault, *map(str, figures), f"{row.longest_stall_s:.1f} s")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{report.events:,} events, {report.documents} invoices, {report.restarts} restarts of"
        f" workers in {report.seconds:.0f} s, seed {report.seed}:"
        f" {'nothing lost, doubled or wrong' if report.well else 'NOT WELL'}"
    )
    for line in report.wrong:
        console.print(f"- {line}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
