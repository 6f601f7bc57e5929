"""Which servers the tests take: those named, else Docker's, else embedded; nobody waits for it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic

import pytest

from fixtures_stack import docker_answers, named_servers, start_missing

GIVEN = {"kafka": "k:1", "redis": "redis://r", "postgres": "postgresql://p"}


@contextmanager
def engine(answer: bytes | None) -> Iterator[str]:
    """Somebody who listens where an engine should; None: and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as asked:
                asked.recv(100)
                asked.sendall(answer or b"")

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "is_there"),
    [(b"HTTP/1.0 200 OK\r\n\r\nOK", True), (b"HTTP/1.0 503 Busy\r\n\r\n", False), (None, False)],
    ids=["an engine", "a broken one", "a silent one"],
)
def test_an_engine_answers_soon_or_is_none(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | None, is_there: bool
) -> None:
    with engine(answer) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        begun = monotonic()

        assert docker_answers() is is_there
        assert monotonic() - begun < 1.0


@pytest.mark.parametrize("address", ["unix:///no/such.sock", "tcp://127.0.0.1:1", "nonsense"])
def test_no_engine_is_no_failure(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)

    assert docker_answers() is False


def test_named_servers_are_taken_and_none_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, address in GIVEN.items():
        monkeypatch.setenv(f"TALEA_{name.upper()}", address)

    with ExitStack() as held:
        assert start_missing(held, tmp_path, named_servers()) == ("settings", GIVEN)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_runs_them_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    closed = list[str]()

    def in_docker(held: ExitStack, names: frozenset[str]) -> dict[str, str]:
        held.callback(closed.append, "the containers")
        return {name: f"{name} in docker" for name in names}

    with engine(b"HTTP/1.0 200 OK\r\n\r\nOK") as where, ExitStack() as held:
        monkeypatch.setenv("DOCKER_HOST", where)
        source, found = start_missing(held, tmp_path, {"redis": "redis://r"}, in_docker)
        assert source == "containers"
        assert found == {
            "kafka": "kafka in docker",
            "postgres": "postgres in docker",
            "redis": "redis://r",
        }
        assert closed == []
    assert closed == ["the containers"]


def test_an_engine_that_cannot_run_them_is_passed_over_and_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed = list[str]()

    def in_docker(held: ExitStack, names: frozenset[str]) -> dict[str, str]:
        held.callback(closed.append, "what had started")
        raise OSError("no such image: apache/kafka\nand more")

    def embedded(held: ExitStack, home: Path, names: frozenset[str]) -> dict[str, str]:
        return {name: f"{name} embedded" for name in names}

    with engine(b"HTTP/1.0 200 OK\r\n\r\nOK") as where, ExitStack() as held:
        monkeypatch.setenv("DOCKER_HOST", where)
        source, found = start_missing(held, tmp_path, {}, in_docker, embedded)

    assert source == "embedded, since Docker would not: no such image: apache/kafka"
    assert set(found.values()) == {f"{name} embedded" for name in found}
    assert closed == ["what had started"]
