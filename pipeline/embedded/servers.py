"""Embedded servers: the three of them together.

Owns: starting them in parallel and waiting until each answers, stopping them in order, restarts.
Does not own: each server's settings (kafka, postgres, redis), the processes (child.py), downloads
(jars.py), who may use the home (home.py).
Law: after a failed `start` none runs; after this process dies none runs for long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Protocol

from pipeline.embedded.child import Child, Launch, start_child
from pipeline.embedded.failure import ServerFailure
from pipeline.embedded.home import Home, Servers, in_use, unwritable
from pipeline.embedded.jars import Progress
from pipeline.embedded.locks import FileLock
from pipeline.embedded.ports import LOOPBACK, Ports, any_free_port, is_free, listens
from pipeline.embedded.tools import Tools

ALL = frozenset({"kafka", "redis", "postgres"})
STOP_ORDER = ("kafka", "redis", "postgres")
_POLL_S = 0.03
_FREE_WAIT_S = 5.0
_PREDECESSOR_WAIT_S = 20.0
_LEFTOVERS = ("pre-existing shared memory block",)  # a killed postgres, still going


class Server(Protocol):
    """One kind of server, as `EmbeddedServers` sees it."""

    name: str
    port_names: tuple[str, ...]
    taken: tuple[str, ...]

    def prepare(self) -> None: ...
    def launch(self, ports: Mapping[str, int]) -> Launch: ...
    def answers(self, ports: Mapping[str, int]) -> bool: ...
    def address(self, ports: Mapping[str, int]) -> str: ...


def silent(_text: str, _fraction: float | None) -> None:
    """Progress for those who do not want to know."""


class EmbeddedServers:
    """Real servers as child processes of this one, with their data below `home`.

    `progress` is called from several threads, one call at a time.
    """

    def __init__(
        self,
        home: Path,
        *,
        progress: Progress = silent,
        only: frozenset[str] = ALL,
        tools: Tools | None = None,
        choose_port: Callable[[], int] = any_free_port,
        patience_s: float = 90.0,
        attempts_max: int = 5,
    ) -> None:
        if not only or only - ALL:
            raise ValueError(f"only: {sorted(only)} is not a part of {sorted(ALL)}")
        self._home = Home(home)
        self._only = only
        self._tools = tools or Tools()
        self._patience_s = patience_s
        self._attempts_max = attempts_max
        self._choose_port = choose_port
        self._told = progress
        self._telling = threading.Lock()
        self._lock = FileLock(self._home.servers / "lock")
        self._ports: Ports | None = None
        self._ending = threading.Event()
        self._running: dict[str, tuple[Server, Child, Mapping[str, int]]] = {}

    def start(self) -> Servers:
        """Download what is missing, start the servers, wait until each answers."""
        if self._running:
            return self._addresses()
        self._ending.clear()
        self._tools.check()
        self._take_home()
        try:
            self._ports = Ports(self._home.servers / "ports.json", self._choose_port)
            self._start_all()
            self._ports.save()
        except OSError as error:
            self.stop()
            raise unwritable(self._home.path, error) from error
        except BaseException:
            self.stop()
            raise
        return self._addresses()

    def stop(self) -> None:
        """Stop what runs, gracefully then by force, and give the home up; may be called twice."""
        self._ending.set()
        for name in STOP_ORDER:
            if name in self._running:
                self._running.pop(name)[1].stop()
        self._lock.release()

    def check(self) -> None:
        """Raise `ServerFailure` naming a server that ended without being asked to."""
        for name, (_, child, _) in self._running.items():
            code = child.exit_code()
            if code is not None:
                raise _ended(name, child, code)

    def pids(self) -> Mapping[str, int]:
        """The pid of each server that runs."""
        return {
            name: child.pid
            for name, (_, child, _) in self._running.items()
            if child.exit_code() is None
        }

    def restart(self, name: str) -> None:
        """Stop one server if it still runs, and start it on the same port and data."""
        server, child, ports = self._running[name]
        child.stop()
        self._await_free(name, ports)
        server.prepare()
        self._bring_up(server, lambda: ports)

    def kill(self, name: str) -> None:
        """SIGKILL one server."""
        self._running[name][1].kill()

    def download(self, progress: Progress | None = None) -> None:
        """Fetch what is missing and prepare it, so that starts are short; starts no server.

        Also trains Java once on this machine (some 15 s), after which Kafka is up in half the time.
        """
        if progress is not None:
            self._told = progress
        self._ending.clear()
        self._tools.check()
        if "kafka" in self._only:
            self._tools.train(self._tell)

    def versions(self) -> Mapping[str, str]:
        """The version of each server, and of the Java that runs Kafka."""
        return self._tools.versions()

    def __enter__(self) -> EmbeddedServers:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _tell(self, text: str, fraction: float | None) -> None:
        if self._ending.is_set():
            raise _Ending(text)
        with self._telling:
            self._told(text, fraction)

    def _take_home(self) -> None:
        """Lock the servers' folder; its tethers keep the lock until the last server is gone."""
        try:
            taken = self._lock.acquire()
            if not taken and not _is_alive(self._lock.holder()):
                self._tell("waiting for the servers of a killed process to end", None)
                taken = self._lock.acquire(wait_s=_PREDECESSOR_WAIT_S)
        except OSError as error:
            raise unwritable(self._home.path, error) from error
        if not taken:
            raise in_use(self._home.path, self._lock)

    def _start_all(self) -> None:
        with ThreadPoolExecutor(len(self._only)) as pool:
            work = [pool.submit(self._start_one, name) for name in sorted(self._only)]
            try:
                wait(work, return_when=FIRST_EXCEPTION)
            finally:
                if not all(_went_well(each) for each in work):
                    self._ending.set()
        errors = [error for each in work if (error := each.exception()) is not None]
        # The others were told to give up, and say so: the one that failed first is no such error.
        for error in sorted(errors, key=lambda error: isinstance(error, _Ending)):
            raise error

    def _start_one(self, name: str) -> None:
        assert self._ports is not None
        ports = self._ports
        self._tell(f"starting {name}", None)
        place, log = self._home.servers / name, self._home.logs / f"{name}.log"
        server = self._tools.server(name, place, log, self._tell)
        server.prepare()
        self._bring_up(server, lambda: ports.give(server.port_names))

    def _bring_up(self, server: Server, choose: Callable[[], Mapping[str, int]]) -> None:
        """Start one server, again if a port was lost since it was chosen."""
        begun = time.monotonic()
        for attempt in range(1, self._attempts_max + 1):
            ports = choose()
            child = start_child(server.launch(ports), self._lock)
            self._running[server.name] = (server, child, ports)
            code = self._await_answer(server, child, ports)
            if code is None:
                where = f"{LOOPBACK}:{ports[server.name]}"
                self._tell(f"{server.name} is up on {where} ({_since(begun)})", None)
                return
            said = child.log_since_start()
            lost_port = any(words in said for words in server.taken)
            if attempt == self._attempts_max or not (
                lost_port or any(w in said for w in _LEFTOVERS)
            ):
                raise _not_started(server.name, child, ports, code, lost_port=lost_port)
            child.stop()  # it is gone already: this closes its pipe
            time.sleep(0.2 * attempt)

    def _await_answer(self, server: Server, child: Child, ports: Mapping[str, int]) -> int | None:
        """None once it answers, its exit code if it ended instead."""
        ends = time.monotonic() + self._patience_s
        port = ports[server.name]
        while (code := child.exit_code()) is None:
            if self._ending.is_set():
                raise _Ending(server.name)
            if listens(child.pid, port) and server.answers(ports):
                return None
            if time.monotonic() > ends:
                raise ServerFailure(
                    server.name,
                    f"does not answer on {LOOPBACK}:{port} after {self._patience_s:.0f} s",
                    f"read {child.launch.log}, then try again",
                )
            time.sleep(_POLL_S)
        return code

    def _await_free(self, name: str, ports: Mapping[str, int]) -> None:
        ends = time.monotonic() + _FREE_WAIT_S
        while taken := [port for port in ports.values() if not is_free(port)]:
            if time.monotonic() > ends:
                raise _port_taken(name, taken)
            time.sleep(_POLL_S)

    def _addresses(self) -> Servers:
        found = {name: server.address(ports) for name, (server, _, ports) in self._running.items()}
        return Servers(**{name: found.get(name, "") for name in ALL})


