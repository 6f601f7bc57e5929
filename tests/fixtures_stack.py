"""Real servers for the tests, and stacks of their own on them.

Servers come from settings (TALEA_KAFKA, TALEA_REDIS, TALEA_POSTGRES), else from containers where
a Docker engine answers, else embedded. One set for the session; every stack on it is a tenant of
its own: topic, group and key prefix, Postgres schema.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from containers import start_containers

if TYPE_CHECKING:
    from integration.nursery import Nursery
    from integration.running import RunningStack
    from pipeline.embedded import Servers

pytest.register_assert_rewrite(
    "integration.published", "integration.running", "integration.story", "integration.traffic"
)

NAMES = ("kafka", "redis", "postgres")
DOCKER_SOCKET = "unix:///var/run/docker.sock"
DOCKER_WAIT_S = 0.4

_told = pytest.StashKey[list[str]]()


class StackMaker(Protocol):
    """Makes a stack on the session's servers; tuning goes into its settings."""

    def __call__(self, **tuning: float | str) -> "RunningStack": ...


def named_servers() -> dict[str, str]:
    """The servers that settings name."""
    given = {name: os.environ.get(f"TALEA_{name.upper()}", "") for name in NAMES}
    return {name: address for name, address in given.items() if address}


def docker_answers(wait_s: float = DOCKER_WAIT_S) -> bool:
    """Whether a Docker engine answers, and soon; asked by hand, its client would wait a minute."""
    scheme, _, place = os.environ.get("DOCKER_HOST", DOCKER_SOCKET).partition("://")
    host, _, port = place.rpartition(":")
    try:
        with socket.socket(socket.AF_UNIX if scheme == "unix" else socket.AF_INET) as engine:
            engine.settimeout(wait_s)
            engine.connect(place if scheme == "unix" else (host, int(port)))
            engine.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in engine.recv(64)
    except (OSError, ValueError):
        return False


def _embedded(held: ExitStack, home: Path, names: frozenset[str]) -> dict[str, str]:
    from pipeline.embedded import EmbeddedServers

    started = held.enter_context(EmbeddedServers(home, only=names)).start()
    return {name: getattr(started, name) for name in names}


InDocker = Callable[[ExitStack, frozenset[str]], dict[str, str]]
Embedded = Callable[[ExitStack, Path, frozenset[str]], dict[str, str]]


def start_missing(
    held: ExitStack,
    home: Path,
    given: dict[str, str],
    in_docker: InDocker = start_containers,
    embedded: Embedded = _embedded,
) -> tuple[str, dict[str, str]]:
    """Start the servers that are not given; return where they come from and all addresses.

    An engine that answers but cannot run them is told, and passed over.
    """
    missing = frozenset(NAMES) - given.keys()
    if not missing:
        return "settings", given
    instead = ""
    if docker_answers():
        try:
            with ExitStack() as trial:
                found = in_docker(trial, missing)
                held.push(trial.pop_all())
            return "containers", {**found, **given}
        except Exception as error:  # of Docker's client, of a registry, of a server
            instead = f", since Docker would not: {(str(error) or repr(error)).splitlines()[0]}"
    return f"embedded{instead}", {**embedded(held, home, missing), **given}


@pytest.fixture(scope="session")
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Servers"]:
    """The servers of this session."""
    from pipeline.embedded import Servers

    given = named_servers()
    with ExitStack() as held:
        source, addresses = start_missing(held, tmp_path_factory.mktemp("servers"), given)
        where = ", ".join(f"{name} {addresses[name].rsplit('@', 1)[-1]}" for name in NAMES)
        told = [f"servers: {source} ({where})"]
        if given and source != "settings":
            told.append(f"         from settings: {', '.join(sorted(given))}")
        request.config.stash[_told] = told
        yield Servers(**addresses)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which servers the tests ran on."""
    for line in terminalreporter.config.stash.get(_told, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def nursery() -> Iterator["Nursery"]:
    """Where processes of this session's stacks come from."""
    from integration.nursery import Nursery

    with Nursery() as opened:
        yield opened


def _make_stacks(
    servers: "Servers", nursery: "Nursery", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StackMaker]:
    from integration.running import RunningStack

    with ExitStack() as held:

        def make(**tuning: float | str) -> RunningStack:
            home = tmp_path_factory.mktemp("home")
            return held.enter_context(RunningStack.on(servers, home, tuning, nursery))

        yield make


@pytest.fixture
def make_stack(
    servers: "Servers", nursery: "Nursery", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StackMaker]:
    """Makes stacks for one test."""
    yield from _make_stacks(servers, nursery, tmp_path_factory)


@pytest.fixture(scope="module")
def make_shared_stack(
    servers: "Servers", nursery: "Nursery", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StackMaker]:
    """Makes stacks for the tests of one module."""
    yield from _make_stacks(servers, nursery, tmp_path_factory)
