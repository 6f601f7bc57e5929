"""The load of mode raw: single events in JSON, drained by the collector and by all behind it.

Owns: the events, one a message as any client writes it, and the drain through two doors.
Does not own: what must come of them (expected.py), the drain of packed batches (drain.py).
Law: as for every drain: no figure leaves here before totals were held against the oracle, and
before the collector's own equation closes with nothing pending.

    workers start -> a warm-up goes all the way -> collectors stand still -> raw usage is filled
    -> collectors go on .. the last stand is at the end = collected_s .. in the books = seconds
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.bench.drain import Drained, cpu_seconds_since, start_workers, stored_bytes
from pipeline.bench.expected import Expected
from pipeline.bench.kept import what_is_kept
from pipeline.bench.probes import cpu_seconds, peak_rss_mb
from pipeline.bench.shop import METER
from pipeline.bench.stand import Stand, Tell
from pipeline.core.calendar import Instant
from pipeline.core.errors import CheckFailed, ServerFailed
from pipeline.replay.audit import total
from pipeline.stores.kafka import SureProducer
from pipeline.stores.postgres.collecting import load_stands
from pipeline.stores.raw import raw_ends
from pipeline.topology import USAGE_RAW
from pipeline.workers.collected import collection
from pipeline.workers.supervisor import WorkerKind

_CHUNK = 10_000
_WARM_UP_EVENTS = 10_000
_RESENT = 100
"""One of so many is sent twice."""
_VALUE_MAX = 1_000_000
_LINGER_MS = 20
_POLL_S = 0.02
_PATIENCE_S = 120.0


@dataclass(slots=True)
class RawLoad:
    """Events of everybody, told to the oracle as they are made."""

    customers: Sequence[str]
    expected: Expected
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    _made: int = 0

    def make(self, count: int, start: Instant, end: Instant) -> list[bytes]:
        """Return so many messages of [start, end); the last of every hundred repeats the first."""
        who = self.random.integers(0, len(self.customers), count)
        times = np.sort(self.random.integers(start, end, count))
        values = self.random.integers(1, _VALUE_MAX, count)
        texts = np.datetime_as_string(times.astype("datetime64[us]"), unit="us").tolist()
        names, figures, found = self.customers, values.tolist(), []
        for place, number in enumerate(who.tolist()):
            found.append(
                b'{"specversion":"1.0","type":"usage","id":"event-%d","source":"bench","time":"%sZ",'
                b'"data":{"customer":"%s","meter":"%s","value":"%d"}}'
                % (
                    self._made + place,
                    texts[place].encode(),
                    names[number].encode(),
                    METER.encode(),
                    figures[place],
                )
            )
        fresh = np.ones(count, np.bool_)
        for last in range(_RESENT - 1, count, _RESENT):
            found[last], fresh[last] = found[last - _RESENT + 1], False
        self._made += count
        self.expected.hears(who[fresh], times[fresh], values[fresh], int(count - fresh.sum()))
        return found


def drain_raw(
    stand: Stand,
    load: RawLoad,
    events: int,
    times: tuple[Instant, Instant],
    workers: Sequence[WorkerKind],
    tell: Tell,
) -> Drained:
    """Measure the drain of single `events` that happened between two `times`."""
    start_workers(stand, workers, tell)
    _fill(stand, load, _WARM_UP_EVENTS, times, tell)
    _await_collected(stand, 0, _WARM_UP_EVENTS, tell)
    stand.settle()
    stored = stored_bytes(stand)
    with stand.frozen("collector"):
        produce_s = _fill(stand, load, events, times, tell)
        tell(f"draining {events:,} events", None)
        spent, started = cpu_seconds(stand.pids()), time.monotonic()
    with stand.watched() as memory:
        collected = _await_collected(stand, _WARM_UP_EVENTS, events, tell)
        booked = stand.await_booked(stand.ends(), lambda part: tell("booking the rest", part))
        drafted = stand.await_drafted()
    cpu_s = cpu_seconds_since(stand, spent)
    stand.check()
    tell("comparing totals with the oracle", None)
    load.expected.check(stand.connection)
    _check_collected(stand, _WARM_UP_EVENTS + events)
    return Drained(
        events=events,
        warm_up_events=_WARM_UP_EVENTS,
        produce_s=produce_s,
        seconds=booked - started,
        drafted_s=drafted - started,
        cpu_s=cpu_s,
        rss_mb=peak_rss_mb(stand.pids()),
        rss_thirds_mb=memory.thirds_mb(),
        broker_bytes={name: size - stored[name] for name, size in stored_bytes(stand).items()},
        kept=what_is_kept(stand),
        collected_s=collected - started,
    )


def _fill(
    stand: Stand, load: RawLoad, events: int, times: tuple[Instant, Instant], tell: Tell
) -> float:
    """Send the events to any partition; return the seconds it took to make and send them."""
    began, name = time.monotonic(), stand.around.stack.topic(USAGE_RAW)
    producer = SureProducer(stand.around.kafka, compression="lz4", linger_ms=_LINGER_MS)
    start, end = times
    for done in range(0, events, _CHUNK):
        count = min(_CHUNK, events - done)
        since = start + (end - start) * done // events
        until = start + (end - start) * (done + count) // events
        for number, message in enumerate(load.make(count, since, max(until, since + 1))):
            producer.send(name, number % stand.around.partitions, message)
        producer.poll()
        tell(f"filling the topic with {events:,} events", (done + count) / events)
    producer.flush()
    return time.monotonic() - began


def _await_collected(stand: Stand, before: int, events: int, tell: Tell) -> float:
    """Return when the collectors' stands had stepped over so many `events` more than `before`."""
    deadline, seen = time.monotonic() + _PATIENCE_S, 0
    while True:
        done = sum(s.collected + s.rejected for s in load_stands(stand.connection)) - before
        now = time.monotonic()
        if done > seen:
            seen, deadline = done, now + _PATIENCE_S
            tell(f"collecting {events:,} events", done / events)
        if done >= events:
            return now
        stand.check()
        if now > deadline:
            raise ServerFailed(f"the collectors stand still at {done} of {events} events")
        time.sleep(_POLL_S)


def _check_collected(stand: Stand, events: int) -> None:
    around = stand.around
    counts = total(collection(around, lambda _done, _of: None))
    ends = sum(
        end for _, end in raw_ends(around.kafka, around.stack.topic(USAGE_RAW), around.partitions)
    )
    expected = {"offered": events, "collected": events, "rejected": 0, "pending": 0}
    if counts != expected or ends != events:
        raise CheckFailed(f"raw usage: {expected} was sent, the collector says {counts}")
