"""Claims in memory: the rule itself behind a connection that is slow, fails and loses.

Owns: what Redis does beside the rule: watermarks that are absent, wiping, older saves.
Does not own: the rule (dedupe/claims.py; one contract suite holds both against Redis).
Law: commands of one connection run in the order they were sent; one that was sent may run though
nobody waits any more.
"""

import asyncio
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field

from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import BrokenInvariant, ServerFailed
from pipeline.dedupe.claims import Behind, ClaimBook, Delivery, Judged
from pipeline.simulate.loop import SimulatedLoop
from pipeline.simulate.world import Runner, World

_LATENCY_US = SECOND // 20


@dataclass(slots=True)
class MemoryRedis:
    """The server: a book of claims for each partition it has heard of."""

    books: dict[int, ClaimBook] = field(default_factory=dict)
    _saved: dict[int, ClaimBook] = field(default_factory=dict)

    def claim(self, partition: int, delivery: Delivery) -> Judged | Behind:
        """Judge a delivery.

        Raises:
            ServerFailed: a claim below the watermark is gone.

        """
        if partition not in self.books and delivery.after > 0:
            return Behind(-1)
        try:
            return self.books.setdefault(partition, ClaimBook()).claim(delivery)
        except BrokenInvariant as error:
            raise ServerFailed(f"Redis lost claims: {error}") from None

    def start_at(self, partition: int, offset: int) -> None:
        """Let claims be complete up to `offset` where the partition has no watermark."""
        self.books.setdefault(partition, ClaimBook(offset))

    def drop(self, partition: int, generations: Iterable[int]) -> None:
        """Forget generations of a partition."""
        if partition in self.books:
            self.books[partition].drop(max(generations, default=-1) + 1)

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget every claim of partitions, watermarks and all."""
        for partition in partitions:
            self.books.pop(partition, None)

    def save(self) -> None:
        """Keep a copy, as Redis does on its disk."""
        self._saved = deepcopy(self.books)

    def wipe(self) -> None:
        """Lose everything."""
        self.books = {}

    def roll_back(self) -> None:
        """Start again from the last copy."""
        self.books = deepcopy(self._saved)


@dataclass(slots=True)
class MemoryClaims:
    """The claims of one process, over one connection."""

    world: World
    process: Runner
    redis: MemoryRedis
    loop: SimulatedLoop
    _runs: Instant = 0
    _answers: Instant = 0

    async def begin(self, partition: int, delivery: Delivery) -> "asyncio.Future[Judged | Behind]":
        """Send a claim and return where its answer will be."""
        return self._sent("claim", lambda: self.redis.claim(partition, delivery))

    async def claim(self, partition: int, delivery: Delivery) -> Judged | Behind:
        """Judge a delivery."""
        return await (await self.begin(partition, delivery))

    async def start_at(self, partition: int, offset: int) -> None:
        """Let claims be complete up to `offset` (exclusive) where Redis is empty."""
        await self._sent("start", lambda: self.redis.start_at(partition, offset))

    async def drop(self, partition: int, generations: Iterable[int]) -> None:
        """Forget generations of a partition."""
        await self._sent("drop", lambda: self.redis.drop(partition, generations))

    def _sent(self, what: str, command: Callable[[], object]) -> "asyncio.Future[Judged | Behind]":
        """Send a command: it runs after those sent before, and is answered after them."""
        world = self.world
        world.effect(self.process, what)
        answer: asyncio.Future[object] = self.loop.create_future()
        random = self.process.random
        self._runs = max(self._runs, world.now) + random.randint(1, _LATENCY_US)
        self._answers = max(self._answers, self._runs) + random.randint(1, _LATENCY_US)
        answers, lost = self._answers, self.process.chance(world.chances.failure)

        def run() -> None:
            told: object = None
            try:
                told = ServerFailed("Redis went away") if lost else command()
            except ServerFailed as failed:
                told = failed
            world.at(answers, self.process, lambda: self._answer(answer, told))

        world.at(self._runs, None, run)
        return answer  # type: ignore[return-value]  # a claim's; nobody looks at the others'

    @staticmethod
    def _answer(answer: "asyncio.Future[object]", told: object) -> None:
        if isinstance(told, Exception):
            answer.set_exception(told)
        else:
            answer.set_result(told)
