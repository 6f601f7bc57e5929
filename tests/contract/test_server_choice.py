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
