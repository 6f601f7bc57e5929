"""The SDK: record usage; it is packed, spooled to disk, sent, and acknowledged.

Owns: the public calls, what each of them waits for.
Does not own: checks (intake.py), batches (packing.py), the disk (writing.py), Kafka (sending.py).
Law: nothing is dropped silently. What is safe when:

    record() returned          in memory, on disk within `linger_s`; lost if the process is killed
    sync(), record(durable=True), close() returned      on disk; sent after any crash
    flush() returned           acknowledged by all in-sync replicas of the broker

An event with an id is *keyed*: sent twice, it counts once. One without is *sequenced*: its place
in the producer's sequence tells it apart, so a resend by the spool counts once, but a second
`record` of the same thing counts twice.
"""

import atexit
import os
import weakref
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Self

from pipeline.agents.board import Board
from pipeline.agents.failures import NotDelivered, NotRecording
from pipeline.agents.intake import Intake, Value
from pipeline.agents.link import BrokerAway, Client, Connect, KafkaLink
from pipeline.agents.packing import Packing
from pipeline.agents.sending import Sender
from pipeline.agents.spool import Spool
from pipeline.agents.writing import Habits, Writer
from pipeline.collect.event import UsageEvent
from pipeline.core.errors import BadInput, TaleaError
from pipeline.topology import EMBEDDED_PARTITIONS, USAGE_EVENTS

_SYNC_WAIT_S = 30.0
_STOP_WAIT_S = 1.0
_EPOCH_BYTES = 8


