"""Lifecycle: which states a document goes through, and what brings it from one to the next.

Owns: the table of transitions, and the fold of a document's events into where it stands.
Does not own: keeping events (stores/postgres/life.py), notes (their figures come in as amounts),
money that moves: a payment is recorded here, never made.
Law: an issued document never changes; its state is the fold of its events, one after the other,
and an event that the table does not know in a state is refused.

    gathering -> draft -> finalized -> partially_paid -> paid
                                    -> partially_credited -> credited
                                    -> voided
                                    -> uncollectible -> paid after all

Whether an invoice is overdue, and whether it is disputed, stands beside its state: neither takes
anything from what it can still become.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias, cast

from pipeline.core.calendar import Instant, instant_text
from pipeline.core.identity import Json
from pipeline.core.money import Money
from pipeline.invoice.settling import taken_by


class State(StrEnum):
    """Where a document stands."""

    GATHERING = "gathering"
    DRAFT = "draft"
    FINALIZED = "finalized"
    PARTIALLY_PAID = "partially_paid"
    PAID = "paid"
    PARTIALLY_CREDITED = "partially_credited"
    CREDITED = "credited"
    VOIDED = "voided"
    UNCOLLECTIBLE = "uncollectible"


class EventKind(StrEnum):
    """What can happen to a document."""

    COMPOSED = "composed"
    """The first line of a period is there."""
    HELD = "held"
    RELEASED = "released"
    EDITED = "edited"
    APPROVED = "approved"
    RETRIED = "retried"
    FINALIZED = "finalized"
    """It has its number and its seal."""
    PAID = "paid"
    REFUNDED = "refunded"
    """Money went back."""
    CREDITED = "credited"
    """A credit note took something off."""
    DEBITED = "debited"
    """A debit note added something."""
    VOIDED = "voided"
    """A note brought it to zero; it is as if it had not been issued."""
    WRITTEN_OFF = "written_off"
    DISPUTED = "disputed"
    DISPUTE_CLOSED = "dispute_closed"
    """Accepted or rejected; what an accepted one takes off is a credit note."""


class Outcome(StrEnum):
    """What an event makes of a state where that is not one other state."""

    AS_FIGURES_SAY = "as figures say"
    """By what of it is credited, paid and left (`Standing.by_figures`)."""
    UNCHANGED = "unchanged"


Transition: TypeAlias = State | Outcome

_FIGURES, _SAME = Outcome.AS_FIGURES_SAY, Outcome.UNCHANGED
_DISPUTES: Mapping[EventKind, Transition] = {
    EventKind.DISPUTED: _SAME,
    EventKind.DISPUTE_CLOSED: _SAME,
}
_NOTES: Mapping[EventKind, Transition] = {
    EventKind.CREDITED: _FIGURES,
    EventKind.DEBITED: _FIGURES,
    EventKind.VOIDED: State.VOIDED,
}
_OWED: Mapping[EventKind, Transition] = {
    **_NOTES,
    **_DISPUTES,
    EventKind.PAID: _FIGURES,
    EventKind.WRITTEN_OFF: State.UNCOLLECTIBLE,
}
_BACK: Mapping[EventKind, Transition] = {EventKind.REFUNDED: _FIGURES}

TRANSITIONS: Mapping[State, Mapping[EventKind, Transition]] = {
    State.GATHERING: {EventKind.COMPOSED: State.DRAFT},
    State.DRAFT: {
        EventKind.HELD: _SAME,
        EventKind.RELEASED: _SAME,
        EventKind.EDITED: _SAME,
        EventKind.APPROVED: _SAME,
        EventKind.RETRIED: _SAME,
        EventKind.FINALIZED: _FIGURES,
    },
    State.FINALIZED: _OWED,
    State.PARTIALLY_PAID: {**_OWED, **_BACK},
    State.PAID: {**_NOTES, **_DISPUTES, **_BACK},
    State.PARTIALLY_CREDITED: _OWED,
    State.CREDITED: {**_NOTES, **_DISPUTES, **_BACK},
    State.VOIDED: {
        EventKind.REFUNDED: _SAME,
        # Of usage at the cut that voids: what it changed is void, too.
        EventKind.CREDITED: _SAME,
        EventKind.DEBITED: _SAME,
    },
    State.UNCOLLECTIBLE: {**_OWED, **_BACK, EventKind.WRITTEN_OFF: _SAME},
}
"""What may happen in which state, and what becomes of it; all else is refused."""


@dataclass(frozen=True, slots=True)
class InvoiceEvent:
    """Something that happened to a document: what, who, why, when.

    `amount_minor` of payments, refunds and notes, always above zero; `reference` is what it is
    known by outside, or the id of the note: twice is once.
    """

    kind: EventKind
    actor: str
    reason: str
    at: Instant
    amount_minor: int = 0
    reference: str | None = None

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        return {
            "event": self.kind.value,
            "amount_minor": self.amount_minor or None,
            "reference": self.reference,
            "actor": self.actor,
            "reason": self.reason,
            "at": instant_text(self.at),
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a document stands: its state, and the figures that it follows from.

    `settled_minor` is what prepaid credits paid as it was issued, less what a void gave back to
    them. A note is not `owed` by itself, it changes what is left of another document: its figures
    say nothing.
    """

    total_minor: int
    currency: str
    state: State = State.DRAFT
    settled_minor: int = 0
    credited_minor: int = 0
    """What credit notes took off, less what debit notes added."""
    paid_minor: int = 0
    """Payments less refunds."""
    disputed: bool = False
    owed: bool = True

    @classmethod
    def before_issue(
        cls, content: Mapping[str, Json], settlement: "Mapping[str, Json] | None"
    ) -> "Standing":
        """Return a document with content and settlement as it is about to be finalized."""
        total = cast(int, cast(Mapping[str, Json], content["totals"])["total_minor"])
        return cls(
            total,
            cast(str, content["currency"]),
            settled_minor=sum(amount for _, amount in taken_by(settlement)),
            owed=content["kind"] == "invoice",
        )

    @property
    def left_minor(self) -> int:
        """What is left to pay; below zero where money is to go back."""
        return self.total_minor - self.settled_minor - self.credited_minor - self.paid_minor

    @property
    def by_figures(self) -> State:
        """The state that follows from the figures alone."""
        if not self.owed:
            return State.FINALIZED
        if self.credited_minor >= max(self.total_minor, 1):
            return State.CREDITED
        if self.left_minor <= 0:
            return State.PAID
        if self.paid_minor > 0:
            return State.PARTIALLY_PAID
        return State.PARTIALLY_CREDITED if self.credited_minor > 0 else State.FINALIZED

    def overdue(self, due_at: Instant, now: Instant) -> bool:
        """Whether something should have been paid by now."""
        open_states = (State.FINALIZED, State.PARTIALLY_PAID, State.PARTIALLY_CREDITED)
        return self.state in open_states and now > due_at

    def after(self, event: InvoiceEvent) -> "Standing":
        """Return where it stands once something happened.

        Raises:
            ValueError: that cannot happen in this state, or not with this amount.

        """
        outcome = TRANSITIONS[self.state].get(event.kind)
        if outcome is None:
            told = ", ".join(sorted(TRANSITIONS[self.state])) or "nothing"
            raise ValueError(f"it is {self.state}: it cannot be {event.kind}, only {told}")
        self._fits(event)
        match event.kind:
            case EventKind.PAID:
                moved = replace(self, paid_minor=self.paid_minor + event.amount_minor)
            case EventKind.REFUNDED:
                moved = replace(self, paid_minor=self.paid_minor - event.amount_minor)
            case EventKind.CREDITED | EventKind.DEBITED if self.state is State.VOIDED:
                moved = self
            case EventKind.CREDITED:
                moved = replace(self, credited_minor=self.credited_minor + event.amount_minor)
            case EventKind.DEBITED:
                moved = replace(self, credited_minor=self.credited_minor - event.amount_minor)
            case EventKind.VOIDED:
                settled = self.settled_minor - min(self.settled_minor, event.amount_minor)
                moved = replace(self, credited_minor=self.total_minor, settled_minor=settled)
            case EventKind.DISPUTED | EventKind.DISPUTE_CLOSED:
                moved = replace(self, disputed=event.kind is EventKind.DISPUTED)
            case _:
                moved = self
        match outcome:
            case Outcome.UNCHANGED:
                return moved
            case Outcome.AS_FIGURES_SAY:
                return replace(moved, state=moved.by_figures)
            case _:
                return replace(moved, state=outcome)

    def _fits(self, event: InvoiceEvent) -> None:
        """Refuse an amount that cannot be; what a note may come to is decided line by line."""
        limits = {
            EventKind.PAID: (self.left_minor, "is left to pay"),
            EventKind.REFUNDED: (self.paid_minor, "was paid"),
        }
        if event.amount_minor < 0 or (event.kind in limits and not event.amount_minor):
            raise ValueError("an amount is above zero: a refund takes a payment back")
        most, what = limits.get(event.kind, (event.amount_minor, ""))
        if event.amount_minor > most:
            told = Money(most, self.currency)
            raise ValueError(f"{told.text} {told.currency} {what}: use at most that")

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        return {
            "state": self.state.value,
            "credited_minor": self.credited_minor,
            "paid_minor": self.paid_minor,
            "left_minor": self.left_minor if self.owed else None,
            "disputed": self.disputed,
        }


def stands(issued: Standing, events: Iterable[InvoiceEvent]) -> Standing:
    """Return where a document stands after its events, in their order.

    Raises:
        ValueError: one of them cannot have happened.

    """
    for event in events:
        issued = issued.after(event)
    return issued


def note_event(
    note: Mapping[str, Json], actor: str, reason: str, at: Instant
) -> InvoiceEvent | None:
    """Return what a note makes happen to its document; None: it takes nothing off, adds nothing."""
    total = cast(int, cast(Mapping[str, Json], note["totals"])["total_minor"])
    kind = EventKind.DEBITED if total > 0 else EventKind.CREDITED
    if note["voids"]:
        kind = EventKind.VOIDED
    elif not total:
        return None
    return InvoiceEvent(kind, actor, reason, at, abs(total), cast(str, note["id"]))


def told_twice(known: InvoiceEvent, told: InvoiceEvent) -> bool:
    """Return whether an event is one that is known: the same kind under the same reference.

    Raises:
        ValueError: it is told with another amount.

    """
    if told.reference is None or (known.kind, known.reference) != (told.kind, told.reference):
        return False
    if known.amount_minor != told.amount_minor:
        raise ValueError(f"reference {told.reference} stands for another amount: choose another")
    return True
