"""Explain: the events of the log that a line is made of, one by one as they are met.

Owns: which events a line is about, what became of each.
Does not own: reading (workers/explaining.py), what the line comes to (invoice).
Law: streamed, never gathered: what is remembered is the keys of two claim generations. Every
delivery of an event in time lies behind its own time less the tolerance, so from there on each
event's first delivery is met before the others.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from pipeline.collect.gate import Gate
from pipeline.collect.keyed import KeyedEvent, events_at
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.identity import Json
from pipeline.core.quantity import from_mantissa, quantity_text
from pipeline.meter.place import NeedsTick, Opened, Place, look
from pipeline.meter.scope import Pairs
from pipeline.meter.sift import Ground, Sifted
from pipeline.meter.ticks import NO_TICK, Tick


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a line bills: the usage of a customer and meter in the windows of [start, end)."""

    customer: str
    meter: str
    start: Instant
    end: Instant
    holds: Callable[[Pairs], bool]


@dataclass(frozen=True, slots=True)
class MetEvent:
    """An event where it stands in the log, and what became of it there."""

    partition: int
    offset: int
    index: int
    log_time: Instant
    event: KeyedEvent
    outcome: str

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        event = self.event
        return {
            "partition": self.partition,
            "offset": self.offset,
            "index": self.index,
            "key": event.key.hex(),
            "time": instant_text(event.time),
            "log_time": instant_text(self.log_time),
            "value": quantity_text(from_mantissa(event.mantissa, event.scale)),
            "kind": "usage" if event.reversed_at is None else "reversal",
            "dimensions": dict(event.dimensions),
            "outcome": self.outcome,
        }


@dataclass(slots=True)
class Explaining:
    """The walk over one partition from `place` on.

    `ticks_from` gives some of the committed ticks from a serial on, as they are needed.
    """

    number: int
    place: Place
    ticks_from: Callable[[int], Iterable[Tick]]
    ground_at: Callable[[int], Ground]
    wanted: Wanted
    _rows: dict[int, Tick | None] = field(default_factory=dict)
    _met: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    """Fingerprints of claimed keys, by generation."""

    def feed(self, opened: Opened, header_count: int | None, digest: bytes) -> Iterator[MetEvent]:
        """Yield the events of the next message that the line is about."""
        arrival = self.place.arrival(header_count, digest)
        ground = self.ground_at(max(arrival.tick.fact_position, 1))
        looked = look(opened, arrival, ground, self._rows)
        if isinstance(looked, NeedsTick):
            self._rows = {tick.serial: tick for tick in self.ticks_from(looked.serial)}
            looked = look(opened, arrival, ground, self._rows)
        if isinstance(looked, NeedsTick):
            return  # behind the last tick: no cut holds it
        self.place.pass_message(looked, claimed=False)
        if isinstance(looked, Sifted):
            yield from self._events(looked, arrival.offset, ground.gate)

    def _events(self, looked: Sifted, offset: int, gate: Gate) -> Iterator[MetEvent]:
        batch, columns, wanted = looked.batch, looked.columns, self.wanted
        if wanted.customer not in batch.customers:
            return
        customer = batch.customers.index(wanted.customer)
        meters = [n for n, each in enumerate(batch.meters) if each.meter == wanted.meter]
        mine = (columns.customer == customer) & np.isin(columns.meter, meters)
        mine &= (columns.time >= wanted.start) & (columns.time < wanted.end)
        places = np.flatnonzero(mine).tolist()
        for index, event in zip(
            places, events_at(batch, columns, places, self.number), strict=True
        ):
            if wanted.holds(event.dimensions):
                claimable = bool(looked.claimable[index])
                outcome = self._outcome(event, looked.log_time, gate, claimable=claimable)
                yield MetEvent(self.number, offset, index, looked.log_time, event, outcome)

    def _outcome(self, event: KeyedEvent, log_time: Instant, gate: Gate, *, claimable: bool) -> str:
        if not claimable:
            return "late" if event.gate_time < log_time - gate.horizon else "rejected"
        now = gate.generation(log_time)
        for gone in [each for each in self._met if each < now - 1]:
            del self._met[gone]
        key, own_print = event.claims
        known = self._met.get(now - 1, {}).get(key) or self._met.get(now, {}).get(key)
        if known is None:
            self._met.setdefault(now, {})[key] = own_print
            return "billed"
        return "duplicate" if known == own_print else "conflict"


def place_from(tick: Tick, stands: int) -> Place:
    """Return where a walk begins behind a tick that stands at an offset (-1: the log's start)."""
    return Place(stands + 1, stands + 1, tick, tick.time) if tick != NO_TICK else Place(0, 0)
