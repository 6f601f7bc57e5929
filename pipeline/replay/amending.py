"""Amending: which usage is to be taken back, and what is to stand in its place.

Owns: what is chosen, what an amended event is, what a fact says of it all.
Does not own: finding it in the log, sending (workers/amending.py), what a reversal does (book).
Law: the same amendment of the same event is the same event, under the same key.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.catalog.facts import FactKind, NewFact
from pipeline.collect.keyed import KeyedEvent
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.identity import Json, derived_id, event_key, fingerprint

_SOURCE = "talea/amend"
"""Amended events are this source's: nobody else's ids can be theirs."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Usage by id, customer, meter, dimensions, event time in [start, end): all that are given.

    `ids` are of one customer and source.
    """

    customer: str | None = None
    source: str | None = None
    ids: Sequence[str] = ()
    meter: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    start: Instant | None = None
    end: Instant | None = None

    @property
    def keys(self) -> dict[bytes, str]:
        """The ids, by the keys that they make."""
        who, source = self.customer or "", self.source or ""
        return {event_key(who, source, each): each for each in self.ids}

    def takes(self, event: KeyedEvent, keys: Collection[bytes]) -> bool:
        """Return whether an event is chosen; `keys` are those of this."""
        given = dict(event.dimensions)
        return (
            (not keys or event.key in keys)
            and self.customer in (None, event.customer)
            and self.meter in (None, event.meter)
            and all(given.get(name) == value for name, value in self.where.items())
            and (self.start is None or event.time >= self.start)
            and (self.end is None or event.time < self.end)
        )

    def json(self) -> dict[str, Json]:
        """Return what was given."""
        told: dict[str, Json] = {}
        for name in ("customer", "source", "meter"):
            if value := getattr(self, name):
                told[name] = value
        if self.ids:
            told["ids"] = list(self.ids)
        if self.where:
            told["where"] = dict(self.where)
        if self.start is not None:
            told["from"] = instant_text(self.start)
        if self.end is not None:
            told["to"] = instant_text(self.end)
        return told


@dataclass(frozen=True, slots=True)
class Change:
    """What is other in an amended event: its value (mantissa, scale), some dimensions."""

    value: tuple[int, int] | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)

    def leaves(self, event: KeyedEvent) -> bool:
        """Return whether an event is already what it should have been."""
        return self.applied(event).payload_print == event.payload_print

    def applied(self, event: KeyedEvent) -> KeyedEvent:
        """Return the event that is to stand in the place of another."""
        mantissa, scale = self.value or event.least
        dimensions = {**dict(event.dimensions), **self.dimensions}
        own_print = fingerprint(event.meter, event.time, mantissa, scale, dimensions)
        name = f"{event.key.hex()}/{event.payload_print.hex()}/{own_print.hex()}"
        return replace(
            event,
            mantissa=mantissa,
            scale=scale,
            dimensions=tuple(sorted(dimensions.items())),
            key=event_key(event.customer, _SOURCE, name),
            fingerprint=own_print,
            epoch=None,
        )


def taken_back(event: KeyedEvent, at: Instant) -> KeyedEvent:
    """Return the reversal of an event, with its own time."""
    mantissa, scale = event.least
    own_print = fingerprint(event.meter, event.time, mantissa, scale, dict(event.dimensions), at)
    return replace(event, reversed_at=at, fingerprint=own_print, epoch=None)


def amendment_fact(chosen: Chosen, change: Change | None, events: Sequence[KeyedEvent]) -> NewFact:
    """Return the fact that events were taken back, and what was asked for."""
    body: dict[str, Json] = {
        "what": "void" if change is None else "amend",
        "chosen": chosen.json(),
        "events": len(events),
    }
    keys = derived_id("keys", *sorted(event.key.hex() for event in events))
    return NewFact(FactKind.AMENDMENT, keys, body)
