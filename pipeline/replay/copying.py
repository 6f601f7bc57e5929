"""Copying: a log told once more over other partitions, tick by tick.

Owns: which events of a log stand in its copy, where, and in which batches; how facts that name
places of the log name those of the copy.
Does not own: reading and writing logs (workers/copying.py), batches (collect/repacking.py).
Law: between two ticks of a customer's partition stand the same events of the customer in both
logs, in the same order; the same log is copied to the same copy, byte for byte.

What the source refused, or found late, or was skipped is not copied; nor are repeats of sequenced
batches, since the copy has sequences of its own. An event judged by the time of the next tick comes
last before that tick, so that it is judged by it there too, and nothing else is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np

from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import Fact, FactKind
from pipeline.catalog.matches import EventPlace, Match, matches_in, moved_matches
from pipeline.collect.batch import Mode, UsageBatch
from pipeline.collect.repacking import Cut, Origin, Repacker, fitting
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json, partition_of, pass_digest
from pipeline.dedupe.claims import Verdict
from pipeline.dedupe.sequences import SequenceRange, SequenceState, judge_range
from pipeline.meter.sift import Arrival, Sifted
from pipeline.meter.ticks import Tick

Bodies = Mapping[int, Mapping[str, Json]]
"""What facts say in a copy, by serial."""


class Copied(NamedTuple):
    """The next message of a partition of the copy."""

    partition: int
    offset: int
    message: Tick | UsageBatch


@dataclass(slots=True)
class _Target:
    """A partition of the copy: what was put into it, and what waits to be."""

    number: int
    offset: int = 0
    sequence: int = 0
    open: dict[Mode, Repacker] = field(default_factory=dict)
    ahead: list[Cut] = field(default_factory=list)
    """What is judged by the next tick."""


@dataclass(slots=True)
class Copier:
    """Copies a log to one of `partitions`, in batches of at most `events_max` events.

    `producer` and `epoch` name the copy's own sequences. Feed it what stands between two ticks,
    partition by partition, then the second tick. `wanted` are the places of events whose places in
    the copy are to be known.
    """

    producer: str
    epoch: str
    partitions: int
    events_max: int
    wanted: frozenset[tuple[int, EventPlace]] = frozenset()
    places: dict[tuple[int, EventPlace], tuple[int, EventPlace]] = field(default_factory=dict)
    """Where wanted events stand in the copy."""
    passes: dict[str, set[str]] = field(default_factory=dict)
    """How batches of the copy that come late are named in their gate passes."""
    _targets: list[_Target] = field(init=False)
    _wanted_in: dict[Origin, set[int]] = field(default_factory=dict)
    _sequences: dict[tuple[int, str, str], SequenceState] = field(default_factory=dict)
    _homes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin an empty copy."""
        self._targets = [_Target(number) for number in range(self.partitions)]
        for partition, place in self.wanted:
            self._wanted_in.setdefault(Origin(partition, place.offset), set()).add(place.place)

    @property
    def ends(self) -> list[int]:
        """The next offset of each partition of the copy."""
        return [target.offset for target in self._targets]

    def feed(self, sifted: Sifted, arrival: Arrival) -> Iterator[Copied]:
        """Copy a message that stands behind the last tick; yield what is whole by now."""
        if not self._comes_first(sifted, arrival):
            return
        places = np.flatnonzero(sifted.claimable)
        if not len(places):
            return
        batch, columns = sifted.batch, sifted.columns
        home = np.array([self._home(each) for each in batch.customers])[columns.customer[places]]
        origin = Origin(sifted.partition, arrival.offset)
        for number in np.unique(home).tolist():
            target = self._targets[number]
            for cut in fitting(
                Cut(origin, batch, columns, places[home == number]), self.events_max
            ):
                if sifted.log_time > arrival.tick.time:
                    target.ahead.append(cut)
                else:
                    yield from self._put(target, cut)

    def pass_tick(self, tick: Tick) -> Iterator[Copied]:
        """End what stands before a tick, and put the tick into every partition."""
        for target in self._targets:
            yield from self._flush(target)
            for cut in target.ahead:
                yield from self._put(target, cut)
            target.ahead.clear()
            yield from self._flush(target)
            yield self._next(target, tick)

    def _home(self, customer: str) -> int:
        home = self._homes.get(customer)
        if home is None:
            self._homes[customer] = home = partition_of(customer, self.partitions)
        return home

    def _comes_first(self, sifted: Sifted, arrival: Arrival) -> bool:
        """Return whether booking takes a batch: what is in a sequence, only once."""
        batch = sifted.batch
        if batch.mode is not Mode.SEQUENCED:
            return True
        key = (sifted.partition, batch.producer, batch.epoch)
        seen = SequenceRange(*key[1:], batch.first_sequence, batch.event_count, arrival.digest)
        verdict, self._sequences[key] = judge_range(self._sequences.get(key, SequenceState()), seen)
        return verdict is Verdict.FRESH

    def _put(self, target: _Target, cut: Cut) -> Iterator[Copied]:
        mode = cut.batch.mode
        packer = target.open.get(mode)
        if packer is not None and not packer.takes(cut, self.events_max):
            yield self._take(target, packer)
            packer = None
        if packer is None:
            target.open[mode] = packer = Repacker(mode, cut.batch.gate_pass)
        packer.add(cut)

    def _flush(self, target: _Target) -> Iterator[Copied]:
        for packer in [*target.open.values()]:
            yield self._take(target, packer)

    def _take(self, target: _Target, packer: Repacker) -> Copied:
        del target.open[packer.mode]
        in_sequence = packer.mode is Mode.SEQUENCED
        producer, epoch = (self.producer, self.epoch) if in_sequence else ("", "")
        batch = packer.take(producer, epoch, target.sequence if in_sequence else 0)
        target.sequence += batch.event_count if in_sequence else 0
        if batch.gate_pass:
            named = pass_digest(batch.key, batch.fingerprint)
            self.passes.setdefault(batch.gate_pass, set()).add(named)
        for first, cut in packer.origins:
            self._note(target, first, cut)
        return self._next(target, batch)

    def _note(self, target: _Target, first: int, cut: Cut) -> None:
        """Note where wanted events of a cut come to stand."""
        asked = self._wanted_in.get(cut.origin, ())
        for place, at in enumerate(cut.places.tolist() if asked else (), first):
            if at in asked:
                was = cut.origin.partition, EventPlace(cut.origin.offset, at)
                self.places[was] = target.number, EventPlace(target.offset, place)

    def _next(self, target: _Target, message: Tick | UsageBatch) -> Copied:
        target.offset += 1
        return Copied(target.number, target.offset - 1, message)


