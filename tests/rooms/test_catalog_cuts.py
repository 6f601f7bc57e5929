"""Cuts, told as stories: which tick closes what, and whose drafts it touches."""

from collections.abc import Sequence

import pytest

from builders import (
    Books,
    Decision,
    Line,
    customer_of,
    fact_log,
    flat,
    instant,
    issuer_of,
    log_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
    taxed_in,
)
from pipeline.catalog.cuts import CutSchedule, Due
from pipeline.catalog.facts import FactKind
from pipeline.core.calendar import instant_text
from pipeline.core.identity import Json, partition_of
from pipeline.meter.ticks import NO_TICK, Tick
from pipeline.replay.refold import cuts_before

BASE: list[Decision] = [
    log_of(),
    rules_of(grace_s=60),
    plan_of("monthly", price_of("fee", flat("1"))),
    plan_of("daily", price_of("fee", flat("1")), currency="USD", cycle="P1D"),
    customer_of("acme"),
    customer_of("globex"),
]
JAN, FEB, MAR = (f"2026-0{month}-01T00:00:00Z" for month in (1, 2, 3))


def monthly(name: str, start: str, end: str | None = None, customer: str = "acme") -> Decision:
    return subscription_of(name, customer, "monthly", start, end)


def answered(customer: str) -> Decision:
    """How something is taxed that the rules do not know."""
    body: dict[str, Json] = {
        "customer": customer,
        "question": {},
        "category": "O",
        "jurisdiction": "US",
        "rate_percent": "0",
        "reason": None,
        "said_by": "ada",
    }
    return FactKind.TAX_ANSWER, f"digest of {customer}", body


def order(name: str, at: str, customer: str = "acme") -> Decision:
    """What somebody buys at an instant."""
    body: dict[str, Json] = {
        "id": name,
        "customer": customer,
        "issuer": "talea",
        "currency": "EUR",
        "at": at,
        "payment_days": 14,
        "lines": [price_of("setup", flat("1"))],
    }
    return FactKind.ORDER, name, body


Step = tuple[str, Sequence[Decision]]
"""The time of a tick, and what was decided before it."""


def walked(*steps: Step) -> list[tuple[list[str], list[str]]]:
    """What each tick after the first cuts (`payer currency end`), and whom it touches."""
    decisions, ticks = list(BASE), []
    for serial, (time, decided) in enumerate(steps, start=1):
        decisions += decided
        ticks.append(Tick(serial, instant(time), len(decisions)))
    log = fact_log(*decisions)
    schedule = CutSchedule(0, log.at(ticks[0].fact_position), ticks[0])
    found = []
    for tick in ticks[1:]:
        due = schedule.pass_tick(tick, log.at(tick.fact_position))
        found.append(([told(each) for each in due], schedule.started()))
    return found


def told(due: Due) -> str:
    return f"{due.payer} {due.currency} {instant_text(due.instant)[:10]}"


FREE, LATE = "2026-03-02T00:00:00Z", "2026-03-15T00:00:00Z"


