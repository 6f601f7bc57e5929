"""Embedded servers: Redis.

Owns: its settings, its address, when it answers.
Does not own: keys and scripts (stores), the process (child.py).
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from pipeline.embedded.child import Launch
from pipeline.embedded.ports import LOOPBACK

_ANSWER_WAIT_S = 2.0
# A batch of claims takes thousands of small pieces of memory and gives them back. glibc keeps seven
# of a size at hand: to search for each of the others was a fifth of the server's time.
_MALLOC = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=16000"}


class Redis:
    """One redis-server on its append-only file."""

    name = "redis"
    port_names: tuple[str, ...] = ("redis",)
    taken: tuple[str, ...] = ("Address already in use",)

    def __init__(self, program: Path, place: Path, log: Path) -> None:
        self._program = program
        self._place = place
        self._log = log

    def prepare(self) -> None:
        """Make the data directory."""
        self._place.mkdir(parents=True, exist_ok=True)

    def launch(self, ports: Mapping[str, int]) -> Launch:
        """How to run it; every setting is on the command line, none in a file."""
        settings = {
            "bind": LOOPBACK,
            "port": str(ports["redis"]),
            "protected-mode": "yes",
            "dir": ".",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "aof-use-rdb-preamble": "yes",
            # Claims only grow until a generation is dropped: a file rewritten at 64, 128, 256 MB is
            # hardly smaller, and took a quarter of the server's time.
            "auto-aof-rewrite-min-size": "512mb",
            "save": "",
            "maxmemory-policy": "noeviction",
            "tcp-backlog": "511",
            "tcp-keepalive": "60",
            "loglevel": "notice",
            "logfile": "",
            "daemonize": "no",
            "databases": "16",
        }
        options = tuple(word for key, value in settings.items() for word in (f"--{key}", value))
        return Launch(
            name=self.name,
            argv=(str(self._program), *options),
            cwd=self._place,
            log=self._log,
            signals=((signal.SIGTERM, 2.0),),
            env=_MALLOC,
        )

    def answers(self, ports: Mapping[str, int]) -> bool:
        """Whether it serves; while it loads its file it is alive but does not."""
        address = (LOOPBACK, ports["redis"])
        try:
            with socket.create_connection(address, _ANSWER_WAIT_S) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def address(self, ports: Mapping[str, int]) -> str:
        """Its URL."""
        return f"redis://{LOOPBACK}:{ports['redis']}/0"
