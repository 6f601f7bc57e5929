"""Backfill: old usage that comes in bulk, as one unit that can be taken back whole.

Owns: what a unit is called, what facts say became of it, under which key an event comes again.
Does not own: whether it may come (dedupe/standing.py), sending (workers/backfilling.py), what it
comes to in money (workers/foretelling.py).
Law: the same events are the same unit, in whatever order. What a unit sent shows a gate pass that
names it, so the two logs alone tell which events are its own.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import median_low
from typing import cast

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.collect.event import UsageEvent
from pipeline.collect.keyed import KeyedEvent, keyed_event
from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import Json, digest, event_key
from pipeline.core.quantity import mantissa_scale
from pipeline.meter.meters import Meter

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
EVENTS_MAX = 1_000_000
"""Of one unit: it is looked at as a whole, in memory."""
_SOURCE = "talea/backfill"
"""Events that come again after a unit was taken back are this source's: nobody else's ids."""


class Stage(StrEnum):
    """How far a unit is."""

    STAGED = "staged"
    """Nothing of it is in the log."""
    BEGUN = "begun"
    """Some of it may be: to commit it again goes on."""
    COMMITTED = "committed"
    REVERTED = "reverted"


@dataclass(frozen=True, slots=True)
class Unit:
    """What facts say of a unit; `noted` to `until`: the log times between which it was sent."""

    name: str
    passes: frozenset[str] = frozenset()
    began: Instant | None = None
    noted: Instant = 0
    until: Instant = 0
    committed: Fact | None = None
    reverted: Fact | None = None

    @property
    def stage(self) -> Stage:
        """How far it is."""
        if self.reverted is not None:
            return Stage.REVERTED
        if self.committed is not None:
            return Stage.COMMITTED
        return Stage.BEGUN if self.passes else Stage.STAGED

    @property
    def took_ms(self) -> int | None:
        """From the first pass until all of it was booked; None before."""
        return cast(int, self.committed.body["took_ms"]) if self.committed else None

    def passed(self, fact: Fact, width: Instant) -> "Unit":
        """Return it after one more of its passes."""
        until = parse_instant(cast(str, fact.body["until"]))
        noted = until - width
        return replace(
            self,
            passes=self.passes | {fact.id},
            began=fact.recorded_at if self.began is None else self.began,
            noted=min(self.noted, noted) if self.passes else noted,
            until=max(self.until, until),
        )


@dataclass(slots=True)
class Gathering:
    """The events of a unit as they are read, each key once; `repeats`: others of the same."""

    events: dict[bytes, KeyedEvent] = field(default_factory=dict)
    repeats: int = 0

    def take(self, event: UsageEvent) -> Rejection | None:
        """Take an event, or return why it is no part of a unit."""
        if event.reversed_at is not None:
            told = "a backfill brings usage: what is to be taken back, `talea usage void` does"
            return Rejection(Code.BAD_FIELD, "kind", told)
        if len(self.events) == EVENTS_MAX:
            return Rejection(Code.TOO_LARGE, "", f"a backfill has {EVENTS_MAX:,} events at most")
        mantissa, scale = mantissa_scale(event.value)
        pairs = tuple(sorted(event.dimensions.items()))
        found = keyed_event(
            event.customer,
            event.meter,
            event.time,
            mantissa,
            scale,
            pairs,
            event.source,
            event.id,
        )
        known = self.events.setdefault(found.key, found)
        if known.fingerprint != found.fingerprint:
            return Rejection(Code.CONFLICT, "id", "an earlier line has this id and says otherwise")
        self.repeats += known is not found
        return None


@dataclass(frozen=True, slots=True)
class Units:
    """Every unit that facts know, by name."""

    by_name: Mapping[str, Unit] = field(default_factory=dict)

    @classmethod
    def after(cls, facts: Iterable[Fact], width: Instant) -> "Units":
        """Return what facts say; `width` is that of the generations of their log's claims."""
        found: dict[str, Unit] = {}
        for fact in facts:
            if fact.kind is FactKind.GATE_PASS and "backfill" in fact.body:
                name = cast(str, fact.body["backfill"])
                found[name] = found.get(name, Unit(name)).passed(fact, width)
            elif fact.kind is FactKind.BACKFILL:
                unit = found.get(fact.subject, Unit(fact.subject))
                back = fact.body["what"] == Stage.REVERTED.value
                found[fact.subject] = (
                    replace(unit, reverted=fact) if back else replace(unit, committed=fact)
                )
        return cls(found)

    def of(self, name: str) -> Unit:
        """Return a unit; one that no fact knows is staged."""
        return self.by_name.get(name, Unit(name))

    @property
    def reverted_passes(self) -> Mapping[str, str]:
        """The units that were taken back, by each of their passes."""
        gone = (u for u in self.by_name.values() if u.stage is Stage.REVERTED)
        return {each: unit.name for unit in gone for each in unit.passes}

    @property
    def median_ms(self) -> int | None:
        """How long a unit takes from the first pass to the last event booked; the lower median."""
        took = [unit.took_ms for unit in self.by_name.values() if unit.took_ms is not None]
        return median_low(took) if took else None


