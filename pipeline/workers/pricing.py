"""Pricing worker: book slices, then rate drafts.

Owns: load -> book -> save, and when to rate.
Does not own: booking (book), rating (drafting), whose turn it is (turns).
Law: the cursor moves in the transaction that writes what it moved over. No consumer group: the
books say where to read on.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from operator import attrgetter
from threading import Event
from typing import Protocol

from pipeline.book.booking import Booked, Cursor, Cut, Gap, Partition, SequenceKey
from pipeline.book.reversing import Reversed
from pipeline.catalog.facts import Skips
from pipeline.catalog.matches import EventPlace
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.dedupe.sequences import SequenceState
from pipeline.meter.slices import Minus
from pipeline.stores.codec import Unreadable
from pipeline.stores.kafka import KafkaLog, SureProducer, usage_log
from pipeline.stores.postgres.books import Anchor, Books, Flush
from pipeline.stores.postgres.collecting import load_stands
from pipeline.stores.raw import RawEnds
from pipeline.stores.records import read_slices
from pipeline.topology import USAGE_METERED, USAGE_RAW
from pipeline.workers.backlog import RawBacklog
from pipeline.workers.drafting import DraftStore, Planner, rate_dirty
from pipeline.workers.gathering import Gathering, Record
from pipeline.workers.healing import GapKeeper, mend_by_itself
from pipeline.workers.knowledge import FactSource, Knowledge
from pipeline.workers.quarantine import Quarantine
from pipeline.workers.seams import FactWriter, Log, Writer
from pipeline.workers.surroundings import Surroundings, partitions_of
from pipeline.workers.telling import Teller
from pipeline.workers.totals import Totals
from pipeline.workers.turns import Turns

_SERIES_MAX = 1 << 18
"""Series that have a number, a tenth of a kilobyte each: beyond, all are asked for anew."""


class BookStore(DraftStore, Protocol):
    """What a worker takes up of the books, and what it rates."""

    def load_sequences(self, partition: int) -> dict[SequenceKey, SequenceState]: ...

    def load_sequence(self, partition: int, key: SequenceKey) -> SequenceState | None: ...

    def load_cuts(self, partition: int) -> list[Cut]: ...

    def read_skips(self) -> Skips: ...

    def load_waiting(self, partition: int) -> dict[EventPlace, Minus]: ...

    def reversed_already(self, partition: int, keys: Iterable[bytes]) -> Mapping[Reversed, str]: ...


class FactLog(FactSource, FactWriter, Protocol):
    """Facts and ticks, read, and what drafts reach, written."""


class BookKeeper(Protocol):
    """Saves flushes, each all or nothing, only from where the cursor stands."""

    def save(self, flushes: Sequence[Flush]) -> None: ...


class PricingWorker:
    """Books a fixed set of partitions. Where slices are missing that partition waits, alone."""

    def __init__(
        self,
        around: Surroundings,
        partitions: Sequence[int],
        log: Log,
        books: BookKeeper,
        store: BookStore,
        facts: FactLog,
        clock: Callable[[], Instant],
        writer: Callable[[], Writer],
        monotonic: Callable[[], float] = time.monotonic,
        gaps: GapKeeper | None = None,
        collectors_behind: Callable[[], bool] = lambda: False,
        turns: Turns | None = None,
        series_max: int = _SERIES_MAX,
    ) -> None:
        """Load the books and hold their anchors against the topics.

        Raises:
            BrokenInvariant: a topic is not the one that was booked from.

        """
        self._around, self._numbers = around, partitions
        self._log, self._books, self._store = log, books, store
        self._clock, self._monotonic = clock, monotonic
        self._behind, self._rests_until_s = False, 0.0
        self._turns = turns or Turns(partitions, around.settings.flush_s)
        self._series_max = series_max
        self._gaps, self._collectors_behind = gaps or GapKeeper(), collectors_behind
        self._facts, self._known, self._planner = facts, Knowledge(facts), Planner()
        self._teller, self._totals = Teller(facts, clock), Totals()
        self._quarantine = Quarantine(around, log, self._known, writer)
        self._topic_id = log.topic_id(usage_log(around.stack))
        loaded = store.load_cursors()
        self._anchors: dict[int, Anchor] = {}
        self._partitions: dict[int, Partition] = {}
        for number in partitions:
            cursor, anchor = loaded.get(number, (Cursor(number), Anchor(self._topic_id, b"")))
            self._check_anchor(cursor, anchor)
            self._anchors[number] = anchor
            self._partitions[number] = self._load(cursor)
        starts = {number: p.cursor.metered_offset + 1 for number, p in self._partitions.items()}
        self._reader = log.follow(self._metered, starts)
        gathers = around.settings.flush_s, around.settings.flush_records
        self._gathering = Gathering(self._reader, *gathers, monotonic)

    @property
    def _metered(self) -> str:
        return self._around.stack.topic(USAGE_METERED)

    def _load(self, cursor: Cursor) -> Partition:
        number = cursor.partition
        catalog = self._known.catalog(cursor.tick.fact_position)
        sequences = self._store.load_sequences(number)
        cuts, waiting = self._store.load_cuts(number), self._store.load_waiting(number)
        return Partition(cursor, catalog, sequences, cuts, waiting)

    def _check_anchor(self, cursor: Cursor, anchor: Anchor) -> None:
        """Notice a topic that was recreated or truncated under the books."""
        number = cursor.partition
        if anchor.topic_id != self._topic_id:
            raise BrokenInvariant(
                f"{usage_log(self._around.stack)} is another topic than the one that partition"
                f" {number} was booked from: restore it, or start a new log under a new prefix"
            )
        if cursor.metered_offset < 0:
            return
        first, following = self._log.ends(self._metered, number + 1)[number]
        if following <= cursor.metered_offset:
            raise BrokenInvariant(
                f"{self._metered}[{number}] ends at {following}, but {cursor.metered_offset} was"
                " booked from it: it was truncated or recreated"
            )
        if first > cursor.metered_offset:
            return
        at = cursor.metered_offset
        for record in self._log.read_range(self._metered, number, at, at + 1):
            if _digest(record.value) != anchor.metered_digest:
                raise BrokenInvariant(
                    f"{self._metered}[{number}] holds another record at {at} than was booked"
                )

    def step(self) -> int:
        """Gather, book and rate once; return how many records were booked."""
        self._gathering.gather(self._turns.share, behind=self._behind)
        whose = self._numbers
        if not self._behind and not self._gathering.full:
            whose = self._turns.whose()
        began = self._monotonic()
        records = self._gathering.take(whose)
        if records:
            self._book(records)
        self._gaps.look()
        if not self._around.is_shadow:  # a replay is held against documents: drafts have no reader
            self._draft(whose)
            self._turns.over(self._monotonic() - began)
        return len(records)

    def _draft(self, whose: Sequence[int]) -> None:
        """Rate who must be, for as long as slices gather; while who is before is behind, less.

        A draft of long ago helps little, and rating it costs what catching up needs.
        """
        started = self._monotonic()
        behind = self._behind = self._is_behind() or self._collectors_behind()
        if behind and started < self._rests_until_s:
            return
        rated_with = self._planner, self._teller, self._totals
        while rate_dirty(self._store, self._known, whose, *rated_with):
            now = self._monotonic()
            if behind:
                self._rests_until_s = now + _BEHIND_REST * (now - started)
                return
            if now - started > self._around.settings.flush_s:
                return

    def _is_behind(self) -> bool:
        """Return whether a tick of some seconds ago is not booked yet, in any partition.

        How old log time is does not tell: ticks come seldom, and late where the ticker is busy.
        """
        if not self._partitions:  # more workers than partitions
            return False
        ticks = (partition.cursor.tick for partition in self._partitions.values())
        booked = max(ticks, key=attrgetter("serial"))
        now = self._clock()
        if now - booked.time < _BEHIND_S * SECOND:
            return False
        following = self._facts.ticks_from(booked.serial + 1, 1)
        return bool(following) and now - following[0].time > _BEHIND_S * SECOND

    def _book(self, records: Iterable[Record]) -> None:
        before = {number: p.cursor for number, p in self._partitions.items()}
        booked: dict[int, Booked] = {}
        last: dict[int, bytes] = {}
        skips = self._store.read_skips()
        for number, partition in self._partitions.items():
            partition.skips = {offset for of, offset in skips if of == number}
        for number, offset, value in records:
            partition = self._partitions[number]
            try:
                self._book_record(partition, offset, value, booked.setdefault(number, Booked()))
            except Gap as gap:  # stepped over: it comes again behind what is missing
                self._gaps.met(gap)
            if partition.cursor.metered_offset == offset:
                last[number] = value
        for number, value in last.items():
            self._anchors[number] = Anchor(self._topic_id, _digest(value))
        flushes = [
            Flush(before[number], self._partitions[number].cursor, self._anchors[number], into)
            for number, into in booked.items()
            if before[number] != self._partitions[number].cursor
        ]
        for number, into in booked.items():
            self._quarantine.write(number, into.conflicts)
        self._books.save(flushes)
        self._totals.booked(flushes)
        for number, into in booked.items():
            self._partitions[number].forget_over(into)
            self._gaps.reached(number, self._partitions[number].cursor.offset)
        if sum(partition.series_met for partition in self._partitions.values()) > self._series_max:
            for partition in self._partitions.values():
                partition.forget_series()

    def _book_record(self, partition: Partition, offset: int, value: bytes, into: Booked) -> None:
        try:
            pieces = read_slices(value)
        except Unreadable as error:
            raise BrokenInvariant(f"{self._metered}: record {offset} is broken: {error}") from None
        for piece in pieces:
            if piece.sequence is not None:
                self._take_up(partition, (piece.sequence.producer, piece.sequence.epoch))
            if piece.minuses:
                keys = [minus.key for minus in piece.minuses]
                standing = self._store.reversed_already(partition.cursor.partition, keys)
                partition.reversals.known |= standing.keys()
            position = (piece.tick or partition.cursor.tick).fact_position
            partition.book(piece, offset, self._known.catalog(position), into)
        partition.cursor = replace(partition.cursor, metered_offset=offset)

    def _take_up(self, partition: Partition, key: SequenceKey) -> None:
        if not partition.knows(key):
            state = self._store.load_sequence(partition.cursor.partition, key)
            partition.take_up({key: state or SequenceState()})

    def close(self) -> None:
        """Leave."""
        self._reader.close()


_BEHIND_REST = 7
"""While the books are behind, a bite of drafts is followed by so many times as long without."""
_BEHIND_S = 2


def _digest(record: bytes) -> bytes:
    return blake2b(record, digest_size=16).digest()


def run_pricing(around: Surroundings, worker: int, workers: int, stop: Event) -> None:
    """Book and rate until stopped."""
    database = around.database
    booking = database.connect(name="pricing books")
    drafting = database.connect(name="pricing drafts", autocommit=True)
    knowing = database.connect(name="pricing facts", autocommit=True)
    raw_ends = RawEnds(around.kafka, around.stack.topic(USAGE_RAW), around.partitions)
    backlog = RawBacklog(raw_ends.read, partial(load_stands, knowing), _BEHIND_S)
    gaps = GapKeeper(partial(mend_by_itself, around), around.settings.heal_after_s)
    pricing = PricingWorker(
        around,
        partitions_of(worker, workers, around.partitions),
        KafkaLog(around.kafka),
        Books(booking),
        drafting,
        knowing,
        knowing.clock(),
        lambda: SureProducer(around.kafka),
        gaps=gaps,
        collectors_behind=backlog.is_behind,
    )
    while not stop.is_set():
        pricing.step()
    pricing.close()
    raw_ends.close()
    for connection in (knowing, booking, drafting):
        connection.close()
