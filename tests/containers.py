"""The servers of docker-compose.yml as containers for the tests: same images, same settings.

Each listens on one port of this machine, chosen before it starts, since a broker must be told the
address under which it is reached.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import yaml

COMPOSE_TEXT = (Path(__file__).parents[1] / "docker-compose.yml").read_text("utf-8")
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
_START_WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Container:
    """What to run: `inner` is the port inside, `port` the one of this machine."""

    image: str
    environment: Mapping[str, str]
    command: tuple[str, ...]
    inner: int
    port: int


def compose(variables: Mapping[str, str]) -> Mapping[str, Mapping[str, Any]]:
    """Read the services as compose does where these variables are set."""
    text = VARIABLE.sub(lambda found: variables.get(found[1], found[2]), COMPOSE_TEXT)
    assert "$" not in text, "a variable without a default"
    services: Mapping[str, Mapping[str, Any]] = yaml.safe_load(text)["services"]
    return services


def container(name: str, port: int) -> Container:
    """A server of the compose file, to listen on a port of loopback."""
    service = compose({f"{name.upper()}_PORT": str(port)})[name]
    _, outer, inner = service["ports"][0].split(":")
    assert outer == str(port)
    return Container(
        image=service["image"],
        environment=service.get("environment", {}),
        command=tuple(service.get("command", ())),
        inner=int(inner),
        port=port,
    )


def address(name: str, port: int) -> str:
    """Where a server is reached, as settings name it."""
    database = compose({})["postgres"]["environment"]
    user, password = database["POSTGRES_USER"], database["POSTGRES_PASSWORD"]
    return {
        "kafka": f"127.0.0.1:{port}",
        "redis": f"redis://127.0.0.1:{port}/0",
        "postgres": f"postgresql://{user}:{password}@127.0.0.1:{port}/{database['POSTGRES_DB']}",
    }[name]


def start_containers(held: ExitStack, names: frozenset[str]) -> dict[str, str]:
    """Start servers in a Docker engine; return their addresses once each answers."""
    from pipeline.embedded.ports import any_free_port

    found = {}
    for name in sorted(names):
        wanted = container(name, any_free_port())
        _run(held, name, wanted)
        found[name] = address(name, wanted.port)
    for name, where in found.items():
        _await(name, where)
    return found


def _run(held: ExitStack, name: str, wanted: Container) -> None:
    from testcontainers.core.container import DockerContainer

    running = DockerContainer(
        wanted.image, env=dict(wanted.environment), hostname=name, shm_size="256m"
    )
    running.with_bind_ports(wanted.inner, wanted.port)
    if wanted.command:
        running.with_command(list(wanted.command))
    held.enter_context(running)


def _await(name: str, where: str) -> None:
    deadline = monotonic() + _START_WAIT_S
    while True:
        try:
            return _ASK[name](where)
        except Exception:  # three libraries, each with errors of its own
            if monotonic() > deadline:
                raise
            sleep(0.2)


def _ask_kafka(where: str) -> None:
    from confluent_kafka.admin import AdminClient

    AdminClient({"bootstrap.servers": where, "log_level": 0}).list_topics(timeout=2)


def _ask_redis(where: str) -> None:
    import redis

    with redis.Redis.from_url(where) as client:
        client.ping()


def _ask_postgres(where: str) -> None:
    import psycopg

    psycopg.connect(where, connect_timeout=2).close()


_ASK: dict[str, Callable[[str], None]] = {
    "kafka": _ask_kafka,
    "redis": _ask_redis,
    "postgres": _ask_postgres,
}
