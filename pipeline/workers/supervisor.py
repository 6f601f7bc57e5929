"""Supervisor: the workers of a stack as child processes, started again when they end.

Owns: which processes run, restarting with growing pauses, stopping.
Does not own: what a worker does.  Law: a worker that dies comes back; none outlives its parent
(each asks the kernel to end it with its parent).
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from pipeline.workers.surroundings import Surroundings

_PAUSE_MIN_S, _PAUSE_MAX_S, _STEADY_S = 0.2, 5.0, 10.0
_STOP_WAIT_S = 10.0
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class WorkerKind:
    """A worker to run: its name, and which of how many it is."""

    name: str
    number: int = 0
    of: int = 1

    @property
    def label(self) -> str:
        """How it is called in logs and on screens."""
        return f"{self.name}-{self.number}"


def default_workers(
    metering: int = 1, pricing: int = 1, *, collectors: int = 1
) -> list[WorkerKind]:
    """Return the workers of one stack."""
    return [
        WorkerKind("ticker"),
        *(WorkerKind("collector", number, collectors) for number in range(collectors)),
        *(WorkerKind("metering", number, metering) for number in range(metering)),
        *(WorkerKind("pricing", number, pricing) for number in range(pricing)),
        WorkerKind("finalizer"),
        WorkerKind("publisher"),
    ]


class Child(Protocol):
    """A process of ours, as `subprocess` has them."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


Spawn = Callable[[Sequence[str], IO[bytes], Mapping[str, str]], Child]
"""Starts a command that writes to a log, in an environment."""


def spawn(command: Sequence[str], log: IO[bytes], environment: Mapping[str, str]) -> Child:
    """Start a command in a session of its own."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        start_new_session=True,
    )


@dataclass(slots=True)
class _Running:
    process: Child
    log: IO[bytes]
    started: float
    pause_s: float = _PAUSE_MIN_S
    ended_at: float | None = None


@dataclass(slots=True)
class Supervisor:
    """Starts workers and keeps them running, from a thread of its own; a context, if you like."""

    around: Surroundings
    kinds: list[WorkerKind]
    logs: Path
    program: Sequence[str] = (sys.executable, "-m", "pipeline")
    spawn: Spawn = spawn
    restarts: int = 0
    _running: dict[WorkerKind, _Running] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _ready: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _patience_s: float = _STOP_WAIT_S

    def __enter__(self) -> "Supervisor":
        """Start every worker."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop every worker."""
        self.stop()

    def start(self) -> None:
        """Start every worker."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()
        self._ready.wait()

    def pids(self) -> Mapping[str, int]:
        """Return the pid of each worker that runs, by label."""
        return {
            kind.label: one.process.pid
            for kind, one in dict(self._running).items()
            if one.process.poll() is None
        }

    def kill(self, label: str) -> int:
        """SIGKILL a worker; return the pid it had."""
        pid = self.pids()[label]
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self, wait_s: float = _STOP_WAIT_S) -> None:
        """Stop every worker: politely, by force after so long."""
        self._patience_s = wait_s
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._running.clear()

    def _watch(self) -> None:
        # Children die with the thread that started them, so this one outlives them.
        for kind in self.kinds:
            self._running[kind] = self._launch(kind)
        self._ready.set()
        while not self._stop.wait(_LOOK_S):
            for kind, one in list(self._running.items()):
                if one.process.poll() is not None:
                    self._again(kind, one)
        self._end()

    def _end(self) -> None:
        deadline = time.monotonic() + self._patience_s
        for one in self._running.values():
            one.process.terminate()
        for one in self._running.values():
            try:
                one.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
            one.log.close()

    def _again(self, kind: WorkerKind, one: _Running) -> None:
        now = time.monotonic()
        if one.ended_at is None:
            one.ended_at = now
            if now - one.started > _STEADY_S:
                one.pause_s = _PAUSE_MIN_S
        if now - one.ended_at >= one.pause_s:
            one.log.close()
            self.restarts += 1
            self._running[kind] = self._launch(kind)
            self._running[kind].pause_s = min(one.pause_s * 2, _PAUSE_MAX_S)

    def _launch(self, kind: WorkerKind) -> _Running:
        log = (self.logs / f"{kind.label}.log").open("ab")
        which = ("--number", str(kind.number), "--of", str(kind.of))
        command = [*self.program, "worker", kind.name, *which]
        process = self.spawn(command, log, worker_environment(self.around))
        return _Running(process, log, time.monotonic())


_MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(256 << 10),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 20),
}
"""Clients have many threads; the heap that each would have of its own keeps what it had once. So
does the one heap with what is large for a moment, unless told that this goes back at once."""


def worker_environment(around: Surroundings) -> dict[str, str]:
    """Return the environment that gives a worker the same surroundings."""
    settings = around.settings.model_dump(exclude_none=True, mode="json")
    given = {f"TALEA_{name.upper()}": str(value) for name, value in settings.items()}
    return {
        **_MEMORY,
        **os.environ,
        **given,
        "TALEA_HOME": str(around.settings.home.absolute()),
        "TALEA_KAFKA": around.kafka,
        "TALEA_REDIS": around.redis,
        "TALEA_POSTGRES": around.database.dsn,
        "TALEA_PARTITIONS": str(around.partitions),
    }