class Recorder:
    """Takes usage events; safe to use from several threads, not across a fork."""

    def __init__(
        self,
        spool: Spool,
        connect: Connect,
        *,
        producer: str,
        partitions: int,
        topic: str,
        habits: Habits,
    ) -> None:
        """Start an epoch on an open spool; programs call `open`."""
        self._habits = habits
        self._spool = spool
        self._board = Board()
        self._intake = Intake(producer, partitions)
        self._sender = Sender(spool, connect, self._board, topic=topic, partitions=partitions)
        epoch = os.urandom(_EPOCH_BYTES).hex()
        packing = Packing(producer, epoch, partitions, habits.batch_events, spool.first_id)
        self._writer = Writer(spool, packing, self._board, habits, self._sender.wake)
        self._writer.start()
        self._sender.start()
        _LIVE.add(self)
        atexit.register(self._close_quietly, 0.0)

    @classmethod
    def open(
        cls,
        *,
        kafka: str,
        spool: str | os.PathLike[str],
        producer: str,
        partitions: int = EMBEDDED_PARTITIONS,
        topic: str = USAGE_EVENTS.name,
        habits: Habits | None = None,
        client: Client | None = None,
    ) -> Self:
        """Open a spool and record into it; returns at once, whether the broker is there or not.

        `kafka` is host:port, or several, with commas; `producer` names this program; `client`
        holds more settings for librdkafka (security). One spool, one open Recorder.

        Raises:
            BadInput: a setting is wrong; SpoolBusy: the spool is in use.
            SpoolFailed: the spool cannot be used.

        """
        if partitions < 1:
            raise BadInput(f"partitions: {partitions} is not 1 or more")
        if not kafka.strip():
            raise BadInput("kafka: is empty: name a broker as host:port")
        Intake(producer, partitions)  # refuses a producer without a proper name, before any file
        opened = Spool.open(spool, topic=topic, partitions=partitions)
        try:
            return cls(
                opened,
                partial(KafkaLink, kafka, topic, dict(client or {})),
                producer=producer,
                partitions=partitions,
                topic=topic,
                habits=habits or Habits(),
            )
        except BaseException:
            opened.close()
            raise

    def record(
        self,
        *,
        customer: str,
        meter: str,
        value: Value,
        dimensions: Mapping[str, str] | None = None,
        id: str | None = None,
        source: str | None = None,
        time: datetime | None = None,
        durable: bool = False,
    ) -> None:
        """Record one event, at `time` (now, if not given).

        With an `id` it is keyed, by (customer, source, id); `source` is then the producer's name
        unless given. `durable` waits until it is on disk.

        Raises:
            RefusedUsage: naming the field.
            SpoolFull, SpoolFailed, WrongTopic, NotRecording: the event was not taken.

        """
        self._writer.take(self._intake.entry(customer, meter, value, dimensions, id, source, time))
        if durable:
            self.sync()

    def put(self, event: UsageEvent) -> None:
        """Record an event that was checked before: by parse_cloudevent, or by its maker.

        Raises:
            As `record`.

        """
        self._writer.take(self._intake.entry_of(event))

    def sync(self, timeout_s: float = _SYNC_WAIT_S) -> None:
        """Return when all that was recorded before is on disk.

        Raises:
            SpoolFailed: it is not; it stays in memory and is tried again.

        """
        self._writer.await_spooled(self._writer.seal(), monotonic() + timeout_s)

    def flush(self, timeout_s: float = 10.0) -> None:
        """Return when all that was recorded before, and what older runs left, is acknowledged.

        Raises:
            NotDelivered: not in time, naming what is still spooled (it is sent later).
            SpoolFailed, WrongTopic: it cannot go on.

        """
        deadline_s, target = monotonic() + timeout_s, self._writer.seal()
        self._writer.await_spooled(target, deadline_s)
        self._await_acknowledged(target, deadline_s)

    def contact(self, timeout_s: float = 5.0) -> None:
        """Return when the broker has answered and the topic is the right one.

        Raises:
            BrokerAway: no answer in time. WrongTopic: another number of partitions.

        """
        deadline_s = monotonic() + timeout_s
        with self._board.lock:
            while not self._board.in_contact:
                self._board.raise_refusal()
                if not self._board.wait(deadline_s):
                    raise BrokerAway(self._board.trouble or "Kafka has not answered yet")

    def close(self, timeout_s: float | None = None) -> None:
        """Spool the rest, end the sequences, wait for the broker, let go of the spool.

        Raises:
            NotDelivered: not all is acknowledged; the next opening sends it.
            SpoolFailed: the disk refused, so events only recorded are lost; says how many.

        """
        deadline_s = monotonic() + (self._habits.close_wait_s if timeout_s is None else timeout_s)
        target = self._writer.close(NotRecording("this Recorder is closed: open another"))
        if target is None:
            return
        try:
            self._writer.finish(deadline_s)
            self._await_acknowledged(target, deadline_s)
        finally:
            self._sender.stop(_STOP_WAIT_S)
            self._spool.close()
            _LIVE.discard(self)
            atexit.unregister(self._close_quietly)

    def __enter__(self) -> Self:
        """Return the Recorder."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; a failure to do so does not hide the block's own."""
        if kind is None:
            self.close()
        else:
            self._close_quietly(self._habits.close_wait_s)

    def _close_quietly(self, timeout_s: float) -> None:
        with suppress(TaleaError):
            self.close(timeout_s)

    def _await_acknowledged(self, target: int, deadline_s: float) -> None:
        board = self._board
        while True:
            with board.lock:
                moves = board.moves
            oldest = self._spool.oldest()
            if oldest is None or oldest > target:
                return
            with board.lock:
                while board.moves == moves:
                    board.raise_refusal()
                    if not board.wait(deadline_s):
                        raise self._not_delivered()

    def _not_delivered(self) -> NotDelivered:
        left = self._spool.standing()
        return NotDelivered(
            f"{left.batches} batches ({left.events} events) are not acknowledged:"
            f" {self._board.trouble or 'the broker is slow'}: {self._spool.path} keeps them and"
            " sends them when it can"
        )

    def _forked(self) -> None:
        """In a child that took a copy of us along: touch nothing that is the parent's."""
        self._board.forked()
        self._spool.abandon()
        self._sender.abandon()


_LIVE: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _forked_all() -> None:
    for recorder in list(_LIVE):
        recorder._forked()


os.register_at_fork(after_in_child=_forked_all)
