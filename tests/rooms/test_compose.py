"""docker-compose.yml and deploy/Dockerfile say what the code says.

Nothing is built or run here: no test needs a Docker engine.
"""

import ast
import json
import os
import re
import tomllib
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml
from packaging.specifiers import SpecifierSet

from containers import COMPOSE_TEXT, address, compose, container
from pipeline.cli.app import run
from pipeline.cli.work import worker
from pipeline.embedded.kafka import properties
from pipeline.embedded.postgres import DATABASE, Postgres
from pipeline.embedded.redis import Redis
from pipeline.settings import Settings
from pipeline.stores.kafka import log_ends, usage_log
from pipeline.topology import EMBEDDED_PARTITIONS, MESSAGE_BYTES_MAX, TOPICS
from pipeline.workers.supervisor import WorkerKind, default_workers, worker_environment

if TYPE_CHECKING:
    from pipeline.embedded import Servers

Service = Mapping[str, Any]

ROOT = Path(__file__).parents[2]
PROJECT: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
GUIDE = (ROOT / "deploy/README.md").read_text()
PINNED = re.compile(r"[a-z/]+:\d+\.\d+(\.\d+)?(-[a-z-]+)?")

SERVERS = ("kafka", "redis", "postgres")
PLACES = {
    "advertised.listeners",
    "controller.quorum.voters",
    "inter.broker.listener.name",
    "listener.security.protocol.map",
    "listeners",
    "log.dirs",
}
"""Broker settings that say where, not how."""


SERVICES = compose({})
OURS = {name: service for name, service in SERVICES.items() if name not in SERVERS}
WORKERS = {name: s for name, s in OURS.items() if s.get("command", [""])[0] == "worker"}


def worker_kind(words: Sequence[str]) -> WorkerKind:
    """Read a command as the command line itself does."""
    app = typer.Typer()
    app.command()(worker)
    context = typer.main.get_command(app).make_context("worker", list(words[1:]))
    return WorkerKind(**context.params)


