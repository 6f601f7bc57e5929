"""Embedded servers: the broker's jars, fetched once per user and never unchecked.

Owns: the lock file of coordinates and digests, the per-user cache, fetching what is missing.
Does not own: dependency resolution (the lock is its frozen result), starting Java (broker.py).
Law: a jar is in the cache only if its bytes have the digest in the lock.

The lock was resolved from the broker's own coordinate alone: resolving it together with its log4j
binding lets the binding's BOM downgrade kafka-clients, and the mixture does not start.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.embedded.binaries import require_package
from pipeline.embedded.failure import OWN_SERVERS, ServerFailure, reason
from pipeline.embedded.locks import FileLock

Progress = Callable[[str, float | None], None]
Advance = Callable[[int], None]
LOCK_FILE = Path(__file__).with_name("kafka.lock")
BROKER_PROJECT = "org.apache.kafka:kafka_2.13"
_PARALLEL = 6
_ATTEMPTS = 3
_TIMEOUT_S = 30
_WAIT_FOR_OTHER_S = 900.0


@dataclass(frozen=True, slots=True)
class Artifact:
    """One jar of the lock."""

    group: str
    artifact: str
    version: str
    size_bytes: int
    sha256: str

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


Fetch = Callable[[Artifact, Path, Advance], Path]
"""Brings one jar into a folder of its own and tells the bytes as they come; returns its path."""


def fetch_with_jgo(artifact: Artifact, folder: Path, advance: Advance) -> Path:
    """Fetch one jar through jgo, without touching its caches or resolving anything."""
    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def watch(_name: str, _size: int) -> Iterator[Advance]:
        yield advance

    context = MavenContext(
        resolver=PythonResolver(progress_callback=watch), repo_cache=folder, timeout=_TIMEOUT_S
    )
    component = context.project(artifact.group, artifact.artifact).at_version(artifact.version)
    return Path(component.artifact(packaging="jar").resolve())


def read_lock(path: Path = LOCK_FILE) -> tuple[Artifact, ...]:
    """The jars of the lock, in its order, which is the order of the class path."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        found = tuple(_parse(line) for line in lines if line and not line.startswith("#"))
        broker_version(found)
        return found
    except (OSError, ValueError) as error:
        raise ServerFailure(
            "kafka", f"its lock {path} cannot be read ({reason(error)})", "reinstall talea"
        ) from error


def broker_version(artifacts: Sequence[Artifact]) -> str:
    """The Kafka version the lock pins."""
    for each in artifacts:
        if f"{each.group}:{each.artifact}" == BROKER_PROJECT:
            return each.version
    raise ValueError(f"{BROKER_PROJECT} is not in it")


