"""What a reader of the usage log must know beside it: facts and the rows of ticks.

Owns: fetching them when a message first needs them, waiting where they are not there yet.
Does not own: what they mean (catalog, meter).
Law: a worker that lacks a fact or a tick's row waits; it never judges without.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import RLock
from time import monotonic, sleep
from typing import Protocol

from pipeline.catalog.catalog import Catalog, FactLog
from pipeline.catalog.facts import Fact
from pipeline.core.errors import ServerFailed
from pipeline.meter.place import NeedsTick, Opened, Told, look
from pipeline.meter.sift import Arrival, Ground, Sifted
from pipeline.meter.ticks import Tick

_ROWS_AHEAD = 2_000
_ROWS_KEPT = 20_000
_POLL_S = 0.05


class FactSource(Protocol):
    """The fact log and the rows of ticks, as a reader asks for them."""

    def read_facts(self, after: int, until: int | None = None) -> list[Fact]: ...

    def ticks_from(self, serial: int, count: int) -> list[Tick]: ...


@dataclass(slots=True)
class Knowledge:
    """Facts and tick rows as far as they were needed, over one session in autocommit.

    Calls may come from several threads at once.
    """

    source: FactSource
    facts: FactLog = field(default_factory=FactLog)
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
        while not self._has(position):
            if monotonic() > deadline:
                raise ServerFailed(f"fact {position}, which a tick names, does not come")
            self.pause(_POLL_S)  # not under the lock: others need no fact
        with self._lock:
            return self.facts.at(position)

    def latest(self) -> Catalog:
        """Return the catalog of all facts so far, whether a tick names them yet or not."""
        with self._lock:
            self.facts.append(self.source.read_facts(self.facts.head))
            return self.facts.at(self.facts.head)

    def _has(self, position: int) -> bool:
        with self._lock:
            if position > self.facts.head:
                self.facts.append(self.source.read_facts(self.facts.head))
            return position <= self.facts.head

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
