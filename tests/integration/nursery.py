"""Processes of `talea` that need not import it first: forked from one that did.

To import a worker costs more than most tests have for it to do. A process of the nursery is one
like any other, with a pid, an environment and files of its own; what it runs is `python` of a
module or a file, from its first line to its last. That talea starts from nothing too is held by
the tests that start it so: the demo, the bench, replays with workers of their own.
"""

import ctypes
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

IMPORTED = (
    "pipeline.bootstrap",
    "pipeline.cli.app",
    "pipeline.cli.work",
    "pipeline.workers.collector",
    "pipeline.workers.finalizing",
    "pipeline.workers.pricing",
    "pipeline.workers.publisher",
    "pipeline.workers.replaying",
    "pipeline.workers.streaming",
    "pipeline.workers.ticker",
)
ROOT = Path(__file__).parents[2]

_ASKED_BYTES_MAX = 1 << 18
_FILES_MAX = 1 << 16
_PR_SET_PDEATHSIG = 1


# --- on the side of the tests ---


@dataclass(slots=True)
class Forked:
    """A process of the nursery, used like a `subprocess.Popen`."""

    pid: int
    _line: socket.socket
    _code: int | None = None

    def poll(self) -> int | None:
        """Its exit status, if it ended."""
        return self._told(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status once it ended."""
        code = self._told(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("talea", timeout or 0)
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _told(self, wait_s: float | None) -> int | None:
        if self._code is None and select.select([self._line], [], [], wait_s)[0]:
            self._code = int(self._line.recv(64) or b"-9")  # with the nursery all of it dies
            self._line.close()
        return self._code


@dataclass(slots=True)
class Nursery:
    """Forks processes; a context, at whose end it and all that is left of them are killed."""

    _socket: socket.socket = field(init=False)
    _process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> "Nursery":
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"},
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def spawn(
        self, command: Sequence[str], log: IO[bytes], environment: Mapping[str, str]
    ) -> Forked:
        """Start a worker, as a supervisor asks for it."""
        with Path(os.devnull).open("rb") as nothing:
            return self._fork(command, environment, nothing, log, log)

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], given: str, patience_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as `subprocess.run` would."""
        with ExitStack() as held:
            files = [held.enter_context(TemporaryFile()) for _ in range(3)]
            files[0].write(given.encode())
            files[0].seek(0)
            forked = self._fork(command, environment, *files)
            try:
                code = forked.wait(patience_s)
            except BaseException:
                forked.kill()
                forked.wait()
                raise
            for file in files:
                file.seek(0)
            _, said, complained = (file.read().decode() for file in files)
            return subprocess.CompletedProcess(list(command), code, said, complained)

    def _fork(
        self, command: Sequence[str], environment: Mapping[str, str], *files: IO[bytes]
    ) -> Forked:
        interpreter, *words = command
        assert interpreter == sys.executable, command
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            asked = {"words": words, "environment": dict(environment), "cwd": os.getcwd()}
            handed = [theirs.fileno(), *(file.fileno() for file in files)]
            socket.send_fds(self._socket, [json.dumps(asked).encode()], handed)
        return Forked(int(ours.recv(64)), ours)


# --- on its own side ---


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a forked process is to be."""

    words: list[str]
    environment: dict[str, str]
    cwd: str
    files: list[int]

    def become(self) -> None:
        """Turn this process into the one that was asked for; it ends as any other does."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.chdir(self.cwd)
        for number, file in enumerate(self.files):
            os.dup2(file, number)
        os.closerange(3, _FILES_MAX)
        os.environ.clear()
        os.environ.update(self.environment)
        if self.words[0] == "-m":
            sys.argv = self.words[1:]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = self.words
            runpy.run_path(sys.argv[0], run_name="__main__")


def main(asks: socket.socket) -> _Asked | None:
    """Fork whatever is asked for; return what to be, in a forked process, or None at the end."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()
    wake, woken = socket.socketpair()
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    alive: dict[int, socket.socket] = {}
    ended: dict[socket.socket, int] = {}
    while True:
        ready, _, _ = select.select([asks, wake, *ended], [], [])
        for line in ended.keys() & ready:  # the tests know: its pid may be another's now
            os.waitpid(ended.pop(line), 0)
            line.close()
        if wake in ready:
            wake.recv(4096)
            ended |= _tell_who_ended(alive)
        if asks in ready:
            told, files, _, _ = socket.recv_fds(asks, _ASKED_BYTES_MAX, 4)
            if not told:
                return None
            pid = os.fork()
            if not pid:
                return _Asked(**json.loads(told), files=files[1:])
            for file in files[1:]:
                os.close(file)
            alive[pid] = socket.socket(fileno=files[0])
            alive[pid].send(str(pid).encode())


def _tell_who_ended(alive: dict[int, socket.socket]) -> dict[socket.socket, int]:
    found = {}
    for pid in list(alive):
        now: Any = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if now is not None:
            code = now.si_status if now.si_code == os.CLD_EXITED else -now.si_status
            line = alive.pop(pid)
            with suppress(OSError):
                line.send(str(code).encode())
            found[line] = pid
    return found


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    if asked := main(socket.socket(fileno=int(sys.argv[1]))):
        asked.become()
