"""The first phase: a backlog, drained at full speed.

Owns: the order (settle, warm up, fill, drain, check), what counts as seconds.
Does not own: load, oracle, probes.
Law: no figure leaves here before totals, outcomes and drafts were held against the oracle.
Law: what is counted is what more events would cost. Starting and importing are over, and some
batches went all the way, before the clock and the CPU counters begin: the metering workers are
not started anew but stand still, stopped by a signal, while the log is filled.

    workers start, drafts of nothing are rated -> a warm-up goes all the way
    -> metering stands still -> the log is filled
    -> metering goes on .. last event in the books = seconds
    -> .. every draft rated = drafted_s, over which CPU is counted
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.bench.expected import Expected
from pipeline.bench.kept import Kept, what_is_kept
from pipeline.bench.load import Load, Made
from pipeline.bench.probes import cpu_seconds, log_bytes, peak_rss_mb
from pipeline.bench.stand import Stand, Tell
from pipeline.core.calendar import Instant
from pipeline.topology import USAGE_EVENTS, USAGE_METERED, USAGE_RAW
from pipeline.workers.supervisor import WorkerKind

_TOLD_EVERY = 50
_TOPICS = (USAGE_RAW, USAGE_EVENTS, USAGE_METERED)


@dataclass(frozen=True, slots=True)
class Drained:
    """What the phase measured; CPU by kind of process, memory by process, bytes by topic.

    `rss_thirds_mb`: what each worker held over the first third of the drain and over the last.
    `collected_s`: seconds until the collectors had stepped over all, where events came raw.
    """

    events: int
    warm_up_events: int
    produce_s: float
    seconds: float
    drafted_s: float
    cpu_s: dict[str, float]
    rss_mb: dict[str, int]
    rss_thirds_mb: dict[str, tuple[int, int]]
    broker_bytes: dict[str, int]
    kept: Kept
    collected_s: float | None = None

    @property
    def events_per_s(self) -> float:
        """The rate at which the backlog was booked."""
        return self.events / self.seconds


def drain(
    stand: Stand,
    load: Load,
    expected: Expected,
    events: int,
    times: tuple[Instant, Instant],
    workers: Sequence[WorkerKind],
    tell: Tell,
) -> Drained:
    """Measure the drain of `events` that happened between two `times`."""
    start_workers(stand, workers, tell)
    warm_up(stand, load, times, tell)
    stored = stored_bytes(stand)
    with stand.frozen("metering"):
        tell(f"filling the log with {events:,} events", None)
        produce_s = _fill(stand, load, events, times, tell)
        ends, spent = stand.ends(), cpu_seconds(stand.pids())
        tell(f"draining {events:,} events", None)
        started = time.monotonic()
    with stand.watched() as memory:
        booked = stand.await_booked(ends, lambda part: tell(f"draining {events:,} events", part))
        drafted = stand.await_drafted()
    cpu_s = cpu_seconds_since(stand, spent)
    stand.check()
    tell("comparing totals with the oracle", None)
    expected.check(stand.connection)
    return Drained(
        events=events,
        warm_up_events=load.warm_up_events,
        produce_s=produce_s,
        seconds=booked - started,
        drafted_s=drafted - started,
        cpu_s=cpu_s,
        rss_mb=peak_rss_mb(stand.pids()),
        rss_thirds_mb=memory.thirds_mb(),
        broker_bytes={name: size - stored[name] for name, size in stored_bytes(stand).items()},
        kept=what_is_kept(stand),
    )


def start_workers(stand: Stand, workers: Sequence[WorkerKind], tell: Tell) -> None:
    """Start the workers; return once each has its part and drafts of nothing are rated."""
    tell("starting the workers", None)
    stand.start(*workers)
    stand.await_shared_out()
    stand.settle()


def warm_up(stand: Stand, load: Load, times: tuple[Instant, Instant], tell: Tell) -> None:
    """Send some batches to every partition; return once they are on drafts."""
    tell("warming up", None)
    _send(stand, load.batches(load.warm_up_events, *times))
    stand.settle()


def cpu_seconds_since(stand: Stand, spent: dict[str, float]) -> dict[str, float]:
    """Return the CPU seconds by kind of process since `spent` was read."""
    return {kind: s - spent.get(kind, 0.0) for kind, s in cpu_seconds(stand.pids()).items()}


def _fill(
    stand: Stand, load: Load, events: int, times: tuple[Instant, Instant], tell: Tell
) -> float:
    """Send the backlog; return the seconds it took to make and send."""

    def told() -> Iterable[Made]:
        done = 0
        for number, made in enumerate(load.batches(events, *times)):
            yield made
            done += made.event_count
            if number % _TOLD_EVERY == 0:
                tell(f"filling the log with {events:,} events", done / events)

    began = time.monotonic()
    _send(stand, told())
    return time.monotonic() - began


def _send(stand: Stand, load: Iterable[Made]) -> None:
    """Send messages; return once the broker has them."""
    sender = stand.sender()
    for number, made in enumerate(load):
        sender.send(made)
        if number % _TOLD_EVERY == 0:
            sender.poll()
    sender.flush()
    sender.close()


def stored_bytes(stand: Stand) -> dict[str, int]:
    """Return the bytes of each topic on the way, as the broker keeps them."""
    home, stack = stand.around.settings.home, stand.around.stack
    return {topic.name: log_bytes(home, stack.topic(topic)) for topic in _TOPICS}
