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
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog

from pipeline.collect.letters import DeadLetter, Refusal
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import ServerFailed, TaleaError
from pipeline.dedupe.claims import Behind, Delivery, Judged
from pipeline.meter.place import NeedsTick, Opened, Place, Told, digest_of
from pipeline.meter.sift import Arrival, Sifted, contribution, customer_of, delivery
from pipeline.meter.slices import Slice
from pipeline.meter.ticks import Tick
from pipeline.stores.clock import wall_clock
from pipeline.stores.kafka import event_count
from pipeline.stores.records import encode_letter, encode_slices
from pipeline.stores.registry import is_foreign
from pipeline.topology import USAGE_EVENTS, USAGE_METERED, USAGE_REJECTED
from pipeline.workers.catchup import Catchup
from pipeline.workers.failing import PASSING, told
from pipeline.workers.holding import Holding, Resumed
from pipeline.workers.seams import Blocking, ClaimStore, Sender
from pipeline.workers.surroundings import Surroundings

_log = structlog.get_logger()

_CLAIMS_IN_FLIGHT = 16
_SENDS_IN_FLIGHT = 64
_POLL_S = 0.25
_RECLAIM_MESSAGES = 1_000
_RECLAIMS_MAX = 5
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
        letters: Sender,
        claims: ClaimStore,
        catchup: Catchup,
        holding: Holding,
        machine: "Machine",
    ) -> None:
        """Prepare; `start` begins. `letters` sends at once: a slice waits for its letter."""
        self._around, self._sender, self._letters, self._claims = around, sender, letters, claims
        self._stack = around.stack
        self._catchup, self._holding, self._machine = catchup, holding, machine
        self._places: dict[int, Place] = {}
        self._looked: asyncio.Queue[_Looked] = asyncio.Queue(_CLAIMS_IN_FLIGHT)
        self._sent: asyncio.Queue[tuple[Any, Awaitable[Any] | None]] = asyncio.Queue(
            _SENDS_IN_FLIGHT
        )
        self._needed: dict[int, int] = {}
        self._patient = 0
        self._now: Instant = 0
        self.stalled: dict[int, int] = {}
        """Partitions held alone, by where their books stood still."""

    @property
    def waits_for_others(self) -> bool:
        """Whether the line stands still for a reason of its own: the books, a tick, old claims."""
        return self._patient > 0

    @contextmanager
    def _patiently(self) -> Iterator[None]:
        """Take the time it takes: nobody is to think that this worker is stalled."""
        self._patient += 1
        try:
            yield
        finally:
            self._patient -= 1

    async def start(self, stream: Any) -> None:
        """Run the two tails of the line; whoever fails ends the process."""
        await self._poll()
        tails = (self._fold_and_send(), self._ack(stream), self._keep_polling())
        self._tails = [asyncio.create_task(self._or_die(tail)) for tail in tails]

    async def take(self, event: Any) -> None:
        """Look at one message and send its claim off; hold it where its partition is paused."""
        with self._blamed(event):
            await self._take(event)

    @contextmanager
    def _blamed(self, event: Any) -> Iterator[None]:
        """Note that this process dies of one message."""
        try:
            yield
        except Exception as error:
            self._holding.blame(event.message.partition, event.message.offset, error)
            raise

    async def _take(self, event: Any) -> None:
        message, offset, partition = (
            event.value or b"",
            event.message.offset,
            event.message.partition,
        )
        if offset <= self._catchup.cursor(partition).offset:
            await self._step_over(event)
            return
        if self._holding.holds(partition, offset) or await self._stalls(partition, offset):
            self._machine.forget(event)
            return
        place = self._places.get(partition)
        if place is None or place.offset != offset:
            with self._patiently():
                place = await self._machine.blocking(self._catchup.place_at, partition, offset)
            if place is None:
                await self._step_over(event)
                return
            self._places[partition] = place
        opened = await self._open(partition, offset, message)
        arrival = place.arrival(event_count(_headers(event)), digest_of(opened, message))
        looked = await self._look(opened, arrival, partition)
        claim = None
        if isinstance(looked, Sifted):
            gate = self._catchup.known.ground(partition, arrival.tick).gate
            claim = delivery(looked, arrival, place.after, gate)
        answer = await self._claims.begin(partition, claim) if claim else None
        place.pass_message(looked, claimed=claim is not None)
        await self._looked.put(_Looked(event, message, partition, arrival, looked, claim, answer))

    async def _step_over(self, event: Any) -> None:
        """Ack in its turn a message that the books have, without any effect."""
        partition = event.message.partition
        self._places.pop(partition, None)
        await self._looked.put(_Looked(event, b"", partition, _NOWHERE, None))

    async def _open(self, partition: int, offset: int, message: bytes) -> Opened:
        """Decode; what may need a registry does so in a thread, where it can wait."""
        if is_foreign(message):
            return await self._machine.blocking(self._catchup.opened, partition, offset, message)
        return self._catchup.opened(partition, offset, message)

    async def _look(self, opened: Opened, arrival: Arrival, partition: int) -> Told | Sifted:
        known = self._catchup.known
        if not known.has_ground(partition, arrival.tick):
            with self._patiently():
                await self._machine.blocking(self._catchup.ground, partition, arrival.tick)
        looked = known.look(opened, arrival, partition)
        if isinstance(looked, NeedsTick):
            wait = partial(self._catchup.look_waiting, opened, arrival, partition)
            with self._patiently():
                looked = await self._machine.blocking(wait)
        if isinstance(looked, Told) and (tick := looked.piece.tick) is not None:
            self._check_clocks(tick)
        return looked

    def _check_clocks(self, tick: Tick) -> None:
        """Refuse a tick that is ahead of the clock; it is asked only where its last word was."""
        if tick.time - self._now > _TICK_AHEAD_MAX:
            self._now = self._machine.clock()
        ahead = tick.time - self._now
        if ahead > _TICK_AHEAD_MAX:
            raise ServerFailed(
                f"tick {tick.serial} is {ahead // SECOND} s ahead of this machine's clock:"
                " set the clocks right"
            )

    async def _stalls(self, partition: int, offset: int) -> bool:
        """Wait while metering leads the books too far: that is the backpressure.

        Return whether these books stand still: then their partition is held, and others go on.
        """
        settings, waited_s = self._around.settings, 0.0
        stood = self._catchup.cursor(partition).offset
        while partition not in self.stalled:
            booked = self._catchup.cursor(partition).offset
            if offset - booked <= settings.metering_lead:
                return False
            waited_s = waited_s + _POLL_S if booked == stood else 0.0
            stood = booked
            if waited_s > settings.books_wait_s:
                self.stalled[partition] = booked
                _log.error("books stand still: held alone", partition=partition, booked=booked)
                break
            with self._patiently():
                await asyncio.sleep(_POLL_S)
        return True

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
            with self._blamed(item.event):
                send = await self._slice(item, item.looked) if item.looked else None
            await self._sent.put((item.event, send))

    async def _slice(self, item: _Looked, looked: Told | Sifted) -> Awaitable[Any]:
        if isinstance(looked, Told):
            piece, refusals = looked.piece, looked.refusals
        else:
            judged = await self._judged(item)
            piece, refusals = contribution(looked, item.arrival, judged)
        if self._holding.exceeded_by(item.partition, piece.counts):
            place = self._places.get(item.partition)
            following = place.offset if place else piece.offset + 1
            await self._machine.blocking(self._holding.stop, item.partition, following)
        return await self._send(item, piece, refusals)

    async def _judged(self, item: _Looked) -> Judged | None:
        if item.answer is None or item.claim is None:
            return None
        answer = await item.answer
        if isinstance(answer, Behind):
            answer = await self._claims.claim(item.partition, item.claim)
        for _ in range(_RECLAIMS_MAX):  # what was made again may be lost again meanwhile
            if not isinstance(answer, Behind):
                return answer
            with self._patiently():
                after = await self._reclaim(item.partition, item.claim, answer.watermark)
            answer = await self._claims.claim(item.partition, replace(item.claim, after=after))
        if isinstance(answer, Behind):
            raise ServerFailed(
                f"partition {item.partition}: claims stay behind offset {item.claim.offset}:"
                " does Redis keep losing them?"
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
    ) -> Awaitable[Any]:
        """Send what a message contributed, its dead letter before its slice."""
        if refusals:
            letter = letter_about(item, piece, refusals)
            told = await self._letters.send(
                self._stack.topic(USAGE_REJECTED),
                item.partition,
                encode_letter(letter),
                key=letter.customer.encode() or None,
            )
            await told  # a slice that is booked is never sent again, and no letter with it
        return await self._sender.send(
            self._stack.topic(USAGE_METERED), item.partition, encode_slices([piece])
        )

    async def _ack(self, stream: Any) -> None:
        while True:
            event, send = await self._sent.get()
            with self._blamed(event):
                if send is not None:
                    await send
            await stream.ack(event)

    async def _keep_polling(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            await self._poll()

    async def _poll(self) -> None:
        """Learn where the books stand; forget claims that nothing can ask for any more."""
        await self._machine.blocking(self._holding.poll)
        await self._machine.blocking(self._catchup.poll)  # skips last: whose pause is gone is known
        for partition, stood in self.stalled.items():
            if self._catchup.cursor(partition).offset > stood:
                raise Resumed(f"partition {partition} is booked again: this worker begins anew")
        for partition in list(self._places):
            needed = self._catchup.generation_of_cursor(partition) - 1
            if self._needed.get(partition) != needed:
                await self._claims.drop(partition, stale(self._needed.get(partition), needed))
                self._needed[partition] = needed


def stale(before: int | None, needed: int) -> list[int]:
    """Return the generations of claims that may go, now that only those from `needed` on count.

    `before` was needed at the last sweep: where time has jumped, the claims made before the jump
    lie around there, and none in between.
    """
    places = {needed} if before is None else {needed, min(before + _GENERATIONS_SWEPT, needed)}
    return sorted({g for end in places for g in range(end - _GENERATIONS_SWEPT, end)})


def letter_about(item: _Looked, piece: Slice, refusals: Sequence[Refusal]) -> DeadLetter:
    """Return what is told of the events of a message that were refused."""
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
    error = sys.exception()
    if isinstance(error, TaleaError | Resumed):
        _log.error("this worker ends", why=str(error))
    elif isinstance(error, PASSING):
        _log.error("this worker ends", why=told(error))
    else:
        traceback.print_exc(file=sys.stderr)
    sys.stderr.flush()
    os._exit(70)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the line asks of the machine it runs on; the simulation is another one."""

    blocking: Blocking = asyncio.to_thread
    clock: Callable[[], Instant] = wall_clock
    die: Callable[[], None] = die
    forget: Callable[[Any], None] = lambda event: None
    """Lets the stream not wait for an event that is held."""
