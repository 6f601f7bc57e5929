"""Raw usage in memory: the topic, and how a collector reads it and sends what it packed.

Owns: messages and what their senders meant, acks that come later or never, buffers that die.
Does not own: the collector (workers/collector.py), what must become of messages (collected.py).
Law: as the real ones: a partition is read in order, its writes arrive in order, and what was sent
may arrive though its sender died.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.collect.batch import UsageBatch
from pipeline.collect.event import UsageEvent
from pipeline.collect.letters import Headers
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import ServerFailed
from pipeline.simulate.log import Kept, MemoryTopics
from pipeline.simulate.world import Runner, World
from pipeline.stores.records import open_message

_STALLS = 8
"""How many times likelier than elsewhere a collector stands still where another overtakes it."""
_READ_MAX = 6
_WAITS_MAX = 60


@dataclass(frozen=True, slots=True)
class RawKept:
    """One raw message, and the event that its sender meant; None: nobody can read it."""

    value: bytes | None
    headers: Headers
    event: UsageEvent | None


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A message as a collector reads it."""

    kept: RawKept
    place: tuple[int, int]

    def partition(self) -> int:
        """Return its partition."""
        return self.place[0]

    def offset(self) -> int:
        """Return its offset."""
        return self.place[1]

    def value(self) -> bytes | None:
        """Return its value."""
        return self.kept.value

    def headers(self) -> Headers:
        """Return its headers."""
        return self.kept.headers


@dataclass(slots=True)
class MemorySource:
    """Follows partitions of raw usage from given offsets."""

    world: World
    process: Runner
    topic: Sequence[Sequence[RawKept]]
    positions: dict[int, int]

    def read(self, count_max: int, wait_s: float) -> list[RawMessage]:
        """Return some of what is there, without waiting."""
        del wait_s
        self.world.effect(self.process, "read raw", stalls=_STALLS)
        found: list[RawMessage] = []
        for partition, start in sorted(self.positions.items()):
            count = self.process.random.randint(0, min(count_max, _READ_MAX))
            kept = self.topic[partition][start : start + count]
            found += [RawMessage(each, (partition, start + at)) for at, each in enumerate(kept)]
            self.positions[partition] += len(kept)
        return found

    def pause(self, partition: int) -> None:
        """Read nothing more of a partition."""
        self.positions.pop(partition, None)


@dataclass(slots=True)
class MemorySink:
    """The sure producer of a collector; `noted` hears of every batch before it is sent."""

    world: World
    process: Runner
    topics: MemoryTopics
    noted: Callable[[bytes, UsageBatch], None]
    _busy: dict[tuple[str, int], Instant] = field(default_factory=dict)
    _broken: set[tuple[str, int]] = field(default_factory=set)
    _acked: list[Callable[[], None]] = field(default_factory=list)
    _in_flight: int = 0
    _failed: bool = False

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        event_count: int | None = None,
        acked: Callable[[], None] = lambda: None,
    ) -> None:
        """Queue one record; `acked` is called once it arrived and somebody looks."""
        del key
        self.world.effect(self.process, "send batch", stalls=_STALLS)
        batch = open_message(value)
        if isinstance(batch, UsageBatch):
            self.noted(value, batch)
        lane, random = (topic, partition), self.process.random
        arrives = max(self.world.now, self._busy.get(lane, 0)) + random.randint(1, SECOND // 2)
        self._busy[lane] = arrives
        self._in_flight += 1
        lost, never = (self.process.chance(self.world.chances.lost_ack) for _ in range(2))

        def arrive() -> None:
            died = not self.process.alive and self.process.chance(0.5)
            if died or never:  # and all behind it
                self._broken.add(lane)
            self._failed |= lost or never
            if lane not in self._broken:
                self.topics.append(topic, partition, Kept(value, event_count))
                self._in_flight -= 1
                if not lost:
                    self._acked.append(acked)

        self.world.at(arrives, None, arrive)

    def poll(self, wait_s: float = 0.0) -> None:
        """Take acknowledgements.

        Raises:
            ServerFailed: the broker did not say that it took something.

        """
        if wait_s:
            self.world.wait(self.process, wait_s)
        acked, self._acked = self._acked, []
        for call in acked:
            call()
        if self._failed:
            raise ServerFailed("Kafka did not take a batch, or did not say so")

    def flush(self) -> None:
        """Wait until everything sent was acked.

        Raises:
            ServerFailed: something was not.

        """
        for _ in range(_WAITS_MAX):
            self.poll(1.0)
            if not self._in_flight:
                return
        raise ServerFailed("Kafka takes nothing")
