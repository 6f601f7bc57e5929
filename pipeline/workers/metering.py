"""Metering worker: the Faust agent over the usage log.

Owns: the order of effects: claim, send slices and dead letters, await both, then ack.
Does not own: any judgement (meter/place.py, meter/sift.py, dedupe), partitions (Faust).
Law: acks strictly in offset order and only after the broker has the slice; any exception ends
the process. A message at or below the books' cursor is acked without effects: a rewind is a
no-op by construction.

    event -> look (gate) -> claim, many in flight -> slice -> send -> FIFO -> ack
"""

import asyncio
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import Any, cast

import faust
import structlog
from mode.supervisors import CrashingSupervisor

from pipeline.collect.letters import DeadLetter, Refusal
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import batch_digest
from pipeline.dedupe.claims import Behind, Delivery, Judged
from pipeline.meter.place import NeedsTick, Opened, Place, Told
from pipeline.meter.sift import Arrival, Sifted, contribution, customer_of, delivery
from pipeline.meter.slices import Slice
from pipeline.meter.ticks import Tick
from pipeline.stores.claims import RedisClaims
from pipeline.stores.clock import wall_clock
from pipeline.stores.kafka import KafkaLog, event_count, usage_log
from pipeline.stores.records import encode_letter, encode_slices, open_message
from pipeline.stores.registry import is_foreign, message_decoder
from pipeline.topology import USAGE_EVENTS, USAGE_METERED, USAGE_REJECTED
from pipeline.workers.catchup import Catchup
from pipeline.workers.seams import Blocking, ClaimStore, Sender
from pipeline.workers.standstill import await_free, leave_when_held
from pipeline.workers.surroundings import Surroundings

_log = structlog.get_logger()

_CLAIMS_IN_FLIGHT = 16
_SENDS_IN_FLIGHT = 64
_POLL_S = 0.25
_RECLAIM_MESSAGES = 1_000
_GENERATIONS_SWEPT = 8
_TICK_AHEAD_MAX = 300 * SECOND


@dataclass(frozen=True, slots=True)
class _Looked:
    """A message between the look and the ack: `answer` is its claim under way."""

    event: Any
    message: bytes
    partition: int
    arrival: Arrival
    looked: Told | Sifted | None
    claim: Delivery | None = None
    answer: "asyncio.Future[Judged | Behind] | None" = None


