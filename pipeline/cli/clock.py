"""`talea clock`: a stack whose time you move, through the workers that bill live ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Annotated

import typer

from pipeline.bench.year import Year
from pipeline.bootstrap import set_up
from pipeline.catalog.fields import parse_moment
from pipeline.cli.catalog import apply_sheet
from pipeline.cli.options import AsJson
from pipeline.cli.screen import counted, out, print_json, steps
from pipeline.cli.stack import any_stack, own_stack, running_stack
from pipeline.cli.verify import verify_documents
from pipeline.core.calendar import SECOND, Duration, Instant, cycle_edge, instant_text
from pipeline.core.errors import BadInput, CheckFailed
from pipeline.settings import read_settings
from pipeline.stores.postgres.facts import Author
from pipeline.workers.supervisor import Supervisor, default_workers
from pipeline.workers.surroundings import Surroundings
from pipeline.workers.timekeeping import Between, keeping, nothing, settle

app = typer.Typer(help="A stack whose time you move.", no_args_is_help=True)

Step = Annotated[str, typer.Option(help="Between two ticks; a period ends at the first behind it.")]
_STEP = "PT12H"


@app.command("start")
def start(
    at: Annotated[str, typer.Option(help="What time it is there, RFC 3339.")], json: AsJson = False
) -> None:
    """Set up a new log that lives by a test clock: workers run on it as on any (talea up)."""
    instant, there = _instant("--at", at), running_stack()
    if there is not None:
        around = set_up(there, instant)
        _tell_time(around, json=json)
        return
    with own_stack(read_settings(), instant) as owned:
        _tell_time(owned.around, json=json)


@app.command("show")
def show(json: AsJson = False) -> None:
    """Say what time it is in the stack, and by which clock."""
    with any_stack() as around:
        _tell_time(around, json=json)


@app.command("advance")
def advance(
    to: Annotated[str | None, typer.Option(help="Until when, RFC 3339.")] = None,
    by: Annotated[str | None, typer.Option(help="By how long: P1M, PT12H.")] = None,
    step: Step = _STEP,
    json: AsJson = False,
) -> None:
    """Move the clock forward; returns once all is billed that is due by then."""
    until_when, every_us = _until_when(to, by), _step_us(step)
    with _working() as around:
        with around.database.session("clock") as session:
            before = session.unsettled().issued
            now = session.clock()()
        until = until_when(now)
        _advance(around, until, every_us)
        issued = _settle(around)
    if json:
        print_json({"now": instant_text(until), "documents": issued - before})
    else:
        out.print(f"it is {instant_text(until)}; {issued - before:,} documents were issued")


def _until_when(to: str | None, by: str | None) -> Callable[[Instant], Instant]:
    """Return what tells until when the clock moves, from what time it is.

    Raises:
        BadInput: not one of both is said, or it cannot be read.

    """
    if by is not None and to is None:
        length = _length("--by", by)
        return lambda now: cycle_edge(now, length, 1, "UTC")
    if to is not None and by is None:
        until = _instant("--to", to)
        return lambda _: until
    raise BadInput("until when? say --to TIME or --by DURATION")


@dataclass(frozen=True, slots=True)
class _Billed:
    """What a year came to."""

    customers: int
    events: int
    documents: int
    seconds: float


@app.command("run")
def run(
    customers: Annotated[int, typer.Option(min=1, help="How many subscribe.")] = 200,
    start: Annotated[str, typer.Option(help="When the year begins.")] = "2027-01-01T00:00:00Z",
    months: Annotated[int, typer.Option(min=1, max=12, help="How much of it.")] = 12,
    step: Step = _STEP,
    json: AsJson = False,
) -> None:
    """Bill a year of made-up subscriptions and usage in a new log; fold it again and compare."""
    settings, began = read_settings(), _instant("--start", start)
    step_us = _step_us(step)
    with own_stack(settings, began) as owned:
        around = owned.around
        with _workers(around):
            billed = _bill(around, Year(customers, began, around.partitions, months), step_us)
        verified = verify_documents(around, None)
    matched = verified.checked - len(verified.faults)
    if json:
        print_json(
            {
                "customers": billed.customers,
                "events": billed.events,
                "documents": billed.documents,
                "seconds": round(billed.seconds, 1),
                "checked": verified.checked,
                "matched": matched,
                "mismatched": sorted(verified.faults),
            }
        )
    else:
        out.print(
            f"a year of {billed.customers:,} customers: {billed.events:,} events,"
            f" {billed.documents:,} documents in {billed.seconds:.1f} s"
        )
        out.print(f"{matched:,} of {verified.checked:,} documents are what the log folds to again")
    if verified.faults:
        raise CheckFailed(f"{len(verified.faults)} of {verified.checked} documents do not match")


def _bill(around: Surroundings, year: Year, step_us: int) -> _Billed:
    """Play the year: what is sold, half of it, dearer prices, the other half.

    Raises:
        BadInput: something was billed in this log before.

    """
    author = Author("talea clock", "a year")
    with around.database.session("clock") as session:
        if session.load_cursors() or session.clock()() > year.start + SECOND:
            raise BadInput("a year begins in a new log: set TALEA_HOME to another folder")
    since = monotonic()
    apply_sheet(around, year.sheet(), "the year's catalog", author)
    _advance(around, year.half, step_us, year.used)
    apply_sheet(around, year.dearer(), "the year's other prices", author)
    _advance(around, year.end, step_us, year.used)
    documents = _settle(around)
    seconds = monotonic() - since
    return _Billed(year.customers, year.events, documents, seconds)


def _advance(around: Surroundings, to: Instant, step_us: int, between: Between = nothing) -> None:
    with keeping(around) as keeper, steps("moving the clock") as tell:
        since = keeper.now
        for tick in keeper.advance(to, step_us, between):
            tell(f"it is {instant_text(tick.time)}", (tick.time - since) / (to - since))


def _settle(around: Surroundings) -> int:
    with counted("billing what is due, ticks") as tell:
        return settle(around, tell)


@contextmanager
def _working() -> Iterator[Surroundings]:
    """Use the stack that runs, or run one for the time of a command."""
    there = running_stack()
    if there is not None:
        yield set_up(there)
        return
    with own_stack(read_settings()) as owned, _workers(owned.around):
        yield owned.around


def _workers(around: Surroundings) -> Supervisor:
    """Return who runs all but the ticker."""
    kinds = [kind for kind in default_workers() if kind.name != "ticker"]
    return Supervisor(around, kinds, around.settings.home / "logs")


def _tell_time(around: Surroundings, *, json: bool) -> None:
    with around.database.session("clock") as session:
        started, now, tick = session.test_clock_start(), session.clock()(), session.last_tick()
    ticks = tick.serial if tick else 0
    if json:
        test = None if started is None else instant_text(started)
        print_json({"now": instant_text(now), "test_clock": test, "ticks": ticks})
    elif started is None:
        out.print(f"it is {instant_text(now)} by the wall's clock; {ticks:,} ticks")
    else:
        since = f"since {instant_text(started)}"
        out.print(f"it is {instant_text(now)} by a test clock, {since}; {ticks:,} ticks")


def _instant(option: str, text: str) -> Instant:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def _length(option: str, text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def _step_us(text: str) -> int:
    return _length("--step", text).nominal_us
