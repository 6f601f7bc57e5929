"""Mended: what facts say in a replay by other prices, as the auditor reads them.

Owns: whose bodies are others, and which; which earlier corrections stand there.
Does not own: what documents come to by them (billing.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import Instant
from pipeline.simulate.agreements import Body
from pipeline.simulate.alarms import Alarm
from pipeline.simulate.replays import Wanted

PRICED = ("issuer", "plan", "price_book", "promotion", "fx_rate")
"""The kinds of facts that say prices."""


@dataclass(frozen=True, slots=True)
class Mended:
    """All facts as they would have been told, and the last one whose corrections stand there.

    `wrong`: those that an incident is about, if it is one.
    """

    facts: Sequence[Fact]
    stands_until: int
    wrong: Collection[Fact] = ()

    def behind(self, earlier: Sequence[Fact]) -> Sequence[Fact]:
        """Return what facts say by prices of an earlier diff that stands there."""
        return _without(earlier, self.wrong) if self.wrong else earlier

    def with_earlier(self, told: Sequence[Fact], earlier: Sequence[Fact]) -> list[Fact]:
        """Return what facts say by its prices and those of an earlier diff that stands there."""
        by_both = zip(told, self.behind(earlier), self.facts, strict=True)
        return [own if other.body == fact.body else other for fact, other, own in by_both]


def mended(facts: Sequence[Fact], position: int, wanted: Wanted, alarm: Alarm | None) -> Mended:
    """Return facts by the prices that somebody wanted of those up to a position."""
    known = facts[:position]
    if wanted.incident and alarm is not None:
        opened = next(fact.serial for fact in facts if fact.kind is FactKind.INCIDENT)
        wrong = wrong_of(facts[: opened - 1], alarm)
        return Mended(_without(facts, wrong), len(facts), wrong)
    if wanted.known is not None:
        return _as_known(facts, known, wanted.known)
    told = [
        replace(fact, body=wanted.said.get((fact.kind, fact.subject), fact.body)) for fact in facts
    ]
    return Mended(told, 0 if wanted.said else len(facts))


def wrong_of(facts: Iterable[Fact], alarm: Alarm) -> list[Fact]:
    """Return the facts that an alarm is about."""
    return [
        fact
        for fact in facts
        if fact.kind.value in PRICED
        and alarm.since <= fact.recorded_at
        and (alarm.until is None or fact.recorded_at < alarm.until)
        and (not alarm.subjects or fact.subject in alarm.subjects)
    ]


def _without(facts: Sequence[Fact], wrong: Collection[Fact]) -> list[Fact]:
    """Return facts that say what was right before, where they were wrong."""
    serials, right, found = {fact.serial for fact in wrong}, dict[tuple[FactKind, str], Body](), []
    for fact in facts:
        about = fact.kind, fact.subject
        if fact.serial not in serials:
            right[about] = fact.body
        found.append(replace(fact, body=right[about]))
    return found


def _as_known(facts: Sequence[Fact], planted: Sequence[Fact], instant: Instant) -> Mended:
    """Return facts that say no price told after an instant; the same where there is none."""
    until = max((fact.serial for fact in planted if fact.recorded_at <= instant), default=0)
    last = {(fact.kind, fact.subject): fact.body for fact in facts[:until]}
    told = [
        replace(fact, body=last.get((fact.kind, fact.subject), fact.body))
        if fact.serial > until and fact.kind.value in PRICED
        else fact
        for fact in facts
    ]
    changed = any(fact.body != other.body for fact, other in zip(planted, told, strict=False))
    return Mended(told, until if changed else len(facts))
