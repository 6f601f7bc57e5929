"""A price that a wrong list left out: the note of a diff bills it, and no later invoice does."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from builders import (
    Decision,
    customer_of,
    facts,
    flat,
    instant,
    issuer_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from pipeline.book.booking import Cut
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.corrections import Decision as Decided
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.invoice.fees import Reach
from pipeline.invoice.notes import is_note
from pipeline.invoice.planned import Carried
from pipeline.invoice.usage import Usage, UsagePart, UsageRequest
from pipeline.replay.applying import families, repricings
from pipeline.replay.diff import Pair, Selection
from pipeline.replay.next_invoice import billed_by_next
from rooms.test_carried_mended import FEB, JAN, Carrying, Life, beyond_retention, put_right
from rooms.test_finalizer import finalizing

MAR = instant("2026-03-01T00:00:00Z")
DAY = 86_400_000_000
LATE = 1000
"""Calls of the 20th of January beyond those of every day."""


def plan(*left_out: str, since: str | None = None, calls: str = "2", base: str = "31") -> NewFact:
    """A fee and calls, both in arrears; but for what is left out from a day on, or ever."""
    prices = [price_of("base", flat(base)), price_of("calls", per_unit(calls), "calls")]
    return listed(prices, left_out, since)


def listed(
    prices: Sequence[dict[str, Json]], left_out: Collection[str], since: str | None
) -> NewFact:
    """A list of prices, but for what is left out from a day on, or ever."""
    kind, subject, body = plan_of("p", *(each for each in prices if each["id"] not in left_out))
    return NewFact(kind, subject, {**body, **({"effective": since} if since else {})})


def begun(right: NewFact | None = None) -> list[Decision]:
    """One customer of the right list."""
    right = right or plan()
    return [
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", window_s=3600),
        (right.kind, right.subject, dict(right.body)),
        customer_of("acme"),
        subscription_of("s", "acme", "p", "2026-01-01T00:00:00Z"),
    ]


class Lived(Life):
    """A call a day, and so many more on the 20th of January."""

    def usage(self, requests: Sequence[UsageRequest], used: int) -> Usage:
        found = {}
        for asked in requests:
            days = (JAN + DAY * day for day in range(60))
            calls = sum(asked.start <= day < asked.end for day in days)
            calls += used if asked.start <= JAN + 20 * DAY < asked.end else 0
            found[asked] = [UsagePart(0, calls, calls, 0, 0)]
        return found


def lives(wrong: NewFact, of: type[Lived] = Lived) -> tuple[Lived, Lived]:
    """January by a wrong list, and by the right one."""
    life, right = of(facts(*begun())), of(facts(*begun()))
    life.tell(wrong)
    right.tell(plan())
    for each in (life, right):
        each.cut(FEB, 0)
    return life, right


def february(*of: Lived) -> None:
    """The right list is in force again, and a month goes by."""
    for each in of:
        each.tell(plan())
        each.cut(MAR, 0)


def late_on_all(*of: Lived) -> None:
    """Each looks at usage that came late on every invoice that it has."""
    for each in of:
        for paper in [paper for paper in each.papers if not is_note(paper.content)]:
            each.late(LATE, of=paper)


WRONG = [
    pytest.param(plan("base", since="2026-01-16T00:00:00Z"), id="a fee ends"),
    pytest.param(plan("base"), id="no fee"),
    pytest.param(plan("calls", since="2026-01-16T00:00:00Z"), id="calls end"),
    pytest.param(plan("calls"), id="no calls"),
    pytest.param(plan("base", "calls", since="2026-01-16T00:00:00Z"), id="all ends"),
]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("is_early", [True, False])
def test_it_is_billed_once_whether_the_diff_is_applied_before_the_next_invoice_or_behind_it(
    wrong: NewFact, is_early: bool
) -> None:
    life, right = lives(wrong)
    if is_early:
        put_right(life, right, 0)
    february(life, right)
    if not is_early:
        put_right(life, right, 0)
    assert life.total == right.total

    late_on_all(life, right)
    assert life.total == right.total

    life.issue_anew(LATE)
    assert life.total == right.total


@pytest.mark.parametrize("wrong", WRONG)
def test_it_is_once_where_an_invoice_behind_it_is_issued_anew_by_a_later_diff(
    wrong: NewFact,
) -> None:
    """By the later prices, with the notes of the earlier diff as they stand."""
    life, right = lives(wrong)
    put_right(life, right, 0)
    january, position = [*life.papers], len(life.known)
    february(life)
    told = [replace(e, body=plan(calls="3").body) if e.serial > position else e for e in life.known]
    other = Lived(told[: position + 1], january, life.positions[:2])
    other.cut(MAR, 0)
    other.known = told
    put_right(life, other, 0, name="diff_2", at=MAR)
    assert life.total == other.total

    life.issue_anew(0)
    assert life.total == other.total


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("is_early", [True, False])
def test_so_it_is_of_what_was_issued_anew_before_the_diff(wrong: NewFact, is_early: bool) -> None:
    """The document in the place of the first one bills what that did, not what is behind it."""
    life, right = lives(wrong)
    for each in (life, right):
        each.issue_anew(0)
    if is_early:
        put_right(life, right, 0)
    february(life, right)
    if not is_early:
        put_right(life, right, 0)
    assert life.total == right.total

    late_on_all(life, right)
    assert life.total == right.total


@pytest.mark.parametrize("wrong", WRONG)
def test_a_diff_takes_off_what_a_later_invoice_bills_of_a_document_that_is_void(
    wrong: NewFact,
) -> None:
    """By the right list the void document had it: nobody bills it any more, usage neither."""
    life, right = lives(wrong)
    for each in (life, right):
        void = Decided(FactKind.VOID, "acme", "EUR", FEB + 9, each.last.id, code="wrong")
        each.tell(void.told())
        each.decide(void, 0)
    february(life, right)
    put_right(life, right, 0)
    late_on_all(life, right)
    assert life.total == right.total


@pytest.mark.parametrize("wrong", WRONG)
def test_an_invoice_of_nothing_but_what_was_left_out_is_corrected_no_more(wrong: NewFact) -> None:
    """A week's end, of something else, that has no document in the replay."""
    life, right = lives(wrong)
    for each in (life, right):
        each.tell(plan())
        each.cut(FEB + 7 * DAY, 0)
    put_right(life, right, 0)
    for each in (life, right):
        each.cut(MAR, 0)
    late_on_all(life, right)
    assert life.total == right.total


