"""The oracle: what must be billed, worked out the plainest way from what was sent.

It shares no step with the pipeline: events in lists, keys and places in sets, amounts as
fractions. It hears deliveries in the order that each partition's log has them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, Protocol

FOR_EVER = 1 << 62


class Event(Protocol):
    """What the oracle looks at in an event."""

    @property
    def customer(self) -> str: ...
    @property
    def meter(self) -> str: ...
    @property
    def time(self) -> int: ...
    @property
    def value(self) -> object: ...
    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def dimensions(self) -> Mapping[str, str]: ...


class Bill(NamedTuple):
    """What one customer and meter comes to."""

    count: int
    sum: Fraction
    maximum: Fraction


@dataclass
class Oracle:
    """`meters` maps a meter in force to its aggregation; `late_before` is far from any edge."""

    meters: Mapping[str, str]
    late_before: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    billed: list[Event] = field(default_factory=list)
    _payloads: dict[tuple[str, str, str], object] = field(default_factory=dict)
    _places: dict[tuple[str, str, int], set[int]] = field(default_factory=dict)
    _ranges: dict[tuple[str, str, int, int, int], object] = field(default_factory=dict)

    def hears(self, events: Iterable[Event]) -> None:
        """Events with ids of their own were delivered: each (customer, source, id) counts once."""
        for event in self._in_time(events):
            key = (event.customer, event.source, event.id)
            first = self._payloads.setdefault(key, _payload(event))
            if key not in self._payloads or first is not _seen(self._payloads, key, event):
                continue
            self._count(event)

    def hears_sequence(
        self, producer: str, epoch: str, partition: int, first: int, events: Sequence[Event]
    ) -> None:
        """A batch at its places of a sequence was delivered: each place counts once."""
        taken = self._places.setdefault((producer, epoch, partition), set())
        places = set(range(first, first + len(events)))
        batch = (producer, epoch, partition, first, len(events))
        payload = [_payload(event) for event in events]
        known = self._ranges.get(batch)
        if not places & taken:
            outcome = "fresh"
            taken |= places
            self._ranges[batch] = payload
        elif known is not None:
            outcome = "duplicate" if known == payload else "conflict"
        else:
            outcome = "duplicate" if places <= taken else "conflict"
        for event in self._in_time(events):
            self.outcomes[outcome] += 1
            if outcome == "fresh":
                self.billed.append(event)
