"""Corrections: what is decided about documents: void, credit, debit, what is billed early.

Owns: the record of a decision, how its fact tells it, which decisions cause a cut.
Does not own: what may be decided (workers/correcting.py), the notes (invoice).
Law: a decision that makes a note is a cut of its payer: at the first tick that names it.

A cut has an instant, and a decision says its own (`at`): no other cut of its payer has that.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

from pipeline.catalog.early import EarlyUsage, PeriodKey, early_usage
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.core.quantity import exact, quantity_text

CORRECTING = frozenset(
    (FactKind.VOID, FactKind.CREDIT_NOTE, FactKind.DEBIT_NOTE, FactKind.REPRICING)
)
"""What makes a note of one document."""
EARLY = frozenset((FactKind.BILL_NOW, FactKind.THRESHOLD_REACHED))
"""What has usage of running periods billed."""
CUTTING = CORRECTING | EARLY | {FactKind.CORRECTION}


@dataclass(frozen=True, slots=True)
class Part:
    """What is taken off, or added to, one line: so much of its quantity or amount, or all."""

    line: str
    quantity: Fraction | None = None
    amount_minor: int | None = None

    def body(self) -> dict[str, Json]:
        """Return it as its fact tells it."""
        return {
            "line": self.line,
            "quantity": None if self.quantity is None else quantity_text(self.quantity),
            "amount_minor": self.amount_minor,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about a document, or about all of a payer's (CORRECTION: usage changed).

    `parts` are lines, none: all of it; `amount_minor` so much of all of it. `reference` names an
    incident or a dispute. `reissue`: the document is to be issued anew, and `keeps_by_hand` with
    what people added to it and edited; `refund`: what a note gives back is to be paid out.
    """

    kind: FactKind
    payer: str
    currency: str
    at: Instant
    document: str = ""
    parts: tuple[Part, ...] = ()
    amount_minor: int | None = None
    code: str = ""
    reference: str | None = None
    reissue: bool = False
    keeps_by_hand: bool = True
    refund: bool = False
    early: EarlyUsage | None = None
    change: Mapping[str, Json] | None = None
    """Of a document that is repriced: its note's lines and taxes."""
    fact: str = ""
    """The id of its fact; empty before it is written."""
    serial: int = 0

    def told(self) -> NewFact:
        """Return the fact that tells it."""
        body: dict[str, Json] = {
            "customer": self.payer,
            "currency": self.currency,
            "at": instant_text(self.at),
        }
        if self.early is not None:
            return NewFact(self.kind, self.early.subject, {**body, **self.early.body()})
        if self.kind is FactKind.CORRECTION:
            return NewFact(self.kind, self.payer, body)
        body |= {
            "document": self.document,
            "lines": [part.body() for part in self.parts],
            "amount_minor": self.amount_minor,
            "code": self.code,
            "reference": self.reference,
            "reissue": self.reissue,
            "refund": self.refund,
            **({} if self.change is None else {"change": dict(self.change)}),
            **({} if self.keeps_by_hand else {"keeps_by_hand": False}),
        }
        return NewFact(self.kind, self.document, body)


def decision(fact: Fact) -> Decision:
    """Return the decision of a fact."""
    body = fact.body
    parts = cast(list[Mapping[str, Json]], body.get("lines", []))
    return Decision(
        fact.kind,
        cast(str, body["customer"]),
        cast(str, body["currency"]),
        parse_instant(body["at"]),
        cast(str, body.get("document", "")),
        tuple(_part(part) for part in parts),
        cast("int | None", body.get("amount_minor")),
        cast(str, body.get("code", "")),
        cast("str | None", body.get("reference")),
        body.get("reissue") is True,
        body.get("keeps_by_hand") is not False,
        body.get("refund") is True,
        early_usage(body) if fact.kind in EARLY else None,
        cast("Mapping[str, Json] | None", body.get("change")),
        fact.id,
        fact.serial,
    )


def _part(body: Mapping[str, Json]) -> Part:
    quantity = cast("str | None", body["quantity"])
    amount = cast("int | None", body["amount_minor"])
    return Part(cast(str, body["line"]), None if quantity is None else exact(quantity), amount)


@dataclass(frozen=True, slots=True)
class Decisions:
    """Every decision that causes a cut, in the order of their facts."""

    known: Sequence[Decision] = ()
    by_serial: Mapping[int, Decision] = field(default_factory=dict)
    reached: Mapping[PeriodKey, int] = field(default_factory=dict)
    """The last threshold that each period came to."""
    diffs: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """The first note of each applied diff, of one payer in one currency: a serial."""
    by_document: Mapping[str, Sequence[Decision]] = field(default_factory=dict)

    def after(self, facts: Iterable[Fact]) -> "Decisions":
        """Return them after more facts of their kinds."""
        new = [decision(fact) for fact in facts]
        if not new:
            return self
        reached = dict(self.reached)
        for told in (each.early for each in new if each.early is not None and each.early.ordinal):
            reached[told.period] = max(told.ordinal, reached.get(told.period, 0))
        diffs = dict(self.diffs)
        for each in (told for told in new if told.kind is FactKind.REPRICING):
            diffs.setdefault(_diff(each), each.serial)
        documents = dict(self.by_document)
        for each in (told for told in new if told.document):
            documents[each.document] = (*documents.get(each.document, ()), each)
        by_serial = {**self.by_serial, **{each.serial: each for each in new}}
        return Decisions((*self.known, *new), by_serial, reached, diffs, documents)

    def between(self, before: int, position: int) -> Sequence[Decision]:
        """Return those with before < serial <= position."""
        first = bisect_right(self.known, before, key=lambda each: each.serial)
        return self.known[first : bisect_right(self.known, position, key=lambda each: each.serial)]

    def moves_drafts(self, serial: int) -> bool:
        """Whether the decision of a serial bills what drafts would: usage early, or a diff's."""
        told = self.by_serial[serial]
        return told.early is not None or told.kind is FactKind.REPRICING

    def begins_diff(self, decided: Decision) -> bool:
        """Return whether a payer's notes of an applied diff begin with this one."""
        return self.diffs.get(_diff(decided)) == decided.serial

    def about(self, document: str) -> Sequence[Decision]:
        """Return those about one document, in their order."""
        return self.by_document.get(document, ())


def _diff(decided: Decision) -> tuple[str, str, str]:
    return decided.reference or "", decided.payer, decided.currency


NO_DECISIONS = Decisions()