def checked_name(name: str) -> str:
    """Return the name of a unit.

    Raises:
        ValueError: it is none.

    """
    if not _NAME.fullmatch(name):
        told = "up to 64 small letters, digits and . _ -, beginning with a letter or digit"
        raise ValueError(f"{name!r} is no name of a backfill: {told}")
    return name


def unit_digest(events: Iterable[KeyedEvent]) -> str:
    """Return the digest of a unit's events, whatever order they are in."""
    return digest(b"".join(sorted(event.key + event.fingerprint for event in events)))


def come_again(event: KeyedEvent, unit: str) -> KeyedEvent:
    """Return an event that a unit sent before it was taken back, as it may be sent once more.

    Its own key stands in the log for ever, as that of usage and its reversal. This one is the same
    for everybody who sends it after that unit, so it counts once again, and no more.
    """
    key = event_key(event.customer, _SOURCE, f"{event.key.hex()}/{unit}")
    return replace(event, key=key, epoch=None)


def why_not(event: KeyedEvent, meters: Mapping[str, Meter], latest: Instant) -> str | None:
    """Return why an event cannot be part of a unit, if it cannot."""
    meter = meters.get(event.meter)
    if meter is None:
        return f"no meter {event.meter!r} is in force: talea catalog apply puts it in force"
    if not meter.reversible:
        return f"meter {event.meter} is not reversible (points: true makes one so)"
    if event.time > latest:
        return "its time is still ahead"
    return None


def committed_fact(name: str, digest_: str, counts: Mapping[str, int], took_ms: int) -> NewFact:
    """Return the fact that all of a unit that may come has come, and what became of the rest."""
    body: dict[str, Json] = {
        "what": Stage.COMMITTED.value,
        "digest": digest_,
        "counts": dict(counts),
        "took_ms": took_ms,
    }
    return NewFact(FactKind.BACKFILL, name, body)


def reverted_fact(name: str, states: Mapping[str, int]) -> NewFact:
    """Return the fact that what a unit sent was taken back, by the states of its reversals."""
    body: dict[str, Json] = {"what": Stage.REVERTED.value, "reversals": dict(states)}
    return NewFact(FactKind.BACKFILL, name, body)


def unit_json(unit: Unit) -> dict[str, Json]:
    """Return what facts say of a unit, for a report."""
    told: dict[str, Json] = {
        "name": unit.name,
        "stage": unit.stage.value,
        "began": None if unit.began is None else instant_text(unit.began),
        "took_ms": unit.took_ms,
    }
    for what, fact in (("committed", unit.committed), ("reverted", unit.reverted)):
        told[what] = None if fact is None else _told(fact)
    return told


def _told(fact: Fact) -> dict[str, Json]:
    return {
        "at": instant_text(fact.recorded_at),
        "actor": fact.actor,
        "reason": fact.reason,
        **{key: value for key, value in fact.body.items() if key not in ("what", "digest")},
    }
