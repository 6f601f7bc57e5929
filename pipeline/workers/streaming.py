"""The Faust application that a metering worker is.

Owns: Faust's settings, what the line is made of.  Does not own: the line (metering.py).
"""

import asyncio
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any, cast

import faust
from mode.supervisors import CrashingSupervisor

from pipeline.stores.claims import RedisClaims
from pipeline.stores.codec import Decode
from pipeline.stores.fetched import read_any_header_name
from pipeline.stores.kafka import KafkaLog, usage_log
from pipeline.stores.sending import LoopSender
from pipeline.workers.catchup import Catchup
from pipeline.workers.holding import Holding
from pipeline.workers.liveness import start_watching, watch
from pipeline.workers.metering import Machine, MeteringLine, die
from pipeline.workers.standstill import await_free, leave_when_held
from pipeline.workers.surroundings import Surroundings

_GATHER_MS = 5
"""Slices that come within it are one request, which spares sender and broker the most of each."""

FETCHED_BYTES = 1 << 20
"""Of each partition at once, before decompression. Four times as much was no faster, and a worker
that waits for the books holds two fetches and the objects in them."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What liveness asks of this worker. Faust and aiokafka have no other way to ask."""

    app: faust.App
    line: MeteringLine
    holding: Holding

    def partitions(self) -> set[int]:
        """Return the partitions that are assigned to this worker."""
        return {place.partition for place in cast(Any, self.app).consumer.assignment()}

    def excused(self) -> set[int]:
        """Return those that are held; all of them while the line waits for others."""
        if self.line.waits_for_others:
            return self.partitions()
        return {*self.holding.partitions, *self.line.stalled}

    def fetcher_death(self) -> str | None:
        """Return what aiokafka's fetch routine ended of, unless it was closed."""
        fetcher = cast(Any, self.app).consumer._thread._ensure_consumer()._fetcher
        routine = fetcher.error_future
        if not routine.done() or fetcher._closed:
            return None
        error = None if routine.cancelled() else routine.exception()
        return repr(error and (error.__cause__ or error))


def make_app(
    around: Surroundings, number: int, stop: Event, decode: Decode | None = None
) -> faust.App:
    """Return the Faust application of one metering worker (FAUST.md 2.8, SPIKE.md 5)."""
    read_any_header_name()
    settings = around.settings
    datadir = settings.home / "faust" / str(number)
    datadir.parent.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        around.stack.metering_group,
        broker=f"kafka://{around.kafka.replace(',', ';kafka://')}",
        store="memory://",
        processing_guarantee="at_least_once",
        agent_supervisor=CrashingSupervisor,
        cython_optimizations=True,
        key_serializer="raw",
        value_serializer="raw",
        broker_commit_interval=0.5,
        broker_commit_every=100,
        broker_session_timeout=settings.session_s,
        broker_heartbeat_interval=settings.session_s / 4,
        broker_request_timeout=max(40.0, settings.session_s * 2),
        broker_rebalance_timeout=60.0,
        broker_max_poll_interval=300.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCHED_BYTES,
        consumer_group_instance_id=f"metering-{number}",
        stream_buffer_maxsize=64,
        stream_wait_empty=True,
        stream_publish_on_commit=False,
        table_standby_replicas=0,
        topic_partitions=around.partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        datadir=str(datadir),
    )
    app.agent(app.topic(usage_log(around.stack), key_type=bytes, value_type=bytes))(
        partial(_meter, around=around, app=app, stop=stop, decode=decode)
    )
    return app


async def _meter(
    stream: Any, *, around: Surroundings, app: faust.App, stop: Event, decode: Decode | None
) -> None:
    def forget(event: Any) -> None:
        app.consumer.unacked.discard(event.message)  # else every rebalance would wait for it

    try:
        with (
            closing(LoopSender(around.kafka, gather_ms=_GATHER_MS)) as sender,
            closing(LoopSender(around.kafka)) as letters,
        ):
            claims = RedisClaims(around.redis, around.stack)
            reading = around.database.connect(name="metering", autocommit=True)
            polling = around.database.connect(name="metering cursor", autocommit=True)
            catchup = Catchup(around, KafkaLog(around.kafka), reading, polling, decode=decode)
            pauses = around.database.connect(name="metering pauses", autocommit=True)
            holding = Holding(pauses, around.settings)
            machine = Machine(clock=polling.clock(), forget=forget)
            line = MeteringLine(around, sender, letters, claims, catchup, holding, machine)
            start_watching(partial(watch, around, Progress(app, line, holding), stop), die)
            await claims.open()
            await line.start(stream)
            watching = asyncio.create_task(leave_when_held(polling, die))
            async for event in stream.noack().events():
                await line.take(event)
            watching.cancel()
    except asyncio.CancelledError:
        raise
    except BaseException:
        die()


class _Worker(faust.Worker):
    """Ends as Faust's does, without the second that it sleeps when everything has ended."""

    async def _sentinel_task(self) -> None: ...


def run_metering(
    around: Surroundings, number: int, stop: Event, decode: Decode | None = None
) -> None:
    """Run one metering worker until it is stopped."""
    from mode.loop import use

    if not await_free(around, stop):
        return
    use("uvloop")
    app = make_app(around, number, stop, decode)
    worker = cast(Any, _Worker(app, loglevel="WARNING", redirect_stdouts=False))
    worker.execute_from_commandline()
