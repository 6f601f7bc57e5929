"""Incident: prices that were wrong for a while, and the way back.

Owns: which facts were wrong, what stands in their place, how far an incident is, its times.
Does not own: what it came to (diff.py), the notes (applying.py), writing facts (workers).
Law: whatever facts said that were not wrong stays said. Where nobody was wrong nothing changes.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import cast

from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.hand_rules import holding
from pipeline.catalog.mends import by_prices, prices_of
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.identity import Json
from pipeline.replay.applying import total_minor
from pipeline.replay.revising import PRICING, Bodies, not_applied

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,19}")


class Step(StrEnum):
    """What was done about an incident, in this order."""

    OPENED = "opened"
    ROLLED_BACK = "rolled_back"
    CREDITED = "credited"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident as facts tell it: `wrong` are the serials of the facts that were."""

    name: str
    wrong: tuple[int, ...]
    steps: Mapping[Step, Fact] = field(default_factory=dict)

    @property
    def step(self) -> Step:
        """What was done last."""
        return [step for step in Step if step in self.steps][-1]

    @property
    def replay(self) -> str:
        """What the replay without its wrong facts is called."""
        return f"incident_{self.name.lower().replace('-', '_')}"

    @property
    def diff_id(self) -> str | None:
        """The diff whose notes correct it."""
        told = self.steps.get(Step.CREDITED)
        return None if told is None else cast(str, told.body["diff_id"])


def incidents(facts: Iterable[Fact]) -> dict[str, Incident]:
    """Return every incident by name."""
    found: dict[str, Incident] = {}
    for fact in facts:
        if fact.kind is not FactKind.INCIDENT:
            continue
        step = Step(cast(str, fact.body["what"]))
        if step is Step.OPENED:
            wrong = tuple(cast(list[int], fact.body["wrong"]))
            found[fact.subject] = Incident(fact.subject, wrong, {step: fact})
        else:
            known = found[fact.subject]
            found[fact.subject] = replace(known, steps={**known.steps, step: fact})
    return found


def checked_name(name: str) -> str:
    """Return the name of an incident.

    Raises:
        ValueError: it is none.

    """
    if not _NAME.fullmatch(name):
        told = "a letter first, then up to 19 letters, digits and hyphens, like INC-7"
        raise ValueError(f"{name!r} is no name of an incident: {told}")
    return name


def wrong_facts(
    facts: Sequence[Fact], since: Instant, until: Instant | None, subjects: Collection[str]
) -> list[Fact]:
    """Return what said prices in [since, until), of these plans, books, ... or all.

    Raises:
        ValueError: there is none, or nothing stood before one of them.

    """
    found = [
        fact
        for fact in facts
        if fact.kind in PRICING
        and since <= fact.recorded_at
        and (until is None or fact.recorded_at < until)
        and (not subjects or fact.subject in subjects)
    ]
    for subject in sorted(set(subjects) - {fact.subject for fact in found}):
        raise ValueError(f"nothing was said of {subject} then: `talea catalog log` tells all")
    if not found:
        when = instant_text(since)
        raise ValueError(f"no price was changed since {when}: `talea catalog log` tells all")
    stood_before(facts, {fact.serial for fact in found})
    return found


def stood_before(facts: Iterable[Fact], wrong: Collection[int]) -> dict[int, Fact]:
    """Return what stood before each wrong fact, by serial: the last of its subject that was right.

    Raises:
        ValueError: nothing did, or it has a day of its own.

    """
    right: dict[tuple[FactKind, str], Fact] = {}
    found: dict[int, Fact] = {}
    for fact in facts:
        about = fact.kind, fact.subject
        if fact.serial not in wrong:
            right[about] = fact
            continue
        named = f"{fact.kind.value} {fact.subject}"
        if about not in right:
            raise ValueError(f"{named} is new in fact {fact.serial}: nothing stood before it")
        if "effective" in right[about].body:
            raise ValueError(f"{named} had a day of its own before: roll it back by a catalog")
        found[fact.serial] = right[about]
    return found


