"""Readmission: events that are late, or were refused, enter the log again; each counts once.

Owns: that one such job runs, reading the log for keys that stand there, the gate pass, sending.
Does not own: why events are sent again (workers/redriving.py), the gate (collect/gate.py), what
may come in (dedupe/standing.py).
Law: an event is sent only after the whole kept log of its partition was read for its key, or
where claims still remember it; nobody can send it late but by the pass that names it.

    note log time -> read the log -> pass as a fact -> a tick names it -> send
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic, sleep
from typing import NamedTuple, Protocol

from pipeline.book.reversing import Reversed
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.collect.batch import UsageBatch
from pipeline.collect.gate import Gate
from pipeline.collect.keyed import KeyedEvent, pack_again
from pipeline.core.calendar import EARLIEST, Instant, instant_text
from pipeline.core.errors import BadInput, ServerFailed
from pipeline.core.identity import Json, partition_of, pass_digest
from pipeline.dedupe.standing import Outcome, Wanted, outcomes
from pipeline.meter.place import Place, Told
from pipeline.meter.sift import Arrival, Sifted
from pipeline.meter.ticks import Tick
from pipeline.replay.matching import Sequences
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.kafka import KafkaLog, SureProducer, usage_log
from pipeline.stores.postgres.connection import one
from pipeline.stores.postgres.facts import Author
from pipeline.stores.registry import COMMAND_TRIES, message_decoder
from pipeline.workers.announcing import await_named
from pipeline.workers.catchup import BookSource, Catchup, CursorSource
from pipeline.workers.seams import FactWriter, Log, Writer
from pipeline.workers.surroundings import Surroundings

Progress = Callable[[int, int], None]
"""Called with (records read, records to read)."""
Prepared = tuple[int, UsageBatch]
"""A partition and a batch for it."""

_LOCK = "talea readmission"
_BATCHES_A_PASS = 64
"""Batches that one fact names: about 2 KB."""
_BATCHES_IN_FLIGHT = 200
_TOLD_EVERY = 500


class JobStore(BookSource, CursorSource, FactWriter, Protocol):
    """Facts, books and ticks, as a job that sends usage again asks for them."""

    def last_acked_tick(self) -> Tick | None: ...

    def reversed_already(self, partition: int, keys: Iterable[bytes]) -> Mapping[Reversed, str]: ...


@dataclass(frozen=True, slots=True)
class Machine:
    """What a job writes with, and waits by; the simulation is another one.

    `announced` returns once a tick names a fact in every partition.
    """

    writer: Callable[[], Writer]
    announced: Callable[[int], None]
    clock: Callable[[], Instant] = wall_clock
    pause: Callable[[float], None] = sleep
    seconds: Callable[[], float] = monotonic


@dataclass(frozen=True, slots=True)
class Moment:
    """When a job began to look: what it knows of the log holds up to there."""

    tick: Tick
    gate: Gate

    @property
    def late_before(self) -> Instant:
        """Before it usage is late now, or soon."""
        return self.tick.time - self.gate.horizon + self.gate.tolerance

    @property
    def passes_until(self) -> Instant:
        """How long claims remember all that comes behind it."""
        return self.tick.time + self.gate.generation_width


class Met(NamedTuple):
    """The first event of a key in the log, and the pass that it shows."""

    fingerprint: bytes
    gate_pass: str


class Looked(NamedTuple):
    """What may become of an event, and the pass that the first of its key in the log shows."""

    outcome: Outcome
    gate_pass: str = ""


@dataclass(frozen=True, slots=True)
class Readmitted:
    """What became of each event, in their order, and the passes that were written."""

    outcomes: Sequence[Outcome]
    gate_passes: Sequence[str]


@contextmanager
def readmission(around: Surroundings) -> Iterator["Readmission"]:
    """Hold the right to be the one job that readmits usage.

    Raises:
        BadInput: another one runs.

    """
    with around.database.session("readmission") as connection:
        (alone,) = one(
            connection,
            "SELECT pg_try_advisory_lock(hashtext(%s), hashtext(current_schema()))",
            _LOCK,
        )
        if not alone:
            raise BadInput("another job is sending usage again: try once it is done")
        machine = Machine(
            partial(SureProducer, around.kafka), partial(await_named, around), connection.clock()
        )
        yield Readmission(around, KafkaLog(around.kafka), connection, machine)


@dataclass(slots=True)
class Readmission:
    """The job, over the session that holds its lock."""

    around: Surroundings
    log: Log
    store: JobStore
    machine: Machine
    _reader: Catchup = field(init=False)

    def __post_init__(self) -> None:
        """Read as the metering worker does, though not for ever where a registry is away."""
        own, pause = self.store, self.machine.pause
        decode = message_decoder(self.around.settings.registry, COMMAND_TRIES)
        self._reader = Catchup(self.around, self.log, own, own, pause, decode)
        self._reader.poll()  # the skips too: nobody opens what is skipped

    def catalog(self, tick: Tick) -> Catalog:
        """Return the catalog that a tick named."""
        return self._reader.known.catalog(max(tick.fact_position, 1))

    def last_tick(self) -> Tick:
        """Return the last tick that every partition has.

        Raises:
            ServerFailed: there is none.

        """
        tick = self.store.last_acked_tick()
        if tick is None:
            raise ServerFailed("the log has no tick yet: is the ticker running? (talea up)")
        return tick

    def moment(self) -> Moment:
        """Return the moment to look from: note it before looking."""
        tick = self.last_tick()
        return Moment(tick, self.catalog(tick).parameters.gate)

    def readmit(
        self, events: Sequence[KeyedEvent], author: Author, progress: Progress
    ) -> Readmitted:
        """Send what does not stand in the log; return what became of each event.

        Raises:
            ServerFailed: a server does not answer; what was sent by then counts, once.

        """
        now = self.moment()
        doubted = [e.epoch is not None or e.gate_time < now.late_before for e in events]
        found = self.look(events, now, progress, doubted)
        coming = [e for e, each in zip(events, found, strict=True) if each.outcome is Outcome.SENT]
        in_time = self._prepare(event for event in coming if event.gate_time >= now.late_before)
        late = self._prepare(event for event in coming if event.gate_time < now.late_before)
        admitted = self._admit(late, now, author)
        self._send([*in_time, *admitted])
        passes = sorted({batch.gate_pass for _, batch in admitted})
        return Readmitted([each.outcome for each in found], passes)

    def readmit_unit(
        self, events: Iterable[KeyedEvent], now: Moment, author: Author, unit: str
    ) -> None:
        """Send events that a look at all of them found to stand nowhere, as part of a unit.

        Each shows a pass that names the unit, late or not: so the log tells whose it is.
        """
        self._send(self._admit(self._prepare(events), now, author, unit))

    def send(self, events: Iterable[KeyedEvent]) -> None:
        """Send events that are in time, whatever stands in the log: claims know repeats."""
        self._send(self._prepare(events))

    def stretch(self, partition: int, start: Instant | None) -> tuple[Place, int]:
        """Return where to read usage of event time `start` on from (None: all), and the end."""
        first, end = self.ends()[partition]
        if start is not None:
            tolerance = self.catalog(self.last_tick()).parameters.gate.tolerance
            first = max(first, self.store.offset_at(partition, start - tolerance))
        return self._start(partition, first), end

    def ends(self) -> list[tuple[int, int]]:
        """Return (first offset kept, next offset) of each partition of the log."""
        return self.log.ends(usage_log(self.around.stack), self.around.partitions)

    def walk(
        self, partition: int, place: Place, end: int
    ) -> Iterator[tuple[Arrival, Told | Sifted]]:
        """Tell each message up to an offset as it was judged."""
        return self._reader.walk(partition, place, end)

    def look(
        self,
        events: Sequence[KeyedEvent],
        now: Moment,
        progress: Progress,
        doubted: Sequence[bool] | None = None,
    ) -> list[Looked]:
        """Return what may be sent, by what the log holds of those doubted (None: all).

        The others are known to claims.
        """
        ends = self.ends()
        homes: dict[int, list[int]] = {}
        doubts: dict[int, list[KeyedEvent]] = {}
        for at, event in enumerate(events):
            home = partition_of(event.customer, self.around.partitions)
            homes.setdefault(home, []).append(at)
            if doubted is None or doubted[at]:
                doubts.setdefault(home, []).append(event)
        read, total = 0, sum(ends[home][1] - ends[home][0] for home in doubts)
        found: dict[int, Looked] = {}
        for home, places in homes.items():
            met: dict[bytes, Met] = {}
            proven_from = EARLIEST
            if home in doubts:
                first, end = ends[home]
                place = self._start(home, first)
                if first:  # what the log no longer holds lies before here
                    proven_from = place.log_time + now.gate.tolerance
                tell = partial(_tell, progress, read - first, total)
                met = self.first_met(home, place, end, Wanted.of(doubts[home]), tell)
                read += end - first
            own = [events[at] for at in places]
            standing = {key: each.fingerprint for key, each in met.items()}
            for at, outcome in zip(places, outcomes(own, standing, proven_from), strict=True):
                known = met.get(events[at].claims[0])
                found[at] = Looked(outcome, known.gate_pass if known else "")
        progress(total, total)
        return [found[at] for at in range(len(events))]

    def _start(self, partition: int, first: int) -> Place:
        """Return the place of the first record that a partition still has."""
        tick, stands = self.store.tick_before(partition, first)
        if first and stands < 0:
            raise ServerFailed(f"partition {partition}: no tick booked before offset {first}")
        return Place(first, first, tick, tick.time)

    def first_met(
        self,
        partition: int,
        place: Place,
        end: int,
        wanted: Wanted,
        tell: Callable[[int], None] = lambda offset: None,
    ) -> dict[bytes, Met]:
        """Return the first event of each wanted key that stands in a stretch of the log."""
        found: dict[bytes, Met] = {}
        sequences = Sequences(wanted.epochs)
        for arrival, looked in self._reader.walk(partition, place, end):
            tell(arrival.offset)
            if isinstance(looked, Sifted) and sequences.feed(looked, arrival):
                met = wanted.met(looked.batch, looked.columns, looked.claimable, partition)
                for event in met:
                    key, own_print = event.claims
                    found.setdefault(key, Met(own_print, looked.batch.gate_pass))
        return found

    def _prepare(self, events: Iterable[KeyedEvent]) -> list[Prepared]:
        homes: dict[int, list[KeyedEvent]] = {}
        for event in events:
            home = partition_of(event.customer, self.around.partitions)
            homes.setdefault(home, []).append(event)
        return [(home, batch) for home, own in homes.items() for batch in pack_again(own)]

    def _admit(
        self, late: Sequence[Prepared], now: Moment, author: Author, unit: str = ""
    ) -> list[Prepared]:
        """Write the passes of late batches; return the batches with their passes in force."""
        if not late:
            return []
        groups = [
            late[start : start + _BATCHES_A_PASS] for start in range(0, len(late), _BATCHES_A_PASS)
        ]
        until = now.passes_until
        given = [_pass_fact([batch for _, batch in group], until, unit) for group in groups]
        written = self.write(given, author)
        return [
            (home, replace(batch, gate_pass=fact.id))
            for fact, group in zip(written, groups, strict=True)
            for home, batch in group
        ]

    def write(self, told: Sequence[NewFact], author: Author) -> list[Fact]:
        """Write facts; return them once they are in force."""
        if not told:
            return []
        written = self.store.append_facts(lambda _: told, author, self.machine.clock())
        self.machine.announced(written[-1].serial)
        return written

    def _send(self, prepared: Sequence[Prepared]) -> None:
        log, producer = usage_log(self.around.stack), self.machine.writer()
        for start in range(0, len(prepared), _BATCHES_IN_FLIGHT):
            for home, batch in prepared[start : start + _BATCHES_IN_FLIGHT]:
                producer.send(log, home, encode_batch(batch), event_count=batch.event_count)
            producer.flush()


def _pass_fact(batches: Sequence[UsageBatch], until: Instant, unit: str) -> NewFact:
    named: list[Json] = [pass_digest(batch.key, batch.fingerprint) for batch in batches]
    body: dict[str, Json] = {
        "until": instant_text(until),
        "batches": named,
        "events": sum(batch.event_count for batch in batches),
    }
    if unit:
        body["backfill"] = unit
    return NewFact(FactKind.GATE_PASS, str(named[0]), body)


def _tell(progress: Progress, base: int, total: int, offset: int) -> None:
    if offset % _TOLD_EVERY == 0:
        progress(base + offset, total)
