"""A price that changes at a date: which revision is in force when, and how a line splits there."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import (
    Decision,
    catalog_of,
    customer_of,
    flat,
    graduated,
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
from pipeline.catalog.catalog import Catalog
from pipeline.core.calendar import instant_text
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.planned import carried_by_all, planned_lines, requests_of
from pipeline.invoice.usage import UsagePart, UsageRequest
from pipeline.replay.coverage import covered_stretches
from rooms.test_sheet_changes import Desk
from rooms.test_sheet_problems import SHEET

JAN, FEB, MAR = (f"2026-0{month}-01T00:00:00Z" for month in (1, 2, 3))
MID = "2026-01-16T12:00:00Z"


def day(number: int) -> str:
    return f"2026-01-{number:02}T00:00:00Z"


def books(*more: Decision) -> Catalog:
    return catalog_of(
        log_of(),
        rules_of(),
        issuer_of("talea"),
        meter_of("calls", window_s=3600, dimensions=["region"]),
        meter_of("peak", "max", window_s=3600),
        customer_of("acme"),
        *more,
        subscription_of("s", "acme", "p", JAN),
    )


def calls(price: dict[str, Json], effective: str | None = None, **scope: Json) -> Decision:
    return plan_of("p", price_of("calls", price, "calls", **scope), effective=effective)


Told = Iterable[tuple[str, str, int]]
"""(meter, window, value)."""


def billed(catalog: Catalog, told: Told = (), until: str = FEB) -> list[dict[str, Any]]:
    """The lines of the document that acme gets."""
    lines = planned_lines(catalog, "acme", "EUR", instant(until))
    usage = {asked: answer(asked, told) for asked in requests_of(lines)}
    (document,) = compose(catalog, "acme", "EUR", instant(until), lines, usage)
    found: Any = document.content["lines"]
    return list(found)


def answer(asked: UsageRequest, told: Told) -> list[UsagePart]:
    return [
        UsagePart(0, 1, value, value, value)
        for meter, window, value in told
        if meter == asked.meter and asked.start <= instant(window) < asked.end
    ]


def shape(lines: list[dict[str, Any]]) -> list[tuple[str, str, str, str, int]]:
    """Of each line: from, to, what came before, quantity, total."""
    return [
        (
            line["period_start"][5:10],
            line["period_end"][5:10],
            line["pre_line_quantity"],
            line["quantity"],
            line["total_minor"],
        )
        for line in lines
    ]


@pytest.mark.parametrize(
    ("dates", "in_force"),
    [
        ([None], {1: 0, 31: 0}),
        ([None, 10], {1: 0, 9: 0, 10: 1, 31: 1}),
        ([None, 10, 20], {9: 0, 10: 1, 19: 1, 20: 2}),
        ([None, 20, 10], {9: 0, 10: 2, 20: 2, 31: 2}),  # what was to come is replaced
        ([None, 10, 10], {9: 0, 10: 2}),  # thought better of it
        ([None, 10, None], {1: 2, 31: 2}),  # no date: throughout
        ([10], {1: 0, 31: 0}),  # the first has no before
        ([10, 20], {1: 0, 19: 0, 20: 1}),
    ],
)
def test_which_revision_s_prices_are_in_force(
    dates: list[int | None], in_force: dict[int, int]
) -> None:
    revisions = [
        calls(per_unit(str(number)), None if date is None else day(date))
        for number, date in enumerate(dates)
    ]
    plan = books(*revisions).plans["p"]
    starts, ends = zip(*((start, end) for start, end, _ in plan.spans()), strict=True)

    assert (ends, starts[-1]) == ((None, *starts[:-1]), None)  # they tile time
    assert list(starts[:-1]) == sorted(starts[:-1], reverse=True)
    for date, number in in_force.items():
        (price,) = plan.at(instant(day(date))).prices
        assert price.configured["unit_amount"] == str(number), date


def test_another_currency_or_cycle_has_no_before() -> None:
    fee = price_of("calls", per_unit("1"), "calls")
    for terms in ({"currency": "USD"}, {"cycle": "P1Y"}):
        plan = books(calls(per_unit("2")), plan_of("p", fee, effective=MID, **terms)).plans["p"]
        assert plan.earlier is None


def test_a_line_splits_at_the_date_and_tiers_carry_over() -> None:
    catalog = books(
        calls(graduated(("100", "1", "5"), (None, "0.5", "0"))),
        calls(graduated(("100", "2", "5"), (None, "1", "0")), MID),
    )

    # 80 x 1 + 5; then 20 x 2 left of the first tier, and 40 x 1 in the second; 5 was billed
    assert shape(billed(catalog, [("calls", day(3), 80), ("calls", day(20), 60)])) == [
        ("01-01", "01-16", "0", "80", 8500),
        ("01-16", "02-01", "80", "60", 8000),
    ]


def test_both_parts_fall_due_when_the_period_does() -> None:
    first, second = billed(books(calls(per_unit("1")), calls(per_unit("2"), MID)))

    assert first["invoice_at"] == second["invoice_at"] == FEB
    assert first["period_end"] == second["period_start"] == MID
    assert first["id"] != second["id"]
    assert [line["rate_card"]["price"]["unit_amount"] for line in (first, second)] == ["1", "2"]


def test_the_edge_snaps_up_to_the_meter_s_window() -> None:
    catalog = books(calls(per_unit("1")), calls(per_unit("2"), "2026-01-16T12:20:00Z"))
    lines = planned_lines(catalog, "acme", "EUR", instant(FEB))

    edge = instant("2026-01-16T13:00:00Z")
    whole = (instant(JAN), instant(FEB))
    assert [(request.start, request.end) for request in requests_of(lines)] == [
        (whole[0], edge),
        whole,
        (whole[0], edge),
    ]
    told = [("calls", "2026-01-16T12:00:00Z", 10), ("calls", "2026-01-16T13:00:00Z", 1)]
    assert [line["total_minor"] for line in billed(catalog, told)] == [1000, 200]


def test_a_flat_fee_is_prorated_on_both_sides_by_its_seconds() -> None:
    catalog = books(
        plan_of("p", price_of("fee", flat("31"))),
        plan_of("p", price_of("fee", flat("62")), effective=day(11)),
    )

    assert [(line["total_minor"], line["unit_amount"]) for line in billed(catalog)] == [
        (1000, "31"),
        (4200, "62"),
    ]


def test_only_the_price_that_changes_splits() -> None:
    same = price_of("fee", flat("31"))
    catalog = books(
        plan_of("p", same, price_of("calls", per_unit("1"), "calls")),
        plan_of("p", same, price_of("calls", per_unit("2"), "calls"), effective=MID),
    )

    assert [line["source_id"] for line in billed(catalog)] == ["s/calls", "s/calls", "s/fee"]


def test_a_price_that_goes_at_a_date_bills_what_was_used_before() -> None:
    catalog = books(
        plan_of("p", price_of("calls", per_unit("1"), "calls"), price_of("fee", flat("1"))),
        plan_of("p", price_of("fee", flat("1")), effective=MID),
    )
    lines = billed(catalog, [("calls", day(3), 7), ("calls", day(20), 100)])

    assert [(line["source_id"], line["total_minor"]) for line in lines] == [
        ("s/calls", 700),
        ("s/fee", 100),
    ]
    assert [(s.start, s.end) for s in covered_stretches(catalog)] == [(instant(JAN), instant(MID))]


def test_a_price_that_comes_at_a_date_bills_and_covers_what_is_used_from_then_on() -> None:
    catalog = books(
        plan_of("p", price_of("fee", flat("1"))),
        plan_of("p", price_of("calls", per_unit("1"), "calls"), effective=MID),
    )

    assert shape(billed(catalog, [("calls", day(3), 100), ("calls", day(20), 7)]))[0][3:] == (
        "7",
        700,
    )
    assert [s.start for s in covered_stretches(catalog)] == [instant(MID)]


def test_three_prices_in_one_period() -> None:
    catalog = books(
        calls(per_unit("1")), calls(per_unit("2"), day(11)), calls(per_unit("3"), day(21))
    )
    told = [("calls", day(number), 10) for number in (5, 15, 25)]

    assert shape(billed(catalog, told)) == [
        ("01-01", "01-11", "0", "10", 1000),
        ("01-11", "01-21", "10", "10", 2000),
        ("01-21", "02-01", "20", "10", 3000),
    ]


def test_a_peak_bills_after_the_date_only_what_it_rose_by() -> None:
    catalog = books(
        plan_of("p", price_of("peak", per_unit("1"), "peak")),
        plan_of("p", price_of("peak", per_unit("10"), "peak"), effective=MID),
    )

    assert shape(billed(catalog, [("peak", day(3), 5), ("peak", day(20), 8)])) == [
        ("01-01", "01-16", "0", "5", 500),
        ("01-16", "02-01", "5", "3", 3000),
    ]
    assert [line["quantity"] for line in billed(catalog, [("peak", day(3), 5)])] == ["5", "0"]


def test_corrections_below_zero_before_the_date_are_made_good_after_it() -> None:
    catalog = books(calls(per_unit("1")), calls(per_unit("2"), MID))

    assert shape(billed(catalog, [("calls", day(3), -5), ("calls", day(20), 15)])) == [
        ("01-01", "01-16", "0", "-5", 0),
        ("01-16", "02-01", "-5", "15", 2000),
    ]


def test_a_date_at_the_edge_of_a_period_splits_nothing() -> None:
    catalog = books(calls(per_unit("1")), calls(per_unit("2"), FEB))
    told = [("calls", day(3), 1), ("calls", "2026-02-03T00:00:00Z", 1)]

    assert shape(billed(catalog, told, MAR)) == [
        ("01-01", "02-01", "0", "1", 100),
        ("02-01", "03-01", "0", "1", 200),
    ]


def test_a_date_in_a_period_that_was_billed_bills_nothing_anew() -> None:
    before = books(calls(per_unit("1")))
    lines = planned_lines(before, "acme", "EUR", instant(FEB))
    (issued,) = compose(before, "acme", "EUR", instant(FEB), lines, {})
    carried = carried_by_all([issued.content])
    after = books(calls(per_unit("1")), calls(per_unit("2"), MID))

    rest = planned_lines(after, "acme", "EUR", instant(MAR), carried)

    assert [(instant_text(line.key.start), line.card.configured) for line in rest] == [
        (FEB, per_unit("2"))
    ]


TIERS = st.tuples(
    st.integers(1, 50), st.integers(51, 99), st.lists(st.integers(0, 300), min_size=3, max_size=3)
)


@given(
    TIERS,
    st.lists(st.tuples(st.integers(1, 31), st.integers(0, 60)), max_size=6),
    st.integers(2, 31),
)
def test_a_change_that_changes_nothing_costs_nothing(
    tiers: tuple[int, int, list[int]], used: list[tuple[int, int]], date: int
) -> None:
    """Split anywhere = whole: the same price under another name sums to the line in one piece.

    Under another text it is that line.
    """
    low, high, cents = tiers
    amounts = [f"{cent // 100}.{cent % 100:02}" for cent in cents]
    plain = graduated(
        (str(low), amounts[0], "1"), (str(high), amounts[1], "0"), (None, amounts[2], "2")
    )
    longer = graduated(
        (f"{low}.0", amounts[0] + "0", "1"),
        (f"{high}", amounts[1], "0"),
        (None, amounts[2], "2.00"),
    )
    told = [("calls", day(number), value) for number, value in used]
    renamed = {**price_of("calls", plain, "calls"), "name": "Calls to anybody"}

    (whole,) = billed(books(calls(plain)), told)
    (again,) = billed(books(calls(plain), calls(longer, day(date))), told)
    parts = billed(books(calls(plain), plan_of("p", renamed, effective=day(date))), told)

    assert again["total_minor"] == whole["total_minor"]
    assert len(parts) == 2
    assert sum(part["total_minor"] for part in parts) == whole["total_minor"]
    assert sum(Fraction(part["quantity"]) for part in parts) == Fraction(whole["quantity"])


def test_a_sheet_gives_its_plan_a_date_and_takes_it_back() -> None:
    desk = Desk()
    dated = SHEET.replace("0.005", "0.004").replace(
        "    cycle: P1M", "    effective: 2026-12-01T00:00:00Z\n    cycle: P1M"
    )
    desk.apply(SHEET)
    assert desk.apply(dated) == ["plan standard"]
    assert desk.apply(dated) == []

    plan = desk.catalog.plans["standard"]
    assert [revision.effective for _, _, revision in plan.spans()] == [
        instant("2026-12-01T00:00:00Z"),
        None,
    ]
    assert desk.apply(SHEET) == ["plan standard"]
    assert desk.catalog.plans["standard"].earlier is None
