"""The life of a document: every state against everything that can happen."""

from dataclasses import replace

import pytest

from builders import T0
from pipeline.core.calendar import DAY
from pipeline.invoice.lifecycle import (
    TRANSITIONS,
    EventKind,
    InvoiceEvent,
    Standing,
    State,
    stands,
)

E, S = EventKind, State
STANDS: dict[State, Standing] = {
    S.GATHERING: Standing(1000, "EUR", S.GATHERING),
    S.DRAFT: Standing(1000, "EUR"),
    S.FINALIZED: Standing(1000, "EUR", S.FINALIZED),
    S.PARTIALLY_PAID: Standing(1000, "EUR", S.PARTIALLY_PAID, paid_minor=300),
    S.PAID: Standing(1000, "EUR", S.PAID, paid_minor=1000),
    S.PARTIALLY_CREDITED: Standing(1000, "EUR", S.PARTIALLY_CREDITED, credited_minor=300),
    S.CREDITED: Standing(1000, "EUR", S.CREDITED, credited_minor=1000, paid_minor=500),
    S.VOIDED: Standing(1000, "EUR", S.VOIDED, credited_minor=1000, paid_minor=500),
    S.UNCOLLECTIBLE: Standing(1000, "EUR", S.UNCOLLECTIBLE, paid_minor=300),
}
"""A document of 10.00 EUR in each state."""

HAPPENS: dict[tuple[State, EventKind], State] = {
    (S.GATHERING, E.COMPOSED): S.DRAFT,
    (S.DRAFT, E.HELD): S.DRAFT,
    (S.DRAFT, E.RELEASED): S.DRAFT,
    (S.DRAFT, E.EDITED): S.DRAFT,
    (S.DRAFT, E.APPROVED): S.DRAFT,
    (S.DRAFT, E.RETRIED): S.DRAFT,
    (S.DRAFT, E.FINALIZED): S.FINALIZED,
    (S.FINALIZED, E.PAID): S.PARTIALLY_PAID,
    (S.FINALIZED, E.CREDITED): S.PARTIALLY_CREDITED,
    (S.FINALIZED, E.DEBITED): S.FINALIZED,
    (S.FINALIZED, E.VOIDED): S.VOIDED,
    (S.FINALIZED, E.WRITTEN_OFF): S.UNCOLLECTIBLE,
    (S.FINALIZED, E.DISPUTED): S.FINALIZED,
    (S.FINALIZED, E.DISPUTE_CLOSED): S.FINALIZED,
    (S.PARTIALLY_PAID, E.PAID): S.PARTIALLY_PAID,
    (S.PARTIALLY_PAID, E.REFUNDED): S.PARTIALLY_PAID,
    (S.PARTIALLY_PAID, E.CREDITED): S.PARTIALLY_PAID,
    (S.PARTIALLY_PAID, E.DEBITED): S.PARTIALLY_PAID,
    (S.PARTIALLY_PAID, E.VOIDED): S.VOIDED,
    (S.PARTIALLY_PAID, E.WRITTEN_OFF): S.UNCOLLECTIBLE,
    (S.PARTIALLY_PAID, E.DISPUTED): S.PARTIALLY_PAID,
    (S.PARTIALLY_PAID, E.DISPUTE_CLOSED): S.PARTIALLY_PAID,
    (S.PAID, E.REFUNDED): S.PARTIALLY_PAID,
    (S.PAID, E.CREDITED): S.PAID,
    (S.PAID, E.DEBITED): S.PARTIALLY_PAID,
    (S.PAID, E.VOIDED): S.VOIDED,
    (S.PAID, E.DISPUTED): S.PAID,
    (S.PAID, E.DISPUTE_CLOSED): S.PAID,
    (S.PARTIALLY_CREDITED, E.PAID): S.PARTIALLY_PAID,
    (S.PARTIALLY_CREDITED, E.CREDITED): S.PARTIALLY_CREDITED,
    (S.PARTIALLY_CREDITED, E.DEBITED): S.PARTIALLY_CREDITED,
    (S.PARTIALLY_CREDITED, E.VOIDED): S.VOIDED,
    (S.PARTIALLY_CREDITED, E.WRITTEN_OFF): S.UNCOLLECTIBLE,
    (S.PARTIALLY_CREDITED, E.DISPUTED): S.PARTIALLY_CREDITED,
    (S.PARTIALLY_CREDITED, E.DISPUTE_CLOSED): S.PARTIALLY_CREDITED,
    (S.CREDITED, E.REFUNDED): S.CREDITED,
    (S.CREDITED, E.CREDITED): S.CREDITED,  # a line gives back what others charge
    (S.CREDITED, E.DEBITED): S.PAID,
    (S.CREDITED, E.VOIDED): S.VOIDED,
    (S.CREDITED, E.DISPUTED): S.CREDITED,
    (S.CREDITED, E.DISPUTE_CLOSED): S.CREDITED,
    (S.VOIDED, E.REFUNDED): S.VOIDED,
    (S.VOIDED, E.CREDITED): S.VOIDED,
    (S.VOIDED, E.DEBITED): S.VOIDED,
    (S.UNCOLLECTIBLE, E.PAID): S.PARTIALLY_PAID,
    (S.UNCOLLECTIBLE, E.REFUNDED): S.PARTIALLY_PAID,
    (S.UNCOLLECTIBLE, E.CREDITED): S.PARTIALLY_PAID,
    (S.UNCOLLECTIBLE, E.DEBITED): S.PARTIALLY_PAID,
    (S.UNCOLLECTIBLE, E.VOIDED): S.VOIDED,
    (S.UNCOLLECTIBLE, E.WRITTEN_OFF): S.UNCOLLECTIBLE,
    (S.UNCOLLECTIBLE, E.DISPUTED): S.UNCOLLECTIBLE,
    (S.UNCOLLECTIBLE, E.DISPUTE_CLOSED): S.UNCOLLECTIBLE,
}
"""What an event with 2.00 EUR makes of each; what is not here is refused."""


