"""The consumer group: plays Kafka's coordinator and Faust for the metering line.

Owns: which member has which partition, where each reads on, which commits count.
Does not own: the line (workers/metering.py), when members come and go (play.py).
Law: at least once, and no more: what was not committed is delivered again, to whoever has the
partition then; a member that lost it goes on with what lies in its buffer.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.core.calendar import SECOND, Instant
from pipeline.simulate.log import Headers, MemoryTopics
from pipeline.simulate.world import SESSION_S, Runner, World
from pipeline.workers.metering import MeteringLine

_BUFFER = 8
_IDLE_S = 0.2


@dataclass(frozen=True, slots=True)
class Message:
    """What Faust knows of a record."""

    partition: int
    offset: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivery of a record of the usage log; `term` is the group's when it was fetched."""

    value: bytes
    message: Message
    term: int


@dataclass(slots=True, eq=False)
class Member:
    """One metering process in the group. `positions`: where it reads on, by partition."""

    process: Runner
    line: MeteringLine
    term: int = 0
    positions: dict[int, int] = field(default_factory=dict)
    buffer: deque[Delivered] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class Ack:
    """An ack: of what, by whom in which term, and how many slices there were by then."""

    partition: int
    offset: int
    slices_there: int
    by: Member
    term: int


@dataclass(slots=True)
class Group:
    """The members and what they committed. `slices` is the topic that acks promise."""

    world: World
    topics: MemoryTopics
    name: str
    slices: str
    partitions: int
    committed: dict[int, int] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    term: int = 0
    acked: list[Ack] = field(default_factory=list)

    async def serve(self, member: Member, die: Callable[[], None]) -> None:
        """Deliver to a member until it dies."""
        try:
            await member.line.start(Stream(self, member))
            while True:
                self._fetch(member)
                if member.buffer:
                    await member.line.take(member.buffer.popleft())
                else:
                    await asyncio.sleep(_IDLE_S * self.world.pace)
        except asyncio.CancelledError:
            raise
        except BaseException:
            die()

    def _fetch(self, member: Member) -> None:
        """Fill the buffer from a partition that the member has."""
        if member.buffer or member.term != self.term:
            return
        behind = [
            number
            for number in sorted(member.positions)
            if member.positions[number] < len(self.topics.records[self.name, number])
        ]
        if not behind:
            return
        random = member.process.random
        number = random.choice(behind)
        start = member.positions[number]
        count = random.randint(1, _BUFFER)
        records = self.topics.records[self.name, number][start : start + count]
        for offset, kept in enumerate(records, start):
            message = Message(number, offset, kept.headers)
            member.buffer.append(Delivered(kept.value, message, member.term))
        member.positions[number] += len(records)

    def rebalance(self) -> None:
        """Share the partitions out anew among those who are heard of."""
        world = self.world
        world.counted["rebalances"] += 1
        self.term += 1
        world.note("rebalance", self.term)
        self.members = [member for member in self.members if member.process.alive]
        heard = [m for m in self.members if m.process.stalled_until <= world.now]
        random = world.streams.of("group")
        owners = {n: random.choice(heard) for n in range(self.partitions)} if heard else {}
        for member in heard:
            kept = member.positions
            member.term = self.term
            idle = not member.buffer  # else it would go on behind what lies in its buffer
            if random.random() < 0.5:
                member.buffer.clear()
            member.positions = {}
            for number in [n for n, owner in owners.items() if owner is member]:
                stays = number in kept and idle and random.random() < 0.5
                committed = self.committed.get(number, 0)
                member.positions[number] = kept[number] if stays else committed

    def join(self, member: Member) -> None:
        """Take a member in; share out anew now, and when it is missed."""
        self.members.append(member)
        member.process.on_stall.append(self.lose_sight)
        member.process.on_death.append(lambda: self.world.after(SESSION_S, None, self.rebalance))
        self.world.after(member.process.random.randint(0, 3), None, self.rebalance)

    def lose_sight(self, time_us: Instant) -> None:
        """Share out anew while a member stands still, if that lasts, and once it is back."""
        world = self.world
        if time_us > SESSION_S * SECOND:
            world.at(world.now + SESSION_S * SECOND, None, self.rebalance)
        world.at(world.now + time_us + 1, None, self._welcome)

    def _welcome(self) -> None:
        """Share out anew if somebody is back who had no share."""
        if any(member.process.alive and member.term != self.term for member in self.members):
            self.rebalance()

    def rewind(self, partition: int, offset: int) -> None:
        """Set a partition back to an offset, with nobody reading meanwhile."""
        self.world.counted["rewinds"] += 1
        self.rebalance()
        self.committed[partition] = offset
        for member in self.members:
            if partition in member.positions:
                member.positions[partition] = offset

    def commit(self, event: Delivered, member: Member) -> None:
        """Take a commit, unless the member has lost the partition meanwhile."""
        if event.term == self.term and event.message.partition in member.positions:
            self.committed[event.message.partition] = event.message.offset + 1


@dataclass(slots=True)
class Stream:
    """What the line acks to. Commits follow later, or never."""

    group: Group
    member: Member

    async def ack(self, event: Delivered) -> None:
        """Take an ack."""
        world = self.group.world
        process = self.member.process
        world.effect(process, "ack")
        partition, offset = event.message.partition, event.message.offset
        there = len(self.group.topics.records[self.group.slices, partition])
        self.group.acked.append(Ack(partition, offset, there, self.member, event.term))
        if process.chance(0.4):
            pause = process.random.random() / 4
            world.after(pause, None, lambda: self.group.commit(event, self.member))
