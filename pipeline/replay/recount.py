"""Recount: what became of every event of a log, told by somebody who trusts no step.

Owns: a second account of every outcome: readable, in time, once, paid for.
Does not own: bytes (workers/recounting.py); any rule the pipeline has: these are written again,
from the design alone, and share no code with collect, dedupe, meter and book.
Law: where both accounts are right they are equal, event by event; a difference is a defect.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from pipeline.core.calendar import EARLIEST, LATEST, SECOND, Instant, parse_instant
from pipeline.core.identity import (
    KEY_BYTES,
    Json,
    partition_of,
    pass_digest,
    sequenced_key,
)
from pipeline.replay.recount_back import Payload, Place, TakenBack, Told, told_by
from pipeline.replay.recount_batch import (
    Record,
    claim_of,
    dictionaries,
    event_places,
    in_calendar,
    own_times,
    payload_print,
    well_formed,
)
from pipeline.replay.recount_paid import FOR_EVER as _FOR_EVER
from pipeline.replay.recount_paid import prices_paid

Fact = tuple[int, str, str, Mapping[str, Json]]
"""(serial, id, kind, body) as the fact log has it."""

_RECENT = 64
Stretch = tuple[Instant, Instant, Mapping[str, frozenset[str]]]
"""Paid for from, to, and only under these values of dimensions (none: whatever they are)."""


@dataclass(slots=True)
class KnownFacts:
    """The facts that decide outcomes, each with the serial from which it is in force."""

    partitions: int = 0
    horizon: int = 0
    tolerance: int = 0
    meters: dict[str, tuple[int, int]] = field(default_factory=dict)
    passes: dict[str, tuple[int, Instant, frozenset[str]]] = field(default_factory=dict)
    paid: dict[tuple[str, str], list[Stretch]] = field(default_factory=dict)
    skipped: set[tuple[int, int]] = field(default_factory=set)
    firm: set[str] = field(default_factory=set)
    matches: list[Told] = field(default_factory=list)

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> "KnownFacts":
        """Return what a fact log says, read to its end."""
        known = cls()
        plans: dict[str, Mapping[str, Json]] = {}
        zones: dict[str, str] = {}
        subscriptions: dict[str, Mapping[str, Json]] = {}
        for serial, fact_id, kind, body in facts:
            match kind:
                case "log":
                    known.partitions = cast(int, body["partitions"])
                    known.horizon = cast(int, body["horizon_s"]) * SECOND
                    known.tolerance = cast(int, body["tolerance_s"]) * SECOND
                case "meter":
                    name = cast(str, body["id"])
                    since = known.meters.get(name, (serial, 0))[0]
                    known.meters[name] = since, cast(int, body["window_s"]) * SECOND
                    if body["aggregation"] in ("min", "max") and not body.get("points"):
                        known.firm.add(name)
                case "match":
                    known.matches += told_by(serial, body)
                case "gate_pass":
                    batches = frozenset(cast(list[str], body["batches"]))
                    known.passes[fact_id] = serial, parse_instant(body["until"]), batches
                case "skip":
                    known.skipped.add((cast(int, body["partition"]), cast(int, body["offset"])))
                case "plan":
                    plans[cast(str, body["id"])] = body
                case "customer":
                    zones[cast(str, body["id"])] = cast(str, body["time_zone"])
                case "subscription":
                    subscriptions[cast(str, body["id"])] = body
        for body in subscriptions.values():
            customer = cast(str, body["customer"])
            for stretch in prices_paid(body, plans, zones[customer]):
                known._pay(customer, *stretch)
        return known

    def _pay(self, customer: str, start: Instant, end: Instant, price: Mapping[str, Json]) -> None:
        if price["meter"] is not None:
            meter = cast(str, price["meter"])
            edge = self.meters[meter][1]
            first = -(-start // edge) * edge
            last = _FOR_EVER if end == _FOR_EVER else -(-end // edge) * edge
            who = customer, meter
            chosen = cast(dict[str, list[str]], price.get("filter") or {})
            where = {name: frozenset(values) for name, values in chosen.items()}
            self.paid.setdefault(who, []).append((first, last, where))


@dataclass(slots=True)
class Tally:
    """Events of one partition by outcome; `billed` and `unpaid` are the fresh ones."""

    offered: int = 0
    billed: int = 0
    unpaid: int = 0
    duplicate: int = 0
    conflict: int = 0
    late: int = 0
    rejected: int = 0


_Usage = tuple[str, str, Instant, Mapping[str, str]]
"""(customer, meter, time, dimensions)."""
_Event = tuple[int, _Usage]
"""(place in its batch, what was used)."""


@dataclass(slots=True)
class Places:
    """The places of a sequence that came: covered ranges, and heartbeats that moved the end."""

    covered: list[tuple[int, int]] = field(default_factory=list)
    marks: set[int] = field(default_factory=set)
    reach: int = 0
    recent: list[tuple[int, int, bytes]] = field(default_factory=list)

    def verdict(self, first: int, count: int, digest: bytes) -> str:
        """Take a range in; return what became of it."""
        end = first + count
        if count == 0:
            if first > self.reach:
                self.marks.add(first)
                self.marks.add(self.reach)
                self.reach = first
            return "fresh"
        for known_first, known_count, known_digest in self.recent:
            if (known_first, known_count) == (first, count):
                return "duplicate" if known_digest == digest else "conflict"
        if first >= self.reach:
            self.marks.update((first, self.reach))
        elif any(low < end and first < high for low, high in self.covered):
            inside = any(low <= first and end <= high for low, high in self._merged())
            return "duplicate" if inside else "conflict"
        elif end > self.reach or any(first < mark < end for mark in self.marks):
            return "conflict"
        self.covered.append((first, end))
        self.reach = max(self.reach, end)
        self.recent = [*self.recent, (first, count, digest)][-_RECENT:]
        return "fresh"

    def _merged(self) -> list[tuple[int, int]]:
        merged: list[tuple[int, int]] = []
        for low, high in sorted(self.covered):
            if merged and low <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(high, merged[-1][1])
            else:
                merged.append((low, high))
        self.covered = merged
        return merged


@dataclass(slots=True)
class Recount:
    """The account of one partition, from its first record on.

    `ticks` maps a serial to the (time, fact position) that were committed for it.
    """

    partition: int
    facts: KnownFacts
    ticks: Mapping[int, tuple[Instant, int]]
    tally: Tally = field(default_factory=Tally)
    disagreeing: int = 0
    _back: TakenBack = field(init=False)
    _reversed: dict[Place, _Usage] = field(default_factory=dict)
    _serial: int = 0
    _position: int = 1
    _log_time: Instant = 0
    _claims: dict[int, dict[bytes, tuple[int, int, bytes]]] = field(default_factory=dict)
    _sequences: dict[tuple[str, str], Places] = field(default_factory=lambda: defaultdict(Places))

    def __post_init__(self) -> None:
        """Begin, knowing what facts say of originals."""
        self._back = TakenBack.of(self.facts.matches, self.partition)

    def feed(
        self, offset: int, header: int | None, name: str, record: Record | None, digest: bytes
    ) -> None:
        """Count the next message: its header, and what it decoded to (None: to nothing)."""
        offers = 1 if header is None else header
        self.tally.offered += offers
        if (self.partition, offset) in self.facts.skipped:
            self.tally.rejected += offers
        elif record is not None and name == "Tick.v1":
            self._tick(cast(Mapping[str, int], record), offers)
        elif record is not None and name == "UsageBatch.v1" and well_formed(record):
            self._batch(record, offset, offers, digest)
        else:
            self.tally.rejected += offers

    def _tick(self, tick: Mapping[str, int], offers: int) -> None:
        told = tick["time"], tick["fact_position"]
        if offers or self.ticks.get(tick["serial"]) != told:
            self.disagreeing += bool(offers)
            self.tally.rejected += offers
        elif tick["serial"] > self._serial:
            before, self._position = self._position, max(told[1], 1)
            self._serial, self._log_time = tick["serial"], max(self._log_time, told[0])
            self._match(before)

    def _match(self, before: int) -> None:
        """Count what the facts that a tick names first say of reversals, where it is so."""
        for serial, of, back, original, same in self.facts.matches:
            if of != self.partition or not before < serial <= self._position:
                continue
            if not self._back.believed(back, original, same=same):
                continue
            self.tally.unpaid -= 1
            if same:
                self._count_fresh(self._reversed.pop(back))
            else:
                self.tally.conflict += 1

    def _batch(self, batch: Record, offset: int, offers: int, digest: bytes) -> None:
        count = cast(int, batch["event_count"])
        times = np.frombuffer(cast(bytes, batch["time"]), "<i8").tolist()
        own = own_times(batch)
        judged_at = self._judged_at([own.get(at, time) for at, time in enumerate(times)])
        if self._serial == 0 or offers != count or not self._admitted(batch, judged_at):
            self.disagreeing += offers != count
            self.tally.rejected += offers
            return
        self._log_time = judged_at
        counting = list(self._countable(batch, times, judged_at))
        if batch["mode"] == "sequenced":
            self._sequenced(batch, counting, offset, digest)
        else:
            self._keyed(batch, counting, offset, judged_at)

    def _judged_at(self, times: Sequence[Instant]) -> Instant:
        """Return the log time a batch is judged by: the next tick's where it runs ahead."""
        if times and max(times) > self._log_time + self.facts.tolerance:
            following = self.ticks.get(self._serial + 1)
            return max(self._log_time, following[0]) if following else self._log_time
        return self._log_time

    def _admitted(self, batch: Record, judged_at: Instant) -> bool:
        """Whether a batch shows no gate pass, or one that holds for it."""
        shown = cast(str, batch["gate_pass"])
        if not shown:
            return True
        serial, until, batches = self.facts.passes.get(shown, (_FOR_EVER, 0, frozenset()))
        named = pass_digest(cast(bytes, batch["key"]), cast(bytes, batch["fingerprint"]))
        return serial <= self._position and judged_at <= until and named in batches

    def _countable(self, batch: Record, times: Sequence[Instant], at: Instant) -> Iterator[_Event]:
        """Yield the events that nothing speaks against but what came before them."""
        facts, tally = self.facts, self.tally
        customers, meters, dimensions = dictionaries(batch)
        here = [partition_of(who, facts.partitions) == self.partition for who in customers]
        known = [facts.meters.get(m, (_FOR_EVER, 0))[0] <= self._position for m in meters]
        oldest = EARLIEST if batch["gate_pass"] else at - facts.horizon
        newest, own = min(LATEST - 1, at + facts.tolerance), own_times(batch)
        for index, (who, what, how) in enumerate(event_places(batch)):
            time = own.get(index, times[index])
            firm = index in own and meters[what] in facts.firm
            if (
                not (here[who] and known[what] and EARLIEST <= time <= newest)
                or firm
                or not in_calendar(times[index])
            ):
                tally.rejected += 1
            elif time < oldest:
                tally.late += 1
            else:
                yield index, (customers[who], meters[what], times[index], dimensions[how])

    def _keyed(self, batch: Record, events: list[_Event], offset: int, at: Instant) -> None:
        generation = at // (self.facts.horizon + self.facts.tolerance)
        for old in [number for number in self._claims if number < generation - 1]:
            del self._claims[old]
        before = self._claims.get(generation - 1, {})
        own = self._claims.setdefault(generation, {}) if events else {}
        keys, prints = cast(bytes, batch["key"]), cast(bytes, batch["fingerprint"])
        backs = own_times(batch)
        for index, usage in events:
            original = keys[index * KEY_BYTES : (index + 1) * KEY_BYTES]
            key, own_print = original, prints[index * 4 : (index + 1) * 4]
            if index in backs:
                key, own_print = claim_of(batch, index)
            me = offset, index, own_print
            first = own.setdefault(key, me)
            owner = before.get(key, first)
            if owner is me:
                payload = usage[0], original, own_print
                self._take((offset, index), usage, payload, batch, back=index in backs)
            elif owner[2] == me[2]:
                self.tally.duplicate += 1
            else:
                self.tally.conflict += 1

    def _take(
        self, place: Place, usage: _Usage, payload: Payload, batch: Record, *, back: bool
    ) -> None:
        """Count a keyed event that nobody came before."""
        if not back:
            self._count_fresh(usage)
            if place in self._back.wanted:
                self._back.counted(place, (*payload[:2], payload_print(batch, place[1])))
        elif self._back.came(place, payload):
            self.tally.unpaid += 1
            self._reversed[place] = usage
        else:
            self.tally.duplicate += 1

    def _sequenced(self, batch: Record, events: list[_Event], offset: int, digest: bytes) -> None:
        name = cast(str, batch["producer"]), cast(str, batch["epoch"])
        first, count = cast(int, batch["first_sequence"]), cast(int, batch["event_count"])
        verdict = self._sequences[name].verdict(first, count, digest)
        if verdict == "fresh":
            for index, usage in events:
                self._count_fresh(usage)
                if (offset, index) in self._back.wanted:
                    key = cast(bytes, batch["key"])[index * KEY_BYTES : (index + 1) * KEY_BYTES]
                    key = key or sequenced_key(*name, self.partition, first + index)
                    payload = usage[0], key, payload_print(batch, index)
                    self._back.counted((offset, index), payload)
        elif verdict == "duplicate":
            self.tally.duplicate += len(events)
        else:
            self.tally.conflict += len(events)

    def _count_fresh(self, usage: _Usage) -> None:
        who, what, time, dimensions = usage
        if any(
            first <= time < last and all(dimensions.get(n) in values for n, values in where.items())
            for first, last, where in self.facts.paid.get((who, what), ())
        ):
            self.tally.billed += 1
        else:
            self.tally.unpaid += 1
