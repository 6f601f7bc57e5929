"""Collector: raw usage, one event a message, into keyed batches of the usage log.

Owns: the order of effects (send batches and dead letters, await their acks, then move the
stands), when a batch is full or old, that a partition of rejects is read no further.
Does not own: what an event is (collect/raw.py), which stand may move (collect/rounds.py).
Law: a crash at any moment repeats events, by their keys, and loses none; a message is counted
once, collected or rejected, in the transaction that steps over it. No consumer group: the
stands say where to read on.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from operator import methodcaller
from threading import Event
from time import monotonic
from typing import Protocol, cast

import structlog

from pipeline.collect.batch import PACKED_BYTES_MAX, Mode, Packer
from pipeline.collect.letters import DeadLetter, Headers, Refusal
from pipeline.collect.limits import BATCH_EVENTS_MAX
from pipeline.collect.raw import RawReader
from pipeline.collect.rounds import Rounds, Stand
from pipeline.core.errors import BrokenInvariant, Rejection
from pipeline.meter.slices import Counts
from pipeline.stores.codec import encode_batch
from pipeline.stores.kafka import SureProducer, headers_of, topic_id, usage_log
from pipeline.stores.postgres.pauses import RawPauses
from pipeline.stores.raw import RawSource, raw_ends
from pipeline.stores.records import encode_letter, open_usage_event
from pipeline.stores.registry import message_decoder
from pipeline.topology import USAGE_RAW, USAGE_REJECTED, Stack
from pipeline.workers.holding import Resumed, Stops
from pipeline.workers.surroundings import Surroundings, partitions_of

_log = structlog.get_logger()

_READ_MAX = 1000
_UNACKED_BYTES_MAX = 32 << 20
_ROUNDS_MAX = 16
_ACK_WAIT_S = 0.05
_LOOKS_A_LINGER = 4
_BUSY_LINGERS = 5
"""So many lingers a round lasts while more lies ready: nobody waits longer for fuller batches."""
_POLL_S = 1.0


class RawMessage(Protocol):
    """One message of raw usage, as confluent_kafka has it."""

    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> Headers | None: ...


class Source(Protocol):
    """Where messages come from, in order within a partition."""

    def read(self, count_max: int, wait_s: float) -> Sequence[RawMessage]: ...
    def pause(self, partition: int) -> None: ...


class Sink(Protocol):
    """Where batches and dead letters go; `acked` is called from `poll` or `flush`."""

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        event_count: int | None = None,
        acked: Callable[[], None] = ...,
    ) -> None: ...
    def poll(self, wait_s: float = 0.0) -> None: ...
    def flush(self) -> None: ...


Save = Callable[[Sequence[tuple[Stand, Stand]]], None]
"""Moves stands, all or none."""


class StandStore(Protocol):
    """Where each partition of raw usage stands."""

    def open_stands(self, partitions: Sequence[int], topic_id: str) -> list[Stand]: ...

    def save_stands(self, moves: Iterable[tuple[Stand, Stand]]) -> None: ...


class Collector:
    """Collects a fixed set of raw partitions."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        save: Save,
        stands: Sequence[Stand],
        stack: Stack,
        reader: RawReader,
        partitions: int,
        linger_s: float,
        clock: Callable[[], float] = monotonic,
        stops: Stops | None = None,
    ) -> None:
        """Go on from `stands`; `partitions` are the usage log's. Without `stops` none pauses."""
        self._source, self._sink, self._save = source, sink, save
        self._stack, self._linger_s, self._clock = stack, linger_s, clock
        self._reader, self._stops = reader, stops
        self._looked_s = clock()
        self._packers = [Packer(Mode.KEYED) for _ in range(partitions)]
        self._rounds = Rounds(stands)
        self._watched = {stand.partition: stand for stand in stands}
        self._began_s: float | None = None
        self._unacked_bytes = 0

    def step(self) -> int:
        """Read, pack, send, and move what is sure; return how many messages were read.

        Raises:
            Resumed: a partition that was held may go on.

        """
        now_s, messages = self._clock(), self._read()
        if self._stops is not None:
            messages = self._let_in(self._stops, messages, now_s)
        if messages:
            self._began_s = now_s if self._began_s is None else self._began_s
            self._take(messages)
            if self._stops is not None:
                self._stop_rejects(self._stops)
        busy = len(messages) == _READ_MAX
        linger_s = self._linger_s * _BUSY_LINGERS if busy else self._linger_s
        if self._began_s is not None and self._clock() - self._began_s >= linger_s:
            self._end_round()
        self._sink.poll()
        self._settle()
        return len(messages)

    def finish(self) -> None:
        """Send what waits and move over it."""
        self._end_round()
        self._sink.flush()
        self._settle()

    def _read(self) -> Sequence[RawMessage]:
        if self._unacked_bytes > _UNACKED_BYTES_MAX or self._rounds.waiting > _ROUNDS_MAX:
            self._sink.poll(_ACK_WAIT_S)
            return ()
        return self._source.read(_READ_MAX, self._linger_s / _LOOKS_A_LINGER)

    def _let_in(
        self, stops: Stops, messages: Sequence[RawMessage], now_s: float
    ) -> Sequence[RawMessage]:
        """Return the messages of partitions that are not paused."""
        if now_s - self._looked_s >= _POLL_S:
            self._looked_s = now_s
            stops.poll()
        if not stops.partitions:
            return messages
        places = [(message.partition() or 0, message.offset() or 0) for message in messages]
        held = [stops.holds(*place) for place in places]
        for partition in {place[0] for place, stays in zip(places, held, strict=True) if stays}:
            self._source.pause(partition)
        return [message for message, stays in zip(messages, held, strict=True) if not stays]

    def _stop_rejects(self, stops: Stops) -> None:
        """Pause partitions, behind what was read, of which too much is rejected."""
        for now in self._rounds.reached():
            before = self._watched[now.partition]
            rejected = now.rejected - before.rejected
            offered = now.collected - before.collected + rejected
            if stops.exceeded_by(now.partition, Counts(offered=offered, rejected=rejected)):
                stops.stop(now.partition, now.offset + 1)
            self._watched[now.partition] = now

    def _take(self, messages: Sequence[RawMessage]) -> None:
        for partition, run in groupby(messages, methodcaller("partition")):
            self._take_run(partition or 0, list(run))

    def _take_run(self, partition: int, run: Sequence[RawMessage]) -> None:
        """Take messages of one partition."""
        read, packers, refused = self._reader.read, self._packers, 0
        for message in run:
            headers = headers_of(message)
            entry = read(message.value(), headers)
            if isinstance(entry, Rejection):
                self._refuse(message, headers, entry)
                refused += 1
                continue
            home = entry[0]
            packer = packers[home]
            packer.append_entry(entry)
            if len(packer) >= BATCH_EVENTS_MAX or packer.bytes_bound > PACKED_BYTES_MAX:
                self._send_batch(home)
        self._rounds.pass_messages(partition, run[-1].offset() or 0, len(run) - refused, refused)

    def _end_round(self) -> None:
        for home, packer in enumerate(self._packers):
            if len(packer):
                self._send_batch(home)
        self._rounds.mark()
        self._began_s = None

    def _settle(self) -> None:
        moves = self._rounds.settled()
        if moves:
            self._save(moves)

    def _send_batch(self, home: int) -> None:
        batch = self._packers[home].take("collector", "", 0)
        topic = usage_log(self._stack)
        self._send(topic, home, encode_batch(batch), event_count=batch.event_count)

    def _refuse(self, message: RawMessage, headers: Headers, rejection: Rejection) -> None:
        value = message.value()
        customer = self._reader.customer(value, headers)
        partition = message.partition() or 0
        letter = DeadLetter(
            USAGE_RAW.name,
            partition,
            message.offset() or 0,
            0,
            [Refusal(rejection, 1)],
            value or b"",
            headers,
            customer,
        )
        topic, key = self._stack.topic(USAGE_REJECTED), customer.encode() or None
        self._send(topic, partition, encode_letter(letter), key=key)

    def _send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        event_count: int | None = None,
    ) -> None:
        within, size = self._rounds.open, len(value)

        def acked() -> None:
            within.acked()
            self._unacked_bytes -= size

        within.sent()
        self._unacked_bytes += size
        self._sink.send(topic, partition, value, key=key, event_count=event_count, acked=acked)


