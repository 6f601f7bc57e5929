"""A scene: a whole stack at work, what feeds it, and what of it can be broken.

Usage comes in on three ways at once: messages of the load (keyed, in sequence, resent), the SDK's
spool in a program of its own, raw events through the collector.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from random import Random
from threading import Event, Thread
from time import monotonic
from types import TracebackType
from typing import Self

import psycopg

from chaos import agent
from integration import raw
from integration.own_redis import OwnRedis
from integration.running import RunningStack
from integration.story import Story
from pipeline.collect.event import UsageEvent
from pipeline.embedded import EmbeddedServers
from pipeline.stores.postgres.connection import one

_PATIENCE_S = 60.0
_LOOK_S = 0.1


class SpoolingProgram:
    """The program that uses the SDK, fed and broken from here."""

    def __init__(self, stack: RunningStack, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._said: list[str] = []
        around = stack.around
        words = [around.kafka, stack.log, str(around.partitions), str(folder / "usage.spool")]
        self._program = subprocess.Popen(
            [sys.executable, agent.__file__, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # no file: it is to write none while its disk is full
            text=True,
        )
        self._listening = Thread(target=self._listen, name="listening", daemon=True)
        self._listening.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._program.stdin is not None
        if error is not None:
            self._program.kill()
        with suppress(BrokenPipeError):
            self._program.stdin.close()
        status = self._program.wait(_PATIENCE_S)
        self._listening.join()
        for pipe in (self._program.stdout, self._program.stderr):
            assert pipe is not None
            pipe.close()
        assert error is not None or status == 0, self.said()

    def record(self, events: Sequence[UsageEvent]) -> None:
        rows = [[e.customer, e.meter, format(e.value, "f"), e.time, e.id] for e in events]
        self._say(json.dumps(rows))

    def flush(self) -> None:
        """Return once the broker has everything."""
        self._say("[]")
        assert self._program.stdout is not None
        assert self._program.stdout.readline() == "acknowledged\n", self.said()

    def said(self) -> str:
        return "".join(self._said)

    def _listen(self) -> None:
        assert self._program.stderr is not None
        for line in self._program.stderr:
            self._said.append(line)

    def let_write(self, bytes_max: int) -> None:
        """Limit its files, as a disk that is full does."""
        _, hard = resource.prlimit(self._program.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._program.pid, resource.RLIMIT_FSIZE, (bytes_max, hard))

    def _say(self, line: str) -> None:
        assert self._program.stdin is not None
        self._program.stdin.write(f"{line}\n")
        self._program.stdin.flush()


@dataclass
class OwnServers:
    """Servers that belong to this run, so that they can be broken."""

    embedded: EmbeddedServers
    redis: OwnRedis


@dataclass
class Scene:
    """What faults are given."""

    stack: RunningStack
    story: Story
    chance: Random
    program: SpoolingProgram
    raw: raw.Client
    own: OwnServers | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    @classmethod
    @contextmanager
    def of(
        cls, stack: RunningStack, story: Story, chance: Random, own: OwnServers | None = None
    ) -> Iterator[Self]:
        """Let a story's load come on every way."""
        with ExitStack() as held:
            folder = stack.around.settings.home / "agent"
            program = held.enter_context(SpoolingProgram(stack, folder))
            scene = cls(stack, story, chance, program, raw.Client(stack), own)
            story.load.beside = scene.send_beside
            yield scene

    def send_beside(self, events: Sequence[UsageEvent]) -> None:
        """Send half of some events raw, half by the SDK, some of those in sequence."""
        half = len(events) // 2
        oracle = self.story.traffic.oracle
        by_raw = [replace(event, source="raw") for event in events[:half]]
        for event in [*by_raw, *by_raw[:1]]:
            self.raw.send(raw.structured(event), raw.STRUCTURED)
        oracle.hears([*by_raw, *by_raw[:1]])
        keyed = [replace(event, source=agent.PRODUCER) for event in events[half:]]
        placed = [replace(event, id="", source=agent.PRODUCER) for event in events[half:]]
        self.program.record([*keyed, *placed])
        oracle.hears(keyed)
        for event in placed:  # wherever its place is, it has one of its own
            oracle.hears_sequence(agent.PRODUCER, "", 0, next(self._numbers), [event])

    def settle(self) -> None:
        """Return once everything sent so far is collected, booked and rated; while nothing is."""
        self.raw.flush()
        self.program.flush()
        raw.await_collected(self.stack)
        self.stack.await_drained()

    def reconnect(self) -> None:
        """Connect the test's own session anew."""
        self.until(self._reach, "Postgres answers")

    def _reach(self) -> bool:
        try:
            self.stack.connection.close()
            self.stack.connection = self.stack.around.database.connect(name="test", autocommit=True)
            return bool(one(self.stack.connection, "SELECT true")[0])
        except Exception:  # not yet
            return False

    def until(self, holds: Callable[[], bool], what: str) -> None:
        self.stack.until(holds, what, _PATIENCE_S)


class Stalls:
    """How long no partition's books moved, at most, while something was going on."""

    def __init__(self, stack: RunningStack) -> None:
        self._database = stack.around.database
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="stalls", daemon=True)
        self._moved = monotonic()
        self.longest_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def begin(self) -> None:
        """Measure from now on."""
        self._moved, self.longest_s = monotonic(), 0.0

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                with self._database.session("test stalls") as session:
                    self._look(session)
            except Exception:  # Postgres is away, which is a stall like any other
                self._note()
                self._stop.wait(_LOOK_S)

    def _look(self, session: psycopg.Connection[tuple[object, ...]]) -> None:
        stood: object = None
        while not self._stop.wait(_LOOK_S):
            (stands,) = one(session, "SELECT sum(source_offset) FROM cursor")
            self._note()
            if stands != stood:
                stood, self._moved = stands, monotonic()

    def _note(self) -> None:
        self.longest_s = max(self.longest_s, monotonic() - self._moved)
