"""A price change, and how long until every draft holds it.

Owns: the order (use something, settle, change, wait, check), what counts as seconds.
Does not own: the change itself (wired by the command), load, oracle.
Law: no figure leaves here before every draft was held against the oracle at the new price.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.bench.drain import cpu_seconds_since, start_workers, warm_up
from pipeline.bench.expected import Expected
from pipeline.bench.load import Load
from pipeline.bench.probes import cpu_seconds
from pipeline.bench.stand import Stand, Tell
from pipeline.core.calendar import Instant
from pipeline.workers.supervisor import WorkerKind


@dataclass(frozen=True, slots=True)
class Repriced:
    """What a change of everybody's price took. CPU by kind of process.

    `seconds`: from the moment at which every partition of the log names the change.
    """

    drafts: int
    seconds: float
    cpu_s: dict[str, float]

    def json(self) -> dict[str, object]:
        """Return the document."""
        return {
            "drafts": self.drafts,
            "seconds": round(self.seconds, 3),
            "drafts_per_s": round(self.drafts / self.seconds),
            "checked": True,
            "cpu_s": {kind: round(s, 3) for kind, s in self.cpu_s.items()},
        }


def reprice(
    stand: Stand,
    load: Load,
    expected: Expected,
    times: tuple[Instant, Instant],
    workers: Sequence[WorkerKind],
    change: Callable[[], int],
    tell: Tell,
) -> Repriced:
    """Measure until all drafts hold a change that doubles the price.

    `change` makes it; it returns the position of its fact, once that is named everywhere.
    """
    start_workers(stand, workers, tell)
    warm_up(stand, load, times, tell)
    expected.check(stand.connection)
    tell("changing the price", None)
    position = change()
    began, spent = time.monotonic(), cpu_seconds(stand.pids())
    tell("rating every draft anew", None)
    stand.await_fact(position)
    seconds = stand.await_drafted() - began
    cpu_s = cpu_seconds_since(stand, spent)
    expected.unit_prices *= 2
    expected.check(stand.connection)
    return Repriced(len(expected.customers), seconds, cpu_s)