@pytest.mark.parametrize(
    ("known", "late", "cut"),
    [
        # its last period ended as another's did: it has the next instant that is free
        ([], [monthly("b", JAN, MAR)], ["2026-03-01T00:00:00.000001Z"]),
        ([], [monthly("b", JAN, MAR), monthly("c", FEB, MAR)], ["2026-03-01T00:00:00.000001Z"]),
        ([], [monthly("b", JAN, FEB)], ["2026-02-01T00:00:00.000001Z"]),
        # it has an instant of its own, or others to come
        ([], [monthly("b", JAN, "2026-02-07T00:00:00Z")], ["2026-02-07T00:00:00Z"]),
        ([], [monthly("b", JAN)], []),
        ([], [monthly("b", JAN, "2026-05-01T00:00:00Z")], []),
        ([], [monthly("b", JAN, JAN)], []),
        # it ended: what was billed ahead of then, or early, is given back
        ([monthly("b", JAN)], [monthly("b", JAN, MAR)], ["2026-03-01T00:00:00.000001Z"]),
        ([monthly("b", JAN, MAR)], [monthly("b", JAN, FEB)], []),
        ([monthly("b", MAR)], [monthly("b", MAR, MAR)], ["2026-03-01T00:00:00.000001Z"]),
        ([monthly("b", LATE)], [monthly("b", LATE, LATE)], []),
        # what is bought at an instant that was cut, for a period or for another order
        ([], [order("o", MAR)], ["2026-03-01T00:00:00.000001Z"]),
        ([], [order("o", MAR), order("p", MAR)], ["2026-03-01T00:00:00.000001Z"]),
        ([order("o", FREE)], [order("p", FREE)], ["2026-03-02T00:00:00.000001Z"]),
        ([], [order("o", FREE), order("p", FREE)], [FREE]),
        ([order("o", LATE)], [order("o", MAR)], ["2026-03-01T00:00:00.000001Z"]),
        ([], [order("o", LATE)], [LATE]),
    ],
)
def test_what_is_over_once_it_is_known_is_cut_once_more(
    known: Sequence[Decision], late: Sequence[Decision], cut: Sequence[str]
) -> None:
    decided = [*BASE, monthly("a", JAN), *known, *late]
    log, head = fact_log(*decided), len(decided)
    ticks = [
        Tick(1, instant(JAN), head - len(late)),
        Tick(2, instant("2026-03-14T00:00:00Z"), head - len(late)),
        Tick(3, instant("2026-03-14T00:00:01Z"), head),
        Tick(4, instant("2026-03-31T00:00:00Z"), head),
    ]
    found = cuts_before(0, ticks, ticks[-1], log.at)
    line, books = Line(log), Books(log)
    for tick in ticks:
        line.tick(tick)
    books.book(line.slices)

    assert [instant_text(each.instant) for each in found if each.serial > 2] == cut
    assert books.cuts == found


def test_a_period_is_cut_by_the_first_tick_after_its_grace() -> None:
    assert walked(
        (JAN, [monthly("s", JAN)]),
        ("2026-02-01T00:00:00Z", []),
        ("2026-02-01T00:00:59.999999Z", []),
        ("2026-02-01T00:01:00Z", []),
        ("2026-02-01T00:02:00Z", []),
    ) == [([], ["acme"]), ([], []), (["acme EUR 2026-02-01"], []), ([], [])]


def test_one_tick_may_cut_many_periods_in_their_order() -> None:
    (found,) = walked(
        (JAN, [monthly("s", JAN), subscription_of("d", "globex", "daily", "2026-03-30T00:00:00Z")]),
        ("2026-04-01T00:01:00Z", []),
    )

    assert found[0] == [
        "acme EUR 2026-02-01",
        "acme EUR 2026-03-01",
        "globex USD 2026-03-31",
        "acme EUR 2026-04-01",
        "globex USD 2026-04-01",
    ]


def test_a_subscription_entered_late_is_cut_for_all_its_past_at_once() -> None:
    assert walked(
        ("2026-03-15T00:00:00Z", []),
        ("2026-03-15T00:00:05Z", [monthly("s", JAN)]),
        ("2026-03-15T00:00:10Z", []),
    ) == [(["acme EUR 2026-02-01", "acme EUR 2026-03-01"], ["acme"]), ([], [])]


def test_an_end_in_the_past_is_cut_when_it_is_known() -> None:
    assert walked(
        ("2026-03-15T00:00:00Z", [monthly("s", JAN)]),
        ("2026-03-15T00:00:05Z", [monthly("s", JAN, "2026-03-10T00:00:00Z")]),
        ("2026-05-01T00:00:00Z", []),
    ) == [(["acme EUR 2026-03-10"], ["acme"]), ([], [])]


def test_an_end_ahead_is_cut_when_it_comes() -> None:
    assert walked(
        ("2026-03-05T00:00:00Z", [monthly("s", JAN)]),
        ("2026-03-05T00:00:05Z", [monthly("s", JAN, "2026-03-10T00:00:00Z")]),
        ("2026-03-10T00:01:00Z", []),
        ("2026-05-01T00:00:00Z", []),
    ) == [([], ["acme"]), (["acme EUR 2026-03-10"], []), ([], [])]


