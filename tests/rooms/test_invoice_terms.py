"""Terms on documents: what each takes and adds, line by line, cycle by cycle; when it is due."""

from typing import Any

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
from pipeline.catalog.cuts import CutSchedule
from pipeline.core.calendar import instant_text
from pipeline.core.identity import Json
from pipeline.invoice.compose import carried_by_all, compose, planned_lines
from pipeline.invoice.drafts import open_closings
from pipeline.invoice.usage import UsagePart
from pipeline.meter.ticks import Tick

JAN, FEB, MAR, APR = (f"2026-0{month}-01T00:00:00Z" for month in (1, 2, 3, 4))
PERCENT: dict[str, Json] = {"type": "percentage", "percent": "10"}
FIXED: dict[str, Json] = {"type": "fixed", "amount": "3"}


def catalog(*prices: dict[str, Json], start: str = JAN, end: str | None = None) -> Catalog:
    decisions: list[Decision] = [
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", unit="call", window_s=3600),
        plan_of("pro", *prices),
        customer_of("acme"),
        subscription_of("s", "acme", "pro", start, end),
    ]
    return catalog_of(*decisions)


def document(
    books: Catalog, until: str, calls: int = 0, events: int = 1, before: tuple[Any, ...] = ()
) -> Any:
    """The content of acme's document at an instant, once those `before` it were issued."""
    lines = planned_lines(books, "acme", "EUR", instant(until), carried_by_all(before))
    part = UsagePart(0, events, calls, 0, calls)
    used = {line.request: [part] for line in lines if line.request}
    made = compose(books, "acme", "EUR", instant(until), lines, used)
    return made[0].content if made else None


def figures(line: Any) -> list[tuple[str, str, int, int]]:
    """The detailed lines: name, quantity, subtotal, total."""
    return [
        (
            child["name"].split(": ")[-1],
            child["quantity"],
            child["subtotal_minor"],
            child["total_minor"],
        )
        for child in line["children"]
    ]


def test_units_are_converted_and_free_usage_comes_off_before_the_price() -> None:
    conversion: Json = {
        "operation": "divide",
        "factor": "1000",
        "rounding": "ceiling",
        "precision": "0",
    }
    books = catalog(
        price_of("calls", per_unit("0.5"), "calls", unit_conversion=conversion, usage_discount="2")
    )
    (line,) = document(books, FEB, 4001)["lines"]

    assert (line["metered_quantity"], line["total_minor"]) == ("4001", 150)
    assert figures(line) == [("usage", "3", 150, 150)]


def test_discounts_stand_on_the_children_each_with_what_it_took() -> None:
    price = graduated(("10", "1", "0"), (None, "0.5", "2"))
    reason: dict[str, Json] = {**FIXED, "reason": "goodwill"}
    books = catalog(price_of("calls", price, "calls", discounts=[reason, PERCENT], maximum="20"))
    (line,) = document(books, FEB, 40)["lines"]
    first, second, flat_fee = line["children"]

    # 10.00 + 15.00 + 2.00; 10 % each; 3.00 by 9.00, 13.50, 1.80; 21.30 is 1.30 above 20.00
    assert first["discounts"] == [
        {"type": "percentage", "percent": "10", "amount_minor": 100},
        {"type": "fixed", "amount": "3", "reason": "goodwill", "amount_minor": 111},
    ]
    assert second["discounts"][1:] == [
        {"type": "fixed", "amount": "3", "reason": "goodwill", "amount_minor": 167},
    ]
    assert flat_fee["discounts"] == [
        {"type": "percentage", "percent": "10", "amount_minor": 20},
        {"type": "fixed", "amount": "3", "reason": "goodwill", "amount_minor": 22},
        {"type": "maximum", "amount": "20", "amount_minor": 130},
    ]
    assert line["discounts"] == []
    assert line["totals"]["discounts_total_minor"] == 270 + 300 + 130
    assert line["total_minor"] == 2000


def test_a_minimum_is_a_charge_of_its_own_at_the_end_of_the_period() -> None:
    books = catalog(price_of("calls", per_unit("0.5"), "calls", minimum="20"))
    (line,) = document(books, FEB, 10)["lines"]

    assert figures(line) == [("usage", "10", 500, 500), ("minimum", "1", 1500, 1500)]
    assert line["totals"] == {
        "amount_minor": 500,
        "charges_total_minor": 1500,
        "discounts_total_minor": 0,
        "taxes_inclusive_total_minor": 0,
        "taxes_exclusive_total_minor": 0,
        "taxes_total_minor": 0,
        "total_minor": 2000,
    }
    assert document(books, FEB, 40)["totals"]["charges_total_minor"] == 0


