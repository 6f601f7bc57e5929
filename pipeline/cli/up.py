"""`talea up`: servers and workers, watched, until stopped."""

import signal
import threading
from typing import Annotated

import typer

from pipeline.cli.screen import err, print_json
from pipeline.cli.stack import own_stack
from pipeline.settings import read_settings
from pipeline.workers.supervisor import Supervisor, default_workers


def up(
    metering: Annotated[int, typer.Option(min=1, help="Metering workers.")] = 1,
    pricing: Annotated[int, typer.Option(min=1, help="Pricing workers.")] = 1,
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
        supervisor = Supervisor(around, default_workers(metering, pricing), logs)
        supervisor.start()
        try:
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
            err.print(f"talea is up: Kafka {around.kafka}, home {owned.home.path}; Ctrl-C stops it")
            while not stop.wait(0.5):
                if owned.embedded is not None:
                    owned.embedded.check()
        finally:
            supervisor.stop()
