"""Reading the usage log beside the stream: for a place to start at, for claims to make again.

Owns: where the books stand (polled), the walk over a range of one partition.
Does not own: what each message is (meter/place.py).  Everything here blocks: call it in a thread.
Law: the walk sees what the worker saw when the messages first came by.
"""

from collections.abc import Callable, Iterator
from threading import Lock
from time import sleep
from typing import Protocol

from pipeline.book.booking import Cursor
from pipeline.catalog.catalog import JUDGING
from pipeline.catalog.facts import Skips
from pipeline.dedupe.claims import Delivery
from pipeline.meter.place import Opened, Place, Told, digest_of
from pipeline.meter.sift import Arrival, Ground, Sifted, delivery
from pipeline.meter.ticks import Tick
from pipeline.stores.codec import Decode
from pipeline.stores.kafka import usage_log
from pipeline.stores.postgres.books import Anchor
from pipeline.stores.records import open_at
from pipeline.stores.registry import message_decoder
from pipeline.workers.knowledge import FactSource, Knowledge
from pipeline.workers.seams import Log
from pipeline.workers.surroundings import Surroundings

_PATIENCE_S = 3600.0


class CursorSource(Protocol):
    """Where the books stand, and what is skipped."""

    def load_cursors(self) -> dict[int, tuple[Cursor, Anchor]]: ...

    def read_skips(self) -> Skips: ...


class BookSource(FactSource, Protocol):
    """Facts, and where ticks stand in the books."""

    def offset_at(self, partition: int, time_us: int) -> int: ...

    def tick_before(self, partition: int, offset: int) -> tuple[Tick, int]: ...


class Catchup:
    """A session to look things up in, one to poll, one lock: calls come from threads."""

    def __init__(
        self,
        around: Surroundings,
        log: Log,
        books: BookSource,
        polling: CursorSource,
        pause: Callable[[float], None] = sleep,
        decode: Decode | None = None,
    ) -> None:
        """Begin with what the books say when they are first asked.

        `decode` is for those who cannot wait for a registry as long as a worker.
        """
        self._around, self._log, self._books, self._polling = around, log, books, polling
        self._decode = decode or message_decoder(around.settings.registry)
        self.known = Knowledge(books, JUDGING, pause=pause)
        self._cursors: dict[int, Cursor] = {}
        self._skips: Skips | None = None
        self._lock = Lock()

    def poll(self) -> None:
        """Read where the books stand, and what is skipped."""
        loaded = self._polling.load_cursors()
        self._cursors = {partition: cursor for partition, (cursor, _) in loaded.items()}
        self._skips = self._polling.read_skips()

    def opened(self, partition: int, offset: int, message: bytes) -> Opened:
        """Return what the message of a position is, by the skips of the last poll."""
        if self._skips is None:
            self._skips = self._polling.read_skips()
        return open_at(partition, offset, message, self._skips, self._decode)

    def cursor(self, partition: int) -> Cursor:
        """Return where a partition's books stood at the last poll."""
        return self._cursors.get(partition) or Cursor(partition)

    def generation_of_cursor(self, partition: int) -> int:
        """Return the generation of claims that a partition's books have reached."""
        cursor = self.cursor(partition)
        if not cursor.tick.serial:
            return 0
        return self.known.ground(partition, cursor.tick).gate.generation(cursor.log_time)

    def ground(self, partition: int, tick: Tick) -> Ground:
        """Return what a message behind `tick` is judged by, fetching the facts."""
        with self._lock:
            return self.known.ground(partition, tick)

    def look_waiting(self, opened: Opened, arrival: Arrival, partition: int) -> Told | Sifted:
        """Judge a message that asks for a tick's row."""
        with self._lock:
            return self.known.look_waiting(opened, arrival, partition, _PATIENCE_S)

    def place_at(self, partition: int, offset: int) -> Place | None:
        """Return the place before `offset`: the books' cursor, walked up to there.

        None where the books are past it by now: their tick is not the one before it.
        """
        with self._lock:
            self.poll()
            cursor = self.cursor(partition)
            if offset <= cursor.offset:
                return None
            place = Place(cursor.offset + 1, offset, cursor.tick, cursor.log_time)
            for _ in self.walk(partition, place, offset):
                pass
            place.after = offset
            return place

    def generation_start(self, partition: int, generation: int) -> int:
        """Return the offset of the last tick before a generation began (0: none)."""
        with self._lock:
            ground = self.known.ground(partition, self.cursor(partition).tick)
            began = generation * ground.gate.generation_width
            return self._books.offset_at(partition, began)

    def deliveries(self, partition: int, after: int, start: int, end: int) -> list[Delivery]:
        """Return the claims that the messages with start <= offset < end make.

        `after` is the offset after the last claim before them.
        """
        with self._lock:
            cursor = self.cursor(partition)
            if start > cursor.offset + 1:
                place = Place(cursor.offset + 1, after, cursor.tick, cursor.log_time)
            else:  # right behind a tick, log time is that tick's
                tick, stands = self._books.tick_before(partition, start)
                place = Place(stands + 1, after, tick, tick.time)
            found = []
            for arrival, looked in self.walk(partition, place, end):
                if not isinstance(looked, Sifted) or arrival.offset < start:
                    continue
                gate = self.known.ground(partition, arrival.tick).gate
                claim = delivery(looked, arrival, place.after, gate)
                if claim is not None:
                    place.after = arrival.offset + 1
                    found.append(claim)
            return found

    def walk(
        self, partition: int, place: Place, end: int
    ) -> Iterator[tuple[Arrival, Told | Sifted]]:
        """Step `place` over the log up to `end`, telling each message as it was judged."""
        name = usage_log(self._around.stack)
        for record in self._log.read_range(name, partition, place.offset, end):
            opened = self.opened(partition, record.offset, record.value)
            arrival = place.arrival(record.event_count, digest_of(opened, record.value))
            looked = self.known.look_waiting(opened, arrival, partition, _PATIENCE_S)
            yield arrival, looked
            place.pass_message(looked, claimed=False)
