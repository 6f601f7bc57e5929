"""Embedded servers: the home folder, who uses it, and the stack that runs in it.

Owns: the layout of `$TALEA_HOME`, its lock, `stack.json`.
Does not own: the servers themselves (servers.py), where the home is (settings).
Law: a remembered stack counts only while the process that remembered it holds the lock.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from pipeline.embedded.failure import ServerFailure, reason
from pipeline.embedded.locks import FileLock
from pipeline.embedded.ports import write_atomically


@dataclass(frozen=True, slots=True)
class Servers:
    """The addresses of the three servers."""

    kafka: str
    redis: str
    postgres: str


class Home:
    """`$TALEA_HOME`; as a context manager it holds the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock = FileLock(self.path / "lock")

    @property
    def servers(self) -> Path:
        return self.path / "servers"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def stack_file(self) -> Path:
        return self.path / "stack.json"

    def take(self) -> None:
        """Lock this home for the present process; `ServerFailure` names who has it."""
        try:
            taken = self._lock.acquire()
        except OSError as error:
            raise unwritable(self.path, error) from error
        if not taken:
            raise in_use(self.path, self._lock)

    def release(self) -> None:
        """Forget the stack, then give the lock up."""
        if self._lock.held:
            self.forget()
            self._lock.release()

    def holder(self) -> int | None:
        """The pid of the process that holds this home; None when nobody does."""
        return self._lock.holder()

    def remember(self, servers: Servers) -> None:
        """Write `stack.json`, so that later commands find the stack; needs the lock."""
        if not self._lock.held:
            raise RuntimeError("remember() without the home's lock")
        stack = {
            **asdict(servers),
            "pid": os.getpid(),
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_atomically(self.stack_file, json.dumps(stack, indent=1) + "\n")

    def forget(self) -> None:
        """Remove `stack.json`."""
        self.stack_file.unlink(missing_ok=True)

    def running(self) -> Servers | None:
        """The stack that runs in this home now, whoever runs it."""
        holder = self.holder()
        if holder is None:
            return None
        try:
            stack = json.loads(self.stack_file.read_text(encoding="utf-8"))
            if stack["pid"] != holder:
                return None
            return Servers(str(stack["kafka"]), str(stack["redis"]), str(stack["postgres"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def __enter__(self) -> Home:
        self.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def in_use(path: Path, lock: FileLock) -> ServerFailure:
    """Someone else has the home."""
    holder = lock.holder()
    who = f"process {holder}" if holder else "another process"
    return ServerFailure(
        "servers",
        f"the home {path} is in use by {who}",
        "stop that one, or set TALEA_HOME to another folder",
    )


def unwritable(path: Path, error: OSError) -> ServerFailure:
    """The home, or something in it, cannot be written."""
    return ServerFailure(
        "servers",
        f"cannot write {error.filename or path} ({reason(error)})",
        "free or open that place, or set TALEA_HOME to another folder",
    )
