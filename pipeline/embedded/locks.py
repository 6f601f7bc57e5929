"""Embedded servers: a lock file whose holder can be named.

Owns: taking, refusing and releasing an exclusive `flock`, with the holder's pid written inside.
Does not own: what the lock guards (home, jars, servers).
Law: a lock ends with the process that took it; no child has it, unless it was handed to it.
"""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from pathlib import Path

_POLL_S = 0.02
_HELD: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """An exclusive lock on `path`; not re-entrant."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this very object holds the lock."""
        return self._fd is not None

    def fileno(self) -> int:
        """The descriptor to hand to a child that shall have the lock too, for as long as it lives.

        The lock is free again once every process that has it is gone.
        """
        if self._fd is None:
            raise ValueError(f"{self.path} is not locked")
        return self._fd

    def acquire(self, *, wait_s: float = 0.3) -> bool:
        """Take the lock; False when someone else still holds it after `wait_s`.

        The short default wait outlasts a neighbour that only looks (`holder`).
        """
        if self._fd is not None:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        ends = time.monotonic() + wait_s
        while not _try_lock(fd, fcntl.LOCK_EX):
            if time.monotonic() >= ends:
                os.close(fd)
                return False
            time.sleep(_POLL_S)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd
        _HELD.add(self)
        return True

    def release(self) -> None:
        """Give the lock up; nothing happens when it is not held."""
        fd, self._fd = self._fd, None
        if fd is not None:
            _HELD.discard(self)
            os.ftruncate(fd, 0)
            os.close(fd)

    def holder(self) -> int | None:
        """The pid of the process that took the lock that is held now; None when it is free.

        0 in the instant before it is written.
        """
        if self._fd is not None:
            return os.getpid()
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if _try_lock(fd, fcntl.LOCK_SH):
                return None
            text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        finally:
            os.close(fd)
        return int(text) if text.isdigit() else 0

    def _drop_in_child(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _drop_all_in_child() -> None:
    for lock in list(_HELD):
        lock._drop_in_child()
    _HELD.clear()


# A forked child shares the open file, and with it the lock: it closes its copy at once.
os.register_at_fork(after_in_child=_drop_all_in_child)
