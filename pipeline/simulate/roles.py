"""Roles: the workers of a stack, each started anew by a supervisor whenever it dies.

Owns: how each worker is put together over memory, and stepped.
Does not own: the workers themselves (workers), when faults come (play.py).
"""

import sys
from asyncio import sleep
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import ParamSpec, TypeVar

from pipeline.book.booking import Gap
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import ServerFailed
from pipeline.settings import Settings
from pipeline.simulate.claims import MemoryClaims, MemoryRedis
from pipeline.simulate.database import MemoryDatabase
from pipeline.simulate.decisions import HORIZON_S, TOLERANCE_S
from pipeline.simulate.group import Group, Member
from pipeline.simulate.log import Deadly, MemoryLog, MemorySender, MemoryTopics, MemoryWriter
from pipeline.simulate.loop import SimulatedLoop
from pipeline.simulate.papers_session import WorkerSession
from pipeline.simulate.raw import RawKept
from pipeline.simulate.shelves import MemoryOutlet, Shelves
from pipeline.simulate.world import Crashed, Runner, World
from pipeline.stores.postgres.database import Database
from pipeline.topology import Stack
from pipeline.workers.catchup import Catchup
from pipeline.workers.collector import Collector
from pipeline.workers.correcting import correct_late
from pipeline.workers.finalizer import Finalizer
from pipeline.workers.healing import GapKeeper
from pipeline.workers.holding import Holding, Resumed
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.matching import Matcher
from pipeline.workers.metering import Machine, MeteringLine
from pipeline.workers.pricing import PricingWorker
from pipeline.workers.publisher import Outlet, Publisher
from pipeline.workers.readmission import Readmission
from pipeline.workers.seams import ClaimStore, Sender
from pipeline.workers.surroundings import Surroundings
from pipeline.workers.ticker import Ticker
from pipeline.workers.turns import Turns

P = ParamSpec("P")
T = TypeVar("T")
Step = Callable[[], float]
"""Does one step and returns the seconds until the next."""

_EXPECTED = (Crashed, ServerFailed, Resumed, Deadly)
_FENCED = ("another worker books it", "another one reads it")
_WAIT_S = 0.2
_LATE_EVERY = 6
"""Idle rounds of a finalizer between two looks for late usage that no invoice will take along."""
_BUSY_S = 0.1
"""Who rests no longer than this has more to do."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What may be put in another way: a planted defect is another part."""

    redis: Callable[[], MemoryRedis] = MemoryRedis
    claims: Callable[[World, Runner, MemoryRedis, SimulatedLoop], ClaimStore] = MemoryClaims
    sender: Callable[[World, Runner, MemoryTopics, SimulatedLoop], Sender] = MemorySender
    session: type[WorkerSession] = WorkerSession
    line: type[MeteringLine] = MeteringLine
    holding: type[Holding] = Holding
    readmission: type[Readmission] = Readmission
    matcher: type[Matcher] = Matcher
    publisher: type[Publisher] = Publisher
    outlet: Callable[[World, Runner, Shelves], Outlet] = MemoryOutlet
    collector: type[Collector] = Collector


@dataclass(slots=True)
class Stage:
    """The servers in memory, and what went wrong that must not."""

    world: World
    around: Surroundings
    group: Group
    topics: MemoryTopics
    database: MemoryDatabase
    redis: MemoryRedis
    parts: Parts
    shelves: Shelves = field(default_factory=Shelves)
    raw: list[list[RawKept]] = field(default_factory=list)
    """Each partition of raw usage."""
    faults: list[tuple[str, str]] = field(default_factory=list)

    def clock(self, process: Runner) -> Callable[[], Instant]:
        """Return the clock of a process, which is off."""
        return lambda: self.world.now + process.skew

    def session(self, process: Runner) -> WorkerSession:
        """Open a session."""
        return self.parts.session(self.database, process)

    def log(self, process: Runner) -> MemoryLog:
        """Return the log as a process reads it."""
        return MemoryLog(self.world, process, self.topics)

    def died(self, process: Runner, error: BaseException | None) -> None:
        """Note why a process ended: a fault is the world's, a new beginning its own choice."""
        self.world.note(process.name, "died of", type(error).__name__)
        expected = isinstance(error, Crashed | ServerFailed | Resumed | Deadly)
        fenced = any(told in str(error) for told in _FENCED)
        if process.alive and not (expected or fenced):
            self.faults.append(("sound", f"{process.name}: {type(error).__name__}: {error}"))
        process.die()


