"""Laws of ticks: whatever clocks do and whenever tickers die, every partition tells one time.

The tickers are the real ones; the rows of ticks and the log are lists. A ticker may die or stall
between any two sends; what a stalled one had under way arrives when nobody expects it any more.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import HOUR, T0, ground
from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import ServerFailed
from pipeline.meter.place import Place, Told, look
from pipeline.meter.ticks import Tick
from pipeline.settings import Settings
from pipeline.stores.postgres.database import Database
from pipeline.stores.records import open_message
from pipeline.topology import Stack
from pipeline.workers.surroundings import Surroundings
from pipeline.workers.ticker import Ticker, wait_s

PARTITIONS = 3
YEAR = 365 * 24 * HOUR
AROUND = Surroundings("", "", Database("", ""), Stack(), PARTITIONS, Settings(home=Path("nowhere")))


@dataclass
class World:
    """The rows, the log, and who leads."""

    rows: list[Tick] = field(default_factory=list)
    acked: set[int] = field(default_factory=set)
    log: list[list[bytes]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    late: list[tuple[int, bytes]] = field(default_factory=list)
    leader: object | None = None


@dataclass(eq=False)
class Lines:
    """A session and a producer of one ticker; `sends_left` until it dies or stalls."""

    world: World
    stalls: bool = False
    sends_left: int = 1 << 30

    def try_lead(self) -> bool:
        if self.world.leader is None:
            self.world.leader = self
        return self.world.leader is self

    def fact_head(self) -> tuple[int, int]:
        return 1, 1

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        raise AssertionError("every fact is mirrored")

    def mark_mirrored(self, serial: int) -> None:
        raise AssertionError("every fact is mirrored")

    def write_tick(self, clock: Instant, partitions: int) -> Tick | None:
        self._must_lead()
        assert partitions == PARTITIONS
        last = self.world.rows[-1] if self.world.rows else Tick(0, 0, 0)
        self.world.rows.append(Tick(last.serial + 1, max(clock, last.time + 1), 1))
        return self.world.rows[-1]

    def unacked_ticks(self) -> list[Tick]:
        return [tick for tick in self.world.rows if tick.serial not in self.world.acked]

    def mark_acked(self, serials: Iterable[int]) -> None:
        self._must_lead()
        self.world.acked.update(serials)

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        event_count: int | None = None,
    ) -> None:
        assert event_count == 0
        if self.sends_left:
            self.sends_left -= 1
            self.world.log[partition].append(value)
        elif self.stalls:
            self.world.late.append((partition, value))

    def flush(self) -> None:
        if not self.sends_left:
            self.world.leader = None  # its session ends with it, or by its silence
            raise ServerFailed("dead")

    def _must_lead(self) -> None:
        if self.world.leader is not self:
            raise ServerFailed("the session is gone")


@dataclass
class Clock:
    now: Instant = T0

    def __call__(self) -> Instant:
        return self.now


Act = Callable[[World, Clock, Random], None]

jumps = st.sampled_from(
    [0, 1, SECOND, 5 * SECOND, -5 * SECOND, HOUR, -HOUR, YEAR, -YEAR, -50 * YEAR]
)
lives = st.tuples(st.booleans(), st.integers(0, 8), st.lists(jumps, max_size=5))
"""Whether a ticker stalls rather than dies, after how many sends, how its clock goes."""


def live(world: World, clock: Clock, life: tuple[bool, int, list[int]]) -> None:
    """Lead and tick until dead, or until the last jump."""
    stalls, sends, moves = life
    lines = Lines(world, stalls, sends)
    ticker = Ticker(AROUND, lines, lines, clock)
    try:
        assert ticker.try_lead()
        for move in moves:
            clock.now += move
            ticker.tick()
    except ServerFailed:
        pass
    world.leader = None


def arrive(world: World, chance: Random) -> None:
    """Let some of what stalled tickers had under way come through."""
    for late in list(world.late):
        if chance.random() < 0.5:
            world.late.remove(late)
            world.log[late[0]].append(late[1])


@settings(max_examples=150)
@given(st.lists(lives, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_every_partition_tells_every_tick_once_in_order(
    story: list[tuple[bool, int, list[int]]], chance: Random
) -> None:
    world, clock = World(), Clock()
    for life in story:
        live(world, clock, life)
        arrive(world, chance)
    live(world, clock, (False, 1 << 30, [0]))
    arrive(world, chance)

    times = [tick.time for tick in world.rows]
    assert [tick.serial for tick in world.rows] == list(range(1, len(world.rows) + 1))
    assert times == sorted(set(times))
    assert world.acked == {tick.serial for tick in world.rows}
    for messages in world.log:
        assert told(messages, world.rows) == world.rows


def told(messages: list[bytes], rows: list[Tick]) -> list[Tick]:
    """Walk a partition as every reader does; return the ticks that moved its time."""
    place, passed = Place(0, 0), []
    by_serial: dict[int, Tick | None] = {tick.serial: tick for tick in rows}
    for message in messages:
        arrival = place.arrival(0, bytes(16))
        looked = look(open_message(message), arrival, ground(), by_serial)
        assert isinstance(looked, Told)
        assert not looked.refusals
        assert looked.piece.log_time >= place.log_time  # time never turns back
        if looked.piece.tick is not None:
            passed.append(looked.piece.tick)
        place.pass_message(looked, claimed=False)
    return passed


def test_two_tickers_at_once_are_one() -> None:
    world, clock = World(), Clock()
    one, other = Lines(world), Lines(world)
    first, second = Ticker(AROUND, one, one, clock), Ticker(AROUND, other, other, clock)

    assert first.try_lead()
    assert not second.try_lead()
    first.tick()
    with pytest.raises(ServerFailed):
        second.tick()
    assert [len(messages) for messages in world.log] == [1] * PARTITIONS


@pytest.mark.parametrize(
    ("passed", "waits"),
    [
        (0, 5.0),
        (2 * SECOND, 3.0),
        (5 * SECOND, 0.0),
        (HOUR, 0.0),  # forward: the next tick is due
        (50 * YEAR, 0.0),
        (-1, 5.0),
        (-HOUR, 5.0),  # back: never longer than an interval, or facts would wait an hour
        (-50 * YEAR, 5.0),
    ],
)
def test_a_clock_that_jumps_never_keeps_the_next_tick_waiting(passed: int, waits: float) -> None:
    assert wait_s(5.0, T0, T0 + passed) == waits
