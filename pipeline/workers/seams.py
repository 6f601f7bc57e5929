"""Seams: what workers ask of the log, of claims and of the machine they run on.

Owns: the Protocols.  Does not own: how (stores/kafka.py, stores/claims.py; the simulation).
What one worker alone asks of the database stands as a Protocol in that worker's module.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import ParamSpec, Protocol, TypeVar

from pipeline.catalog.facts import Fact, NewFact
from pipeline.core.calendar import Instant
from pipeline.dedupe.claims import Behind, Delivery, Judged
from pipeline.stores.kafka import LogRecord
from pipeline.stores.postgres.facts import Author

P = ParamSpec("P")
T = TypeVar("T")


class Follower(Protocol):
    """Follows partitions of a topic from given offsets on."""

    def read(self, count_max: int, wait_s: float) -> list[tuple[int, int, bytes]]:
        """Return up to `count_max` records as (partition, offset, value)."""
        ...

    def close(self) -> None: ...


class FactWriter(Protocol):
    """Writes what `decide` makes of all facts so far, under the lock that hands serials out."""

    def append_facts(
        self,
        decide: Callable[[Sequence[Fact]], Sequence[NewFact]],
        author: Author,
        now: Instant,
    ) -> list[Fact]: ...


class Log(Protocol):
    """Topics, read beside any consumer group."""

    def topic_id(self, name: str) -> str: ...

    def ends(self, name: str, partitions: int) -> list[tuple[int, int]]:
        """Return (first offset kept, next offset) of each partition."""
        ...

    def read_range(self, name: str, partition: int, start: int, end: int) -> Iterator[LogRecord]:
        """Yield the records with start <= offset < end; a missing offset breaks an invariant."""
        ...

    def follow(self, name: str, starts: Mapping[int, int]) -> Follower: ...


class Writer(Protocol):
    """Writes records and says when every one was acked."""

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        event_count: int | None = None,
    ) -> None: ...

    def flush(self) -> None:
        """Wait until everything sent was acked.

        Raises:
            ServerFailed: something was not.

        """
        ...


class ClaimStore(Protocol):
    """Claims. Calls may overlap: they run and answer in the order they were made."""

    async def begin(
        self, partition: int, delivery: Delivery
    ) -> "asyncio.Future[Judged | Behind]": ...

    async def claim(self, partition: int, delivery: Delivery) -> Judged | Behind: ...

    async def start_at(self, partition: int, offset: int) -> None: ...

    async def drop(self, partition: int, generations: Iterable[int]) -> None: ...


class Sender(Protocol):
    """Sends records in order, many in flight."""

    async def send(
        self, topic: str, partition: int, value: bytes, *, key: bytes | None = None
    ) -> Awaitable[object]:
        """Send one record and return what is done once the broker has it."""
        ...


class Blocking(Protocol):
    """Runs a call that blocks without holding up the line."""

    async def __call__(
        self, call: Callable[P, T], /, *arguments: P.args, **named: P.kwargs
    ) -> T: ...