class Quiet(Lived):
    """Nobody calls but on the 20th of January."""

    def usage(self, requests: Sequence[UsageRequest], used: int) -> Usage:
        return {
            asked: [UsagePart(0, calls, calls, 0, 0)]
            for asked in requests
            for calls in [used if asked.start <= JAN + 20 * DAY < asked.end else 0]
        }


@pytest.mark.parametrize("since", [None, "2026-01-16T00:00:00Z", "2026-01-25T00:00:00Z"])
@pytest.mark.parametrize("is_early", [True, False])
def test_what_has_no_note_for_nobody_used_it_is_billed_by_the_next_invoice_alone(
    since: str | None, is_early: bool
) -> None:
    life, right = lives(plan("calls", since=since), Quiet)
    if is_early:
        put_right(life, right, 0)
    february(life, right)
    if not is_early:
        put_right(life, right, 0)
    late_on_all(life, right)
    assert life.total == right.total

    life.issue_anew(LATE)
    assert life.total == right.total


def test_a_later_diff_prices_what_the_note_of_an_earlier_one_says_that_it_bills() -> None:
    life, right = lives(plan("calls", base="32"), Quiet)
    put_right(life, right, 0)
    dear = Quiet(facts(*begun()))
    dear.known = [
        replace(e, body=plan(calls="3").body) if e.subject == "p" else e for e in dear.known
    ]
    dear.cut(FEB, 0)
    put_right(life, dear, 0, name="diff_2", at=FEB + 50)

    for each in (life, dear):
        each.late(LATE, of=each.papers[0])
    assert life.total == dear.total


@pytest.mark.parametrize("wrong", WRONG)
def test_usage_of_what_a_later_diff_bills_on_the_next_invoice_again_is_corrected_there(
    wrong: NewFact,
) -> None:
    """By the second diff the wrong list was right: what it left out was due with the next one."""
    life, right = lives(wrong)
    put_right(life, right, 0)
    february(life, right)
    other, _ = lives(wrong)
    february(other)
    put_right(life, other, 0, name="diff_2", at=MAR)
    assert life.total == other.total

    late_on_all(life, other)
    assert life.total == other.total

    life.issue_anew(LATE)
    assert life.total == other.total


@pytest.mark.parametrize("wrong", WRONG)
def test_without_a_diff_it_is_due_with_the_next_invoice(wrong: NewFact) -> None:
    """What no document has of a price is billed by what is known now."""
    life, right = lives(wrong)
    february(life, right)
    assert life.total == right.total