def check_stands(stands: Sequence[Stand], ends: Sequence[tuple[int, int]], name: str) -> list[str]:
    """Return what was deleted before it was collected, a line a partition.

    Raises:
        BrokenInvariant: a topic ends before where it was read to.

    """
    told = []
    for stand in stands:
        first, end = ends[stand.partition]
        if end <= stand.offset:
            raise BrokenInvariant(
                f"{name}[{stand.partition}] ends at {end}, but {stand.offset} was collected from"
                " it: it was truncated or recreated"
            )
        if first > stand.offset + 1:
            told.append(
                f"{name}[{stand.partition}]: offsets {stand.offset + 1} to {first - 1} were"
                " deleted by retention before they were collected; `talea audit` will miss them"
            )
    return told


def run_collector(around: Surroundings, number: int, of: int, stop: Event) -> None:
    """Collect until stopped."""
    name, own = around.stack.topic(USAGE_RAW), partitions_of(number, of, around.partitions)
    connection = around.database.connect(name="collector", autocommit=True)
    stands = connection.open_stands(own, topic_id(around.kafka, name))
    ends = raw_ends(around.kafka, name, around.partitions)
    for line in check_stands(stands, ends, name):
        _log.error(line)
    starts = {s.partition: max(s.offset + 1, ends[s.partition][0]) for s in stands}
    source = RawSource(around.kafka, name, starts)
    read_record = partial(open_usage_event, decoded=message_decoder(around.settings.registry))
    sink = SureProducer(around.kafka, compression="lz4")
    stops = Stops(RawPauses(connection), around.settings)
    stops.poll()
    collector = Collector(
        cast(Source, source),  # its client's types allow headers of text, which none has
        sink,
        connection.save_stands,
        stands,
        around.stack,
        RawReader(around.partitions, read_record),
        around.partitions,
        around.settings.collector_linger_s,
        stops=stops,
    )
    with suppress(Resumed):  # the next process begins where this one stopped
        while not stop.is_set():
            collector.step()
    collector.finish()
    source.close()
    connection.close()
