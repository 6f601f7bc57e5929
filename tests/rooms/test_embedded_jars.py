"""The jar cache: nothing unchecked gets in, and what goes wrong is named."""

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.embedded.failure import ServerFailure
from pipeline.embedded.jars import (
    Advance,
    Artifact,
    Fetch,
    JarCache,
    broker_version,
    fetch_with_jgo,
    read_lock,
)

CONTENT = b"jar" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
BROKER = Artifact("org.apache.kafka", "kafka_2.13", "9.9.9", len(CONTENT), DIGEST)
OTHER = Artifact("org.example", "other", "1.0", len(CONTENT), DIGEST)


class Remote:
    """A repository that answers with the bytes it is given, or fails."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self._lock = threading.Lock()

    def fetch(self, artifact: Artifact, folder: Path, advance: Advance) -> Path:
        with self._lock:
            self.asked.append(artifact.artifact)
            answer = self.answers.pop(0) if self.answers else CONTENT
        if isinstance(answer, Exception):
            raise answer
        path = folder / artifact.file_name
        path.write_bytes(answer)
        advance(len(answer))
        return path


def quiet(_text: str, _fraction: float | None) -> None: ...


def cache(path: Path, fetch: Fetch, *artifacts: Artifact) -> JarCache:
    return JarCache(path, artifacts or (BROKER, OTHER), fetch)


def test_it_fetches_what_is_missing_and_tells_how_far_it_is(tmp_path: Path) -> None:
    remote, told = Remote(), list[float | None]()
    jars = cache(tmp_path, remote.fetch)

    jars.fill(lambda _text, fraction: told.append(fraction))

    assert [path.read_bytes() for path in jars.paths()] == [CONTENT, CONTENT]
    assert told == sorted(told, key=lambda fraction: fraction or 0)
    assert told[-1] == 1.0
    assert {path.name for path in jars.folder.iterdir()} == {"jars", "lock"}


def test_a_full_cache_asks_nobody(tmp_path: Path) -> None:
    cache(tmp_path, Remote().fetch).fill(quiet)
    remote = Remote(ConnectionError("offline"))

    cache(tmp_path, remote.fetch).fill(quiet)

    assert remote.asked == []


def test_only_the_missing_jar_is_fetched_again(tmp_path: Path) -> None:
    jars = cache(tmp_path, Remote().fetch)
    jars.fill(quiet)
    jars.paths()[1].write_bytes(CONTENT[:100])  # a disk that was full
    remote = Remote()

    cache(tmp_path, remote.fetch).fill(quiet)

    assert remote.asked == ["other"]
    assert jars.paths()[1].read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "word"), [(CONTENT[:-1], "torn"), (CONTENT[::-1], "not the pinned file")]
)
def test_torn_and_exchanged_jars_are_named_and_stay_outside(
    tmp_path: Path, answer: bytes, word: str
) -> None:
    jars = cache(tmp_path, Remote(answer).fetch, BROKER)

    with pytest.raises(ServerFailure) as failure:
        jars.fill(quiet)

    assert f"kafka: org.apache.kafka:kafka_2.13:9.9.9 came {word}" in str(failure.value)
    assert DIGEST[:12] in str(failure.value)
    assert "; try again" in str(failure.value)
    assert not jars.paths()[0].exists()


def test_a_hiccup_is_tried_again(tmp_path: Path) -> None:
    jars = cache(tmp_path, Remote(ConnectionError("reset")).fetch, BROKER)

    jars.fill(quiet)

    assert jars.missing() == ()


def test_a_download_that_fails_names_the_jar_and_what_to_do(tmp_path: Path) -> None:
    down = [ConnectionError("no route to host")] * 3

    with pytest.raises(ServerFailure) as failure:
        cache(tmp_path, Remote(*down).fetch, BROKER).fill(quiet)

    assert str(failure.value) == (
        "kafka: org.apache.kafka:kafka_2.13:9.9.9 could not be downloaded "
        "(ConnectionError: no route to host); check the way to Maven Central and try again "
        "(what came is kept), or name your own servers in TALEA_KAFKA, TALEA_REDIS and "
        "TALEA_POSTGRES"
    )


OFFLINE = """
import sys, pathlib
from pipeline.embedded.failure import ServerFailure
from pipeline.embedded.jars import JarCache, read_lock
try:
    JarCache(pathlib.Path(sys.argv[1]), read_lock()).fill(lambda text, fraction: None)
except ServerFailure as failure:
    print(failure)
"""


def test_without_a_network_the_real_download_says_so_in_one_line(tmp_path: Path) -> None:
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "PYTHONPATH": str(Path(__file__).parents[2])}

    said = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path)],
        env={**nowhere, "HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert said.stdout.count("\n") == 1
    assert "could not be downloaded" in said.stdout
    assert "check the way to Maven Central" in said.stdout
    assert said.stderr == ""


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    place.write_text("a file where the folder should be")

    with pytest.raises(ServerFailure) as failure:
        cache(place, Remote().fetch).fill(quiet)

    assert str(place) in str(failure.value)
    assert "set XDG_CACHE_HOME" in str(failure.value)


def test_two_at_once_fetch_each_jar_once(tmp_path: Path) -> None:
    remote, told = Remote(), list[str]()
    caches = [cache(tmp_path, remote.fetch) for _ in range(4)]
    threads = [
        threading.Thread(target=each.fill, args=(lambda text, _: told.append(text),))
        for each in caches
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(remote.asked) == ["kafka_2.13", "other"]
    assert caches[0].missing() == ()


def test_what_a_killed_download_left_is_cleared_away(tmp_path: Path) -> None:
    jars = cache(tmp_path, Remote().fetch)
    left = jars.folder / "stage-abc" / "half.jar"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")

    jars.fill(quiet)

    assert not left.parent.exists()


def test_the_lock_pins_every_jar_once_and_brings_a_log_binding() -> None:
    artifacts = read_lock()

    assert broker_version(artifacts).startswith("4.1.")
    assert len({each.file_name for each in artifacts}) == len(artifacts) == 46
    assert len({each.sha256 for each in artifacts}) == len(artifacts)
    by_name = {each.artifact: each.version for each in artifacts}
    assert by_name["log4j-slf4j-impl"] == by_name["log4j-core"] == by_name["log4j-api"]
    ours = {each.version for each in artifacts if each.group == "org.apache.kafka"}
    assert ours == {broker_version(artifacts)}


@pytest.mark.parametrize("text", ["org.x:y 12 abc\n", "not a lock\n", ""])
def test_a_lock_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kafka.lock"
    path.write_text(text)

    with pytest.raises(ServerFailure, match=r"kafka: its lock .*kafka\.lock cannot be read"):
        broker_version(read_lock(path))


def test_the_real_fetch_is_the_default(tmp_path: Path) -> None:
    assert JarCache(tmp_path, (BROKER,))._fetch is fetch_with_jgo


def test_fetched_jars_outdate_the_archive_made_from_others(tmp_path: Path) -> None:
    jars = cache(tmp_path, Remote().fetch)
    jars.folder.mkdir()
    archive = jars.folder / "start-java-1.aot"
    archive.touch()

    jars.fill(quiet)

    assert not archive.exists()
