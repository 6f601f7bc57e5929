"""Edited: what lines of documents say because somebody said so, as the auditor reads facts.

Owns: which line an edit is of, what it makes of the line.
Does not own: what a line says by itself (billing.py), who edits (hands.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple, cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.simulate.agreements import Body
from pipeline.simulate.dues import ExpectedLine
from pipeline.simulate.sold import DIGITS, minor
from pipeline.stores.postgres.drafts import Draft

Place = tuple[str, str, Instant]
"""(payer, currency, instant) of a document."""
LAST = 1 << 62
"""A position behind all facts."""


class Again(NamedTuple):
    """The document that another stands for in the end, and what by hand it keeps."""

    first: Place
    is_plain: bool
    """Whether no line by hand is on it."""
    edited_as: tuple[Place, ...] = ()
    """The documents before it whose edits it keeps, from the first to the last."""


@dataclass(slots=True)
class Edits:
    """What facts say of lines: by document and line, in their order."""

    told: dict[Place, dict[tuple[str, str], list[Fact]]] = field(default_factory=dict)
    """A line by (source, start), as the drafts told it that people had before them."""
    edited_as: Mapping[Place, Sequence[Place]] = field(default_factory=dict)
    """The documents whose edits one in their place keeps, from the first to the last."""

    @classmethod
    def of(
        cls,
        facts: Sequence[Fact],
        drafts: Iterable[Draft],
        edited_as: Mapping[Place, Sequence[Place]],
    ) -> "Edits":
        """Read the facts; `drafts` are all that ever stood."""
        edits = [fact for fact in facts if fact.kind is FactKind.LINE_EDIT]
        found = cls(edited_as=edited_as)
        if not edits:
            return found
        named = {str(fact.body["document"]) for fact in edits}
        known: dict[str, tuple[Place, tuple[str, str]]] = {}
        for draft in drafts:
            for line in cast(list[Body], draft.content["lines"]) if draft.id in named else ():
                place = draft.payer, draft.currency, draft.instant
                source = str(line["source_id"]), str(line["period_start"])
                known[str(line["id"])] = place, source
        for fact in edits:
            place, source = known[fact.subject]
            found.told.setdefault(place, {}).setdefault(source, []).append(fact)
        return found

    def on(self, place: Place, line: ExpectedLine, position: int = LAST) -> ExpectedLine:
        """Return a line of a document as it is edited by the facts up to a position.

        Or as the last of those that it stands for was: what was edited on them was so before it.
        """
        line = line.plain or line
        if not self.told:
            return line
        for each in (place, *reversed(self.edited_as.get(place, ()))):
            facts = self.told.get(each, {}).get((line.source, line.start), ())
            known = [fact.body for fact in facts if fact.serial <= position or each != place]
            if known:
                return _edited(line, known[-1], DIGITS[place[1]])
        return line

    def ever(self, place: Place, lines: Sequence[ExpectedLine]) -> Iterator[list[ExpectedLine]]:
        """Yield the lines of a document as they were edited on it: the last first, at last not."""
        facts = (fact for own in self.told.get(place, {}).values() for fact in own)
        for position in [*sorted((fact.serial for fact in facts), reverse=True), 0]:
            yield [self.on(place, line, position) for line in lines]


def _edited(line: ExpectedLine, body: Body, digits: int) -> ExpectedLine:
    quantity, unit, amount = (_number(body[k]) for k in ("quantity", "unit_amount", "amount_minor"))
    if quantity is None and unit is None and amount is None:
        return replace(line, plain=line)
    total = (
        int(amount)
        if amount is not None
        else minor((quantity or Fraction(0)) * (unit or 0), digits)
    )
    used = line.quantity if quantity is None or line.quantity is None else quantity
    return replace(line, quantity=used, total_minor=total, taken_minor=0, plain=line, is_whole=True)


def _number(told: Json) -> Fraction | None:
    return None if told is None else Fraction(str(told))
