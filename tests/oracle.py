"""The oracle: what must be billed, worked out the plainest way from what was sent.

It shares no step with the pipeline: keys and places in sets, quantities and amounts as fractions.
It hears deliveries in the order that each partition's log has them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, localcontext
from fractions import Fraction
from hashlib import blake2b
from typing import Protocol

OUTCOMES = ("fresh", "duplicate", "conflict", "late", "rejected")


class Event(Protocol):
    """What the oracle looks at in an event."""

    @property
    def customer(self) -> str: ...
    @property
    def meter(self) -> str: ...
    @property
    def time(self) -> int: ...
    @property
    def value(self) -> Decimal: ...
    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def dimensions(self) -> Mapping[str, str]: ...


@dataclass
class Oracle:
    """`meters` maps each meter in force to its aggregation, with its parameters behind it.

    `unique_count user`, `percentile 95`, `window_percentile 95 <window us>`, `time_weighted`,
    `time_weighted <per us>`. `late_before` lies far from any edge. `booked` holds every event that
    counts, by customer and meter.
    """

    meters: Mapping[str, str]
    late_before: int = 0
    booked: dict[tuple[str, str], list[Event]] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    _told_by: dict[int, bytes] = field(default_factory=dict)
    _payloads: dict[tuple[str, str, str], object] = field(default_factory=dict)
    _places: dict[tuple[str, str, int], set[int]] = field(default_factory=dict)
    _batches: dict[tuple[str, str, int, int, int], object] = field(default_factory=dict)

    def hears(self, events: Iterable[Event]) -> None:
        """Events with ids were delivered: each (customer, source, id) counts once."""
        for event in self._let_in(events):
            key, payload = (event.customer, event.source, event.id), _payload(event)
            first = self._payloads.setdefault(key, None)
            self._payloads[key] = first or payload
            outcome = "fresh" if first is None else _repeat(first == payload)
            self._tell(outcome, event, named("talea.key.1", *map(str.encode, key)))

    def hears_sequence(
        self, producer: str, epoch: str, partition: int, first: int, events: Sequence[Event]
    ) -> None:
        """A batch was delivered at its places in a sequence: each place counts once."""
        taken = self._places.setdefault((producer, epoch, partition), set())
        places = set(range(first, first + len(events)))
        payload = [_payload(event) for event in events]
        known = self._batches.setdefault(
            (producer, epoch, partition, first, len(events)), payload if places else None
        )
        if not places & taken:
            outcome = "fresh"
        elif places <= taken:
            outcome = _repeat(known == payload)
        else:
            outcome = "conflict"
        if outcome == "fresh":
            taken |= places
        by = (producer.encode(), epoch.encode())
        for place, event in enumerate(events, first):
            for known in self._let_in([event]):
                at = partition.to_bytes(4, "big") + place.to_bytes(8, "big")
                self._tell(outcome, known, named("talea.seqkey.1", *by, at))

    def hears_noise(self, offered: int) -> None:
        """A message was delivered that nobody can read as what it offers."""
        self.outcomes["rejected"] += offered

    def _let_in(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events of a known meter that come in time; count the others."""
        for event in events:
            if event.meter not in self.meters:
                self.outcomes["rejected"] += 1
            elif event.time < self.late_before:
                self.outcomes["late"] += 1
            else:
                yield event

    def _tell(self, outcome: str, event: Event, key: bytes) -> None:
        self.outcomes[outcome] += 1
        if outcome == "fresh":
            self._told_by[id(event)] = key
            self.booked.setdefault((event.customer, event.meter), []).append(event)

    @property
    def offered(self) -> int:
        """Every event delivered, whatever became of it."""
        return self.outcomes.total()

    def counts(self) -> dict[str, int]:
        """How many events had each outcome."""
        return {"offered": self.offered, **{name: self.outcomes[name] for name in OUTCOMES}}

    def quantity(
        self, customer: str, meter: str, start: int = 0, end: int = 1 << 62, **where: str
    ) -> Fraction:
        """What one customer is billed of one meter for [start, end), of the dimensions named."""
        every = [
            event
            for event in self.booked.get((customer, meter), [])
            if all(event.dimensions.get(name) == value for name, value in where.items())
        ]
        used = [event for event in every if start <= event.time < end]
        values = [event.value for event in used]
        kind, *rest = self.meters[meter].split()
        match kind:
            case "count":
                return Fraction(len(values))
            case "sum":
                return exact_sum(values)
            case "min":
                return Fraction(min(values, default=Decimal(0)))
            case "max":
                return Fraction(max(values, default=Decimal(0)))
            case "average":
                return exact_sum(values) / len(values) if values else Fraction(0)
            case "latest":
                return Fraction(max(used, key=self._place).value) if used else Fraction(0)
            case "unique_count":
                (of,) = rest
                return Fraction(len({e.dimensions[of] for e in used if of in e.dimensions}))
            case "percentile":
                return ranked([Fraction(value) for value in values], rest[0])
            case "window_percentile":
                width = int(rest[1])
                sums = [
                    exact_sum(e.value for e in used if at <= e.time < at + width)
                    for at in range(start, end, width)
                ]
                return ranked(sums, rest[0])
            case "time_weighted":
                area = self._area(every, start, end)
                return area / (int(rest[0]) if rest else end - start)
        raise ValueError(f"{meter} is no meter of the oracle's")

    def _place(self, event: Event) -> tuple[int, bytes]:
        return event.time, self._told_by[id(event)]

    def _area(self, events: Sequence[Event], start: int, end: int) -> Fraction:
        """Level x time of all sets of dimensions: each value from its time to the next's."""
        sets: dict[tuple[tuple[str, str], ...], list[Event]] = {}
        for event in sorted(events, key=self._place):
            sets.setdefault(tuple(sorted(event.dimensions.items())), []).append(event)
        area = Fraction(0)
        for told in sets.values():
            times = [event.time for event in told] + [max(end, told[-1].time)]
            for event, until in zip(told, times[1:], strict=True):
                held = max(min(until, end) - max(event.time, start), 0)
                area += Fraction(event.value) * held
        return area

    def used(self) -> dict[tuple[str, str], tuple[int, Fraction, Fraction]]:
        """(count, sum, maximum) of every customer and meter that has usage."""
        found = {}
        for key, events in self.booked.items():
            values = [event.value for event in events]
            found[key] = (len(values), exact_sum(values), Fraction(max(values)))
        return found