def named_places(facts: Iterable[Fact]) -> frozenset[tuple[int, EventPlace]]:
    """Return the events that facts name by their places: reversals and their originals."""
    found = set()
    for partition, match in _matches(facts):
        found |= {(partition, match.reversal), (partition, match.original)}
    return frozenset(found)


def _matches(facts: Iterable[Fact]) -> Iterator[tuple[int, Match]]:
    for fact in facts:
        if fact.kind is FactKind.MATCH:
            yield from _told(fact.body)


def _told(body: Mapping[str, Json]) -> Iterator[tuple[int, Match]]:
    for each in cast("list[Mapping[str, Json]]", body.get("copied", [body])):
        for match in matches_in(cast(str, each["matches"])):
            yield cast(int, each["partition"]), match


def log_body(body: Mapping[str, Json], partitions: int) -> dict[str, Json]:
    """Return what the first fact of a copy says."""
    return {**body, "partitions": partitions, "copied": True}


def moved_bodies(facts: Sequence[Fact], copier: Copier) -> Bodies:
    """Return what facts say in a finished copy whose places are others there.

    A match is told where its reversal stands; of what was not copied nothing is told.
    """
    found: dict[int, Mapping[str, Json]] = {}
    for fact in facts:
        match fact.kind:
            case FactKind.MATCH:
                found[fact.serial] = moved_matches(_moved(fact.body, copier.places.get))
            case FactKind.SKIP:
                found[fact.serial] = {"partition": -1, "offset": -1}  # it is not copied
            case FactKind.GATE_PASS if fact.id in copier.passes:
                own = {*cast("list[str]", fact.body["batches"]), *copier.passes[fact.id]}
                found[fact.serial] = {**fact.body, "batches": [*sorted(own)]}
            case _:
                pass
    return found


def _moved(
    body: Mapping[str, Json],
    place: Callable[[tuple[int, EventPlace]], tuple[int, EventPlace] | None],
) -> Iterator[tuple[int, Match]]:
    for partition, match in _told(body):
        reversal, original = place((partition, match.reversal)), place((partition, match.original))
        if reversal is not None and original is not None:
            yield reversal[0], Match(reversal[1], original[1], match.scale, match.conflict)


def check_homes(facts: Sequence[Fact], partitions: int) -> None:
    """Refuse a partition count under which a sub-account leaves the partition of who pays for it.

    Raises:
        BadInput: it does, named.

    """
    catalog = extend(Catalog(), facts)
    for name in sorted(catalog.customers):
        payer = catalog.accounts.payer(name)
        if partition_of(name, partitions) != partition_of(payer, partitions):
            own = catalog.parameters.partitions
            raise BadInput(
                f"--partitions {partitions} parts {name} from {payer}, which pays for it: take a"
                f" count that {own} is a multiple of"
            )
