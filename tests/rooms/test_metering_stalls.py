"""Backpressure: whose books stand still waits alone, and goes on once they do."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.book.booking import Cursor
from pipeline.settings import Settings
from pipeline.workers.holding import Holding, Resumed
from pipeline.workers.metering import Machine, MeteringLine

STALLED, MOVING = 0, 1
LEAD = 2


@dataclass
class Books:
    """Where they stand; those of MOVING go on by one at every look."""

    at: dict[int, int] = field(default_factory=lambda: {STALLED: 0, MOVING: 0})

    def cursor(self, partition: int) -> Cursor:
        if partition == MOVING:
            self.at[partition] += 1
        return Cursor(partition, self.at[partition])

    def poll(self) -> None: ...


class NoPause:
    """Nothing is paused."""

    def holds(self, partition: int, offset: int) -> bool:
        return False

    def poll(self) -> None: ...


async def at_once(call: Any, /, *arguments: Any, **named: Any) -> Any:
    return call(*arguments, **named)


def line_of(books: Books) -> MeteringLine:
    settings = Settings(home=Path("nowhere"), metering_lead=LEAD, books_wait_s=0.1)
    around = cast(Any, SimpleNamespace(settings=settings, stack=settings.stack))
    holding = cast(Holding, NoPause())
    return MeteringLine(
        around, cast(Any, 0), cast(Any, 0), cast(Any, 0), cast(Any, books), holding, machine()
    )


def machine() -> Machine:
    return Machine(blocking=cast(Any, at_once))


def run(coroutine: Coroutine[Any, Any, bool | None]) -> bool | None:
    return asyncio.run(coroutine)


def test_books_that_move_are_waited_for() -> None:
    assert run(line_of(Books())._stalls(MOVING, 5)) is False


def test_books_that_stand_still_hold_their_partition_alone() -> None:
    line = line_of(Books())

    assert run(line._stalls(STALLED, LEAD)) is False
    assert run(line._stalls(STALLED, LEAD + 1)) is True
    assert run(line._stalls(STALLED, LEAD)) is True  # what comes behind waits too
    assert run(line._stalls(MOVING, 4)) is False


def test_once_they_move_the_worker_begins_anew() -> None:
    books = Books()
    line = line_of(books)
    run(line._stalls(STALLED, LEAD + 1))
    run(line._poll())
    books.at[STALLED] += 1

    with pytest.raises(Resumed, match="partition 0 is booked again"):
        run(line._poll())