@dataclass(slots=True, eq=False)
class Role:
    """One place in the stack. `current` holds it; who held it before may still be about."""

    stage: Stage
    name: str
    start: Callable[[Runner], Step]
    current: Runner | None = None
    retired: bool = False

    def launch(self) -> None:
        """Start a process, unless the role is given up."""
        if self.retired:
            return
        world = self.stage.world
        process = self.current = world.start(self.name)
        process.on_stall.append(lambda _: self._replace(process))
        world.after(0.0, process, lambda: self._run(process, lambda: self.start(process)))

    def retire(self) -> None:
        """End the role."""
        self.retired = True
        if self.current is not None:
            self.current.die()

    def _replace(self, process: Runner) -> None:
        """Start another while this one stands still: it may wake up and go on."""
        world = self.stage.world
        random = world.streams.of(f"role {self.name}")
        if self.current is process and random.random() < 0.6:
            self.current = None
            world.after(random.randint(1, 9), None, self.launch)

    def _run(self, process: Runner, begin: Callable[[], Step]) -> None:
        self._guard(process, lambda: self._go(process, begin()))

    def _go(self, process: Runner, step: Step) -> None:
        world = self.stage.world
        pause = step()
        if pause > _BUSY_S:
            pause *= world.pace
        if self.current is not process and process.chance(0.3):
            process.die()
        world.after(pause, process, lambda: self._guard(process, lambda: self._go(process, step)))

    def _guard(self, process: Runner, call: Callable[[], None]) -> None:
        try:
            call()
        except (Crashed, Exception) as error:
            self.stage.died(process, error)
            self.replace_dead(process)

    def replace_dead(self, process: Runner) -> None:
        """Start another after a while, where the process held the role."""
        if self.current is process:
            self.current = None
            world = self.stage.world
            pause = world.streams.of(f"role {self.name}").randint(1, 4)
            world.after(pause, None, self.launch)


def led(try_lead: Callable[[], bool], again_s: float, lead: Step) -> Step:
    """Return the step of what one process does at a time: the others try again a while later."""
    leads = False

    def step() -> float:
        nonlocal leads
        leads = leads or try_lead()
        return lead() if leads else again_s

    return step


def ticker(stage: Stage, tick_s: float) -> Callable[[Runner], Step]:
    """Return how a ticker is started."""

    def start(process: Runner) -> Step:
        writer = MemoryWriter(stage.world, process, stage.topics)
        one = Ticker(stage.around, stage.session(process), writer, stage.clock(process))

        def tick() -> float:
            one.tick()
            return tick_s * process.random.choice([0.5, 1.0, 1.5])

        return led(one.try_lead, 1.0, tick)

    return start


def pricing(stage: Stage, numbers: list[int]) -> Callable[[Runner], Step]:
    """Return how a pricing worker is started."""

    def start(process: Runner) -> Step:
        one = PricingWorker(
            stage.around,
            numbers,
            stage.log(process),
            stage.session(process),
            stage.session(process),
            stage.session(process),
            stage.clock(process),
            lambda: MemoryWriter(stage.world, process, stage.topics),
            monotonic=lambda: stage.world.now / SECOND,
            gaps=_Gaps(stage),
            turns=_Turns(numbers, stage.world.streams.of("turns")),
            series_max=stage.world.streams.of("series met").choice([2, 1 << 18]),
        )
        return lambda: 0.03 if one.step() else 0.4

    return start


