"""Which documents a payer will have is remembered only while nothing that decides it changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from builders import (
    MINUTE,
    T0,
    customer_of,
    fact_log,
    flat,
    issuer_of,
    log_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from pipeline.book.booking import Cursor
from pipeline.catalog.corrections import Decision
from pipeline.catalog.facts import FactKind
from pipeline.core.calendar import Instant
from pipeline.invoice.drafts import Closing
from pipeline.invoice.fees import Reach
from pipeline.invoice.planned import Carried
from pipeline.stores.postgres.preparing import BookedCuts
from pipeline.workers.drafting import OpenBooks, Payer, Planner

START = [
    log_of(),
    rules_of(),
    issuer_of(),
    plan_of("quick", price_of("fee", flat("1")), cycle="PT1M"),
    customer_of("acme"),
    subscription_of("s", "acme", "quick", "2026-03-01T00:00:00Z"),
]
LOG = fact_log(
    *START,
    plan_of("quick", price_of("fee", flat("2")), cycle="PT1M"),
    customer_of("globex"),
    subscription_of("g", "globex", "quick", "2026-03-01T00:00:00Z"),
)
ANOTHERS = 2
"""The last facts, which touch another customer."""


@dataclass(frozen=True)
class Stand:
    """How things stand when a payer is rated, as far as the books tell."""

    log_time: Instant = T0 + MINUTE // 2
    passed: Instant = T0 - MINUTE
    facts: int = LOG.head - ANOTHERS - 1
    closed: dict[str, set[Closing]] = field(default_factory=dict)
    carried: Mapping[tuple[str, str], Carried] = field(default_factory=dict)
    unprepared: dict[tuple[str, str], list[tuple[Instant, int]]] = field(default_factory=dict)
    to_come: dict[str, set[int]] = field(default_factory=dict)

    def read_cuts(self, payers: Sequence[str], after: Instant) -> BookedCuts:
        return BookedCuts(self.closed, self.unprepared, self.to_come)

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]:
        return self.carried

    def planned(self, planner: Planner) -> list[tuple[Closing, object]]:
        cursor = replace(Cursor(0), log_time=self.log_time)
        payer = Payer("acme", cursor, LOG.at(self.facts), self.passed)
        plans = planner.plans(cast(OpenBooks, self), LOG.at, [payer])
        return [(plan.closing, plan.lines) for plan in plans]


ACME = ("acme", "EUR")
AT_FIRST = Stand()
CHANGES = {
    "the next period began": Stand(log_time=T0 + MINUTE),
    "the period is over": Stand(log_time=T0 + MINUTE, passed=T0 + MINUTE),
    "its cut is booked": Stand(
        log_time=T0 + MINUTE,
        closed={"acme": {("EUR", T0 + MINUTE)}},
        unprepared={ACME: [(T0 + MINUTE, LOG.head - ANOTHERS - 1)]},
    ),
    "its document is prepared": Stand(
        log_time=T0 + MINUTE,
        closed={"acme": {("EUR", T0 + MINUTE)}},
        carried={ACME: {("s", "fee"): Reach(T0 + MINUTE)}},
    ),
    "half of it is billed": Stand(carried={ACME: {("s", "fee"): Reach(T0 + MINUTE // 2)}}),
    "the price changed": Stand(facts=LOG.head - ANOTHERS),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_what_decides_the_documents_makes_them_anew(changed: Stand) -> None:
    planner = Planner()

    for stand in (AT_FIRST, changed, AT_FIRST):
        assert stand.planned(planner) == stand.planned(Planner()) != []
    assert changed.planned(Planner()) != AT_FIRST.planned(Planner())


def test_where_only_usage_came_the_lines_are_those_of_before() -> None:
    planner = Planner()
    ((_, before),) = AT_FIRST.planned(planner)
    ((_, after),) = AT_FIRST.planned(planner)

    assert after is before


def test_a_tick_that_opens_and_closes_nothing_changes_no_lines() -> None:
    planner = Planner()
    ((_, before),) = AT_FIRST.planned(planner)
    ((_, after),) = Stand(log_time=AT_FIRST.log_time + 1, passed=AT_FIRST.passed + 1).planned(
        planner
    )

    assert after is before


def test_a_fact_of_another_customer_changes_no_lines() -> None:
    planner = Planner()
    ((_, before),) = Stand(facts=LOG.head - ANOTHERS).planned(planner)
    ((_, after),) = Stand(facts=LOG.head).planned(planner)

    assert after is before


@pytest.mark.parametrize("kind", [FactKind.REPRICING, FactKind.VOID])
def test_drafts_wait_for_the_note_of_a_diff_and_of_nothing_else(kind: FactKind) -> None:
    """What it bills of a price that its document left out is billed by no later one."""
    told = Decision(kind, "acme", "EUR", T0, "inv_1", reference="diff_1").told()
    log = fact_log(*START, (told.kind, told.subject, dict(told.body)))
    payer = Payer("acme", replace(Cursor(0), log_time=T0), log.at(log.head), T0 - MINUTE)
    planner, books = Planner(), Stand(to_come={"acme": {log.head}})

    plans = planner.plans(cast(OpenBooks, books), log.at, [payer])

    assert (not plans) == (planner.left_out == {"acme"}) == (kind is FactKind.REPRICING)
