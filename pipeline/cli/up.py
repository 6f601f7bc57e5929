"""`talea up`: servers and workers, watched, until stopped."""

import signal
import threading
from itertools import count
from typing import Annotated

import typer

from pipeline.cli.screen import err, print_json
from pipeline.cli.stack import own_stack
from pipeline.core.errors import ServerFailed
from pipeline.settings import read_settings
from pipeline.stores.postgres.pauses import Pause
from pipeline.workers.pausing import news, paused
from pipeline.workers.supervisor import Supervisor, default_workers
from pipeline.workers.surroundings import Surroundings

_LOOKS_A_TELLING = 4


def up(
    metering: Annotated[int, typer.Option(min=1, help="Metering workers.")] = 1,
    pricing: Annotated[int, typer.Option(min=1, help="Pricing workers.")] = 1,
    collectors: Annotated[int, typer.Option(min=1, help="Collectors of raw usage.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the stack as JSON.")] = False,
) -> None:
    """Run servers and workers, restart what dies, and stay."""
    settings = read_settings()
    stop = threading.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: stop.set())
    with own_stack(settings) as owned:
        around = owned.around
        logs = owned.home.path / "logs"
        workers = default_workers(metering, pricing, collectors=collectors)
        with Supervisor(around, workers, logs) as supervisor:
            from pipeline.embedded import Servers

            owned.home.remember(Servers(around.kafka, around.redis, around.database.dsn))
            if json:
                print_json(
                    {
                        "kafka": around.kafka,
                        "redis": around.redis,
                        "postgres": around.database.dsn,
                        "home": str(owned.home.path),
                        "workers": dict(supervisor.pids()),
                    }
                )
            known: frozenset[Pause] = frozenset()
            err.print(f"talea is up: Kafka {around.kafka}, home {owned.home.path}; Ctrl-C stops it")
            looks = count()
            while not stop.wait(0.5):
                if owned.embedded is not None:
                    owned.embedded.check()
                if next(looks) % _LOOKS_A_TELLING == 0:
                    known = _tell_pauses(around, known)


def _tell_pauses(around: Surroundings, known: frozenset[Pause]) -> frozenset[Pause]:
    """Say what is paused newly and what goes on; return what is paused."""
    try:
        found = frozenset(paused(around))
    except ServerFailed:  # whoever watches Postgres says so
        return known
    for line in news(known, found):
        err.print(f"talea: {line}", markup=False, soft_wrap=True)
    return found