class _Ending(BaseException):
    """Another server failed, or we are told to stop: give up what is under way."""


def _is_alive(pid: int | None) -> bool:
    return pid is not None and (pid == 0 or Path(f"/proc/{pid}").exists())


def _since(begun: float) -> str:
    return f"{time.monotonic() - begun:.1f} s"


def _went_well(work: Future[None]) -> bool:
    return work.done() and not work.cancelled() and work.exception() is None


def _how(code: int) -> str:
    return f"was ended by signal {code - 128}" if code > 128 else f"ended with exit code {code}"


def _ended(name: str, child: Child, code: int) -> ServerFailure:
    said = child.last_words()
    return ServerFailure(
        name,
        _how(code) + (f", last words: {said}" if said else ""),
        f"read {child.launch.log}, then start it again",
    )


def _not_started(
    name: str, child: Child, ports: Mapping[str, int], code: int, *, lost_port: bool
) -> ServerFailure:
    if lost_port:
        return _port_taken(name, [port for port in ports.values() if not is_free(port)])
    return ServerFailure(
        name,
        f"{_how(code)} at start: {child.last_words() or 'it said nothing'}",
        f"mend that or move {child.launch.cwd} away; all it said is in {child.launch.log}",
    )


def _port_taken(name: str, ports: Iterable[int]) -> ServerFailure:
    return ServerFailure(
        name,
        f"port {' or '.join(map(str, ports))} on {LOOPBACK} is taken by another process",
        "stop what listens there (ss -ltnp shows it), then try again",
    )
