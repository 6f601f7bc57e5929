"""Matching: the originals of reversals that wait, found in the log of one partition.

Owns: which event is an original, whether it counts, what the match says.
Does not own: reading the log (workers/matching.py), what a match does (book/reversing.py).
Law: an original is an event that is booked as usage: fresh by the claims of two generations, or
in a batch that its sequence took. What nobody can be sure of is not matched.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.catalog.matches import EventPlace, Match
from pipeline.collect.batch import Mode
from pipeline.collect.columns import Longs
from pipeline.collect.keyed import KeyedEvent, events_at, keys_at
from pipeline.core.calendar import Instant
from pipeline.core.identity import KEY_BYTES
from pipeline.dedupe.claims import Verdict
from pipeline.dedupe.sequences import SequenceRange, SequenceState, judge_range
from pipeline.meter.sift import Arrival, Sifted
from pipeline.meter.slices import Minus

Epoch = tuple[str, str]
"""(producer, epoch)."""


Heads = NDArray[np.uint64]
"""The first half of each key: enough to leave nearly all others out at once."""


class _Met(NamedTuple):
    place: EventPlace
    event: KeyedEvent


@dataclass(slots=True)
class Search:
    """What is looked for in a partition, and what was met so far.

    An event counts as met only in generations from `sure_from` on: of those before, the search
    did not see all that could make it a repeat; one of a sequence only from `proven_from` on.
    """

    partition: int
    waiting: dict[EventPlace, Minus]
    sure_from: int = 0
    proven_from: Instant = 0
    _keys: set[bytes] = field(init=False)
    _heads: Heads = field(init=False)
    _customers: set[str] = field(init=False)
    _seen: dict[bytes, set[int]] = field(default_factory=dict)
    _met: dict[bytes, list[_Met]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Know what to look for."""
        minuses = self.waiting.values()
        self._keys = {minus.key for minus in minuses}
        self._customers = {minus.customer for minus in minuses}
        self._heads = np.unique(_heads_of(b"".join(self._keys)))

    def keep(self, waiting: Collection[EventPlace]) -> None:
        """Forget what waits no more."""
        if self.waiting.keys() <= set(waiting):
            return
        self.waiting = {place: m for place, m in self.waiting.items() if place in waiting}
        self.__post_init__()
        self._seen = {key: seen for key, seen in self._seen.items() if key in self._keys}
        self._met = {key: met for key, met in self._met.items() if key in self._keys}

    def absorb(self, other: "Search") -> None:
        """Go on for another search, which has come as far as this one."""
        self.waiting |= other.waiting
        for key, seen in other._seen.items():
            self._seen[key] = self._seen.get(key, set()) | seen
        for key, met in other._met.items():
            self._met.setdefault(key, met)
        self.__post_init__()

    def feed(self, sifted: Sifted, arrival: Arrival, generation: int) -> None:
        """Look at the next message."""
        usage = sifted.claimable.copy()
        usage[list(sifted.columns.reversed_at)] = False
        if sifted.batch.mode is Mode.KEYED:
            usage &= np.isin(_heads_of(sifted.batch.key), self._heads)
            places = _keyed_places(sifted, np.flatnonzero(usage), self._keys)
        else:
            found = np.flatnonzero(usage)
            places = _sequenced_places(sifted, found, self._keys, self._customers)
        events = events_at(sifted.batch, sifted.columns, places, self.partition)
        for place, event in zip(places, events, strict=True):
            if event.epoch is not None:
                sure = event.time >= self.proven_from
            else:
                seen = self._seen.setdefault(event.key, set())
                sure = generation >= self.sure_from and not seen & {generation, generation - 1}
                seen.add(generation)
            if sure:
                met = _Met(EventPlace(arrival.offset, place), event)
                self._met.setdefault(event.key, []).append(met)

    @property
    def epochs(self) -> set[Epoch]:
        """The sequences that events met came in: `matches` asks which batches these took."""
        met = (one.event.epoch for found in self._met.values() for one in found)
        return {epoch for epoch in met if epoch is not None}

    def matches(self, taken: Collection[tuple[Epoch, int]]) -> Iterator[Match]:
        """Yield what was found; `taken` are the batches (epoch, offset) that sequences took."""
        for place, minus in self.waiting.items():
            booked = [
                met
                for met in self._met.get(minus.key, ())
                if met.event.epoch is None or (met.event.epoch, met.place.offset) in taken
            ]
            same = next((met for met in booked if _same(met.event, minus)), None)
            found = same or next(iter(booked), None)
            if found is not None:
                yield Match(place, found.place, found.event.scale, conflict=same is None)


def _same(event: KeyedEvent, minus: Minus) -> bool:
    """Return whether a reversal repeats this event's payload."""
    scale = max(event.scale, minus.scale)
    return (
        event.payload_print == minus.payload_print
        and (event.customer, event.meter, event.time) == (minus.customer, minus.meter, minus.time)
        and event.mantissa * 10 ** (scale - event.scale)
        == minus.mantissa * 10 ** (scale - minus.scale)
        and set(minus.dimensions) <= set(event.dimensions)
    )


def _heads_of(keys: bytes) -> Heads:
    return np.frombuffer(keys, "<u8")[::2]


def _keyed_places(sifted: Sifted, places: Longs, keys: Collection[bytes]) -> list[int]:
    column = sifted.batch.key
    return [at for at in places.tolist() if column[at * KEY_BYTES : (at + 1) * KEY_BYTES] in keys]


def _sequenced_places(
    sifted: Sifted, places: Longs, keys: Collection[bytes], customers: Collection[str]
) -> list[int]:
    batch = sifted.batch
    entries = [i for i, customer in enumerate(batch.customers) if customer in customers]
    own = places[np.isin(sifted.columns.customer[places], entries)].tolist()
    column = keys_at(batch, own, sifted.partition)
    found = (column[i * KEY_BYTES : (i + 1) * KEY_BYTES] for i in range(len(own)))
    return [at for at, key in zip(own, found, strict=True) if key in keys]


@dataclass(slots=True)
class Sequences:
    """Which batches some sequences took, from the log's beginning on."""

    epochs: Collection[Epoch]
    taken: set[tuple[Epoch, int]] = field(default_factory=set)
    _states: dict[Epoch, SequenceState] = field(default_factory=dict)

    def feed(self, sifted: Sifted, arrival: Arrival) -> bool:
        """Judge the next message as booking does; return False where it repeats its places."""
        batch = sifted.batch
        epoch = batch.producer, batch.epoch
        if batch.mode is not Mode.SEQUENCED or epoch not in self.epochs:
            return True
        seen = SequenceRange(*epoch, batch.first_sequence, batch.event_count, arrival.digest)
        state = self._states.get(epoch, SequenceState())
        verdict, self._states[epoch] = judge_range(state, seen)
        if verdict is Verdict.FRESH:
            self.taken.add((epoch, arrival.offset))
        return verdict is Verdict.FRESH


def original_generation(minus: Minus, tolerance: Instant, width: Instant) -> int:
    """Return the first generation of claims that a reversal's original may have come in."""
    return (minus.time - tolerance) // width