class _Turns(Turns):
    """Turns that take long by chance: no step of a world takes any time."""

    def __init__(self, numbers: list[int], random: Random) -> None:
        super().__init__(numbers, 1.0)
        self._random = random

    def over(self, took_s: float) -> None:
        super().over(self._random.choice([took_s, 0.5, 2.0]))


class _Gaps(GapKeeper):
    """Mends a gap as `mend` does, a few seconds after it was met."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        self._awaited: dict[int, int] = {}

    def met(self, gap: Gap) -> None:
        if self._awaited.get(gap.partition) == gap.expected:
            return
        self._awaited[gap.partition] = gap.expected
        self._stage.world.counted["gaps"] += 1
        self._stage.world.after(5.0, None, lambda: self._mend_gap(gap))

    def _mend_gap(self, gap: Gap) -> None:
        if self._awaited.get(gap.partition) == gap.expected:
            self._stage.group.rewind(gap.partition, gap.expected)
            self._stage.world.after(30.0, None, lambda: self._mend_gap(gap))

    def reached(self, partition: int, offset: int) -> None:
        if offset >= self._awaited.get(partition, offset + 1):
            del self._awaited[partition]


def finalizer(stage: Stage) -> Callable[[Runner], Step]:
    """Return how a finalizer is started."""

    def start(process: Runner) -> Step:
        facts, clock = stage.session(process), stage.clock(process)
        one = Finalizer(stage.session(process), Knowledge(facts), clock)
        idle = 0

        def step() -> float:
            nonlocal idle
            while one.prepare():
                pass
            if one.register():
                return 0.1
            idle += 1
            if idle % _LATE_EVERY == 0:
                told = correct_late(facts, one.known.catalog, clock())
                stage.world.counted["corrections"] += len(told)
            return 0.5

        return step

    return start


class _Waits(Exception):
    """A call would block."""


def metering(stage: Stage, role: Callable[[], Role]) -> Callable[[Runner], Step]:
    """Return how a metering worker is started: as a member of the group, on its own loop."""

    def start(process: Runner) -> Step:
        world, loop = stage.world, SimulatedLoop(stage.world, process)  # type: ignore[abstract]

        def die() -> None:
            error = sys.exception()
            if not isinstance(error, GeneratorExit):  # else what a dead process left is cleared
                stage.died(process, error)
                role().replace_dead(process)

        sessions = (stage.session(process), stage.session(process))
        sender = stage.parts.sender(world, process, stage.topics, loop)
        line = stage.parts.line(
            stage.around,
            sender,
            sender,
            stage.parts.claims(world, process, stage.redis, loop),
            Catchup(stage.around, stage.log(process), *sessions, pause=_refuse_to_wait),
            stage.parts.holding(stage.session(process), stage.around.settings),
            Machine(_Inline(), stage.clock(process), die),
        )
        member = Member(process, line)
        stage.group.join(member)
        loop.create_task(stage.group.serve(member, die))
        return lambda: 3600.0  # it runs on its loop

    return start


def _refuse_to_wait(seconds: float) -> None:
    raise _Waits(seconds)


class _Inline:
    """Runs what blocks in line; what would wait is called again later."""

    async def __call__(self, call: Callable[P, T], /, *given: P.args, **named: P.kwargs) -> T:
        while True:
            try:
                return call(*given, **named)
            except _Waits:
                await sleep(_WAIT_S)


def surroundings(partitions: int, draw: Random, *, pauses: bool) -> Surroundings:
    """Return the names and tuning of a stack without addresses."""
    settings = Settings.model_construct(
        home=Path(),
        partitions=partitions,
        horizon_s=HORIZON_S,
        tolerance_s=TOLERANCE_S,
        metering_lead=draw.choice([8, 40, 400]),
        collector_linger_s=1.0,
        flush_records=draw.choice([3, 10, 50]),
        reject_window_events=draw.choice([60, 1 << 40]) if pauses else 1 << 40,
        reject_share_max=Decimal("0.5"),
    )
    return Surroundings("", "", Database("", ""), Stack(), partitions, settings)
