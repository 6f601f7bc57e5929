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
from pipeline.core.identity import KEY_BYTES, Json, canonical, partition_of, pass_digest

Record = Mapping[str, object]
Fact = tuple[int, str, str, Mapping[str, Json]]
"""(serial, id, kind, body) as the fact log has it."""

_EVENTS_MAX, _ENTRIES_MAX, _SCALE_MAX, _WIDE_DIGITS_MAX = 2000, 2000, 18, 38
_NAME_MAX, _METER_MAX, _DIMENSIONS_MAX, _DIMENSIONS_BYTES_MAX = 256, 128, 32, 1024
_RECENT = 64
Stretch = tuple[Instant, Instant, Mapping[str, frozenset[str]]]
"""Paid for from, to, and only under these values of dimensions (none: whatever they are)."""
_FOR_EVER = 1 << 62


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

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> "KnownFacts":
        """Return what a fact log says, read to its end."""
        known = cls()
        plans: dict[str, Mapping[str, Json]] = {}
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
                case "gate_pass":
                    batches = frozenset(cast(list[str], body["batches"]))
                    known.passes[fact_id] = serial, parse_instant(body["until"]), batches
                case "skip":
                    known.skipped.add((cast(int, body["partition"]), cast(int, body["offset"])))
                case "plan":
                    plans[cast(str, body["id"])] = body
                case "subscription":
                    subscriptions[cast(str, body["id"])] = body
        for body in subscriptions.values():
            known._pay(body, plans[cast(str, body["plan"])])
        return known

    def _pay(self, subscription: Mapping[str, Json], plan: Mapping[str, Json]) -> None:
        end = subscription["end"]
        for price in cast(list[Mapping[str, Json]], plan["prices"]):
            if price["meter"] is None:
                continue
            meter = cast(str, price["meter"])
            edge = self.meters[meter][1]
            first = -(-parse_instant(subscription["start"]) // edge) * edge
            last = _FOR_EVER if end is None else -(-parse_instant(end) // edge) * edge
            who = cast(str, subscription["customer"]), meter
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


_Event = tuple[int, str, str, Instant, Mapping[str, str]]
"""(place in its batch, customer, meter, time, dimensions)."""


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
    _serial: int = 0
    _position: int = 1
    _log_time: Instant = 0
    _claims: dict[int, dict[bytes, tuple[int, int, bytes]]] = field(default_factory=dict)
    _sequences: dict[tuple[str, str], Places] = field(default_factory=lambda: defaultdict(Places))

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
            self._serial, self._position = tick["serial"], max(told[1], 1)
            self._log_time = max(self._log_time, told[0])

    def _batch(self, batch: Record, offset: int, offers: int, digest: bytes) -> None:
        count = cast(int, batch["event_count"])
        times = np.frombuffer(cast(bytes, batch["time"]), "<i8").tolist()
        judged_at = self._judged_at(times)
        if self._serial == 0 or offers != count or not self._admitted(batch, judged_at):
            self.disagreeing += offers != count
            self.tally.rejected += offers
            return
        self._log_time = judged_at
        counting = list(self._countable(batch, times, judged_at))
        if batch["mode"] == "sequenced":
            self._sequenced(batch, counting, digest)
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
        customers, meters, dimensions = _dictionaries(batch)
        here = [partition_of(who, facts.partitions) == self.partition for who in customers]
        known = [facts.meters.get(m, (_FOR_EVER, 0))[0] <= self._position for m in meters]
        oldest = EARLIEST if batch["gate_pass"] else at - facts.horizon
        newest = min(LATEST - 1, at + facts.tolerance)
        for index, (who, what, how) in enumerate(_places(batch)):
            time = times[index]
            if not (here[who] and known[what] and EARLIEST <= time <= newest):
                tally.rejected += 1
            elif time < oldest:
                tally.late += 1
            else:
                yield index, customers[who], meters[what], time, dimensions[how]

    def _keyed(self, batch: Record, events: list[_Event], offset: int, at: Instant) -> None:
        generation = at // (self.facts.horizon + self.facts.tolerance)
        for old in [number for number in self._claims if number < generation - 1]:
            del self._claims[old]
        before = self._claims.get(generation - 1, {})
        own = self._claims.setdefault(generation, {}) if events else {}
        keys, prints = cast(bytes, batch["key"]), cast(bytes, batch["fingerprint"])
        for index, who, what, time, dimensions in events:
            key = keys[index * KEY_BYTES : (index + 1) * KEY_BYTES]
            me = offset, index, prints[index * 4 : (index + 1) * 4]
            first = own.setdefault(key, me)
            owner = before.get(key, first)
            if owner is me:
                self._count_fresh(who, what, time, dimensions)
            elif owner[2] == me[2]:
                self.tally.duplicate += 1
            else:
                self.tally.conflict += 1

    def _sequenced(self, batch: Record, events: list[_Event], digest: bytes) -> None:
        name = cast(str, batch["producer"]), cast(str, batch["epoch"])
        first, count = cast(int, batch["first_sequence"]), cast(int, batch["event_count"])
        verdict = self._sequences[name].verdict(first, count, digest)
        if verdict == "fresh":
            for _, who, what, time, dimensions in events:
                self._count_fresh(who, what, time, dimensions)
        elif verdict == "duplicate":
            self.tally.duplicate += len(events)
        else:
            self.tally.conflict += len(events)

    def _count_fresh(
        self, who: str, what: str, time: Instant, dimensions: Mapping[str, str]
    ) -> None:
        if any(
            first <= time < last and all(dimensions.get(n) in values for n, values in where.items())
            for first, last, where in self.facts.paid.get((who, what), ())
        ):
            self.tally.billed += 1
        else:
            self.tally.unpaid += 1


def _dictionaries(batch: Record) -> tuple[list[str], list[str], list[dict[str, str]]]:
    """Return customers, meters and dimensions, as the columns name them."""
    meters = [cast(str, entry["meter"]) for entry in cast(list[Record], batch["meters"])]
    dimensions = cast(list[dict[str, str]], batch["dimensions"])
    return cast(list[str], batch["customers"]), meters, dimensions


def _places(batch: Record) -> Iterator[tuple[int, int, int]]:
    """Yield where customer, meter and dimensions of every event stand."""
    names = ("customer_index", "meter_index", "dimensions_index")
    return zip(
        *(np.frombuffer(cast(bytes, batch[name]), "<u2").tolist() for name in names), strict=True
    )


def well_formed(batch: Record) -> bool:
    """Return whether a batch says nothing about itself that cannot be."""
    count, keyed = cast(int, batch["event_count"]), batch["mode"] == "keyed"
    if not 0 <= count <= _EVENTS_MAX or batch["reversals"]:
        return False
    if keyed and (count == 0 or batch["end"]):
        return False
    if not keyed and not (
        _clean(cast(str, batch["producer"]), _NAME_MAX)
        and _clean(cast(str, batch["epoch"]), _NAME_MAX)
        and 0 <= cast(int, batch["first_sequence"]) < 1 << 62
    ):
        return False
    widths = {"customer_index": 2, "meter_index": 2, "dimensions_index": 2, "time": 8}
    widths |= {"mantissa": 8, "key": KEY_BYTES * keyed, "fingerprint": 4 * keyed}
    if any(len(cast(bytes, batch[name])) != count * width for name, width in widths.items()):
        return False
    return _dictionaries_hold(batch) and _values_hold(batch, count)


def _dictionaries_hold(batch: Record) -> bool:
    customers, meters = cast(list[str], batch["customers"]), cast(list[Record], batch["meters"])
    dimensions = cast(list[dict[str, str]], batch["dimensions"])
    sized = (("customer", customers), ("meter", meters), ("dimensions", dimensions))
    for name, entries in sized:
        used = np.frombuffer(cast(bytes, batch[f"{name}_index"]), "<u2")
        if len(entries) > _ENTRIES_MAX or (len(used) and int(used.max()) >= len(entries)):
            return False
    return (
        all(_clean(name, _NAME_MAX) for name in customers)
        and all(_clean(cast(str, entry["meter"]), _METER_MAX) for entry in meters)
        and all(0 <= cast(int, entry["scale"]) <= _SCALE_MAX for entry in meters)
        and all(_dimensions_hold(entry) for entry in dimensions)
    )


def _dimensions_hold(entry: dict[str, str]) -> bool:
    return (
        len(entry) <= _DIMENSIONS_MAX
        and all(_clean(n, _NAME_MAX) and (not v or _clean(v, _NAME_MAX)) for n, v in entry.items())
        and len(canonical(dict(entry))) <= _DIMENSIONS_BYTES_MAX
    )


def _values_hold(batch: Record, count: int) -> bool:
    mantissas = np.frombuffer(cast(bytes, batch["mantissa"]), "<i8")
    if count and not -(1 << 52) < int(mantissas.min()) <= int(mantissas.max()) < 1 << 52:
        return False
    places = set()
    for entry in cast(list[Record], batch["wide"]):
        index, digits = cast(int, entry["index"]), cast(str, entry["mantissa"]).removeprefix("-")
        if not 0 <= index < count or index in places or int(mantissas[index]):
            return False
        if not (digits.isascii() and digits.isdigit()) or len(digits) > _WIDE_DIGITS_MAX:
            return False
        places.add(index)
    return True


def _clean(text: str, most: int) -> bool:
    """Whether a name is there, not over-long, without control characters or surrogates."""
    if not 0 < len(text) <= most:
        return False
    return not any(c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" for c in text)