def without(facts: Sequence[Fact], incident: Incident) -> Bodies:
    """Return the bodies of facts in a world in which none of an incident was ever wrong.

    Nor was anything corrected for it there, by prices that it got wrong.
    """
    before = {serial: fact.body for serial, fact in stood_before(facts, incident.wrong).items()}
    applied = (fact for fact in facts if fact.kind is FactKind.MENDED)
    mended = {
        fact.serial: body
        for fact in applied
        if (body := _mended_without(fact, incident.wrong)) != fact.body
    }
    own = {} if incident.diff_id is None else not_applied(facts, incident.diff_id)
    return {**before, **mended, **own}


def _mended_without(mended: Fact, wrong: Collection[int]) -> Mapping[str, Json]:
    """Return what a fact of an applied diff says where none of an incident was ever wrong."""
    prices = prices_of(mended.body)
    before = stood_before(prices, wrong)
    right = (replace(e, body=before[e.serial].body) if e.serial in before else e for e in prices)
    return by_prices(mended.body, right)


def rollback(facts: Sequence[Fact], incident: Incident) -> list[NewFact]:
    """Return the facts that put in force what stood before; none where somebody did already.

    What was said since of a day to come is said once more: it rests on what was wrong.
    """
    before = stood_before(facts, incident.wrong)
    told: dict[tuple[FactKind, str], list[Fact]] = {
        (f.kind, f.subject): [] for f in before.values()
    }
    for fact in facts:
        if (fact.kind, fact.subject) in told:
            told[fact.kind, fact.subject].append(fact)
    return [new for own in told.values() for new in _put_back(own, before)]


def _put_back(told: Sequence[Fact], before: Mapping[int, Fact]) -> list[NewFact]:
    """Return the facts that put back one subject, of which all this was told."""
    to_come: list[Fact] = []
    for fact in reversed(told):
        if fact.serial in before:
            right = [before[fact.serial], *reversed(to_come)]
            return [NewFact(each.kind, each.subject, each.body) for each in right]
        if "effective" not in fact.body:
            break  # it stands instead of all that was told earlier
        to_come.append(fact)
    return []


def opening(
    facts: Sequence[Fact],
    name: str,
    since: Instant,
    until: Instant | None,
    subjects: Collection[str],
    *,
    hold: bool,
) -> list[NewFact]:
    """Return the facts that an incident was found, and that everything is held; none twice.

    Raises:
        ValueError: the name is none or another's, no price was changed then, nothing stood before.

    """
    known = incidents(facts).get(checked_name(name))
    before = facts if known is None else facts[: known.steps[Step.OPENED].serial - 1]
    found = opened(name, wrong_facts(before, since, until, subjects))
    if known is not None and list(known.wrong) != found.body["wrong"]:
        raise ValueError(f"incident {name} is about other facts: take another name")
    new = [found] if known is None else []
    if hold and (known is None or Step.ROLLED_BACK not in known.steps):
        new += holding(extend(Catalog(), facts), "all", None, on=True)
    return new


def rolling_back(facts: Sequence[Fact], name: str) -> list[NewFact]:
    """Return the facts that put back what stood before, once, and release what is held."""
    known = incidents(facts)[name]
    released = holding(extend(Catalog(), facts), "all", None, on=False)
    if Step.ROLLED_BACK in known.steps:
        return released
    back = rollback(facts, known)
    return [*back, *stepping(facts, name, Step.ROLLED_BACK, prices=len(back)), *released]


def stepping(facts: Iterable[Fact], name: str, step: Step, **told: Json) -> list[NewFact]:
    """Return the fact that something was done about an incident; none where it is told."""
    return [] if step in incidents(facts)[name].steps else [stepped(name, step, **told)]


def crediting(
    facts: Iterable[Fact], name: str, diff_id: str, bodies: Collection[Mapping[str, Json]]
) -> list[NewFact]:
    """Return the fact that the notes of an incident are decided, by `bodies` of a diff's facts."""
    told: dict[str, Json] = {**total_minor(bodies)}
    counted = len(bodies)
    return stepping(
        facts, name, Step.CREDITED, diff_id=diff_id, documents=counted, total_minor=told
    )


def opened(name: str, wrong: Iterable[Fact]) -> NewFact:
    """Return the fact that an incident was found."""
    serials: list[Json] = [fact.serial for fact in wrong]
    return NewFact(FactKind.INCIDENT, name, {"what": Step.OPENED.value, "wrong": serials})


def stepped(name: str, step: Step, **told: Json) -> NewFact:
    """Return the fact that something was done about it."""
    return NewFact(FactKind.INCIDENT, name, {"what": step.value, **told})