class JarCache:
    """The checked jars of one lock in one user's cache directory."""

    def __init__(
        self, cache: Path, artifacts: Sequence[Artifact], fetch: Fetch = fetch_with_jgo
    ) -> None:
        self.artifacts = tuple(artifacts)
        self.folder = cache / f"kafka-{broker_version(artifacts)}"
        self._fetch = fetch
        self._jars = self.folder / "jars"

    def paths(self) -> tuple[Path, ...]:
        """Where the jars lie, in class path order."""
        return tuple(self._jars / each.file_name for each in self.artifacts)

    def missing(self) -> tuple[Artifact, ...]:
        """The jars still to be fetched; a jar of the wrong size counts as missing."""
        return tuple(
            each
            for each, path in zip(self.artifacts, self.paths(), strict=True)
            if _size_bytes(path) != each.size_bytes
        )

    def fill(self, progress: Progress) -> None:
        """Fetch and check whatever is missing; one process at a time."""
        if not self.missing():
            return
        with self.alone(progress):
            missing = self.missing()
            if missing:
                self._fill(missing, progress)

    @contextmanager
    def alone(self, progress: Progress) -> Iterator[None]:
        """Hold this cache's lock, waiting for another process that has it."""
        lock = FileLock(self.folder / "lock")
        try:
            if not lock.acquire(wait_s=0):
                progress("waiting for another talea that prepares kafka", None)
                if not lock.acquire(wait_s=_WAIT_FOR_OTHER_S):
                    raise ServerFailure(
                        "kafka",
                        f"process {lock.holder()} has held {lock.path} for too long",
                        "end that process, then try again",
                    )
            yield
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            lock.release()

    def _fill(self, missing: Sequence[Artifact], progress: Progress) -> None:
        if self._fetch is fetch_with_jgo:
            require_package("kafka", "jgo")
        self._jars.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob("stage-*"):  # of a process that was killed here
            shutil.rmtree(left, ignore_errors=True)
        stage = Path(tempfile.mkdtemp(prefix="stage-", dir=self.folder))
        meter = _Meter(sum(each.size_bytes for each in missing), len(missing), progress)
        try:
            with ThreadPoolExecutor(_PARALLEL) as pool:
                work = [pool.submit(self._bring, each, stage, meter) for each in missing]
                try:
                    done, _ = wait(work, return_when=FIRST_EXCEPTION)
                    for each in done:
                        each.result()
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)
            for outdated in self.folder.glob("*.aot"):  # made from the jars that were here before
                outdated.unlink()
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    def _bring(self, artifact: Artifact, stage: Path, meter: _Meter) -> None:
        fetched = self._attempt(artifact, stage, meter)
        size, digest = fetched.stat().st_size, _digest(fetched)
        if digest != artifact.sha256:
            what = "torn" if size < artifact.size_bytes else "not the pinned file"
            raise ServerFailure(
                "kafka",
                f"{artifact.coordinate} came {what}: {size} of {artifact.size_bytes} bytes, "
                f"sha256 {digest[:12]}... instead of {artifact.sha256[:12]}...",
                "try again; if it stays so, whatever stands between you and Maven Central "
                "changes files",
            )
        fetched.replace(self._jars / artifact.file_name)
        meter.one_done()

    def _attempt(self, artifact: Artifact, stage: Path, meter: _Meter) -> Path:
        for attempt in range(1, _ATTEMPTS + 1):
            folder = stage / f"{artifact.file_name}.{attempt}"
            folder.mkdir()
            counted = 0

            def advance(count: int) -> None:
                nonlocal counted
                counted += count
                meter.advance(count)

            try:
                return self._fetch(artifact, folder, advance)
            except ServerFailure:
                raise
            except Exception as error:  # a network library's errors share no base worth naming
                meter.advance(-counted)
                if attempt == _ATTEMPTS:
                    raise self._not_fetched(artifact, error) from error
                time.sleep(0.5 * attempt)
        raise AssertionError("unreachable")

    def _not_fetched(self, artifact: Artifact, error: Exception) -> ServerFailure:
        if isinstance(error, OSError) and error.filename is not None:
            return self._unwritable(error)
        return ServerFailure(
            "kafka",
            f"{artifact.coordinate} could not be downloaded ({reason(error)[:160]})",
            f"check the way to Maven Central and try again (what came is kept), or {OWN_SERVERS}",
        )

    def _unwritable(self, error: OSError) -> ServerFailure:
        return ServerFailure(
            "kafka",
            f"cannot write the cache {error.filename or self.folder} ({reason(error)})",
            "free or open that place, or set XDG_CACHE_HOME to another folder",
        )


class _Meter:
    """Adds up the bytes of several threads and tells `progress` about each whole percent."""

    def __init__(self, total_bytes: int, count: int, progress: Progress) -> None:
        self._total_bytes = max(1, total_bytes)
        self._count = count
        self._progress = progress
        self._bytes = 0
        self._done = 0
        self._told = -1
        self._lock = threading.Lock()

    def advance(self, count: int) -> None:
        with self._lock:
            self._bytes += count
            self._tell()

    def one_done(self) -> None:
        with self._lock:
            self._done += 1
            self._tell()

    def _tell(self) -> None:
        percent = min(100, self._bytes * 100 // self._total_bytes)
        if self._done == self._count:
            percent = 100
        if percent > self._told:
            self._told = percent
            self._progress(
                f"downloading kafka ({self._total_bytes >> 20} MB, {self._count} files)",
                percent / 100,
            )


def user_cache() -> Path:
    """The per-user cache directory of talea."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "talea"


def _parse(line: str) -> Artifact:
    coordinate, size, sha256 = line.split()
    group, artifact, version = coordinate.split(":")
    if len(sha256) != 64:
        raise ValueError(f"not a sha256: {sha256}")
    return Artifact(group, artifact, version, int(size), sha256)


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