def event(kind: EventKind, minor: int = 0, reference: str | None = None) -> InvoiceEvent:
    """Something that happens."""
    return InvoiceEvent(kind, "ann", "because", T0, minor, reference)


@pytest.mark.parametrize("kind", EventKind)
@pytest.mark.parametrize("state", State)
def test_what_happens_in_a_state_is_told_or_refused(state: State, kind: EventKind) -> None:
    wanted = HAPPENS.get((state, kind))
    if wanted is None:
        with pytest.raises(ValueError, match=f"it is {state}: it cannot be {kind}, only "):
            STANDS[state].after(event(kind, 200))
    else:
        assert STANDS[state].after(event(kind, 200)).state is wanted


def test_the_table_knows_every_state_and_no_event_that_nothing_takes() -> None:
    assert set(TRANSITIONS) == set(State) == set(STANDS)
    assert {kind for row in TRANSITIONS.values() for kind in row} == set(EventKind)
    reached = {state for state, _ in HAPPENS} | {*HAPPENS.values()}
    assert reached == set(State)


@pytest.mark.parametrize(
    ("issued", "events", "state", "left"),
    [
        (1000, [], S.FINALIZED, 1000),
        (1000, [(E.PAID, 1000)], S.PAID, 0),
        (1000, [(E.PAID, 400), (E.PAID, 600)], S.PAID, 0),
        (1000, [(E.PAID, 1000), (E.REFUNDED, 1000)], S.FINALIZED, 1000),
        (1000, [(E.PAID, 400), (E.CREDITED, 600)], S.PAID, 0),
        (1000, [(E.CREDITED, 600), (E.PAID, 400)], S.PAID, 0),
        (1000, [(E.CREDITED, 600), (E.CREDITED, 400)], S.CREDITED, 0),
        (1000, [(E.CREDITED, 600), (E.DEBITED, 600)], S.FINALIZED, 1000),
        (1000, [(E.PAID, 1000), (E.CREDITED, 1000), (E.REFUNDED, 1000)], S.CREDITED, 0),
        (1000, [(E.PAID, 1000), (E.CREDITED, 200)], S.PAID, -200),
        (1000, [(E.PAID, 300), (E.VOIDED, 0), (E.REFUNDED, 300)], S.VOIDED, 0),
        (1000, [(E.WRITTEN_OFF, 0), (E.PAID, 1000)], S.PAID, 0),
        (0, [], S.PAID, 0),
        (-500, [], S.PAID, -500),
    ],
)
def test_figures_decide_what_a_document_is(
    issued: int, events: list[tuple[EventKind, int]], state: State, left: int
) -> None:
    stood = stands(
        Standing(issued, "EUR"), [event(E.FINALIZED), *(event(*each) for each in events)]
    )
    assert (stood.state, stood.left_minor) == (state, left)


