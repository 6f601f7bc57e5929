"""The witness: what became of every event of the log, worked out the plainest way.

Owns: the gate, repeats by key and by sequence, over sets and dictionaries.
Does not own: money (billing.py).
Law: it shares no step with the pipeline; it knows what senders meant, not what bytes say.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.identity import event_key, partition_of, sequenced_key
from pipeline.meter.ticks import Tick
from pipeline.simulate.decisions import HORIZON_S, TOLERANCE_S
from pipeline.simulate.log import Kept
from pipeline.simulate.story import Sent

_HORIZON, _TOLERANCE = HORIZON_S * SECOND, TOLERANCE_S * SECOND


@dataclass(frozen=True, slots=True)
class Counted:
    """An event that counts, where it stands, and what tells it from others of its time."""

    partition: int
    offset: int
    event: UsageEvent
    key: bytes


@dataclass(slots=True)
class Witness:
    """Hears the log of every partition, record by record.

    `ticks` holds every committed tick, `tick_messages` their serials by bytes.
    """

    partitions: int
    ticks: Mapping[int, Tick]
    tick_messages: Mapping[bytes, int]
    sent: Mapping[bytes, Sent]
    meters: Collection[str]
    counted: list[Counted] = field(default_factory=list)
    outcomes: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    refused: dict[tuple[int, int], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    """How many events of a message must be told in dead letters, by position and outcome."""
    tick_places: dict[tuple[int, int], int] = field(default_factory=dict)
    """Where a tick first stands, by partition and serial."""
    faults: list[str] = field(default_factory=list)

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
    payloads_counted: set[object] = field(default_factory=set)
    places: dict[tuple[str, str], set[int]] = field(default_factory=lambda: defaultdict(set))
    batches: dict[tuple[str, str, int, int], bytes] = field(default_factory=dict)

    def usage(self, offset: int, record: Kept) -> None:
        told = self.witness.outcomes[self.partition]
        offered = 1 if record.event_count is None else record.event_count
        told["offered"] += offered
        sent = self.witness.sent.get(record.value)
        refused = self.witness.refused[self.partition, offset]
        if sent is None or not self.serial or offered != len(sent.events):
            told["rejected"] += offered
            refused["rejected"] += offered
            return
        if any(event.time > self.log_time + _TOLERANCE for event in sent.events):
            self.log_time = max(self.log_time, self.witness.ticks[self.serial + 1].time)
        outcomes = self._outcomes(sent, record.value)
        for at, (event, outcome) in enumerate(zip(sent.events, outcomes, strict=True)):
            told[outcome] += 1
            if outcome in ("conflict", "late", "rejected"):
                refused[outcome] += 1
            if outcome == "fresh":
                key = self._key(sent, at)
                self.witness.counted.append(Counted(self.partition, offset, event, key))
                self._twice(event)

    def _outcomes(self, sent: Sent, message: bytes) -> list[str]:
        by_time = [self._by_time(event) for event in sent.events]
        if sent.producer:
            verdict = self._by_place(sent, message)
            return [outcome or verdict for outcome in by_time]
        pairs = zip(sent.events, by_time, strict=True)
        return [outcome or self._by_key(event) for event, outcome in pairs]

    def _key(self, sent: Sent, at: int) -> bytes:
        event = sent.events[at]
        if sent.producer:
            return sequenced_key(sent.producer, sent.epoch, self.partition, sent.first + at)
        return event_key(event.customer, event.source, event.id)

    def _by_time(self, event: UsageEvent) -> str:
        home = partition_of(event.customer, self.witness.partitions)
        if event.meter not in self.witness.meters or home != self.partition:
            return "rejected"
        if event.time > self.log_time + _TOLERANCE:
            return "rejected"
        return "late" if event.time < self.log_time - _HORIZON else ""

    def _by_key(self, event: UsageEvent) -> str:
        """Count a key once in two generations; the first to come keeps it."""
        key, payload = (event.customer, event.source, event.id), _payload(event)
        generation = self.log_time // (_HORIZON + _TOLERANCE)
        own, before = self.keys[generation], self.keys[generation - 1]
        new = key not in own and key not in before
        first = before.get(key, own.setdefault(key, payload))
        if new:
            return "fresh"
        return "duplicate" if first == payload else "conflict"

    def _by_place(self, sent: Sent, message: bytes) -> str:
        """Count a place of a sequence once."""
        taken = self.places[sent.producer, sent.epoch]
        own = set(range(sent.first, sent.first + len(sent.events)))
        name = (sent.producer, sent.epoch, sent.first, len(own))
        if not own & taken:
            taken |= own
            self.batches[name] = message
            return "fresh"
        if name in self.batches:
            return "duplicate" if self.batches[name] == message else "conflict"
        return "duplicate" if own <= taken else "conflict"

    def _twice(self, event: UsageEvent) -> None:
        """Hold the rule of generations against what it is for: nothing counts twice, ever."""
        if event.id:
            name = (event.customer, event.source, event.id, _payload(event))
            if name in self.payloads_counted:
                self.witness.faults.append(f"event {event.id} of {event.customer} counts twice")
            self.payloads_counted.add(name)


def _payload(event: UsageEvent) -> tuple[object, ...]:
    dimensions = tuple(sorted(event.dimensions.items()))
    return event.meter, event.time, event.value.normalize(), dimensions
