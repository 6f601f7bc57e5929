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
from pipeline.invoice.compose import compose
from pipeline.invoice.drafts import open_closings
from pipeline.invoice.planned import carried_by_all, planned_lines
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


def changed(new: dict[str, Json], **terms: Json) -> Catalog:
    """Calls at 1 EUR; from 16 January on at another price; the same terms throughout."""
    revision = plan_of("pro", price_of("calls", new, "calls", **terms))
    dated = (revision[0], revision[1], {**revision[2], "effective": "2026-01-16T00:00:00Z"})
    return catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", unit="call", window_s=3600),
        plan_of("pro", price_of("calls", per_unit("1"), "calls", **terms)),
        customer_of("acme"),
        subscription_of("s", "acme", "pro", JAN),
        dated,
    )


def halves(books: Catalog, first: int, whole: int) -> list[int]:
    """What the lines before and behind the change come to, and all of both."""
    lines = planned_lines(books, "acme", "EUR", instant(FEB))
    middle = instant("2026-01-16T00:00:00Z")
    used = {
        request: [UsagePart(0, 1, first if request.end <= middle else whole, 0, 0)]
        for line in lines
        for request in (line.request, line.past)
        if request
    }
    content: Any = compose(books, "acme", "EUR", instant(FEB), lines, used)[0].content
    totals = [line["total_minor"] for line in content["lines"]]
    assert sum(totals) == content["totals"]["total_minor"]
    return totals


def test_a_minimum_is_that_of_the_whole_period_where_the_price_changed_within_it() -> None:
    # 10 x 1 EUR before; 5 x 2 EUR behind it: 20 in all, whatever 10 calls would cost now
    books = changed(per_unit("2"), minimum="25")

    assert halves(books, 10, 15) == [1000, 1500]
    assert halves(books, 10, 40) == [1000, 6000]


def test_a_maximum_is_that_of_the_whole_period_where_the_price_changed_within_it() -> None:
    assert halves(changed(per_unit("2"), maximum="25"), 10, 40) == [1000, 1500]


def test_a_percentage_discount_is_taken_of_both_halves() -> None:
    assert halves(changed(per_unit("2"), discounts=[PERCENT]), 10, 15) == [900, 900]


def test_a_fixed_discount_is_taken_once() -> None:
    assert sum(halves(changed(per_unit("2"), discounts=[FIXED]), 10, 15)) == 1000 + 1000 - 300


def test_free_usage_is_used_up_once() -> None:
    assert halves(changed(per_unit("2"), usage_discount="12"), 10, 15) == [0, 600]


def test_a_fee_per_event_counts_the_events_of_each_half() -> None:
    fee: dict[str, Json] = {"type": "percentage", "rate_percent": "10", "fixed_per_event": "1"}
    lines = planned_lines(changed(fee), "acme", "EUR", instant(FEB))

    assert [(line.past, line.request.end if line.request else None) for line in lines] == [
        (None, instant("2026-01-16T00:00:00Z")),
        (None, instant(FEB)),
    ]
    assert lines[1].request
    assert lines[1].request.start == instant("2026-01-16T00:00:00Z")


def test_events_are_counted_where_each_pays_a_fee_and_money_below_zero_pays_none() -> None:
    fee: dict[str, Json] = {"type": "percentage", "rate_percent": "10", "fixed_per_event": "0.5"}
    books = catalog(price_of("calls", fee, "calls"))
    (line,) = document(books, FEB, 80, events=4)["lines"]

    assert figures(line) == [("usage", "80", 800, 800), ("flat", "4", 200, 200)]
    assert line["unit_amount"] == "0.125"
    assert document(books, FEB, -80, events=1)["totals"]["total_minor"] == 50
    assert document(books, FEB, -80, events=-1)["totals"]["total_minor"] == 0