def exact_sum(values: Iterable[Decimal]) -> Fraction:
    """Return a sum with every digit."""
    with localcontext(Context(prec=200, traps=[Inexact])):
        return Fraction(sum(values, Decimal(0)))


def ranked(values: Iterable[Fraction], percent: str) -> Fraction:
    """Return the smallest value that at least so many percent of the values do not exceed."""
    every = list(values)
    for value in sorted(every):
        if sum(other <= value for other in every) * 100 >= Fraction(percent) * len(every):
            return value
    return Fraction(0)


def named(purpose: str, *fields: bytes) -> bytes:
    """Return the key that stands for an event: BLAKE2b over its fields, each behind its length."""
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in fields)
    return blake2b(framed, digest_size=16, person=purpose.encode()).digest()


def _payload(event: Event) -> object:
    """What two deliveries of one event have alike: 1.50 is 1.5."""
    return event.meter, event.time, event.value, sorted(event.dimensions.items())


def _repeat(alike: bool) -> str:
    return "duplicate" if alike else "conflict"


Tier = tuple[str | None, str, str]
"""Up to (None: no end), unit amount, flat amount of whoever gets there."""


def minor(amount: Fraction, digits: int = 2) -> int:
    """Minor units of an amount, half away from zero."""
    units = abs(amount) * 10**digits
    rounded = int(units + Fraction(1, 2))
    return rounded if amount >= 0 else -rounded


def flat(amount: str, share: Fraction = Fraction(1)) -> int:
    """A flat fee for a share of its cycle."""
    return minor(Fraction(amount) * share)


def per_unit(amount: str, quantity: Fraction) -> int:
    """So much for each."""
    return minor(Fraction(amount) * quantity)


def graduated(tiers: Sequence[Tier], quantity: Fraction) -> int:
    """Every unit at the price of its tier; the first is always reached; each rounds by itself."""
    total, below = 0, Fraction(0)
    for place, (up_to, amount, fee) in enumerate(tiers):
        end = quantity if up_to is None else min(quantity, Fraction(up_to))
        if place and end <= below:
            break
        total += minor((end - below) * Fraction(amount)) + minor(Fraction(fee))
        below = end
    return total
