"""What the demo shows while it runs: drafts growing, outcomes, what just happened."""

import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.cli.demo_play import Billed
from pipeline.cli.screen import err
from pipeline.core.money import Money

_STORY_LINES = 6
_PLAIN_EVERY_S = 15.0
_RATE_OVER_S = 3.0


class DemoScreen:
    """A live picture on a terminal; a line now and then elsewhere."""

    def __init__(self, seconds: float) -> None:
        """Prepare for a run of so many seconds of traffic."""
        self._seconds = seconds
        self._started = time.monotonic()
        self._story: deque[str] = deque(maxlen=_STORY_LINES)
        self._last: Billed | None = None
        self._first_offered: int | None = None
        self._rates: deque[tuple[float, int]] = deque()
        self._plain_at = 0.0
        self._live = Live(console=err, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        """Begin to draw."""
        if err.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        if err.is_terminal:
            self._live.stop()

    def say(self, line: str) -> None:
        """Tell what happens."""
        stamp = f"{time.monotonic() - self._started:5.1f} s  "
        self._story.append(stamp + line)
        if err.is_terminal:
            self._draw()
        else:
            err.print(stamp + line, soft_wrap=True, markup=False)

    def show(self, look: Billed) -> None:
        """Show what the stack says."""
        now = time.monotonic()
        if self._first_offered is None:
            self._first_offered = look.offered
        self._rates.append((now, look.offered))
        while now - self._rates[0][0] > _RATE_OVER_S:
            self._rates.popleft()
        self._last = look
        if err.is_terminal:
            self._draw()
        elif now - self._plain_at > _PLAIN_EVERY_S:
            self._plain_at = now
            total = sum(_total(draft.content) for draft in look.drafts)
            err.print(
                f"{now - self._started:5.1f} s  {len(look.drafts)} drafts, together"
                f" {Money(total, 'EUR').text} EUR; {self._rate():.0f} events/s;"
                f" {look.documents} invoices sealed",
                soft_wrap=True,
            )

    def _rate(self) -> float:
        (first_at, first), (last_at, last) = self._rates[0], self._rates[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0

    def _draw(self) -> None:
        parts: list[Table | Text | ProgressBar] = [
            Text("talea demo: this stack bills its own processes", style="bold"),
            ProgressBar(self._seconds, min(time.monotonic() - self._started, self._seconds)),
        ]
        if self._last is not None:
            parts += [self._outcomes(self._last), _drafts(self._last)]
        parts.append(Text("\n".join(self._story), style="dim"))
        self._live.update(Group(*parts), refresh=True)

    def _outcomes(self, look: Billed) -> Text:
        offered = look.offered - (self._first_offered or 0)
        return Text(
            f"{offered:,} events ({self._rate():.0f}/s)   duplicate {look.duplicate:,}   conflict"
            f" {look.conflict:,}   late {look.late:,}   rejected {look.rejected:,}   workers"
            f" {len(look.workers)}   invoices sealed {look.documents}"
        )


def _drafts(look: Billed) -> Table:
    """Return the drafts as a table, largest first."""
    table = Table(box=None, pad_edge=False)
    table.add_column("draft of", no_wrap=True)
    table.add_column("period ends", no_wrap=True)
    table.add_column("amount", justify="right", no_wrap=True)
    for draft in sorted(look.drafts, key=lambda d: -_total(d.content)):
        money = Money(_total(draft.content), draft.currency)
        ends = str(draft.content["period_end"])[11:19]
        table.add_row(draft.payer, ends, f"{money.text} {money.currency}")
    return table


def _total(content: object) -> int:
    return int(content["totals"]["total_minor"])  # type: ignore[index]