class MeteringLine:
    """The line from event to ack, for every partition this worker has."""

    def __init__(
        self,
        around: Surroundings,
        sender: Sender,
        claims: ClaimStore,
        catchup: Catchup,
        machine: "Machine",
    ) -> None:
        """Prepare; `start` begins."""
        self._around, self._sender, self._claims = around, sender, claims
        self._stack = around.stack
        self._catchup, self._machine = catchup, machine
        self._decode = message_decoder(around.settings.registry)
        self._places: dict[int, Place] = {}
        self._looked: asyncio.Queue[_Looked] = asyncio.Queue(_CLAIMS_IN_FLIGHT)
        self._sent: asyncio.Queue[tuple[Any, Sequence[Awaitable[Any]]]] = asyncio.Queue(
            _SENDS_IN_FLIGHT
        )
        self._needed: dict[int, int] = {}

    async def start(self, stream: Any) -> None:
        """Run the two tails of the line; whoever fails ends the process."""
        await self._poll()
        tails = (self._fold_and_send(), self._ack(stream), self._keep_polling())
        self._tails = [asyncio.create_task(self._or_die(tail)) for tail in tails]

    async def take(self, event: Any) -> None:
        """Look at one message and send its claim off."""
        message, offset, partition = (
            event.value or b"",
            event.message.offset,
            event.message.partition,
        )
        if offset <= self._catchup.cursor(partition).offset:
            self._places.pop(partition, None)
            await self._looked.put(_Looked(event, b"", partition, _NOWHERE, None))
            return
        await self._hold_back(partition, offset)
        place = self._places.get(partition)
        if place is None or place.offset != offset:
            place = await self._machine.blocking(self._catchup.place_at, partition, offset)
            self._places[partition] = place
        arrival = place.arrival(event_count(_headers(event)), batch_digest(message))
        looked = await self._look(await self._open(message), arrival, partition)
        claim = None
        if isinstance(looked, Sifted):
            gate = self._catchup.known.ground(partition, arrival.tick).gate
            claim = delivery(looked, arrival, place.after, gate)
        answer = await self._claims.begin(partition, claim) if claim else None
        place.pass_message(looked, claimed=claim is not None)
        await self._looked.put(_Looked(event, message, partition, arrival, looked, claim, answer))

    async def _open(self, message: bytes) -> Opened:
        """Decode; what may need a registry does so in a thread, where it can wait."""
        if is_foreign(message):
            return await self._machine.blocking(open_message, message, self._decode)
        return open_message(message)

    async def _look(self, opened: Opened, arrival: Arrival, partition: int) -> Told | Sifted:
        known = self._catchup.known
        if arrival.tick.fact_position > known.facts.head:
            await self._machine.blocking(self._catchup.ground, partition, arrival.tick)
        looked = known.look(opened, arrival, partition)
        if isinstance(looked, NeedsTick):
            wait = partial(self._catchup.look_waiting, opened, arrival, partition)
            looked = await self._machine.blocking(wait)
        if isinstance(looked, Told) and (tick := looked.piece.tick) is not None:
            ahead = tick.time - self._machine.clock()
            if ahead > _TICK_AHEAD_MAX:
                raise BrokenInvariant(
                    f"tick {tick.serial} is {ahead // SECOND} s ahead of this machine's clock:"
                    " set the clocks right"
                )
        return looked

    async def _hold_back(self, partition: int, offset: int) -> None:
        """Wait while metering leads the books too far: that is the backpressure."""
        lead = self._around.settings.metering_lead
        while offset - self._catchup.cursor(partition).offset > lead:
            await asyncio.sleep(_POLL_S)

    async def _or_die(self, tail: Awaitable[None]) -> None:
        """Run a tail of the line; its end is the end of the process."""
        try:
            await tail
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._machine.die()

    async def _fold_and_send(self) -> None:
        while True:
            item = await self._looked.get()
            if item.looked is None:
                await self._sent.put((item.event, ()))
                continue
            if isinstance(item.looked, Told):
                piece, refusals = item.looked.piece, item.looked.refusals
            else:
                judged = await self._judged(item)
                piece, refusals = contribution(item.looked, item.arrival, judged)
            sends = await self._send(item, piece, refusals)
            await self._sent.put((item.event, sends))

    async def _judged(self, item: _Looked) -> Judged | None:
        if item.answer is None or item.claim is None:
            return None
        answer = await item.answer
        if isinstance(answer, Behind):
            answer = await self._claims.claim(item.partition, item.claim)
        if isinstance(answer, Behind):
            after = await self._reclaim(item.partition, item.claim, answer.watermark)
            answer = await self._claims.claim(item.partition, replace(item.claim, after=after))
        if isinstance(answer, Behind):
            raise BrokenInvariant(
                f"partition {item.partition}: claims stay behind offset {item.claim.offset}"
            )
        return answer

    async def _reclaim(self, partition: int, claim: Delivery, watermark: int) -> int:
        """Make claims again out of the log, up to (not with) the delivery.

        Return the offset after the last one made.
        """
        after = watermark + 1
        if watermark < 0:
            after = await self._machine.blocking(
                self._catchup.generation_start, partition, claim.generation - 1
            )
            await self._claims.start_at(partition, after)
        made = 0
        for start in range(after, claim.offset, _RECLAIM_MESSAGES):
            end = min(start + _RECLAIM_MESSAGES, claim.offset)
            for older in await self._machine.blocking(
                self._catchup.deliveries, partition, after, start, end
            ):
                await self._claims.claim(partition, older)
                after, made = older.offset + 1, made + 1
        if made:
            _log.warning(
                "claims made again out of the log",
                partition=partition,
                batches=made,
                watermark=watermark,
            )
        return after

    async def _send(
        self, item: _Looked, piece: Slice, refusals: Sequence[Refusal]
    ) -> list[Awaitable[Any]]:
        sends = [
            await self._sender.send(
                self._stack.topic(USAGE_METERED), item.partition, encode_slices([piece])
            )
        ]
        if refusals:
            letter = _letter(item, piece, refusals)
            sends.append(
                await self._sender.send(
                    self._stack.topic(USAGE_REJECTED),
                    item.partition,
                    encode_letter(letter),
                    key=letter.customer.encode() or None,
                )
            )
        return sends

    async def _ack(self, stream: Any) -> None:
        while True:
            event, sends = await self._sent.get()
            for send in sends:
                await send
            await stream.ack(event)

    async def _keep_polling(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            await self._poll()

    async def _poll(self) -> None:
        """Learn where the books stand; forget claims that nothing can ask for any more."""
        await self._machine.blocking(self._catchup.poll)
        for partition in list(self._places):
            needed = self._catchup.generation_of_cursor(partition) - 1
            if self._needed.get(partition) != needed:
                await self._claims.drop(partition, range(needed - _GENERATIONS_SWEPT, needed))
                self._needed[partition] = needed


def _letter(item: _Looked, piece: Slice, refusals: Sequence[Refusal]) -> DeadLetter:
    customer = customer_of(item.looked, refusals) if isinstance(item.looked, Sifted) else ""
    return DeadLetter(
        USAGE_EVENTS.name,
        item.partition,
        piece.offset,
        piece.log_time,
        refusals,
        item.message,
        _headers(item.event),
        customer,
    )


_NOWHERE = Arrival(-1, Tick(0, 0, 0), 0, None, b"")


def _headers(event: Any) -> list[tuple[str, bytes | None]]:
    return list(event.message.headers or ())  # the event's own are a dict: the last of a name wins


def die() -> None:
    """End the process at once: nothing half-done may be acked on the way out."""
    traceback.print_exc(file=sys.stderr)
    sys.stderr.flush()
    os._exit(70)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the line asks of the machine it runs on; the simulation is another one."""

    blocking: Blocking = asyncio.to_thread
    clock: Callable[[], Instant] = wall_clock
    die: Callable[[], None] = die


@dataclass(frozen=True, slots=True)
class FaustSender:
    """Sends by the producer that Faust has."""

    producer: Any

    async def send(
        self, topic: str, partition: int, value: bytes, *, key: bytes | None = None
    ) -> Awaitable[object]:
        """Send one record and return what is done once the broker has it."""
        return cast(
            Awaitable[object],
            await self.producer.send(topic, key, value, partition, None, None),
        )


def make_app(around: Surroundings, number: int) -> faust.App:
    """Return the Faust application of one metering worker (FAUST.md 2.8, SPIKE.md 5)."""
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
        consumer_max_fetch_size=4 << 20,
        consumer_group_instance_id=f"metering-{number}",
        stream_buffer_maxsize=64,
        stream_wait_empty=True,
        stream_publish_on_commit=False,
        producer_acks=-1,
        producer_linger=0.0,
        producer_max_batch_size=512 << 10,
        producer_max_request_size=4 << 20,
        producer_compression_type=None,
        table_standby_replicas=0,
        topic_partitions=around.partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        datadir=str(datadir),
    )
    app.agent(app.topic(usage_log(around.stack), key_type=bytes, value_type=bytes))(
        partial(_meter, around=around, app=app)
    )
    return app


async def _meter(stream: Any, *, around: Surroundings, app: faust.App) -> None:
    try:
        claims = RedisClaims(around.redis, around.stack)
        await claims.open()
        producer = await app.maybe_start_producer()
        reading = around.database.connect(name="metering", autocommit=True)
        polling = around.database.connect(name="metering cursor", autocommit=True)
        catchup = Catchup(around, KafkaLog(around.kafka), reading, polling)
        line = MeteringLine(around, FaustSender(producer), claims, catchup, Machine())
        await line.start(stream)
        watching = asyncio.create_task(leave_when_held(polling, die))
        async for event in stream.noack().events():
            await line.take(event)
        watching.cancel()
    except asyncio.CancelledError:
        raise
    except BaseException:
        die()


def run_metering(around: Surroundings, number: int, stop: Event) -> None:
    """Run one metering worker until it is stopped."""
    from mode.loop import use

    if not await_free(around, stop):
        return
    use("uvloop")
    app = make_app(around, number)
    worker = cast(Any, faust.Worker(app, loglevel="WARNING", redirect_stdouts=False))
    worker.execute_from_commandline()