def test_a_repeating_discount_ends_with_its_cycles() -> None:
    twice: Json = {**PERCENT, "duration": "repeating", "cycles": "2"}
    books = catalog(price_of("calls", per_unit("1"), "calls", discounts=[twice]))
    issued: list[Any] = []
    for end in (FEB, MAR, APR):
        issued.append(document(books, end, 10, before=tuple(issued)))

    assert [each["totals"]["total_minor"] for each in issued] == [900, 900, 1000]


def test_seats_are_the_quantity_of_a_fee() -> None:
    once: Json = {**PERCENT, "duration": "once", "reason": "welcome"}
    books = catalog(price_of("seats", flat("7.5"), quantity="12", discounts=[once]))
    (line,) = document(books, FEB)["lines"]

    assert (line["quantity"], line["unit_amount"]) == ("12", "7.5")
    assert (line["subtotal_minor"], line["total_minor"]) == (9000, 8100)
    assert line["discounts"] == [
        {"type": "percentage", "percent": "10", "reason": "welcome", "amount_minor": 900}
    ]


IN_ADVANCE = (
    price_of("seats", flat("31"), payment_term="in_advance"),
    price_of("calls", per_unit("1"), "calls"),
)


def test_a_fee_in_advance_is_due_when_its_period_starts_usage_when_it_ends() -> None:
    books = catalog(*IN_ADVANCE)
    start = document(books, JAN)
    end = document(books, FEB, 10, before=(start,))

    def lines(content: Any) -> list[tuple[str, str, str, str, int]]:
        return [
            (
                line["source_id"],
                line["period_start"][5:10],
                line["invoice_at"][5:10],
                line["payment_term"],
                line["total_minor"],
            )
            for line in content["lines"]
        ]

    assert lines(start) == [("s/seats", "01-01", "01-01", "in_advance", 3100)]
    assert (start["period_start"], start["period_end"]) == (JAN, FEB)
    assert lines(end) == [
        ("s/calls", "01-01", "02-01", "in_arrears", 1000),
        ("s/seats", "02-01", "02-01", "in_advance", 3100),
    ]
    assert (end["period_start"], end["period_end"]) == (JAN, FEB)


def test_nothing_is_due_in_advance_behind_the_end() -> None:
    books = catalog(*IN_ADVANCE, end=FEB)
    start = document(books, JAN)

    assert [line["source_id"] for line in document(books, FEB, 1, before=(start,))["lines"]] == [
        "s/calls"
    ]


def cuts(books: Catalog, *times: str) -> list[list[str]]:
    """What each tick cuts."""
    before = Tick(1, instant("2025-12-31T00:00:00Z"), books.position)
    schedule = CutSchedule(0, books, before)
    found = []
    for serial, time in enumerate(times, start=2):
        due = schedule.pass_tick(Tick(serial, instant(time), books.position), books)
        found.append([instant_text(each.instant) for each in due])
    return found


def test_the_start_of_a_subscription_is_cut_where_a_fee_is_in_advance() -> None:
    times = ("2025-12-31T23:59:59Z", JAN, "2026-01-15T00:00:00Z", FEB, "2026-03-02T00:00:00Z")

    assert cuts(catalog(*IN_ADVANCE), *times) == [[], [JAN], [], [FEB], [MAR]]
    assert cuts(catalog(IN_ADVANCE[1]), *times) == [[], [], [], [FEB], [MAR]]


def test_a_backdated_start_is_cut_with_the_first_tick_that_knows_it() -> None:
    books = catalog(*IN_ADVANCE)
    early = catalog_of(log_of(), rules_of())
    schedule = CutSchedule(0, early, Tick(1, instant("2026-02-10T00:00:00Z"), 2))
    due = schedule.pass_tick(Tick(2, instant("2026-02-11T00:00:00Z"), books.position), books)

    assert [instant_text(each.instant) for each in due] == [JAN, FEB]


def test_the_start_has_a_draft_until_it_is_cut() -> None:
    books = catalog(*IN_ADVANCE)
    begun = instant(JAN)

    assert open_closings(books, "acme", begun - 1, begun, ()) == [
        ("EUR", begun),
        ("EUR", instant(FEB)),
    ]
    assert open_closings(books, "acme", begun, begun, ()) == [("EUR", instant(FEB))]