@pytest.mark.parametrize("wrong", WRONG)
def test_the_finalizer_keeps_up_to_where_the_note_bills(wrong: NewFact) -> None:
    life, right = lives(wrong)
    told = [*begun(), (wrong.kind, wrong.subject, dict(wrong.body))]
    archive = Carrying([Cut("acme", "EUR", FEB, 1)], {"acme": 0}, begun=told)
    finalizing(archive).prepare()
    before = dict(archive.reached)

    put_right(life, right, 0)
    archive.later = life.known[len(told) :]
    note = life.papers[-1]
    archive.cuts.append(Cut("acme", "EUR", note.instant, 2, fact=len(life.known)))
    finalizing(archive).prepare()

    assert archive.reached == life.history.carried("EUR") != before
    assert {reach.until for reach in archive.reached.values()} == {FEB}


@pytest.mark.parametrize("stages", [[1], [2], [1, 2], [1, 2, 3]])
def test_so_it_is_once_contents_are_beyond_retention(stages: list[int]) -> None:
    life, right = lives(plan("base"))
    put_right(life, right, 0)
    february(life)
    carried = life.history.carried("EUR")
    beyond_retention(life, stages)

    assert life.history.carried("EUR") == carried


def wanted_of(
    life: Lived, right: Lived, at: Instant, count: int = 1
) -> tuple[list[Decided], list[Pair]]:
    """The notes of the diff of the first invoices."""
    pairs = [
        Pair("T", "acme", before.instant, place, False, before.content, after.content)
        for place, (before, after) in enumerate(zip(life.papers, right.papers, strict=True), 1)
    ][:count]
    return repricings(families(pairs, Selection()), Selection(), "diff_1", at), pairs


def refused(
    life: Lived,
    right: Lived,
    at: Instant,
    carried: Carried,
    count: int = 1,
    done: Collection[Instant] = (),
) -> str | None:
    wanted, pairs = wanted_of(life, right, at, count)
    held: Mapping[tuple[str, str], Carried] = {("acme", "EUR"): carried}
    known = extend(Catalog(), life.known)
    return billed_by_next(wanted, pairs, known, held, {("acme", "EUR"): done})


@pytest.mark.parametrize("wrong", WRONG)
def test_a_diff_is_refused_where_a_later_invoice_bills_it_or_is_about_to(wrong: NewFact) -> None:
    life, right = lives(wrong)
    before, document = life.history.carried("EUR"), life.papers[0].id
    life.tell(plan())
    assert refused(life, right, MAR - 1, before) is None
    assert refused(life, right, MAR, before) == document

    february(life, right)
    assert refused(life, right, MAR + 1, life.history.carried("EUR")) == document


def test_so_it_is_where_the_next_invoice_has_nothing_of_its_own() -> None:
    """Whatever falls due goes on it: a week ended of what has no price, and was not cut yet."""
    life, right = lives(plan("base"))
    free = plan_of("free", cycle="P7D")
    life.tell(NewFact(*free), plan())
    life.tell(NewFact(*subscription_of("w", "acme", "free", "2026-01-25T00:00:00Z")))
    carried, week = life.history.carried("EUR"), FEB + 7 * DAY

    assert refused(life, right, week - 1, carried, done=[FEB]) is None
    assert refused(life, right, week, carried, done=[FEB]) == life.papers[0].id
    assert refused(life, right, week, carried, done=[FEB, week]) is None


def test_so_it_is_where_nobody_used_it_yet() -> None:
    """It is in no line of the note, and usage that comes late would be on both invoices."""
    life, right = lives(plan("calls", base="32"), Quiet)
    document = life.papers[0].id
    february(life, right)
    assert refused(life, right, MAR + 1, life.history.carried("EUR")) == document


def test_a_diff_of_both_invoices_is_not() -> None:
    """Whatever is about to be issued: no later one bills January."""
    life, right = lives(plan("base"))
    february(life, right)
    assert refused(life, right, MAR + 60 * DAY, life.history.carried("EUR"), count=2) is None


def test_what_was_billed_before_what_is_compared_refuses_nothing() -> None:
    life, right = lives(plan())
    for each, told in ((life, plan("base")), (right, plan())):
        each.tell(told)
        each.cut(MAR, 0)
    life.tell(plan())
    for each in (life, right):
        del each.papers[0]
    reached = {("s", name): Reach(FEB if name == "base" else MAR) for name in ("base", "calls")}

    assert refused(life, right, MAR + 1, reached) is None


def test_one_that_bills_nothing_farther_is_not() -> None:
    life, right = lives(plan())
    assert refused(life, right, MAR, life.history.carried("EUR")) is None


def test_the_fact_of_a_note_says_up_to_where_it_bills() -> None:
    life, right = lives(plan("base"))
    (decided,), _ = wanted_of(life, right, FEB + 1)
    told: dict[str, Json] = dict(decided.change or {})
    assert told["until"] == [["s", "base", "2026-02-01T00:00:00Z"]]