def test_prepaid_credits_pay_as_it_is_issued() -> None:
    part, whole = (
        stands(Standing(1000, "EUR", settled_minor=settled), [event(E.FINALIZED)])
        for settled in (400, 1000)
    )
    assert (part.state, part.left_minor) == (S.FINALIZED, 600)
    assert (whole.state, whole.left_minor) == (S.PAID, 0)
    credited = part.after(event(E.CREDITED, 1000))
    assert (credited.state, credited.left_minor) == (S.CREDITED, -400)


@pytest.mark.parametrize(
    ("before", "voided", "left"),
    [
        ([], 1000, 0),
        ([(E.PAID, 600)], 1000, -600),
        ([(E.CREDITED, 700)], 300, -100),  # of what was credited, credits had paid a part
        ([(E.CREDITED, 700), (E.DEBITED, 100)], 400, 0),
    ],
)
def test_a_void_gives_back_what_prepaid_credits_paid(
    before: list[tuple[EventKind, int]], voided: int, left: int
) -> None:
    issued = Standing(1000, "EUR", settled_minor=400)
    happened = [event(E.FINALIZED), *(event(*each) for each in before), event(E.VOIDED, voided)]

    assert stands(issued, happened).left_minor == left


def test_what_usage_added_as_a_document_was_voided_is_void_too() -> None:
    """Its note and that of the void are made at one cut, and may get their numbers after it."""
    void = [event(E.FINALIZED), event(E.PAID, 200), event(E.VOIDED, 1050)]
    noted = stands(Standing(1000, "EUR"), [*void, event(E.DEBITED, 50)])

    assert noted == stands(Standing(1000, "EUR"), void)
    assert (noted.state, noted.left_minor) == (S.VOIDED, -200)


@pytest.mark.parametrize(
    ("kind", "minor", "why"),
    [
        (E.PAID, 701, "7.00 EUR is left to pay: use at most that"),
        (E.REFUNDED, 301, "3.00 EUR was paid: use at most that"),
        (E.PAID, 0, "an amount is above zero: a refund takes a payment back"),
        (E.REFUNDED, -1, "an amount is above zero: a refund takes a payment back"),
    ],
)
def test_no_more_is_paid_than_is_left_and_no_more_given_back_than_was_paid(
    kind: EventKind, minor: int, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        STANDS[S.PARTIALLY_PAID].after(event(kind, minor))


def test_a_note_is_not_owed_by_itself() -> None:
    note = stands(Standing(-300, "EUR", owed=False), [event(E.FINALIZED)])
    assert note.state is S.FINALIZED
    assert note.json()["left_minor"] is None


def test_a_dispute_stands_beside_the_state() -> None:
    disputed = STANDS[S.PARTIALLY_PAID].after(event(E.DISPUTED))
    assert (disputed.state, disputed.disputed) == (S.PARTIALLY_PAID, True)
    assert disputed.after(event(E.PAID, 100)).disputed
    assert disputed.after(event(E.DISPUTE_CLOSED)) == STANDS[S.PARTIALLY_PAID]


@pytest.mark.parametrize("state", State)
def test_what_is_open_is_overdue_once_it_was_due(state: State) -> None:
    is_open = state in (S.FINALIZED, S.PARTIALLY_PAID, S.PARTIALLY_CREDITED)
    assert STANDS[state].overdue(T0, T0 + 1) is is_open
    assert not STANDS[state].overdue(T0, T0)
    assert not replace(STANDS[state], paid_minor=0).overdue(T0 + DAY, T0)
