"""A fee in advance that a wrong list left out, or gave back: the note of a diff bills it once."""

import pytest

from builders import (
    Decision,
    facts,
    flat,
    per_unit,
    price_of,
)
from pipeline.book.booking import Cut
from pipeline.catalog.facts import NewFact
from pipeline.core.calendar import Instant
from pipeline.replay.ahead import Elsewhere, with_ahead
from pipeline.replay.applying import families, repricings
from pipeline.replay.diff import Pair, Selection
from rooms.test_carried_mended import FEB, JAN, Carrying, beyond_retention, put_right
from rooms.test_finalizer import finalizing
from rooms.test_left_out import LATE, MAR, Lived, late_on_all, listed
from rooms.test_left_out import begun as list_begun

APR = MAR + 31 * 86_400_000_000


def plan(*left_out: str, since: str | None = None, term: str = "in_advance") -> NewFact:
    """A fee in advance, and calls; but for what is left out from a day on, or ever."""
    fee = price_of("base", flat("31"), payment_term=term)
    prices = [fee, price_of("calls", per_unit("2"), "calls")]
    return listed(prices, left_out, since)


def begun() -> list[Decision]:
    return list_begun(plan())


WRONG = [
    pytest.param(plan("base"), id="none"),
    pytest.param(plan("base", since="2026-02-01T00:00:00Z"), id="ends with January"),
    pytest.param(plan("base", since="2026-01-16T00:00:00Z"), id="ends within it"),
    pytest.param(plan(term="in_arrears"), id="in arrears"),
]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("begins", [[JAN], []], ids=["behind another", "the first"])
@pytest.mark.parametrize("applied", [FEB, FEB + 1, MAR])
def test_it_is_billed_once(wrong: NewFact, begins: list[Instant], applied: Instant) -> None:
    """Whether the right list is in force by then or not, and the next invoice there or not."""
    life, right = Lived(facts(*begun())), Lived(facts(*begun()))
    for each, told in ((life, wrong), (right, plan())):
        for at in begins:
            each.cut(at, 0)
        each.tell(told)
        each.cut(FEB, 0)
    if applied == FEB:
        put_right(life, right, 0)
    for each in (life, right):
        each.tell(plan())
    if applied == FEB + 1:
        put_right(life, right, 0)
    for each in (life, right):
        each.cut(MAR, 0)
    if applied == MAR:
        put_right(life, right, 0)
    assert life.total == right.total

    for each in (life, right):
        each.cut(APR, 0)
    assert life.total == right.total

    late_on_all(life, right)
    life.issue_anew(LATE)
    assert life.total == right.total


def applied(wrong: NewFact) -> tuple[Lived, int]:
    """A life with the notes of its diff, and how many facts were told before these."""
    life, right = Lived(facts(*begun())), Lived(facts(*begun()))
    life.cut(JAN, 0)
    right.cut(JAN, 0)
    life.tell(wrong)
    for each in (life, right):
        each.cut(FEB, 0)
    told = len(life.known)
    put_right(life, right, 0)
    return life, told


@pytest.mark.parametrize("wrong", WRONG)
def test_the_finalizer_keeps_what_is_carried_of_it_then(wrong: NewFact) -> None:
    life, told = applied(wrong)
    known = [(each.kind, each.subject, dict(each.body)) for each in life.known]
    archive = Carrying([Cut("acme", "EUR", JAN, 1)], {"acme": 0}, begun=begun())
    finalizing(archive).prepare()
    archive.later = life.known[len(begun()) : told]
    archive.cuts.append(Cut("acme", "EUR", FEB, 2))
    finalizing(archive).prepare()
    before = dict(archive.reached)

    archive.later = life.known[len(begun()) :]
    note = life.papers[-1]
    archive.cuts.append(Cut("acme", "EUR", note.instant, 3, fact=len(known)))
    finalizing(archive).prepare()

    assert archive.reached == life.history.carried("EUR") != before


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("stages", [[1], [2], [3], [1, 2, 3, 4]])
def test_so_it_is_once_contents_are_beyond_retention(wrong: NewFact, stages: list[int]) -> None:
    life, _ = applied(wrong)
    life.tell(plan())
    life.cut(MAR, 0)
    carried = life.history.carried("EUR")
    beyond_retention(life, stages)

    assert life.history.carried("EUR") == carried


def test_a_diff_of_which_an_invoice_is_not_compared_that_carries_the_fee_is_refused() -> None:
    life, right = Lived(facts(*begun())), Lived(facts(*begun()))
    life.cut(JAN, 0)
    right.cut(JAN, 0)
    life.tell(plan("base", since="2026-02-01T00:00:00Z"))
    for each in (life, right):
        each.cut(FEB, 0)
    (_, before), (_, after) = life.papers, right.papers
    pairs = [Pair("T-2", "acme", FEB, 2, False, before.content, after.content)]
    wanted = repricings(families(pairs, Selection()), Selection(), "diff_1", FEB + 1)

    with pytest.raises(Elsewhere, match=before.id):
        with_ahead(wanted, pairs, Selection(), [], {("acme", "EUR"): life.history.carried("EUR")})
