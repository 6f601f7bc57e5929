"""Matching reversals: the log is read for the originals of what waits, and facts name them.

Owns: what is read when, that one such job runs.
Does not own: what an original is (replay/matching.py), what a match does (book/reversing.py).
Law: nothing ahead of the books is looked at, so a match names what is booked; a job that dies
writes the same matches again, or finds them written.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from time import sleep
from typing import Protocol

import structlog

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.matches import EventPlace, Match, match_facts, matches_in, told_by
from pipeline.collect.gate import Gate
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant, TaleaError
from pipeline.meter.place import Place
from pipeline.meter.sift import Arrival, Sifted
from pipeline.meter.slices import Minus
from pipeline.replay.matching import Epoch, Search, Sequences, original_generation
from pipeline.stores.clock import wall_clock
from pipeline.stores.kafka import KafkaLog, usage_log
from pipeline.stores.postgres.connection import Unreachable, lead
from pipeline.stores.postgres.facts import Author
from pipeline.workers.catchup import BookSource, Catchup, CursorSource
from pipeline.workers.seams import FactWriter, Log
from pipeline.workers.surroundings import Surroundings

_log = structlog.get_logger()

_LOCK = "talea matching"
_AUTHOR = Author("talea", "reversals met their originals")
_POLL_S = 0.5
_AGAIN_S = 10.0
_IDLE_S = 120.0
_ALIVE_EVERY = 2_000


class MatchStore(BookSource, CursorSource, FactWriter, Protocol):
    """What waits, and facts and books as the log is read by them."""

    def fact_head(self) -> tuple[int, int]: ...

    def waiting_counts(self) -> dict[int, int]: ...

    def load_waiting(self, partition: int) -> dict[EventPlace, Minus]: ...


@dataclass(slots=True)
class _Reading:
    """A search, and the place that it has come to."""

    search: Search
    place: Place


@dataclass(slots=True)
class Matcher:
    """The job, over the session that holds its lock."""

    around: Surroundings
    log: Log
    store: MatchStore
    clock: Callable[[], Instant] = wall_clock
    pause: Callable[[float], None] = sleep
    _reader: Catchup = field(init=False)
    _readings: dict[int, _Reading] = field(default_factory=dict)
    _told: dict[int, set[EventPlace]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read as the metering worker does."""
        self._reader = Catchup(self.around, self.log, self.store, self.store, self.pause)

    def step(self) -> int:
        """Look once at all that waits; return how many matches were written."""
        counts = self.store.waiting_counts()
        self._readings = {n: one for n, one in self._readings.items() if n in counts}
        self._reader.poll()
        return sum(map(self._match, sorted(counts)))

    def _match(self, partition: int) -> int:
        cursor = self._reader.cursor(partition)
        waiting = self.store.load_waiting(partition)
        told = self._told[partition] = self._told.get(partition, set()) & waiting.keys()
        waiting = {place: minus for place, minus in waiting.items() if place not in told}
        if not waiting:
            self._readings.pop(partition, None)
            return 0
        reading = self._look(partition, waiting, cursor.offset + 1)
        taken = self._taken(partition, reading.search.epochs, cursor.offset + 1)
        found = list(reading.search.matches(taken))
        told |= {match.reversal for match in found}
        return len(self._write(partition, cursor.tick.fact_position, found))

    def _look(self, partition: int, waiting: Mapping[EventPlace, Minus], end: int) -> _Reading:
        """Read on for what was looked for before, and from its beginning for what is new."""
        known = self._readings.get(partition)
        if known is not None:
            known.search.keep(waiting.keys())
            self._read(partition, known, end)
        seen = known.search.waiting if known else {}
        new = {place: minus for place, minus in waiting.items() if place not in seen}
        if new:
            begun = self._begin(partition, new)
            self._read(partition, begun, end)
            if known is None:
                known = begun
            else:
                known.search.absorb(begun.search)
        if known is None:
            raise BrokenInvariant(f"partition {partition}: nothing waits")
        self._readings[partition] = known
        return known

    def _gate(self, partition: int) -> Gate:
        return self._reader.known.ground(partition, self._reader.cursor(partition).tick).gate

    def _begin(self, partition: int, waiting: Mapping[EventPlace, Minus]) -> _Reading:
        """Begin a generation before the first that an original may have come in."""
        gate = self._gate(partition)
        width = gate.generation_width
        earliest = min(
            original_generation(minus, gate.tolerance, width) for minus in waiting.values()
        )
        wanted = self.store.offset_at(partition, (earliest - 1) * width)
        first = self._first(partition)
        place = self._place(partition, max(wanted, first))
        search = Search(partition, dict(waiting), sure_from=earliest if wanted else 0)
        if first > wanted:
            search.sure_from = gate.generation(place.log_time) + 2
        if first:  # of a sequence nobody knows what came before
            search.proven_from = self._place(partition, first).log_time + gate.tolerance
        return _Reading(search, place)

    def _first(self, partition: int) -> int:
        """Return the offset of the first record that a partition still has."""
        name = usage_log(self.around.stack)
        return self.log.ends(name, self.around.partitions)[partition][0]

    def _place(self, partition: int, offset: int) -> Place:
        """Return the place behind the last tick up to an offset."""
        tick, stands = self.store.tick_before(partition, offset + 1)
        start = max(stands + 1, self._first(partition))
        return Place(start, start, tick, tick.time)

    def _read(self, partition: int, reading: _Reading, end: int) -> None:
        gate = self._gate(partition)
        for arrival, sifted in self._batches(partition, reading.place, end):
            reading.search.feed(sifted, arrival, gate.generation(sifted.log_time))

    def _taken(self, partition: int, epochs: set[Epoch], end: int) -> set[tuple[Epoch, int]]:
        """Return the batches that sequences took: only their whole story tells."""
        sequences = Sequences(epochs)
        if epochs:
            place = self._place(partition, self._first(partition))
            for arrival, sifted in self._batches(partition, place, end):
                sequences.feed(sifted, arrival)
        return sequences.taken

    def _batches(self, partition: int, place: Place, end: int) -> Iterator[tuple[Arrival, Sifted]]:
        for arrival, looked in self._reader.walk(partition, place, end):
            if isinstance(looked, Sifted):
                yield arrival, looked
            if arrival.offset % _ALIVE_EVERY == 0:
                self.store.fact_head()  # else it were idle for too long

    def _write(self, partition: int, settled: int, found: Sequence[Match]) -> list[Fact]:
        """Write what no fact behind the books names yet."""
        if not found:
            return []

        def decide(known: Sequence[Fact]) -> list[NewFact]:
            named: set[EventPlace] = set()
            for fact in known[settled:]:
                if fact.kind is FactKind.MATCH:
                    for home, (_, text) in told_by(fact.serial, fact.body):
                        if home == partition:
                            named |= {match.reversal for match in matches_in(text)}
            return match_facts(partition, (m for m in found if m.reversal not in named))

        written = self.store.append_facts(decide, _AUTHOR, self.clock())
        _log.info("reversals matched", partition=partition, count=len(found))
        return written


def run_matching(around: Surroundings, stop: Event) -> None:
    """Match what waits, until stopped."""
    rest_s = 0.0
    while not stop.wait(rest_s):
        try:
            _match_while_leading(around, stop)
            rest_s = _POLL_S
        except (TaleaError, BrokenInvariant, *Unreachable) as error:
            _log.error("reversals are not matched", why=str(error))
            rest_s = _AGAIN_S


def _match_while_leading(around: Surroundings, stop: Event) -> None:
    with around.database.session("matching", idle_s=_IDLE_S) as connection:
        while not lead(connection, _LOCK):
            if stop.wait(_AGAIN_S):
                return
        matcher = Matcher(around, KafkaLog(around.kafka), connection, connection.clock())
        while not stop.wait(_POLL_S):
            matcher.step()