def broker_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What the image makes of its environment: server.properties."""
    return {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith("KAFKA_")
    }


def options(words: Sequence[str]) -> dict[str, str]:
    """`--key value` and `-c key=value` as pairs."""
    pairs = list(zip(words[1::2], words[2::2], strict=True))
    named = dict(value.split("=", 1) for key, value in pairs if key == "-c")
    return {**named, **{key: value for key, value in pairs if key != "-c"}}


def listeners(text: str) -> dict[str, str]:
    return dict(part.split("://") for part in text.split(","))


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, the rest), lines joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.partition(" ") for line in joined.splitlines() if line)
    return [(name, " ".join(rest.split())) for name, _, rest in pairs]


def steps() -> list[str]:
    """Each command that building the image runs."""
    return [step for name, rest in instructions() if name == "RUN" for step in rest.split(" && ")]


# --- workers ---


def test_the_workers_of_a_stack_are_the_services() -> None:
    kinds = {name: worker_kind(service["command"]) for name, service in WORKERS.items()}

    assert Counter(kinds.values()) == Counter(default_workers(metering=2, pricing=2))
    for name, kind in kinds.items():
        assert name == (kind.label if kind.of > 1 else kind.name)


def test_whatever_worker_can_be_run_is_one_of_a_stack() -> None:
    """So that a new one cannot be forgotten here: the test above then asks for its service."""
    tree = ast.parse((ROOT / "pipeline/bootstrap.py").read_text())
    (runner,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "worker_runner"
    ]
    named = {
        pattern.value.value
        for pattern in ast.walk(runner)
        if isinstance(pattern, ast.MatchValue) and isinstance(pattern.value, ast.Constant)
    }

    assert {kind.name for kind in default_workers()} == named
    assert len(named) >= 4


def test_besides_workers_only_set_up_and_a_command_at_hand_are_ours() -> None:
    assert OURS.keys() - WORKERS.keys() == {"set-up", "talea"}
    assert SERVICES["set-up"]["command"] == ["set-up"]
    assert SERVICES["talea"]["profiles"]


@pytest.mark.parametrize("name", [name for name in OURS if "command" in OURS[name]])
def test_the_command_line_takes_every_command(name: str) -> None:
    assert run([*OURS[name]["command"], "--help"]) == 0


def test_the_command_line_would_refuse_another_option() -> None:
    assert run(["worker", "ticker", "--nonsense", "1", "--help"]) == 2


@pytest.mark.parametrize("text", [COMPOSE_TEXT, GUIDE], ids=["compose", "guide"])
def test_what_is_told_to_be_typed_can_be(text: str) -> None:
    told = re.findall(r"docker compose run --rm (?:-T )?(\S+) ([a-z-]+)", text)

    assert told
    for service, command in told:
        assert service in OURS
        assert run([command, "--help"]) == 0


@pytest.mark.parametrize("name", OURS)
def test_ours_start_in_order_and_stay(name: str) -> None:
    service = OURS[name]
    waits = {other: how["condition"] for other, how in service["depends_on"].items()}

    if name in WORKERS:
        assert waits == {"set-up": "service_completed_successfully"}
        assert service["restart"] == "unless-stopped"
    else:
        assert waits == dict.fromkeys(SERVERS, "service_healthy")
        assert service.get("restart", "").startswith("on-failure") == (name == "set-up")
    assert service["init"]
    assert service["cap_drop"] == ["ALL"]


# --- settings ---


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("TALEA_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_all_of_ours_have_the_same_settings(no_settings: pytest.MonkeyPatch) -> None:
    known = {f"TALEA_{name.upper()}" for name in Settings.model_fields}
    found = []
    for service in OURS.values():
        environment = service["environment"]
        assert environment.keys() - known == {"PGPASSWORD"}
        with no_settings.context() as during:
            for name, value in environment.items():
                during.setenv(name, value)
            found.append(Settings())

    assert all(settings == found[0] for settings in found)
    assert found[0].partitions == EMBEDDED_PARTITIONS
    assert found[0].stack == Settings().stack
    assert found[0].replication == 1
    assert not found[0].registry


def test_the_partition_count_can_be_that_of_production() -> None:
    services = compose({"TALEA_PARTITIONS": "64"})

    counts = {services[name]["environment"]["TALEA_PARTITIONS"] for name in OURS}
    assert counts == {"64"}


@pytest.mark.parametrize(
    "ports", [{}, {"KAFKA_PORT": "1", "REDIS_PORT": "2", "POSTGRES_PORT": "3"}]
)
def test_addresses_lead_to_the_servers(ports: Mapping[str, str]) -> None:
    services = compose(ports)
    ours = services["ticker"]["environment"]
    broker = broker_settings(services["kafka"]["environment"])
    published = {name: services[name]["ports"][0].split(":") for name in SERVERS}
    database = services["postgres"]["environment"]

    assert all(services[name]["ports"][1:] == [] for name in SERVERS)
    assert {host for host, _, _ in published.values()} == {"127.0.0.1"}
    listening = listeners(broker["listeners"])
    advertised = listeners(broker["advertised.listeners"])
    inside = broker["inter.broker.listener.name"]
    assert ours["TALEA_KAFKA"] == advertised[inside] == f"kafka{listening[inside]}"
    assert advertised["HOST"] == ":".join(published["kafka"][:2])
    assert listening["HOST"] == f":{published['kafka'][2]}"
    assert broker["controller.quorum.voters"] == f"1@{listening['CONTROLLER']}"
    assert listeners(broker["listener.security.protocol.map"].replace(":", "://")).keys() == (
        listening.keys()
    )

    redis, postgres = urlsplit(ours["TALEA_REDIS"]), urlsplit(ours["TALEA_POSTGRES"])
    assert (redis.hostname, str(redis.port)) == ("redis", published["redis"][2])
    assert (postgres.hostname, str(postgres.port)) == ("postgres", published["postgres"][2])
    assert (postgres.username, postgres.path) == (database["POSTGRES_USER"], f"/{DATABASE}")
    assert database["POSTGRES_DB"] == DATABASE


def test_one_password_local_and_nowhere_in_an_address() -> None:
    services = compose({"POSTGRES_PASSWORD": "p@ss/word"})

    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == "p@ss/word"
    for name in OURS:
        assert services[name]["environment"]["PGPASSWORD"] == "p@ss/word"
        assert urlsplit(services[name]["environment"]["TALEA_POSTGRES"]).password is None
    written = re.findall(r"PASSWORD: +(\S+)", COMPOSE_TEXT)
    assert {*written} == {'"${POSTGRES_PASSWORD:-talea}"'}


# --- servers ---


def test_the_broker_does_not_contradict_the_topics() -> None:
    broker = broker_settings(SERVICES["kafka"]["environment"])
    largest = max(int(topic.config["max.message.bytes"]) for topic in TOPICS)

    assert broker["auto.create.topics.enable"] == "false"
    assert int(broker["message.max.bytes"]) >= max(largest, MESSAGE_BYTES_MAX)
    assert int(broker["replica.fetch.max.bytes"]) >= max(largest, MESSAGE_BYTES_MAX)
    assert broker["log.retention.ms"] == broker["log.retention.bytes"] == "-1"
    assert "log.cleanup.policy" not in broker


def test_the_servers_are_set_as_the_embedded_ones() -> None:
    broker = broker_settings(SERVICES["kafka"]["environment"])
    embedded = dict(line.split("=", 1) for line in properties(9092, 9093).splitlines())
    assert broker.keys() <= embedded.keys()
    assert {key: broker[key] for key in broker.keys() - PLACES} == {
        key: embedded[key] for key in broker.keys() - PLACES
    }

    nowhere = Path("nowhere")
    redis = Redis(nowhere, nowhere, nowhere).launch({"redis": 6379}).argv
    assert options(SERVICES["redis"]["command"]).items() <= options(redis).items()
    assert options(SERVICES["redis"]["command"])["--appendonly"] == "yes"
    assert options(SERVICES["redis"]["command"])["--maxmemory-policy"] == "noeviction"

    postgres = Postgres(nowhere, nowhere, nowhere).launch({"postgres": 5432}).argv
    assert options(SERVICES["postgres"]["command"]).items() <= options(postgres[2:]).items()
    assert "--no-locale" in SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"]


def test_servers_keep_their_data_and_say_when_they_serve() -> None:
    volumes = yaml.safe_load(COMPOSE_TEXT)["volumes"]
    places = {name: SERVICES[name]["volumes"][0].split(":") for name in SERVERS}

    assert [volume for volume, _ in places.values()] == list(volumes)
    assert places["kafka"][1] == SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"]
    assert len(urlsafe_b64decode(SERVICES["kafka"]["environment"]["CLUSTER_ID"] + "==")) == 16
    for name in SERVERS:
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
        assert SERVICES[name]["restart"] == "unless-stopped"


def test_images_are_pinned() -> None:
    images = {name: str(service["image"]) for name, service in SERVICES.items()}
    bases = [rest.split(" ")[0] for name, rest in instructions() if name == "FROM"]

    assert all(PINNED.fullmatch(image) for image in [*images.values(), *bases])
    assert {images[name] for name in OURS} == {f"talea:{PROJECT['project']['version']}"}
    release = images["kafka"].split(":")[1]
    assert f":{release} " in (ROOT / "pipeline/embedded/kafka.lock").read_text()


# --- the same servers as containers of the tests ---


@pytest.mark.parametrize("name", SERVERS)
def test_the_tests_run_the_servers_of_this_file(name: str) -> None:
    service, wanted = SERVICES[name], container(name, 23_456)

    assert wanted.image == service["image"]
    assert list(wanted.command) == service.get("command", [])
    assert wanted.environment.keys() == service.get("environment", {}).keys()
    assert wanted.port == 23_456
    assert str(wanted.inner) == service["ports"][0].split(":")[2]


def test_a_broker_of_the_tests_says_where_it_is_reached() -> None:
    broker = broker_settings(container("kafka", 23_456).environment)

    assert listeners(broker["advertised.listeners"])["HOST"] == "127.0.0.1:23456"
    assert address("kafka", 23_456) == "127.0.0.1:23456"


def test_a_database_of_the_tests_lets_us_in() -> None:
    environment = container("postgres", 23_456).environment
    where = urlsplit(address("postgres", 23_456))

    assert (where.username, where.password) == ("talea", environment["POSTGRES_PASSWORD"])
    assert where.path == f"/{environment['POSTGRES_DB']}"


# --- the image ---


def test_one_service_builds_the_image_of_all() -> None:
    building = {name for name, service in SERVICES.items() if "build" in service}
    build = SERVICES["set-up"]["build"]

    assert building == {"set-up"}
    assert all(service["pull_policy"] == "never" for service in OURS.values())
    assert (ROOT / build["context"] / build["dockerfile"]).read_text() == DOCKERFILE
    assert build["args"] == [rest for name, rest in instructions() if name == "ARG"]


def test_the_image_is_made_of_files_that_are_there_and_let_in() -> None:
    copies = [rest.split() for name, rest in instructions() if name == "COPY"]
    sources = [word for *words, _ in copies if words[0][0] != "-" for word in words]
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    project = PROJECT["project"]

    assert sorted(sources) == sorted(let_in)
    assert all((ROOT / source).exists() for source in sources)
    assert {*wheel, *project["license-files"], project["readme"]} <= {*sources}
    assert any(fnmatch("pipeline/cli/__pycache__", rule) for rule in rules if "pycache" in rule)


def test_whatever_the_image_installs_it_installs_by_hash() -> None:
    installs = [step for step in steps() if re.search(r"\b(install|build|add|sync)\b", step)]
    from_lock = [step for step in installs if "--constraint requirements.lock" in step]
    own = [step for step in installs if step.endswith(" dist/talea-*.whl")]
    (tool,) = re.findall(r"^UV := uv==(\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert len(installs) == 4
    assert all("--require-hashes" in step for step in installs if step not in own)
    assert all("--offline" in step and "--no-deps" in step for step in own)
    assert len(own) == len(from_lock) == 1
    assert "--requirement pyproject.toml" in from_lock[0]
    assert "extra" not in " ".join(steps())
    assert any(f"uv=={tool} --hash=sha256:" in step for step in steps())
    assert any("uv build" in step and "requirements.lock" in step for step in installs)


def test_the_image_runs_talea_as_nobody_special() -> None:
    last = dict(instructions())
    versions = re.findall(r"^FROM python:([\d.]+)", DOCKERFILE, re.MULTILINE)

    assert len(versions) == 2
    assert len(set(versions)) == 1
    assert SpecifierSet(PROJECT["project"]["requires-python"]).contains(versions[0])
    assert any(step.endswith(f" {last['USER']}") for step in steps() if "useradd --uid" in step)
    assert json.loads(last["ENTRYPOINT"])[0] in PROJECT["project"]["scripts"]
    assert "PYTHONDONTWRITEBYTECODE" not in DOCKERFILE


# --- talea set-up ---


def test_set_up_wants_servers_of_its_own(
    no_settings: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_settings.setenv("TALEA_KAFKA", "127.0.0.1:1")

    assert run(["set-up"]) == 2
    assert "TALEA_REDIS" in capsys.readouterr().err


@pytest.mark.servers
def test_set_up_twice_is_once(
    servers: "Servers",
    tmp_path: Path,
    no_settings: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from integration.running import bare, erase

    around = bare(servers, tmp_path, {"partitions": 3})
    for name, value in worker_environment(around).items():
        no_settings.setenv(name, value)
    try:
        assert run(["set-up", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert run(["set-up", "--json"]) == 0

        assert json.loads(capsys.readouterr().out) == told
        assert told["partitions"] == 3
        assert told["topics"] == [around.stack.topic(topic) for topic in TOPICS]
        assert log_ends(around.kafka, usage_log(around.stack), 3) == [(0, 1)] * 3
    finally:
        erase(around)
