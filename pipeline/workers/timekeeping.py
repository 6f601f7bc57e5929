"""Timekeeping: whoever drives a test clock writes its ticks, and usage between them.

Owns: when a tick is written, waiting until all that is due by then is made.
Does not own: how a tick reaches the log (ticker.py), what is due (catalog/cuts.py).
Law: a test clock is the time of the last tick, and only goes forward. Workers cannot tell: what
they read is a log.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep

from pipeline.core.calendar import Instant, instant_text
from pipeline.core.errors import BadInput, ServerFailed
from pipeline.meter.ticks import Tick
from pipeline.stores.kafka import SureProducer, usage_log
from pipeline.stores.postgres.session import Session
from pipeline.workers.surroundings import Surroundings
from pipeline.workers.ticker import Ticker

_IDLE_S = 60.0
_LEADS_S = 30.0
_POLL_S = 0.2
_REST_S = 3.0
"""What is not made for so long waits for somebody: an approval, an answer, missing events."""
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Message:
    """Usage as it is sent: an encoded batch and the events in it."""

    partition: int
    batch: bytes
    event_count: int


Between = Callable[[Instant, Instant], Iterable[Message]]
"""What is used after one tick, up to the next."""


def nothing(_start: Instant, _end: Instant) -> Iterable[Message]:
    """Use nothing."""
    return ()


class Timekeeper:
    """Moves a test clock, over a session that leads the ticks."""

    def __init__(self, around: Surroundings, session: Session) -> None:
        """Start where the clock stands."""
        self._log = usage_log(around.stack)
        self._producer = SureProducer(around.kafka)
        self.now: Instant = session.clock()()
        self.ticker = Ticker(around, session, self._producer, lambda: self.now)

    def advance(self, to: Instant, step_us: int, between: Between = nothing) -> Iterator[Tick]:
        """Yield ticks at every step up to an instant, and there, each behind what is used before.

        Raises:
            BadInput: the instant is not ahead.

        """
        if to <= self.now:
            raise BadInput(
                f"the clock stands at {instant_text(self.now)}: it only goes forward,"
                f" not to {instant_text(to)}"
            )
        while self.now < to:
            then = min(self.now + step_us, to)
            for each in between(self.now, then):
                partition, count = each.partition, each.event_count
                self._producer.send(self._log, partition, each.batch, event_count=count)
            self.now = then
            yield self.ticker.tick()


@contextmanager
def keeping(around: Surroundings) -> Iterator[Timekeeper]:
    """Have the test clock of a stack to oneself.

    Raises:
        BadInput: it lives by the wall's clock.
        ServerFailed: somebody else moves it.

    """
    with around.database.session("test clock", idle_s=_IDLE_S) as session:
        if session.test_clock_start() is None:
            raise BadInput(
                "this stack lives by the wall's clock: `talea clock start` in a TALEA_HOME of its"
                " own starts one that you move"
            )
        keeper, deadline = Timekeeper(around, session), monotonic() + _LEADS_S
        while not keeper.ticker.try_lead():
            if monotonic() > deadline:
                raise ServerFailed("somebody else moves this clock: try again once they are done")
            sleep(_POLL_S)
        keeper.now = session.clock()()  # who led before may have moved it
        yield keeper


def settle(around: Surroundings, tell: Callable[[int, int], None]) -> int:
    """Return the documents there are, once all is made that is due by the last tick.

    What waits for somebody is not waited for. `tell` how many ticks are booked everywhere.

    Raises:
        ServerFailed: nothing is booked any more.

    """
    with around.database.session("settling") as session:
        last, moved_at = session.last_tick(), monotonic()
        before: object = None
        while True:
            cursors = session.load_cursors()
            ticks = [cursors[p][0].tick.serial if p in cursors else 0 for p in _all(around)]
            left, wanted = session.unsettled(), last.serial if last else 0
            tell(min(ticks), wanted)
            if (ticks, left) != before:
                before, moved_at = (ticks, left), monotonic()
            rested_s = monotonic() - moved_at
            if min(ticks) >= wanted and not left.dirty:
                if not (left.cuts or left.prepared) or rested_s > _REST_S:
                    return left.issued
            elif rested_s > _PATIENCE_S:
                raise ServerFailed(
                    f"nothing was booked for {_PATIENCE_S:.0f} s: do the workers run? (talea up)"
                )
            sleep(_POLL_S)


def _all(around: Surroundings) -> range:
    return range(around.partitions)
