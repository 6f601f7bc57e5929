"""`talea audit`: the conservation equation, partition by partition."""

import json as json_text
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.table import Table

from pipeline.cli.screen import counted, out, print_json
from pipeline.cli.stack import any_stack
from pipeline.core.calendar import instant_text
from pipeline.core.errors import BadInput, CheckFailed
from pipeline.core.identity import Json
from pipeline.replay.audit import Collection, Conservation, total
from pipeline.replay.chain import ChainGap
from pipeline.replay.completeness import Incomplete, incomplete
from pipeline.stores.clock import wall_clock
from pipeline.stores.postgres.pauses import Pause
from pipeline.workers.auditing import Audit, Progress
from pipeline.workers.collected import RawAudit
from pipeline.workers.healing import find_gaps
from pipeline.workers.pausing import paused, told
from pipeline.workers.recounting import Recounted, recount
from pipeline.workers.surroundings import Surroundings

_EVERY_S = 10.0
_EQUATION = "offered = billed + duplicate + conflict + late + rejected + pending"


def conservation_table(
    partitions: Iterable[Conservation | Collection], title: str = "partition"
) -> Table:
    """Return the counts as a table for a person."""
    table = Table(box=None, pad_edge=False, show_footer=True)
    rows = list(partitions)
    names = [name for row in rows[:1] for name in row.__slots__ if name != "partition"]
    table.add_column(title, justify="right", footer="all")
    for name in names:
        footer = f"{sum(getattr(row, name) for row in rows):,}"
        table.add_column(name, justify="right", footer=footer)
    for row in rows:
        table.add_row(str(row.partition), *(f"{getattr(row, name):,}" for name in names))
    return table


@dataclass(frozen=True, slots=True)
class _Report:
    """One look at everything that has to hold; `recounted` is None where nobody did."""

    gaps: Sequence[ChainGap]
    partitions: Mapping[int, Conservation]
    producers: Sequence[Incomplete]
    pauses: Sequence[Pause]
    raw: Mapping[int, Collection]
    recounted: Sequence[Recounted] | None = None
    waiting: int = 0

    @property
    def open(self) -> list[Conservation]:
        """The partitions in which the equation does not close."""
        return [p for p in self.partitions.values() if p.missing]

    @property
    def uncollected(self) -> list[Collection]:
        """The partitions of raw usage in which the collector's equation does not close."""
        return [p for p in self.raw.values() if p.missing]

    @property
    def collects(self) -> bool:
        """Whether anybody ever wrote raw usage."""
        return any(p.offered for p in self.raw.values())

    @property
    def closed(self) -> bool:
        """Whether both equations close."""
        return not (self.open or self.uncollected)

    @property
    def differing(self) -> list[Recounted]:
        """The partitions of which the recount tells another story."""
        return [one for one in self.recounted or () if one.differences]

    def json(self) -> dict[str, Json]:
        """Return it by name."""
        found: dict[str, Json] = {
            "closed": self.closed,
            "gaps": [gap.json() for gap in self.gaps],
            "producers": [one.json() for one in self.producers],
            "partitions": [p.json() for p in self.partitions.values()],
            "reversals_waiting": self.waiting,
            "paused": [_paused_json(pause) for pause in self.pauses],
            "collector": {
                "closed": not self.uncollected,
                "partitions": [p.json() for p in self.raw.values()],
                **total(self.raw),
            },
        }
        if self.recounted is not None:
            found["deep"] = {
                "equal": not self.differing,
                "partitions": [one.json() for one in self.recounted],
            }
        return found


def _paused_json(pause: Pause) -> dict[str, Json]:
    return {
        "origin": pause.origin,
        "partition": pause.partition,
        "offset": pause.offset,
        "reason": pause.reason,
        "cause": pause.cause,
        "since": instant_text(pause.since),
    }


def audit(
    deep: Annotated[
        bool, typer.Option("--deep", help="Decode and judge the whole log once more, apart.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Look again and again, reading only what is new of the log."),
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = _EVERY_S,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON; with --watch one document a line.")
    ] = False,
) -> None:
    """Check that offered = billed + duplicate + conflict + late + rejected + pending."""
    if deep and watch:
        raise BadInput("--deep reads the whole log: leave --watch away")
    with any_stack() as around:
        looking = Audit(around)
        try:
            if watch:
                _watch(around, looking, every, json)
            with counted("counting the log") as tell:
                report = _look(around, looking, RawAudit(around), tell, deep=deep)
        finally:
            looking.close()
    if json:
        print_json(report.json())
    else:
        _tell(report)
    _check(report)


