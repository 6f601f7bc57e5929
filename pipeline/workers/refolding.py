"""Refolding: stretches of the log, read again and folded in memory.

Owns: where to start reading so that the fold is what was booked, reading.
Does not own: folding (replay/refold.py), what is done with it (verifying.py, hindsight.py).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.catalog.facts import Fact, FactKind, Skips
from pipeline.core.calendar import Instant
from pipeline.meter.place import Place, digest_of
from pipeline.meter.ticks import Tick
from pipeline.replay.refold import Message, Refold
from pipeline.stores.codec import Decode
from pipeline.stores.kafka import usage_log
from pipeline.stores.records import open_at
from pipeline.stores.registry import COMMAND_TRIES, message_decoder
from pipeline.workers.catchup import BookSource
from pipeline.workers.knowledge import FactSource, Knowledge
from pipeline.workers.seams import Log
from pipeline.workers.surroundings import Surroundings

ALL_TICKS = 1 << 40


class TickBooks(BookSource, Protocol):
    """Where ticks stand in the books, and what is skipped."""

    def read_skips(self) -> Skips: ...


@dataclass(frozen=True, slots=True)
class _ReadAlready:
    """A source of facts of which most were read: a command goes back and forth among them."""

    books: FactSource
    facts: Sequence[Fact]

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        if kinds is None and until is not None and until <= len(self.facts):
            return [*self.facts[after:until]]
        return self.books.read_facts(after, until, kinds)

    def ticks_from(self, serial: int, count: int) -> list[Tick]:
        return self.books.ticks_from(serial, count)


@dataclass(slots=True)
class Refolder:
    """Folds stretches again, over one session."""

    around: Surroundings
    log: Log
    books: TickBooks
    facts: Sequence[Fact] = field(init=False)
    known: Knowledge = field(init=False)
    rows: Mapping[int, Tick | None] = field(init=False)
    _skips: Skips = field(init=False)
    _decode: Decode = field(init=False)

    def __post_init__(self) -> None:
        """Read facts, ticks and skips."""
        self.facts = self.books.read_facts(0)
        self.known = Knowledge(_ReadAlready(self.books, self.facts))
        self.rows = {tick.serial: tick for tick in self.books.ticks_from(1, ALL_TICKS)}
        self._skips = self.books.read_skips()
        self._decode = message_decoder(self.around.settings.registry, COMMAND_TRIES)

    def start(self, partition: int, earliest: Instant, serial: int, *, levels: bool) -> int:
        """Return the offset to fold from, for usage from an instant on, up to a tick.

        Two generations before it: claims are whole then. Levels hold until the next is told,
        however long: for them, from the log's beginning on.
        """
        gate = self.known.catalog(1).parameters.gate
        began = (gate.generation(earliest - gate.tolerance) - 2) * gate.generation_width
        start = 0 if levels else self.books.offset_at(partition, began)
        return min(start, self._first_reversal(partition, start, serial))

    def _first_reversal(self, partition: int, start: int, serial: int) -> int:
        """Return the offset of the first reversal that a tick matches from `start` to a cut.

        It may stand before its original, however long, and the refold must have met it.
        """
        before, _ = self.books.tick_before(partition, start)
        until = self.rows.get(serial)
        if until is None:
            return start
        catalog = self.known.catalog(until.fact_position)
        named = catalog.matches_between(partition, before, until)
        return min((match.reversal.offset for match in named), default=start)

    def refold(self, partition: int, start: int, end: int, tell: Callable[[int], None]) -> Refold:
        """Return the fold of the records with start <= offset < end; `tell` how many were read."""
        tick, stands = self.books.tick_before(partition, start)
        place = Place(stands + 1, stands + 1, tick, tick.time)
        refold = Refold(partition, place, self.rows, self.known.catalog)
        name = usage_log(self.around.stack)
        for record in self.log.read_range(name, partition, place.offset, end):
            at, message = record.offset, record.value
            opened = open_at(partition, at, message, self._skips, self._decode)
            refold.feed(Message(opened, record.event_count, digest_of(opened, message)))
            if record.offset % 100 == 0:
                tell(max(0, record.offset - start))
        tell(end - start)
        return refold
