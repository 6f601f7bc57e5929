"""The witness: what became of every event of the log, worked out the plainest way.

Owns: the gate, repeats by key and by sequence, over sets and dictionaries.
Does not own: money (billing.py).
Law: it shares no step with the pipeline; it knows what senders meant, not what bytes say.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, Instant, parse_instant
from pipeline.core.identity import partition_of
from pipeline.meter.ticks import Tick
from pipeline.simulate.decisions import HORIZON_S, METERS, TOLERANCE_S
from pipeline.simulate.log import Kept
from pipeline.simulate.story import Sent

_HORIZON, _TOLERANCE = HORIZON_S * SECOND, TOLERANCE_S * SECOND


@dataclass(frozen=True, slots=True)
class Counted:
    """An event that counts, where it stands, and what tells it from others of its time.

    `place` is its number in the message, `generation` that of the log time it came at.
    """

    partition: int
    offset: int
    place: int
    event: UsageEvent
    key: bytes
    generation: int

    @property
    def payload(self) -> "Payload":
        """What was told."""
        return payload_of(self.event)


@dataclass(frozen=True, slots=True)
class Gap:
    """Places of a sequence that were stepped over, at which offset, at which log time."""

    partition: int
    producer: str
    epoch: str
    places: range
    offset: int
    since: Instant


@dataclass(slots=True)
class Witness:
    """Hears the log of every partition, record by record.

    `ticks` holds every committed tick, `tick_messages` their serials by bytes.
    """

    partitions: int
    ticks: Mapping[int, Tick]
    tick_messages: Mapping[bytes, int]
    sent: Mapping[bytes, Sent]
    facts: Sequence[Fact]
    counted: list[Counted] = field(default_factory=list)
    reversals: list[Counted] = field(default_factory=list)
    """The first reversal of every key and payload."""
    outcomes: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    refused: dict[tuple[int, int], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    """How many events of a message must be told in dead letters, by position and outcome."""
    tick_places: dict[tuple[int, int], int] = field(default_factory=dict)
    """Where a tick first stands, by partition and serial."""
    again: set["Name"] = field(default_factory=set)
    """What jobs sent again."""
    gaps: list[Gap] = field(default_factory=list)
    """Every one that ever showed, filled since or not."""
    taken: dict[tuple[int, tuple[str, str]], set[int]] = field(
        default_factory=lambda: defaultdict(set)
    )
    """The places that came, by partition and sequence."""
    faults: list[str] = field(default_factory=list)
    skips: set[tuple[int, int]] = field(init=False)
    """(partition, offset) of every message that is gone on without."""
    first_skips: dict[int, int] = field(init=False)
    """The first of them, by partition."""
    _meters: dict[str, int] = field(init=False)
    _passes: dict[str, Fact] = field(init=False)

    def __post_init__(self) -> None:
        """Know from which fact on each meter and each gate pass is in force."""
        self._passes = {f.id: f for f in self.facts if f.kind is FactKind.GATE_PASS}
        meters = [fact for fact in self.facts if fact.kind is FactKind.METER]
        self._meters = {fact.subject: fact.serial for fact in meters}
        skips = (fact.body for fact in self.facts if fact.kind is FactKind.SKIP)
        self.skips = {(cast(int, each["partition"]), cast(int, each["offset"])) for each in skips}
        self.first_skips = dict(sorted(self.skips, reverse=True))

    def has_meter(self, meter: str, position: int) -> bool:
        """Return whether a meter is in force at a fact position."""
        return self._meters.get(meter, position + 1) <= position

    def admits(self, sent: Sent, position: int, log_time: Instant) -> bool:
        """Return whether the pass that a message shows lets it come late."""
        fact = self._passes.get(sent.gate_pass)
        if fact is None or fact.serial > position:
            return False
        named = sent.named in cast(list[str], fact.body["batches"])
        return named and log_time <= parse_instant(fact.body["until"])

    def hear(self, partition: int, records: Sequence[Kept]) -> None:
        """Walk one partition from its start."""
        walk = _Walk(self, partition)
        for offset, record in enumerate(records):
            serial = self.tick_messages.get(record.value)
            if serial is None:
                walk.usage(offset, record)
            elif serial > walk.serial:
                if serial != walk.serial + 1:
                    self.faults.append(f"partition {partition} lacks tick {walk.serial + 1}")
                walk.serial = serial
                walk.log_time = max(walk.log_time, self.ticks[serial].time)
                self.tick_places[partition, serial] = offset

    def home(self, customer: str) -> int:
        """Return the partition of a customer."""
        return partition_of(customer, self.partitions)

    def named_at(self, partition: int, fact: int) -> int | None:
        """Return where the first tick that names a fact stands in a partition, if one does."""
        places = sorted(self.tick_places.items())
        return next(
            (
                offset
                for (number, serial), offset in places
                if number == partition and self.ticks[serial].fact_position >= fact
            ),
            None,
        )

    def serial_at(self, partition: int, offset: int) -> int:
        """Return the serial of the last tick at or before an offset (0: none)."""
        places = self.tick_places.items()
        below = [s for (number, s), at in places if number == partition and at <= offset]
        return max(below, default=0)


@dataclass(slots=True)
class _Walk:
    """One partition: the time that stands in it, and what was used up so far."""

    witness: Witness
    partition: int
    serial: int = 0
    log_time: Instant = 0
    keys: dict[int, dict[object, object]] = field(default_factory=lambda: defaultdict(dict))
    reversed: set[object] = field(default_factory=set)
    payloads_counted: set[object] = field(default_factory=set)
    reached: dict[tuple[str, str], int] = field(default_factory=dict)
    """The place behind the last that came, or was told to be written, by sequence."""
    batches: dict[tuple[str, str, int, int], bytes] = field(default_factory=dict)

    def usage(self, offset: int, record: Kept) -> None:
        told = self.witness.outcomes[self.partition]
        offered = 1 if record.event_count is None else record.event_count
        told["offered"] += offered
        sent = self.witness.sent.get(record.value)
        refused = self.witness.refused[self.partition, offset]
        if sent is not None and sent.named:
            self.witness.again.update(map(name_of, sent.keys, sent.events))
        skipped = (self.partition, offset) in self.witness.skips
        if sent is None or skipped or not self.serial or offered != len(sent.events):
            told["rejected"] += offered
            refused["rejected"] += offered
            return
        if any(_gate_time(event) > self.log_time + _TOLERANCE for event in sent.events):
            self.log_time = max(self.log_time, self.witness.ticks[self.serial + 1].time)
        if sent.gate_pass and not self.witness.admits(sent, self._position, self.log_time):
            told["rejected"] += offered
            refused["rejected"] += offered
            return
        outcomes = self._outcomes(sent, record.value, offset)
        for at, (event, outcome) in enumerate(zip(sent.events, outcomes, strict=True)):
            told[outcome] += 1
            if outcome in ("conflict", "late", "rejected"):
                refused[outcome] += 1
            if outcome == "fresh":
                came = generation_of(self.log_time)
                counted = Counted(self.partition, offset, at, event, sent.keys[at], came)
                if event.reversed_at is None:
                    self.witness.counted.append(counted)
                    self._twice(counted)
                else:
                    self.witness.reversals.append(counted)

    def _outcomes(self, sent: Sent, message: bytes, offset: int) -> list[str]:
        by_time = [self._by_time(event, passed=bool(sent.gate_pass)) for event in sent.events]
        if sent.producer:
            verdict = self._by_place(sent, message, offset)
            return [outcome or verdict for outcome in by_time]
        each = zip(sent.events, sent.keys, by_time, strict=True)
        return [outcome or self._by_key(key, event) for event, key, outcome in each]

    @property
    def _position(self) -> int:
        return self.witness.ticks[self.serial].fact_position

    def _by_time(self, event: UsageEvent, *, passed: bool) -> str:
        home = self.witness.home(event.customer)
        if not self.witness.has_meter(event.meter, self._position) or home != self.partition:
            return "rejected"
        if event.reversed_at is not None and not reversible(event.meter):
            return "rejected"
        if _gate_time(event) > self.log_time + _TOLERANCE:
            return "rejected"
        late = _gate_time(event) < self.log_time - _HORIZON
        return "late" if late and not passed else ""

    def _by_key(self, key: bytes, event: UsageEvent) -> str:
        """Count a key once in two generations; the first to come keeps it."""
        payload = payload_of(event)
        if event.reversed_at is not None:
            return self._by_original(key, payload)
        generation = generation_of(self.log_time)
        own, before = self.keys[generation], self.keys[generation - 1]
        new = key not in own and key not in before
        first = before.get(key, own.setdefault(key, payload))
        if new:
            return "fresh"
        return "duplicate" if first == payload else "conflict"

    def _by_original(self, key: bytes, payload: "Payload") -> str:
        """Count one reversal of a key and payload, for ever."""
        known = (key, payload) in self.reversed
        self.reversed.add((key, payload))
        return "duplicate" if known else "fresh"

    def _by_place(self, sent: Sent, message: bytes, offset: int) -> str:
        """Count a place of a sequence once."""
        taken = self.witness.taken[self.partition, (sent.producer, sent.epoch)]
        own = set(range(sent.first, sent.first + len(sent.events)))
        name = (sent.producer, sent.epoch, sent.first, len(own))
        if not own & taken:
            self._reach(sent, offset)
            taken |= own
            self.batches[name] = message
            return "fresh"
        if name in self.batches:
            return "duplicate" if self.batches[name] == message else "conflict"
        return "duplicate" if own <= taken else "conflict"

    def _reach(self, sent: Sent, offset: int) -> None:
        """Note what a batch, or the mark of a producer, steps over."""
        sequence = sent.producer, sent.epoch
        stood, end = self.reached.get(sequence, 0), sent.first + len(sent.events)
        if sent.first > stood:
            places = range(stood, sent.first)
            gap = Gap(self.partition, *sequence, places, offset, self.log_time)
            self.witness.gaps.append(gap)
        self.reached[sequence] = max(stood, end)

    def _twice(self, counted: Counted) -> None:
        """Hold the rule of generations against what it is for: nothing counts twice, ever."""
        name = (counted.key, counted.payload)
        if name in self.payloads_counted:
            self.witness.faults.append(f"{counted.event} counts twice")
        self.payloads_counted.add(name)


def generation_of(log_time: Instant) -> int:
    """Return in which of the spans that keys are remembered for a log time lies."""
    return log_time // (_HORIZON + _TOLERANCE)


def first_generation(event: UsageEvent) -> int:
    """Return the first generation that an event may be let into: it is never far ahead."""
    return generation_of(event.time - _TOLERANCE)


Payload = tuple[str, Instant, Decimal, tuple[tuple[str, str], ...]]


def payload_of(event: UsageEvent) -> Payload:
    """Return what usage says, whoever sends it under which key."""
    dimensions = tuple(sorted(event.dimensions.items()))
    return event.meter, event.time, event.value.normalize(), dimensions


Name = tuple[bytes, Payload, bool]
"""Key, what was told, whether it takes that back: what counts once for ever."""


def name_of(key: bytes, event: UsageEvent) -> Name:
    """Return what tells usage, or a reversal, from all others."""
    return key, payload_of(event), event.reversed_at is not None


def _gate_time(event: UsageEvent) -> Instant:
    """Return by which time it is judged: a reversal's own."""
    return event.time if event.reversed_at is None else event.reversed_at


def reversible(meter: str) -> bool:
    """Return whether usage of a meter can be taken back: the second greatest must be known."""
    return METERS[meter]["aggregation"] != "max" or "points" in METERS[meter]
