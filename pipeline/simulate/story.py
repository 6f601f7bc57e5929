"""The story of one seed: what agents and strangers send.

Owns: usage that comes in every order, twice, under another's key, and noise.
Does not own: what people decide (decisions.py), when anything is sent (play.py), what must become
of it (auditor.py).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import cast

from pipeline.collect.batch import Mode, UsageBatch, heartbeat, pack_events
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.event import UsageEvent
from pipeline.collect.keyed import KeyedEvent, events_at
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.identity import event_key, partition_of, pass_digest, sequenced_key
from pipeline.replay.amending import Chosen
from pipeline.simulate.decisions import (
    DIMENSIONS,
    HORIZON_S,
    METERS,
    TOLERANCE_S,
    UNHEARD_OF,
    Decisions,
    Names,
)
from pipeline.simulate.forms import spoilt, written
from pipeline.simulate.log import Kept, Poison
from pipeline.simulate.raw import RawKept
from pipeline.simulate.world import BEGIN, Streams
from pipeline.stores.codec import encode_batch


@dataclass(frozen=True, slots=True)
class Sent:
    """What a message says, as its sender meant it; no events: nobody can read it.

    `keys` are those that the events count by. A job shows a `gate_pass` for those that come late,
    where the message is `named`.
    """

    events: Sequence[UsageEvent] = ()
    producer: str = ""
    epoch: str = ""
    first: int = 0
    keys: Sequence[bytes] = ()
    gate_pass: str = ""
    named: str = ""
    jobs: frozenset[str] = frozenset()
    """What the jobs that sent it are called, of those that have a name."""


@dataclass(slots=True)
class Story:
    """Draws what happens next. `sent` knows every message by its bytes, `keyed` every event."""

    streams: Streams
    partitions: int
    sent: dict[bytes, Sent] = field(default_factory=dict)
    packed: dict[bytes, Sent] = field(default_factory=dict)
    """Those that collectors sent."""
    _events: list[UsageEvent] = field(default_factory=list)
    _records: list[tuple[int, Kept]] = field(default_factory=list)
    _places: dict[tuple[str, str, int], int] = field(default_factory=dict)
    _epochs: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    _coming: list[UsageEvent] = field(default_factory=list)
    """Events that were taken back before they are sent."""
    keyed: dict[bytes, list[UsageEvent]] = field(default_factory=dict)
    reversing: float = 0.0
    """How often an agent takes usage back that it sent, or is about to send."""
    marking: float = 0.0
    """How often a producer says how far it wrote, and now and then that this was all."""
    poison: float = 0.0
    """How many of the messages kill who looks into them."""
    amended: set[Fraction] = field(default_factory=set)
    """The values that jobs put in the place of others."""
    names: Names = field(default_factory=Names)
    decisions: Decisions = field(init=False)

    def __post_init__(self) -> None:
        """Begin with what is sold."""
        self.decisions = Decisions(self.streams, self.partitions, self.names)

    def message(self, now: Instant) -> tuple[int, Kept]:
        """Return the next record of the usage log and its partition."""
        if self._places and self.streams.of("marking").random() < self.marking:
            return self._mark(self.streams.of("marks"))
        random = self.streams.of("messages")
        draw, partition = random.random(), random.randrange(self.partitions)
        if draw < 0.08 and self._records:
            return self.streams.of("resends").choice(self._records[-30:])  # however late
        if draw < 0.13:
            return self._noise(self.streams.of("noise"), partition, now)
        if draw < 0.38:
            return self._sequenced(self.streams.of("sequenced"), partition, now)
        return self._keyed(self.streams.of("keyed"), partition, now)

    def _keyed(self, random: Random, partition: int, now: Instant) -> tuple[int, Kept]:
        events = [self._event(random, partition, now) for _ in range(random.randint(1, 5))]
        home = [
            e for e in self._events[-60:] if partition_of(e.customer, self.partitions) == partition
        ]
        if home and random.random() < 0.35:  # the same events in another batch
            events += random.sample(home, min(len(home), random.randint(1, 3)))
        if home and random.random() < 0.1:
            events.append(_other_payload(random, random.choice(home)))
        self._events += events
        random.shuffle(events)
        events = self._with_reversals(events, home, partition, now)
        return self._kept(partition, Sent(events), Mode.KEYED)

    def _with_reversals(
        self, events: list[UsageEvent], home: Sequence[UsageEvent], partition: int, now: Instant
    ) -> list[UsageEvent]:
        """Return events with what takes some back, or is about to be taken back."""
        random, added = self.streams.of("reversals"), []
        if random.random() < self.reversing:
            added.append(self._reversal(random, random.choice([*home, *events]), now))
        if random.random() < self.reversing / 2:  # it comes before what it takes back
            self._coming.append(coming := self._event(random, partition, now, stem="coming"))
            added.append(self._reversal(random, coming, now))
        here = [e for e in self._coming if partition_of(e.customer, self.partitions) == partition]
        if here and random.random() < 0.3:
            added.append(random.choice(here))
        for each in added:
            events.insert(random.randint(0, len(events)), each)
        return events

    def _sequenced(self, random: Random, partition: int, now: Instant) -> tuple[int, Kept]:
        count = random.randint(1, 4)
        events = [self._event(random, partition, now, source="") for _ in range(count)]
        writer = (random.choice(["host-1", "host-2"]), random.choice("ab"), partition)
        key = writer[0], f"{writer[1]}{self._epochs[writer] or ''}", partition
        first = self._places.get(key, 0)
        self._places[key] = first + len(events)
        if random.random() < 0.1:  # this one overtakes, or is lost
            kept = self._kept(partition, Sent(events, *key[:2], first), Mode.SEQUENCED)
            return kept if random.random() < 0.5 else self._sequenced(random, partition, now)
        return self._kept(partition, Sent(events, *key[:2], first), Mode.SEQUENCED)

    def _mark(self, random: Random) -> tuple[int, Kept]:
        """Return how far a producer wrote: now and then what is before it is lost for ever."""
        key = random.choice(sorted(self._places))
        producer, epoch, partition = key
        self._places[key] += random.choice([0, 0, 0, 2])
        first, end = self._places[key], random.random() < 0.4
        if end:  # it goes on in another epoch
            self._epochs[producer, epoch[0], partition] += 1
            del self._places[key]
        message = encode_batch(heartbeat(producer, epoch, first, end=end))
        self.sent[message] = Sent(producer=producer, epoch=epoch, first=first)
        return partition, Kept(message, 0)

    def _event(
        self,
        random: Random,
        partition: int,
        now: Instant,
        source: str = "shop",
        stem: str = "event",
    ) -> UsageEvent:
        known = self.decisions.customers
        own = [name for name in known if partition_of(name, self.partitions) == partition]
        customer = random.choice(own or known)  # without own: of the wrong partition
        meter = random.choice(self.decisions.meters)
        told = [name for name in told_by(meter) if random.random() < 0.9]
        dimensions = {name: random.choice(DIMENSIONS[name]) for name in told}
        value = Decimal(random.randint(0, 9_999)).scaleb(-random.randint(0, 3))
        return UsageEvent(
            customer,
            meter if random.random() < 0.97 else UNHEARD_OF,
            _time(random, now),
            value,
            self.names.new(stem) if source else "",
            source,
            dimensions,
        )

    def _reversal(self, random: Random, event: UsageEvent, now: Instant) -> UsageEvent:
        """Return what takes an event back, now and then told wrongly."""
        told = _other_payload(random, event) if random.random() < 0.1 else event
        return replace(told, reversed_at=_time(random, now))

    def chosen(self, random: Random) -> Chosen:
        """Return usage of one id, for a person to take back."""
        if not self._events:
            return Chosen(customer="nobody")
        event = random.choice(self._events[-200:])
        return Chosen(customer=event.customer, source=event.source, ids=[event.id])

    def _kept(self, partition: int, sent: Sent, mode: Mode) -> tuple[int, Kept]:
        batch = pack_events(sent.events, mode, sent.producer, sent.epoch, sent.first)
        message = encode_batch(batch)
        places = range(sent.first, sent.first + len(sent.events))
        if mode is Mode.SEQUENCED:
            keys = [sequenced_key(sent.producer, sent.epoch, partition, n) for n in places]
        else:
            keys = [event_key(each.customer, each.source, each.id) for each in sent.events]
        for key, event in zip(keys, sent.events, strict=True):
            self._key(key, event)
        self.sent[message] = replace(sent, keys=keys)
        if self.streams.of("poison").random() < self.poison:
            message = Poison(message)
        record = partition, Kept(message, batch.event_count)
        self._records.append(record)
        return record

    def raw(self, now: Instant) -> tuple[int, RawKept]:
        """Return the next raw message and its partition: any, whoever's it is."""
        random = self.streams.of("raw")
        partition, told = random.randrange(self.partitions), random.random()
        if told < 0.15 and self._events:  # what came as a batch, too
            event = random.choice(self._events[-60:])
        else:
            self._events.append(event := self._event(random, partition, now, stem="raw"))
        if told > 0.9:
            return partition, spoilt(random, event)
        if random.random() < self.reversing:
            event = self._reversal(random, event, now)
        self._key(event_key(event.customer, event.source, event.id), event)
        return partition, written(random, event)

    def old_usage(self, random: Random, now: Instant) -> UsageEvent:
        """Return usage that somebody has lying about: sent before, now and then not as it was."""
        told, known = random.random(), self._events[-200:]
        if known and told < 0.3:
            event = random.choice(known)
            return _other_payload(random, event) if told < 0.05 else event
        event = self._event(random, random.randrange(self.partitions), now, stem="old")
        if told < 0.9:
            event = replace(event, time=_old_time(random, now))
        if told > 0.7:  # its own agent comes across it, too
            self._events.append(event)
        return event

    def to_be_sent(self, event: UsageEvent, under: Iterable[bytes]) -> None:
        """Take down under which keys a job may send an event."""
        for key in under:
            self._key(key, event)

    def _key(self, key: bytes, event: UsageEvent) -> None:
        self.keyed.setdefault(key, []).append(event)

    def collected(self, message: bytes, batch: UsageBatch) -> None:
        """Take down what a collector packed.

        Raises:
            LookupError: it changed an event.

        """
        keys, events = self._originals(batch)
        self.packed[message] = self.sent[message] = Sent(events, keys=keys)

    def sent_again(self, message: bytes, batch: UsageBatch, job: str = "") -> None:
        """Take down what a job sends: events of before, under the keys that they had.

        Raises:
            LookupError: it changed one.

        """
        keys, events = self._originals(batch)
        named = pass_digest(batch.key, batch.fingerprint)
        sent = Sent(events, keys=keys, gate_pass=batch.gate_pass, named=named)
        known = self.sent.get(message, sent).jobs
        self.sent[message] = replace(sent, jobs=known | {job})

    def _originals(self, batch: UsageBatch) -> tuple[list[bytes], list[UsageEvent]]:
        """Return what a batch says, as it was meant before."""
        columns = read_columns(batch)
        if not isinstance(columns, Columns):
            raise LookupError("somebody sent what nobody can read")
        told = [*events_at(batch, columns, range(batch.event_count), 0)]
        return [each.key for each in told], [self._original(each) for each in told]

    def _original(self, told: KeyedEvent) -> UsageEvent:
        event = self._told_before(told)
        return replace(event, reversed_at=told.reversed_at)

    def _told_before(self, told: KeyedEvent) -> UsageEvent:
        mantissa = Fraction(told.mantissa, 10**told.scale)
        payload = (told.customer, told.meter, told.time, mantissa, dict(told.dimensions))
        if told.key not in self.keyed and mantissa in self.amended:
            value = Decimal(told.mantissa).scaleb(-told.scale)
            event = UsageEvent(*payload[:3], value, dimensions=payload[4])
            self.keyed[told.key] = [event]
        for each in self.keyed[told.key]:
            own, dimensions = Fraction(each.value), dict(each.dimensions)
            if payload == (each.customer, each.meter, each.time, own, dimensions):
                return each
        raise LookupError(f"somebody changed {payload}")

    def _noise(self, random: Random, partition: int, now: Instant) -> tuple[int, Kept]:
        """Return what breaks a rule: bytes, a header that lies, another's customer."""
        match random.randrange(3):
            case 0:
                header = random.choice([None, 0, 3])
                return partition, Kept(random.randbytes(20), header)
            case 1:
                _, kept = self._keyed(random, partition, now)
                return partition, Kept(kept.value, random.choice([None, 1, 99]))
            case _:
                home, kept = self._keyed(random, partition, now)
                return (home + 1) % self.partitions, kept


