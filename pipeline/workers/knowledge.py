"""What a reader of the usage log must know beside it: facts and the rows of ticks.

Owns: fetching them when a message first needs them, waiting where they are not there yet.
Does not own: what they mean (catalog, meter).
Law: a worker that lacks a fact or a tick's row waits; it never judges without.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from threading import RLock
from time import monotonic, sleep
from typing import Protocol

from pipeline.catalog.catalog import Catalog, Remembered, extend
from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.errors import ServerFailed
from pipeline.meter.place import NeedsTick, Opened, Told, look
from pipeline.meter.sift import Arrival, Ground, Sifted
from pipeline.meter.ticks import Tick

FACTS_AT_ONCE = 5_000
_ALL = 1 << 62
_ROWS_AHEAD = 2_000
_ROWS_KEPT = 20_000
_POLL_S = 0.05


class FactReader(Protocol):
    """The fact log."""

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        """Return the facts with after < serial <= until (None: all), in order.

        Of some `kinds` only, and then the one at `until` too: it shows that all before are there.
        """
        ...


class FactSource(FactReader, Protocol):
    """The fact log and the rows of ticks, as a reader asks for them."""

    def ticks_from(self, serial: int, count: int) -> list[Tick]: ...


@dataclass(slots=True)
class Knowledge:
    """What facts come to, and tick rows, as far as needed, over one session in autocommit.

    Facts are read in bites, and not kept: an older position than those remembered reads them again.
    Where `kinds` are named, catalogs hold what these say, and nothing else. Calls may come from
    several threads at once.
    """

    source: FactSource
    kinds: Collection[FactKind] | None = None
    _catalogs: Remembered = field(default_factory=Remembered)
    _rows: dict[int, Tick | None] = field(default_factory=dict)
    _grounds: dict[int, tuple[int, Ground]] = field(default_factory=dict)
    _lock: RLock = field(default_factory=RLock)
    pause: Callable[[float], None] = sleep
    fact_patience_s: float = 60.0

    def catalog(self, position: int) -> Catalog:
        """Return the catalog at a position that a tick named, waiting for its facts (blocks).

        Raises:
            ServerFailed: they did not come within `fact_patience_s`.

        """
        deadline = monotonic() + self.fact_patience_s
        while (found := self._read_to(position)).position < position:
            if monotonic() > deadline:
                raise ServerFailed(f"fact {position}, which a tick names, does not come")
            self.pause(_POLL_S)  # not under the lock: others need no fact
        return found

    def latest(self) -> Catalog:
        """Return the catalog of all facts so far, whether a tick names them yet or not."""
        return self._read_to(None)

    @property
    def nearest(self) -> Catalog:
        """The catalog of the most facts that is remembered: nothing is read."""
        with self._lock:
            return self._catalogs.before(_ALL)

    def has_ground(self, partition: int, tick: Tick) -> bool:
        """Tell whether `ground` would answer without reading facts."""
        position = max(tick.fact_position, 1)
        with self._lock:
            stands, _ = self._grounds.get(partition, (0, None))
            return position in (stands, self._catalogs.before(position).position)

    def _read_to(self, position: int | None) -> Catalog:
        """Return the catalog at a position, or where its facts are not all there, before it."""
        with self._lock:
            known = self._catalogs.before(_ALL if position is None else position)
            if known.position == position:
                return known
            found = extend(known, self._facts(known.position, position), self.kinds)
            if found.position > known.position:
                self._catalogs.keep(found)
            return found

    def _facts(self, after: int, until: int | None) -> Iterator[Fact]:
        while until is None or after < until:
            end = after + FACTS_AT_ONCE
            bite = self.source.read_facts(
                after, end if until is None else min(end, until), self.kinds
            )
            yield from bite
            if not bite or bite[-1].serial < end:
                return
            after = end

    def ground(self, partition: int, tick: Tick) -> Ground:
        """Return what a message behind `tick` is judged by."""
        position = max(tick.fact_position, 1)
        with self._lock:
            stands, ground = self._grounds.get(partition, (0, None))
        if ground is None or stands != position:
            ground = self.catalog(position).ground(partition)
            with self._lock:
                self._grounds[partition] = (position, ground)
        return ground

    def fetch(self, serial: int) -> bool:
        """Fetch tick rows from `serial` on; return whether that one is there."""
        with self._lock:
            if len(self._rows) > _ROWS_KEPT:
                self._rows.clear()
            for tick in self.source.ticks_from(serial, _ROWS_AHEAD):
                self._rows[tick.serial] = tick
            return serial in self._rows

    def look(self, opened: Opened, arrival: Arrival, partition: int) -> Told | Sifted | NeedsTick:
        """Judge a message by what was fetched so far."""
        ground = self.ground(partition, arrival.tick)
        with self._lock:
            return look(opened, arrival, ground, self._rows)

    def look_waiting(
        self, opened: Opened, arrival: Arrival, partition: int, patience_s: float
    ) -> Told | Sifted:
        """Judge a message, fetching and waiting for tick rows as it asks (blocks).

        Raises:
            ServerFailed: the next tick did not come within `patience_s`.

        """
        deadline = monotonic() + patience_s
        while True:
            looked = self.look(opened, arrival, partition)
            if not isinstance(looked, NeedsTick):
                return looked
            if self.fetch(looked.serial):
                continue
            if isinstance(opened, Tick):
                return self._without_row(opened, arrival, partition)
            if monotonic() > deadline:
                raise ServerFailed(f"tick {looked.serial} does not come: is the ticker running?")
            else:
                self.pause(_POLL_S)

    def _without_row(self, forged: Tick, arrival: Arrival, partition: int) -> Told:
        """Judge a tick that nobody committed: its serial may yet get a row, of another tick."""
        ground = self.ground(partition, arrival.tick)
        looked = look(forged, arrival, ground, {forged.serial: None})
        assert isinstance(looked, Told)
        return looked
