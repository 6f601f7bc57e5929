"""Bootstrap: the only place that wires settings, servers and workers together."""

import importlib.metadata
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event
from typing import cast

from pipeline.catalog.changes import first_facts
from pipeline.catalog.facts import Fact, NewFact
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.errors import BadInput
from pipeline.settings import Settings
from pipeline.stores.clock import wall_clock
from pipeline.stores.kafka import create_topics
from pipeline.stores.postgres.database import Database
from pipeline.stores.postgres.facts import (
    Author,
    append_facts,
    fact_head,
    last_acked_tick,
    read_facts,
)
from pipeline.workers.announcing import await_named
from pipeline.workers.restoring import restore_lost
from pipeline.workers.supervisor import default_workers
from pipeline.workers.surroundings import Surroundings

TZDATA_VERSION = importlib.metadata.version("tzdata")
GRACE_S = 60
"""Grace of a new log until a catalog says otherwise."""
_JUDGING = frozenset({"ticker", "metering", "pricing", "finalizer", "publisher"})
"""Workers that would judge, book or number wrongly by tables that lack what topics know."""


def surroundings(settings: Settings, kafka: str, redis: str, postgres: str) -> Surroundings:
    """Return what workers are given."""
    stack = settings.stack
    database = Database(postgres, stack.schema)
    return Surroundings(kafka, redis, database, stack, settings.partitions, settings)


def set_up(around: Surroundings, test_clock: Instant | None = None) -> Surroundings:
    """Bring schema, first facts and topics into place; return the surroundings of this log.

    Twice is once. A log that is there keeps its partition count, which settings may not deny, and
    tables out of a backup learn first what its topics know. It keeps its clock, too.
    `test_clock`: it is to have one of its own, which starts there.

    Raises:
        CheckFailed: topics and tables are not of one log.
        BadInput: the log has another partition count than settings say, or another clock than
            asked, or it is a shadow's.
        ServerFailed: a server does not answer.

    """
    settings = around.settings
    if around.is_shadow:  # a log begun here would have its first tick sent to the live one
        raise BadInput(f"TALEA_REPLAY={settings.replay} is for a replay's own workers: unset it")
    around.database.migrate()
    restore_lost(around, _to_stderr)

    def first(known: Sequence[Fact]) -> Sequence[NewFact]:
        if known:
            return []
        return first_facts(
            settings.partitions,
            settings.horizon_s,
            settings.tolerance_s,
            GRACE_S,
            TZDATA_VERSION,
            test_clock,
        )

    with around.database.session("set up") as connection:
        if fact_head(connection)[0] == 0:
            author = Author("talea", "first facts of a new log")
            append_facts(connection, first, author, test_clock or wall_clock())
        partitions = cast(int, read_facts(connection, 0, 1)[0].body["partitions"])
        started = connection.test_clock_start()
        ticked = last_acked_tick(connection) is not None
    if test_clock is not None and test_clock != started:
        its = "the wall's" if started is None else f"a test clock from {instant_text(started)} on"
        raise BadInput(
            f"the clock of this log is {its}, for its life: give the other one a TALEA_HOME of its"
            " own, or a TALEA_PREFIX and TALEA_TENANT_SCHEMA"
        )
    if "partitions" in settings.model_fields_set and partitions != settings.partitions:
        raise BadInput(
            f"this log has {partitions} partitions for its life: set TALEA_PARTITIONS={partitions}"
        )
    create_topics(around.kafka, around.stack, partitions, settings.replication)
    around = replace(around, partitions=partitions)
    if not ticked:
        await_named(around, 1)  # tick 1 is the first record of a log: usage before it is refused
    return around


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"talea: {line}\n")


def worker_runner(around: Surroundings, name: str, number: int, of: int) -> Callable[[], None]:
    """Return what runs one worker until SIGTERM.

    Raises:
        BadInput: no such worker.
        CheckFailed: topics and tables are not of one log.

    """
    if not around.is_shadow and name in _JUDGING:
        restore_lost(around, _to_stderr)  # its supervisor may have outlived the database
    stop = Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: stop.set())
    match name:
        case "ticker":
            from pipeline.workers.ticker import run_ticker

            return lambda: run_ticker(around, stop)
        case "collector":
            from pipeline.workers.collector import run_collector

            return lambda: run_collector(around, number, of, stop)
        case "metering":
            from pipeline.workers.streaming import run_metering

            return lambda: run_metering(around, number, stop)
        case "pricing":
            from pipeline.workers.pricing import run_pricing

            return lambda: run_pricing(around, number, of, stop)
        case "finalizer":
            from pipeline.workers.finalizing import run_finalizer

            return lambda: run_finalizer(around, stop)
        case "publisher":
            from pipeline.workers.publisher import run_publisher

            return lambda: run_publisher(around, stop)
    known = ", ".join(sorted({kind.name for kind in default_workers()}))
    raise BadInput(f"no worker is called {name!r}: {known}")


def version() -> str:
    """Return the version of the installed distribution."""
    return importlib.metadata.version("talea")
