"""Revising: the facts of a replay that prices by another catalog.

Owns: which facts say something else there.
Does not own: the sheet (catalog), writing them (stores/postgres/shadows.py).
Law: who is billed when stays as it was: only what is priced by changes, in the facts that said so,
at their places. Another catalog that says the same changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.history import known_at
from pipeline.catalog.mends import NOTHING_MENDED
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json

Bodies = Mapping[int, Mapping[str, Json]]
"""What facts say instead, by serial."""

PRICING = (
    FactKind.ISSUER,
    FactKind.PLAN,
    FactKind.BOOK,
    FactKind.PROMOTION,
    FactKind.FX_RATE,
)
"""What may be another in a replay: what decides amounts, and no cut."""


_NOT_REPRICED: Json = {"lines": [], "taxes": []}


def not_applied(facts: Sequence[Fact], diff: str | None = None) -> Bodies:
    """Return the facts of applied diffs, or of one, changing nothing: all is priced anew.

    One without a note has told prices alone, under an id that all have which show nothing: these
    stay, for they are either those of the replay or another's.
    """
    noted = {fact.body["reference"] for fact in facts if fact.kind is FactKind.REPRICING}
    found: dict[int, Mapping[str, Json]] = {}
    for fact in facts:
        if fact.kind is FactKind.REPRICING and diff in (None, fact.body["reference"]):
            found[fact.serial] = {**fact.body, "change": _NOT_REPRICED}
        elif fact.kind is FactKind.MENDED and (
            diff is None or (fact.subject == diff and diff in noted)
        ):
            found[fact.serial] = NOTHING_MENDED
    return found


def priced_by(facts: Sequence[Fact], revisions: Iterable[NewFact]) -> Bodies:
    """Return the bodies of facts in a world in which revisions were said from the first on.

    Raises:
        ValueError: a revision changes more than prices, is of what was never sold, or has a day
            of its own.

    """
    said = {(new.kind, new.subject): new.body for new in revisions}
    for (kind, subject), body in said.items():
        if kind not in PRICING:
            kinds = ", ".join(each.value for each in PRICING)
            raise ValueError(f"{kind.value} {subject} would change: only {kinds} may in a replay")
        if "effective" in body:
            raise ValueError(
                f"{kind.value} {subject} has a day: in a replay it is in force throughout"
            )
    found = {
        fact.serial: said[fact.kind, fact.subject]
        for fact in facts
        if (fact.kind, fact.subject) in said
    }
    for kind, subject in said.keys() - {(fact.kind, fact.subject) for fact in facts}:
        raise ValueError(f"{kind.value} {subject} is new: a replay has what was there")
    return {**found, **not_applied(facts)} if found else found


def revised(
    facts: Iterable[Fact],
    said: Mapping[tuple[FactKind, str], Mapping[str, Json]],
    behind: int = 0,
) -> list[Fact]:
    """Return facts as they would be, had these revisions been said behind a serial (0: always)."""
    found = []
    for fact in facts:
        body = said.get((fact.kind, fact.subject)) if fact.serial > behind else None
        found.append(fact if body is None else replace(fact, body=body))
    return found


def as_known(facts: Sequence[Fact], known: Instant) -> Bodies:
    """Return the bodies of facts where no later price is known than at an instant."""
    before = known_at(facts, known)
    said = {(fact.kind, fact.subject): fact.body for fact in before if fact.kind in PRICING}
    found: dict[int, Mapping[str, Json]] = {}
    for fact in facts[len(before) :]:
        body = said.get((fact.kind, fact.subject))
        if body is not None and body != fact.body:
            found[fact.serial] = body
    return {**found, **not_applied(facts[len(before) :])} if found else found