def _look(
    around: Surroundings,
    looking: Audit,
    collected: RawAudit,
    tell: Progress,
    *,
    deep: bool = False,
) -> _Report:
    gaps = find_gaps(around)
    partitions = looking.look(tell)
    recounted = recount(around, looking, partitions, tell) if deep else None
    with around.database.session("audit producers") as connection:
        producers = list(incomplete(connection.load_incomplete()))
    raw = collected.look(tell)
    waiting = sum(looking.stock.waiting.values())
    return _Report(gaps, partitions, producers, paused(around), raw, recounted, waiting)


def _watch(around: Surroundings, looking: Audit, every_s: float, json: bool) -> None:
    """Look until Ctrl-C; the first look reads both topics whole."""
    collected = RawAudit(around)
    with counted("counting the log") as tell:
        looking.look(tell)
        collected.look(tell)
    while True:
        report = _look(around, looking, collected, lambda _read, _of: None)
        at = instant_text(wall_clock())
        if json:
            print(json_text.dumps({"at": at, **report.json()}, ensure_ascii=False), flush=True)
        else:
            counts = total(report.partitions)
            figures = ", ".join(f"{count:,} {name}" for name, count in counts.items())
            out.print(f"{at}  {'OPEN' if report.open else 'closed'}: {figures}", soft_wrap=True)
            if report.collects:
                state = "OPEN" if report.uncollected else "closed"
                raw = ", ".join(f"{count:,} {name}" for name, count in total(report.raw).items())
                out.print(f"{at}  raw usage {state}: {raw}", soft_wrap=True)
            _tell_troubles(report)
        time.sleep(every_s)


def _tell(report: _Report) -> None:
    _tell_troubles(report)
    out.print(conservation_table(report.partitions.values()))
    if report.collects:
        out.print(conservation_table(report.raw.values(), "raw usage"))
    for one in report.recounted or ():
        for name, (ours, theirs) in one.differences.items():
            out.print(
                f"partition {one.books.partition}: {name} is {ours:,} in the books, {theirs:,} by"
                " the recount",
                soft_wrap=True,
            )
    if report.recounted is not None and not report.differing:
        out.print("recounted: every message decoded and judged once more, all counts equal")
    if report.closed:
        out.print(f"closed: {_EQUATION}")


def _tell_troubles(report: _Report) -> None:
    for gap in report.gaps:
        mended = "restore the topic from a copy" if gap.lost else "`talea heal` mends it"
        out.print(
            f"GAP in partition {gap.partition}: the books wait for offsets {gap.first} to"
            f" {gap.last}; {mended}",
            soft_wrap=True,
        )
    for pause in report.pauses:
        out.print(told(pause), markup=False, soft_wrap=True)
    for one in report.producers:
        out.print(f"incomplete: {one}", soft_wrap=True, markup=False)
    if report.waiting:
        told_of = "`talea usage list --state waiting` names them"
        out.print(f"{report.waiting:,} reversals wait for their originals: {told_of}")


def _check(report: _Report) -> None:
    if report.open:
        first = report.open[0]
        raise CheckFailed(
            f"the equation does not close: partition {first.partition} misses {first.missing}"
            " events; `talea verify --all --log` shows whether an invoice is touched"
        )
    if report.uncollected:
        lost = report.uncollected[0]
        raise CheckFailed(
            f"the collector's equation does not close: partition {lost.partition} of raw usage"
            f" misses {lost.missing} messages; the collectors' logs say what was not there to read"
        )
    if report.differing:
        raise CheckFailed(
            f"partition {report.differing[0].books.partition}: the recount differs from the books;"
            " `talea verify --all --log` shows whether an invoice is touched"
        )
    if report.gaps:
        first_gap = report.gaps[0]
        raise CheckFailed(
            f"partition {first_gap.partition} waits for offset {first_gap.first}: run `talea heal`"
        )