def _time(random: Random, now: Instant) -> Instant:
    """Return an event's time: now and then of a whole second, as many another's."""
    time = now + _lateness(random)
    return time - time % SECOND if random.random() < 0.3 else time


def _old_time(random: Random, now: Instant) -> Instant:
    """Return any time since a while before the story began."""
    time = random.randint(BEGIN - 20 * SECOND, now)
    return time - time % SECOND if random.random() < 0.3 else time


def _lateness(random: Random) -> Instant:
    """Return how far event time lies from now: mostly near, now and then at an edge."""
    draw = random.random()
    if draw < 0.7:
        return random.randint(-12 * SECOND, SECOND)
    if draw < 0.92:
        return random.randint(-HORIZON_S * SECOND, 0)
    if draw < 0.97:
        return random.randint(-2 * HORIZON_S * SECOND, -HORIZON_S * SECOND)
    return random.randint(TOLERANCE_S * SECOND, 2 * TOLERANCE_S * SECOND)


def _other_payload(random: Random, event: UsageEvent) -> UsageEvent:
    return UsageEvent(
        event.customer,
        event.meter,
        event.time + random.choice([0, 7 * SECOND]),
        event.value + 1,
        event.id,
        event.source,
        event.dimensions,
    )


def told_by(meter: str) -> Sequence[str]:
    """Return the dimensions that usage of a meter may tell."""
    own, of = METERS[meter].get("dimensions", []), METERS[meter].get("of")
    return [*cast(list[str], own), *([of] if isinstance(of, str) else [])]
