"""The load: packed batches as agents send them, made by numpy, told to the oracle.

Owns: who uses what when, resent keys, resent batches.
Does not own: sending (stand.py), what must come of it (expected.py).
Law: one seed, one load, but for the instants it starts and ends at.

Keyed: of every 100 events one is a copy of an earlier one, of this batch or of one before it.
Sequenced: of every 100 batches one is an earlier one, to the byte.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.bench.expected import Expected
from pipeline.bench.shop import METER
from pipeline.collect.batch import MeterScale, Mode, UsageBatch
from pipeline.core.calendar import Instant
from pipeline.core.identity import partition_of
from pipeline.stores.codec import encode_batch

_EVENT = np.dtype(
    [("key", "<u8", 2), ("print", "<u4"), ("who", "<i8"), ("time", "<i8"), ("value", "<i8")]
)
Events = NDArray[np.void]
NO_EVENTS: Events = np.empty(0, _EVENT)

_VALUE_MAX = 1_000_000
_RESENT = 100
"""One of so many is sent twice."""
_RESENT_AT = 6
"""The first batch that is: the shortest load has one."""
_SEEN_EACH, _SEEN_MAX = 64, 4096
_RECENT_BATCHES = 4
_PRODUCERS = 4
_WARM_UP_BATCHES = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """What a load is like. `batch_customers`: a batch has only so many, neighbours; 0: any."""

    mode: Mode
    series: int
    partitions: int
    batch_events: int
    batch_customers: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A message to send: `fresh` are its events that must count."""

    partition: int
    event_count: int
    message: bytes
    fresh: Events


@dataclass(slots=True)
class Lane:
    """One partition's part of the load; `numbers` are the series that live there."""

    shape: Shape
    expected: Expected
    partition: int
    numbers: NDArray[np.int64]
    names: list[str]
    random: np.random.Generator
    _seen: Events = field(default_factory=lambda: NO_EVENTS)
    _recent: list[Made] = field(default_factory=list)
    _next: list[int] = field(default_factory=lambda: [0] * _PRODUCERS)
    _batches: int = 0

    def make(self, times: NDArray[np.int64]) -> Made:
        """Return the next message, of events at these times."""
        self._batches += 1
        again = self._recent[0] if self._recent and self._batches % _RESENT == _RESENT_AT else None
        if again is not None and again.event_count == len(times):
            made = Made(self.partition, again.event_count, again.message, again.fresh[:0])
        else:
            made = self._pack(times)
        fresh = made.fresh
        self.expected.hears(
            self.numbers[fresh["who"]], fresh["time"], fresh["value"], made.event_count - len(fresh)
        )
        return made

    def _pack(self, times: NDArray[np.int64]) -> Made:
        events = self._events(times)
        keyed = self.shape.mode is Mode.KEYED
        fresh = self._resend(events) if keyed else np.ones(len(events), np.bool_)
        customers, index = np.unique(events["who"], return_inverse=True)
        producer, first = "", 0
        if not keyed:
            place = self._batches % _PRODUCERS
            producer, first = f"bench-{place}", self._next[place]
            self._next[place] += len(events)
        batch = UsageBatch(
            mode=self.shape.mode,
            producer=producer,
            epoch="" if keyed else "epoch-1",
            first_sequence=first,
            gate_pass="",
            event_count=len(events),
            end=False,
            customers=[self.names[who] for who in customers.tolist()],
            meters=[MeterScale(METER, 0)],
            dimensions=[{}],
            key=events["key"].tobytes() if keyed else b"",
            fingerprint=events["print"].tobytes() if keyed else b"",
            customer_index=index.astype("<u2").tobytes(),
            meter_index=bytes(2 * len(events)),
            dimensions_index=bytes(2 * len(events)),
            time=events["time"].tobytes(),
            mantissa=events["value"].tobytes(),
        )
        made = Made(self.partition, len(events), encode_batch(batch), events[fresh])
        if not keyed:
            self._recent = [*self._recent, made][-_RECENT_BATCHES:]
        return made

    def _events(self, times: NDArray[np.int64]) -> Events:
        """Return new events: everybody alike, or neighbours only."""
        random, count, size = self.random, len(times), len(self.numbers)
        few = min(self.shape.batch_customers or size, size)
        events = np.empty(count, _EVENT)
        events["key"] = random.integers(0, 1 << 64, (count, 2), np.uint64)
        events["print"] = random.integers(0, 1 << 32, count, np.uint32)
        events["who"] = (random.integers(size) + random.integers(0, few, count)) % size
        events["time"] = times
        events["value"] = random.integers(1, _VALUE_MAX, count)
        return events

    def _resend(self, events: Events) -> NDArray[np.bool_]:
        """Copy earlier events over some of the second half; return which are not copies."""
        fresh = np.ones(len(events), np.bool_)
        half, count = len(events) // 2, len(events) // _RESENT
        pool = np.concatenate((events[:half], self._seen))
        if count and len(pool):
            slots = half + self.random.choice(len(events) - half, count, replace=False)
            events[slots] = pool[self.random.integers(0, len(pool), count)]
            fresh[slots] = False
        step = max(1, half // _SEEN_EACH)
        self._seen = np.concatenate((events[:half:step], self._seen))[:_SEEN_MAX]
        return fresh


class Load:
    """Every partition's lane."""

    def __init__(self, shape: Shape, customers: Sequence[str], expected: Expected) -> None:
        """Send each customer home."""
        homes: list[list[int]] = [[] for _ in range(shape.partitions)]
        for number, name in enumerate(customers):
            homes[partition_of(name, shape.partitions)].append(number)
        self._shape = shape
        self.lanes = [
            Lane(
                shape,
                expected,
                partition,
                np.array(numbers, np.int64),
                [customers[number] for number in numbers],
                np.random.default_rng(partition),
            )
            for partition, numbers in enumerate(homes)
            if numbers
        ]

    @property
    def warm_up_events(self) -> int:
        """How many events the path is warmed up with: some batches in every partition."""
        return _WARM_UP_BATCHES * self._shape.batch_events * len(self.lanes)

    def split(self, events: int) -> list[int]:
        """Return each lane's part of so many events: every series has as much as another."""
        edges = np.cumsum([0, *(len(lane.numbers) for lane in self.lanes)])
        return [int(part) for part in np.diff(events * edges // edges[-1])]

    def batches(self, events: int, start: Instant, end: Instant) -> Iterator[Made]:
        """Yield so many events; in each partition their times run from start to end."""
        size = self._shape.batch_events
        plan = []
        for lane, count in zip(self.lanes, self.split(events), strict=True):
            for first in range(0, count, size):
                last = min(first + size, count)
                plan.append((last / count, lane.partition, lane, first / count, last - first))
        for until, _, lane, since, count in sorted(plan, key=lambda step: step[:2]):
            low, high = (start + int((end - start) * part) for part in (since, until))
            yield lane.make(np.sort(lane.random.integers(low, max(high, low + 1), count)))
