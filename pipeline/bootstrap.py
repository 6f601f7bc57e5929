"""Bootstrap: the only place that wires settings, servers and workers together."""

import importlib.metadata
import signal
from collections.abc import Callable, Sequence
from threading import Event

# first_facts imported lazily
from pipeline.catalog.facts import Fact, NewFact
from pipeline.core.errors import BadInput
from pipeline.settings import Settings
from pipeline.stores.clock import wall_clock
from pipeline.stores.kafka import create_topics
from pipeline.stores.postgres.database import Database
from pipeline.stores.postgres.facts import Author, append_facts, read_facts
from pipeline.workers.surroundings import Surroundings

TZDATA_VERSION = importlib.metadata.version("tzdata")
GRACE_S = 60
"""Grace of a new log until a catalog says otherwise."""


def surroundings(settings: Settings, kafka: str, redis: str, postgres: str) -> Surroundings:
    """Return what workers are given."""
    database = Database(postgres, settings.tenant_schema)
    return Surroundings(kafka, redis, database, settings.stack, settings.partitions, settings)


def set_up(around: Surroundings) -> None:
    """Bring schema, topics and the first facts of the log into place; twice is once.

    Raises:
        BadInput: the log has another partition count than settings say.
        ServerFailed: a server does not answer.

    """
    around.database.migrate()
    create_topics(around.kafka, around.stack, around.partitions, around.settings.replication)
    author = Author("talea", "first facts of a new log")
    settings = around.settings

    def first(known: Sequence[Fact]) -> Sequence[NewFact]:
        if known:
            return []
        return first_facts(
            around.partitions, settings.horizon_s, settings.tolerance_s, GRACE_S, TZDATA_VERSION
        )

    with around.database.session("set up") as connection:
        append_facts(connection, first, author, wall_clock())
        partitions = read_facts(connection, 0, 1)[0].body["partitions"]
    if partitions != around.partitions:
        raise BadInput(
            f"this log has {partitions} partitions for its life: set TALEA_PARTITIONS={partitions}"
        )


def worker_runner(around: Surroundings, name: str, number: int, of: int) -> Callable[[], None]:
    """Return what runs one worker until SIGTERM.

    Raises:
        BadInput: no such worker.

    """
    stop = Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: stop.set())
    match name:
        case "ticker":
            from pipeline.workers.ticker import run_ticker

            return lambda: run_ticker(around, wall_clock, stop)
        case "metering":
            from pipeline.workers.metering import run_metering

            return lambda: run_metering(around, number)
        case "pricing":
            from pipeline.workers.pricing import run_pricing

            return lambda: run_pricing(around, number, of, stop)
        case "finalizer":
            from pipeline.workers.finalizer import run_finalizer

            return lambda: run_finalizer(around, wall_clock, stop)
    raise BadInput(f"no worker is called {name!r}: ticker, metering, pricing or finalizer")


def version() -> str:
    """Return the version of the installed distribution."""
    return importlib.metadata.version("talea")