def test_an_end_taken_back_brings_the_cycle_s_own_end_back() -> None:
    assert walked(
        ("2026-03-05T00:00:00Z", [monthly("s", JAN, "2026-03-10T00:00:00Z")]),
        ("2026-03-09T00:00:00Z", [monthly("s", JAN)]),
        ("2026-03-11T00:00:00Z", []),
        ("2026-04-01T00:01:00Z", []),
    ) == [([], ["acme"]), ([], []), (["acme EUR 2026-04-01"], ["acme"])]


def test_an_end_on_a_cycle_s_edge_is_one_cut() -> None:
    (found,) = walked((JAN, [monthly("s", JAN, FEB)]), ("2026-04-01T00:01:00Z", []))

    assert found[0] == ["acme EUR 2026-02-01"]


def test_two_subscriptions_of_one_payer_and_currency_share_a_cut() -> None:
    (found,) = walked((JAN, [monthly("s", JAN), monthly("t", JAN)]), ("2026-02-01T00:01:00Z", []))

    assert found[0] == ["acme EUR 2026-02-01"]


@pytest.mark.parametrize(
    ("decision", "touched"),
    [
        (plan_of("monthly", price_of("fee", flat("2"))), ["acme"]),  # another price
        (customer_of("acme", name="c0ffee"), ["acme"]),
        (monthly("s", JAN, "2026-12-01T00:00:00Z"), ["acme"]),
        (monthly("t", JAN), ["acme"]),
        (monthly("t", JAN, customer="globex"), ["globex"]),
        (plan_of("daily", price_of("fee", flat("2")), currency="USD", cycle="P1D"), []),
        (customer_of("globex", name="c0ffee"), []),  # it has no subscription
        (rules_of(grace_s=120), []),
        (plan_of("monthly", price_of("fee", flat("1"))), []),  # nothing new
        (issuer_of(), ["acme"]),
        (taxed_in(issuer_of(), "DE"), ["acme"]),
        (issuer_of("other"), []),
        (answered("acme"), ["acme"]),
        (answered("globex"), []),
    ],
)
def test_whose_draft_a_decision_touches(decision: Decision, touched: list[str]) -> None:
    """A draft is what would be issued now: a new price shows without new usage."""
    (found,) = walked(
        ("2026-01-15T00:00:00Z", [monthly("s", JAN)]), ("2026-01-15T00:00:05Z", [decision])
    )

    assert found[1] == touched


def test_less_grace_cuts_at_once() -> None:
    found = walked(
        ("2026-02-01T00:00:30Z", [monthly("s", JAN)]),
        ("2026-02-01T00:00:35Z", [rules_of(grace_s=10)]),
    )

    assert [due for due, _ in found] == [["acme EUR 2026-02-01"]]


def test_the_first_tick_of_a_log_may_already_cut() -> None:
    log = fact_log(*BASE, monthly("s", JAN))
    tick = Tick(1, instant(MAR), log.head)
    schedule = CutSchedule(0, log.at(log.head), NO_TICK)

    assert [told(due) for due in schedule.pass_tick(tick, log.at(log.head))] == [
        "acme EUR 2026-02-01"
    ]
    assert schedule.started() == ["acme"]
    assert schedule.started() == []


def test_customers_of_other_partitions_are_not_cut_here() -> None:
    log = fact_log(log_of(2), *BASE[1:], monthly("s", JAN), monthly("t", JAN, customer="globex"))
    home = {name: partition_of(name, 2) for name in ("acme", "globex")}
    catalog = log.at(log.head)
    for partition in (0, 1):
        schedule = CutSchedule(partition, catalog, Tick(1, instant(JAN), log.head))
        due = schedule.pass_tick(Tick(2, instant(MAR), log.head), catalog)
        assert {each.payer for each in due} == {n for n, at in home.items() if at == partition}
