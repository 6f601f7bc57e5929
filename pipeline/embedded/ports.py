"""Embedded servers: which loopback ports they use.

Owns: choosing free ports below the ephemeral range, and remembering them in `ports.json`.
Does not own: binding them; a port can still be lost in between, and servers.py then asks again.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pipeline.embedded.failure import ServerFailure

LOOPBACK = "127.0.0.1"
# Below the usual ephemeral range (from 32768), where any outgoing connection may take a port.
_LOWEST, _HIGHEST = 15_000, 32_000
_ATTEMPTS_MAX = 200
_LISTEN = "0A"


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def any_free_port() -> int:
    """A free loopback port, drawn at random so that homes rarely meet."""
    for _ in range(_ATTEMPTS_MAX):
        port = random.SystemRandom().randrange(_LOWEST, _HIGHEST)
        if is_free(port):
            return port
    raise ServerFailure(
        "servers",
        f"no free port found on {LOOPBACK} between {_LOWEST} and {_HIGHEST}",
        "stop what listens there (ss -ltn shows it), then try again",
    )


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens on the port, and not a stranger who was quicker."""
    sockets = {
        fields[9]
        for table in ("tcp", "tcp6")
        for line in _lines(Path(f"/proc/net/{table}"))
        if (fields := line.split())[3] == _LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port
    }
    try:
        return any(_target(link)[8:-1] in sockets for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


class Ports:
    """The ports of one home by name, remembered across starts; safe to share by threads."""

    def __init__(self, path: Path, choose: Callable[[], int] = any_free_port) -> None:
        self.path = path
        self._choose = choose
        self._lock = threading.Lock()
        self._by_name = _read(path)

    def give(self, names: Iterable[str]) -> Mapping[str, int]:
        """A port for each name: the remembered one if it is free, else a new one."""
        with self._lock:
            for name in names:
                port = self._by_name.get(name)
                if port is None or not is_free(port):
                    self._by_name[name] = self._choose()
            return {name: self._by_name[name] for name in names}

    def save(self) -> None:
        """Write `ports.json`, whole or not at all."""
        with self._lock:
            write_atomically(self.path, json.dumps(self._by_name, sort_keys=True) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file in one step."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _lines(table: Path) -> list[str]:
    try:
        return table.read_text(encoding="ascii").splitlines()[1:]
    except FileNotFoundError:  # no IPv6 here
        return []


def _target(link: Path) -> str:
    try:
        return os.readlink(link)  # socket:[12345]
    except OSError:
        return ""


def _read(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(name): port
        for name, port in found.items()
        if isinstance(port, int) and 0 < port < 65_536
    }
