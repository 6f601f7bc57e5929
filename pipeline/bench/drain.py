"""The first phase: a backlog, drained at full speed.

Owns: the order (settle, fill, drain, check), what counts as seconds.
Does not own: load, oracle, probes.
Law: no figure leaves here before totals, outcomes and drafts were held against the oracle.

    workers start, drafts of nothing are rated -> metering stops -> the log is filled
    -> metering starts; first slice on the broker .. last event in the books = seconds
    -> .. every draft rated = drafted_s, over which CPU is counted
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.bench.expected import Expected
from pipeline.bench.load import Load
from pipeline.bench.probes import cpu_seconds, log_bytes, peak_rss_mb
from pipeline.bench.stand import Stand, Tell
from pipeline.core.calendar import Instant
from pipeline.core.errors import ServerFailed
from pipeline.stores.kafka import MeteredReader, log_ends
from pipeline.topology import USAGE_EVENTS, USAGE_METERED, USAGE_RAW
from pipeline.workers.supervisor import WorkerKind

_FIRST_SLICE_WAIT_S = 120.0
_TOLD_EVERY = 50
_TOPICS = (USAGE_RAW, USAGE_EVENTS, USAGE_METERED)


@dataclass(frozen=True, slots=True)
class Drained:
    """What the phase measured; CPU by kind of process, memory by process, bytes by topic.

    `collected_s`: seconds until the collectors had stepped over all, where events came raw.
    """

    events: int
    produce_s: float
    seconds: float
    drafted_s: float
    cpu_s: dict[str, float]
    rss_mb: dict[str, int]
    broker_bytes: dict[str, int]
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
    tell("starting the workers", None)
    stand.start(*workers)
    stand.settle()
    stand.stop("metering")
    stored = stored_bytes(stand)
    tell(f"filling the log with {events:,} events", None)
    produce_s = _fill(stand, load, events, times, tell)
    ends = stand.ends()
    tell(f"draining {events:,} events", None)
    started = _first_slice(stand, [kind for kind in workers if kind.name == "metering"])
    spent = cpu_seconds(stand.pids())
    booked = stand.await_booked(ends, lambda part: tell(f"draining {events:,} events", part))
    drafted = stand.await_drafted()
    cpu_s = {kind: s - spent.get(kind, 0.0) for kind, s in cpu_seconds(stand.pids()).items()}
    stand.check()
    tell("comparing totals with the oracle", None)
    expected.check(stand.connection)
    return Drained(
        events=events,
        produce_s=produce_s,
        seconds=booked - started,
        drafted_s=drafted - started,
        cpu_s=cpu_s,
        rss_mb=peak_rss_mb(stand.pids()),
        broker_bytes={name: size - stored[name] for name, size in stored_bytes(stand).items()},
    )


def _fill(
    stand: Stand, load: Load, events: int, times: tuple[Instant, Instant], tell: Tell
) -> float:
    """Send the backlog; return the seconds it took to make and send."""
    began, done = time.monotonic(), 0
    sender = stand.sender()
    for number, made in enumerate(load.batches(events, *times)):
        sender.send(made)
        done += made.event_count
        if number % _TOLD_EVERY == 0:
            sender.poll()
            tell(f"filling the log with {events:,} events", done / events)
    sender.flush()
    sender.close()
    return time.monotonic() - began


def _first_slice(stand: Stand, metering: Sequence[WorkerKind]) -> float:
    """Start the metering workers; return when the first slice was on the broker."""
    around, name = stand.around, stand.around.stack.topic(USAGE_METERED)
    ends = log_ends(around.kafka, name, around.partitions)
    reader = MeteredReader(around.kafka, name, {p: end for p, (_, end) in enumerate(ends)})
    try:
        reader.read(1, 1.0)  # what it has before they start: nothing
        stand.start(*metering)
        deadline = time.monotonic() + _FIRST_SLICE_WAIT_S
        while not reader.read(1, 0.5):
            stand.check()
            if time.monotonic() > deadline:
                raise ServerFailed("the metering workers send no slice")
        return time.monotonic()
    finally:
        reader.close()


def stored_bytes(stand: Stand) -> dict[str, int]:
    """Return the bytes of each topic on the way, as the broker keeps them."""
    home, stack = stand.around.settings.home, stand.around.stack
    return {topic.name: log_bytes(home, stack.topic(topic)) for topic in _TOPICS}
