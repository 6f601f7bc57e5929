"""The log in memory: topics, and how processes read and write them.

Owns: records in order, acks that are lost, records sent twice.
Does not own: who reads what from where (group.py).
Law: as the real one: offsets are contiguous, one writer's records of a partition keep their
order, and a record whose ack was lost is there all the same.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import BrokenInvariant, ServerFailed
from pipeline.simulate.loop import SimulatedLoop
from pipeline.simulate.world import Runner, World
from pipeline.stores.kafka import LogRecord
from pipeline.topology import EVENT_COUNT_HEADER

Headers = list[tuple[str, bytes | None]]


class Deadly(Exception):
    """What whoever looks into a poison message dies of."""


class Poison(bytes):
    """A message that kills who looks into it, until the code is `mended`."""

    mended = False

    def __len__(self) -> int:
        """Return its length, which is the first that a reader asks.

        Raises:
            Deadly: the code is not mended.

        """
        if not self.mended:
            raise Deadly
        return bytes.__len__(self)

    def __bool__(self) -> bool:
        """Return that it is there."""
        return True


@dataclass(frozen=True, slots=True)
class Kept:
    """One record as it is kept."""

    value: bytes
    event_count: int | None = None

    @property
    def headers(self) -> Headers:
        """The headers it came with."""
        if self.event_count is None:
            return []
        return [(EVENT_COUNT_HEADER, str(self.event_count).encode())]


@dataclass(slots=True)
class MemoryTopics:
    """Every topic's records, by topic and partition."""

    records: dict[tuple[str, int], list[Kept]] = field(default_factory=lambda: defaultdict(list))

    def append(self, topic: str, partition: int, record: Kept) -> int:
        """Append a record and return its offset."""
        into = self.records[topic, partition]
        into.append(record)
        return len(into) - 1


@dataclass(slots=True)
class MemoryLog:
    """The log as one process reads it."""

    world: World
    process: Runner
    topics: MemoryTopics

    def topic_id(self, name: str) -> str:
        """Return a topic's id."""
        return f"id of {name}"

    def ends(self, name: str, partitions: int) -> list[tuple[int, int]]:
        """Return (first offset kept, next offset) of each partition."""
        self.world.effect(self.process, "read ends")
        return [(0, len(self.topics.records[name, number])) for number in range(partitions)]

    def read_range(self, name: str, partition: int, start: int, end: int) -> Iterator[LogRecord]:
        """Yield the records with start <= offset < end."""
        self.world.effect(self.process, "read range")
        found = self.topics.records[name, partition][start:end]
        if start < end and len(found) != end - start:
            raise BrokenInvariant(f"{name}[{partition}] ends before {end}")
        for offset, kept in enumerate(found, start):
            yield LogRecord(offset, kept.value, kept.event_count)

    def follow(self, name: str, starts: Mapping[int, int]) -> "MemoryFollower":
        """Return a reader of partitions from given offsets on."""
        return MemoryFollower(self, name, dict(starts))


@dataclass(slots=True)
class MemoryFollower:
    """Reads on, partition by partition."""

    log: MemoryLog
    name: str
    positions: dict[int, int]

    def read(self, count_max: int, wait_s: float) -> list[tuple[int, int, bytes]]:
        """Return some of what is there, without waiting."""
        del wait_s
        world = self.log.world
        world.effect(self.log.process, "follow")
        found: list[tuple[int, int, bytes]] = []
        for partition in sorted(self.positions):
            start = self.positions[partition]
            kept = self.log.topics.records[self.name, partition][start:]
            kept = kept[: self.log.process.random.randint(0, count_max - len(found))]
            found += [(partition, start + i, record.value) for i, record in enumerate(kept)]
            self.positions[partition] += len(kept)
        return found

    def close(self) -> None:
        """Leave."""


@dataclass(slots=True)
class MemoryWriter:
    """The sure writer of one process: its records come once, unless it dies or is not answered."""

    world: World
    process: Runner
    topics: MemoryTopics
    _queued: list[tuple[str, int, Kept]] = field(default_factory=list)

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        event_count: int | None = None,
    ) -> None:
        """Queue one record."""
        del key
        self._queued.append((topic, partition, Kept(value, event_count)))

    def flush(self) -> None:
        """Send what is queued; what fails in the middle may come or not.

        Raises:
            ServerFailed: an ack was lost.

        """
        lanes = _by_partition(self._queued)
        self._queued = []
        self.process.random.shuffle(lanes)
        for records in lanes:
            for record in records:
                self.world.effect(self.process, "write", stalls=True)
                self.topics.append(*record)
        if self.process.chance(self.world.chances.lost_ack):
            raise ServerFailed("Kafka did not say that it took the records")


def _by_partition(queued: list[tuple[str, int, Kept]]) -> list[list[tuple[str, int, Kept]]]:
    found: dict[tuple[str, int], list[tuple[str, int, Kept]]] = {}
    for record in queued:
        found.setdefault(record[:2], []).append(record)
    return list(found.values())


@dataclass(slots=True)
class MemorySender:
    """The line's producer: many in flight, resent until acked, so that some come twice."""

    world: World
    process: Runner
    topics: MemoryTopics
    loop: SimulatedLoop
    _busy: dict[tuple[str, int], Instant] = field(default_factory=dict)
    _broken: set[tuple[str, int]] = field(default_factory=set)

    async def send(
        self, topic: str, partition: int, value: bytes, *, key: bytes | None = None
    ) -> Awaitable[object]:
        """Send one record and return what is done once it was acked."""
        del key
        world, process, random = self.world, self.process, self.process.random
        world.effect(process, "send")
        acked: asyncio.Future[None] = self.loop.create_future()
        sent = max(world.now, self._busy.get((topic, partition), 0))
        arrives = sent + random.randint(1, SECOND // 2)
        self._busy[topic, partition] = arrives
        lost, never = (process.chance(world.chances.lost_ack) for _ in range(2))
        twice = process.chance(world.chances.repeated)

        def arrive() -> None:
            if not process.alive and process.chance(0.5):  # the rest of its buffer died too
                self._broken.add((topic, partition))
            if never or (topic, partition) in self._broken:
                world.at(arrives + SECOND // 5, process, answer)
                return
            for _ in range(1 + twice):
                self.topics.append(topic, partition, Kept(value))
            world.at(arrives + random.randint(1, SECOND // 5), process, answer)

        def answer() -> None:
            if not acked.done():
                failed = ServerFailed("a slice was not acked")
                acked.set_exception(failed) if lost or never else acked.set_result(None)

        world.at(arrives, None, arrive)  # what was sent arrives, though its sender die
        return acked
