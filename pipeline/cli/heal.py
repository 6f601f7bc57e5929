"""`talea heal`: mend gaps in the chain of slices."""

from time import monotonic, sleep
from typing import Annotated

import typer

from pipeline.cli.screen import out, print_json, steps
from pipeline.cli.stack import any_stack
from pipeline.core.errors import BadInput, CheckFailed
from pipeline.replay.chain import ChainGap
from pipeline.workers.healing import Tell, find_gaps, mend, metering_came_back, metering_members
from pipeline.workers.surroundings import Surroundings

_PATIENCE_S = 120.0
_POLL_S = 0.5


def heal(
    partition: Annotated[int | None, typer.Option(help="Only this one; else all.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the gaps as JSON.")] = False,
) -> None:
    """Let metering read again what the books wait for. Without a gap nothing happens."""
    with any_stack() as around, steps("heal") as tell:
        if partition is not None and not 0 <= partition < around.partitions:
            raise BadInput(f"--partition: this log has partitions 0 to {around.partitions - 1}")
        wanted = None if partition is None else [partition]

        def say(text: str) -> None:
            tell(text, None)

        running = metering_members(around) > 0
        found = mend(around, wanted, say)
        mendable = [gap for gap in found if not gap.lost]
        if mendable:
            running = running and metering_came_back(around, say)
        left = _await_closed(around, mendable, say) if mendable and running else []
    if json:
        print_json(
            {
                "gaps": [gap.json() for gap in found],
                "open": [gap.json() for gap in left],
                "running": running,
            }
        )
    else:
        _tell(found, left, running)
    _check(found, left)


def _await_closed(around: Surroundings, gaps: list[ChainGap], say: Tell) -> list[ChainGap]:
    """Return the gaps that are still open when patience ends."""
    deadline = monotonic() + _PATIENCE_S
    while True:
        open_ones = find_gaps(around)
        left = [gap for gap in gaps if any(gap.overlaps(other) for other in open_ones)]
        if not left or monotonic() > deadline:
            return left
        say(f"waiting until {len(left)} gaps are closed")
        sleep(_POLL_S)


def _tell(found: list[ChainGap], left: list[ChainGap], running: bool) -> None:
    if not found:
        out.print("no gap: nothing to mend")
    for gap in found:
        if gap.lost:
            outcome = "gone from the log"
        elif gap in left:
            outcome = "still open"
        else:
            outcome = "closed" if running else "is read again once metering runs (talea up)"
        out.print(f"partition {gap.partition}: offsets {gap.first} to {gap.last} {outcome}")


def _check(found: list[ChainGap], left: list[ChainGap]) -> None:
    lost = [gap for gap in found if gap.lost]
    if lost:
        raise CheckFailed(
            f"partition {lost[0].partition}: the usage log has no offsets {lost[0].first} to"
            f" {lost[0].last}: restore the topic from a copy; nothing else brings them back"
        )
    if left:
        raise CheckFailed(
            f"partition {left[0].partition} still waits for offset {left[0].first}: are metering"
            " and pricing workers running? Their logs say what holds them up"
        )
