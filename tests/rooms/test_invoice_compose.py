"""Composing: which lines a document has, what they ask for, what they cost."""

from collections.abc import Mapping
from typing import cast

import pytest

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
from pipeline.core.calendar import EARLIEST, instant_text
from pipeline.core.identity import Json
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.drafts import open_closings
from pipeline.invoice.fees import Reach
from pipeline.invoice.issues import Severity
from pipeline.invoice.lines import LineKey
from pipeline.invoice.planned import Carried, carried_by_all, planned_lines, with_lines
from pipeline.invoice.usage import UsagePart, UsageRequest
from pipeline.meter.meters import Grain
from pipeline.meter.points import UsagePoint
from pipeline.rate import FaultCode

JAN, FEB, MAR, APR = (f"2026-0{month}-01T00:00:00Z" for month in (1, 2, 3, 4))


def catalog(*more: Decision) -> Catalog:
    return catalog_of(
        log_of(),
        rules_of(),
        issuer_of("talea"),
        issuer_of("sister"),
        meter_of("calls", unit="call", window_s=3600),
        meter_of("peak", "max", unit="B", window_s=86_400),
        meter_of("tokens", unit="token", dimensions=["model", "region"]),
        meter_of("disk", "time_weighted", unit="GB", dimensions=["zone"]),
        plan_of(
            "basic",
            price_of("per-call", per_unit("0.5"), "calls"),
            price_of("seat", flat("31")),
        ),
        plan_of("dollars", price_of("seat", flat("7")), currency="USD"),
        plan_of("sisters", price_of("seat", flat("3")), issuer="sister"),
        customer_of("acme", name="c0ffee"),
        *more,
    )


def planned(books: Catalog, until: str, **carried: str) -> list[tuple[str, str, str]]:
    """The lines of acme in euros: source, from, to."""
    reached = {("s", price): Reach(instant(end)) for price, end in carried.items()}
    return [
        (line.key.source_id, day(line.served.period.start), day(line.served.period.end))
        for line in planned_lines(books, "acme", "EUR", instant(until), reached)
    ]


def day(moment: int) -> str:
    return instant_text(moment)[5:10]


def documents(
    books: Catalog, until: str, used: Mapping[str, list[UsagePart]] | None = None
) -> list[Composed]:
    lines = planned_lines(books, "acme", "EUR", instant(until))
    usage = {
        line.request: (used or {}).get(line.request.meter, []) for line in lines if line.request
    }
    return compose(books, "acme", "EUR", instant(until), lines, usage)


def lines_of(document: Composed) -> list[dict[str, Json]]:
    return cast(list[dict[str, Json]], document.content["lines"])


SUBSCRIBED = subscription_of("s", "acme", "basic", JAN)


def test_a_period_s_lines_fall_due_at_its_end() -> None:
    books = catalog(SUBSCRIBED)

    assert planned(books, "2026-01-31T23:59:59Z") == []
    assert planned(books, FEB) == [("s/per-call", "01-01", "02-01"), ("s/seat", "01-01", "02-01")]


def test_what_was_carried_is_not_billed_again() -> None:
    books = catalog(SUBSCRIBED)

    assert planned(books, MAR, seat=FEB) == [
        ("s/per-call", "01-01", "02-01"),
        ("s/per-call", "02-01", "03-01"),
        ("s/seat", "02-01", "03-01"),
    ]
    assert planned(books, APR, **{"per-call": MAR, "seat": APR}) == [
        ("s/per-call", "03-01", "04-01")
    ]


def test_a_subscription_s_end_cuts_its_last_period_short() -> None:
    books = catalog(subscription_of("s", "acme", "basic", JAN, "2026-02-11T00:00:00Z"))

    assert planned(books, FEB, **{"per-call": FEB}) == [("s/seat", "01-01", "02-01")]
    assert planned(books, MAR, **{"per-call": MAR, "seat": FEB}) == [("s/seat", "02-01", "02-11")]


def test_an_end_taken_back_leaves_the_rest_of_the_period_to_bill() -> None:
    books = catalog(SUBSCRIBED)

    assert planned(books, MAR, **{"per-call": MAR, "seat": "2026-02-11T00:00:00Z"}) == [
        ("s/seat", "02-11", "03-01")
    ]


def test_lines_of_another_currency_or_customer_stay_out() -> None:
    books = catalog(
        SUBSCRIBED,
        customer_of("globex"),
        subscription_of("d", "acme", "dollars", JAN),
        subscription_of("g", "globex", "basic", JAN),
    )

    assert {source for source, _, _ in planned(books, FEB)} == {"s/per-call", "s/seat"}


@pytest.mark.parametrize(
    ("start", "end", "asked"),
    [
        (JAN, None, ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")),
        # edges inside an hour snap up: the hour belongs to who had it when it began
        ("2026-01-05T10:30:00Z", None, ("2026-01-05T11:00:00Z", "2026-02-05T11:00:00Z")),
        (JAN, "2026-01-09T10:00:01Z", ("2026-01-01T00:00:00Z", "2026-01-09T11:00:00Z")),
        (JAN, "2026-01-09T10:00:00Z", ("2026-01-01T00:00:00Z", "2026-01-09T10:00:00Z")),
    ],
)
def test_usage_edges_snap_up_to_the_meter_s_window(
    start: str, end: str | None, asked: tuple[str, str]
) -> None:
    books = catalog(subscription_of("s", "acme", "basic", start, end))
    (request,) = (
        line.request
        for line in planned_lines(books, "acme", "EUR", instant("2026-02-28T00:00:00Z"))
        if line.request
    )

    assert request == UsageRequest("acme", "calls", instant(asked[0]), instant(asked[1]))


def test_usage_of_many_rows_scales_and_series_is_one_quantity() -> None:
    parts = [UsagePart(0, 2, 10, 1, 9), UsagePart(3, 1, 1, 1, 1), UsagePart(1, 1, -5, -5, -5)]
    (document,) = documents(catalog(SUBSCRIBED), FEB, {"calls": parts})
    call, seat = lines_of(document)

    # 10 + 0.001 - 0.5 = 9.501; x 0.5 = 4.7505
    assert (call["quantity"], call["total_minor"]) == ("9.501", 475)
    assert (seat["quantity"], seat["total_minor"]) == ("1", 3100)
    assert cast(Mapping[str, int], document.content["totals"])["total_minor"] == 3575


def test_no_usage_is_a_line_of_nothing() -> None:
    (document,) = documents(catalog(SUBSCRIBED), FEB)
    call, _ = lines_of(document)

    assert (call["quantity"], call["total_minor"], call["children"]) == ("0", 0, [])
    assert call["unit_amount"] == "0"


def test_usage_below_zero_is_billed_as_none() -> None:
    (document,) = documents(catalog(SUBSCRIBED), FEB, {"calls": [UsagePart(0, 1, -9, -9, -9)]})
    call, _ = lines_of(document)

    assert (call["quantity"], call["total_minor"]) == ("-9", 0)


def test_a_part_of_a_cycle_is_prorated_by_its_seconds() -> None:
    books = catalog(
        subscription_of("s", "acme", "basic", JAN, "2026-01-11T12:00:00Z"),
    )
    (document,) = documents(books, "2026-01-11T12:00:00Z")
    _, seat = lines_of(document)

    # 31 x 10.5 / 31
    assert (seat["total_minor"], seat["quantity"], seat["unit_amount"]) == (1050, "1", "31")
    assert seat["amount_minor"] == 3100


def test_one_document_an_issuer_in_order_of_their_ids() -> None:
    books = catalog(SUBSCRIBED, subscription_of("t", "acme", "sisters", JAN))
    sister, talea = documents(books, FEB)

    assert [(each.issuer, each.kind, each.ordinal) for each in (sister, talea)] == [
        ("sister", "invoice", 0),
        ("talea", "invoice", 1),
    ]
    assert sister.content["id"] != talea.content["id"]
    assert [line["source_id"] for line in lines_of(sister)] == ["t/seat"]


def test_nothing_due_is_no_document() -> None:
    assert documents(catalog(SUBSCRIBED), JAN) == []


def test_the_head_of_a_document() -> None:
    (document,) = documents(catalog(SUBSCRIBED), MAR)
    head = {k: v for k, v in document.content.items() if k not in ("id", "lines", "totals")}

    assert head == {
        "format": "talea.invoice.1",
        "kind": "invoice",
        "issuer": "talea",
        "customer": "acme",
        "currency": "EUR",
        "billing_profile": {"name": "c0ffee"},
        "cut_instant": MAR,
        "period_start": JAN,
        "period_end": MAR,
    }
    assert len(lines_of(document)) == 4


def test_ids_tell_lines_apart_whatever_their_names() -> None:
    """Subscription "a/b" with price "c" is not "a" with "b/c"."""
    books = catalog(
        plan_of("p", price_of("c", flat("1")), price_of("b/c", flat("1"))),
        subscription_of("a", "acme", "p", JAN),
        subscription_of("a/b", "acme", "p", JAN),
        SUBSCRIBED,
    )
    (document,) = documents(books, MAR, {"calls": [UsagePart(0, 1, 5, 5, 5)]})
    lines = lines_of(document)
    ids = [line["id"] for line in lines]
    ids += [
        child["id"] for line in lines for child in cast(list[dict[str, Json]], line["children"])
    ]

    assert len(ids) == 2 * (2 + 2 + 2) + 2 == len(set(map(str, ids)))
    assert carried_by_all([document.content]) == {
        **{("a", price): Reach(instant(MAR)) for price in ("c", "b/c")},
        **{("a/b", price): Reach(instant(MAR)) for price in ("c", "b/c")},
        **{("s", price): Reach(instant(MAR)) for price in ("per-call", "seat")},
    }


def test_the_key_of_a_line_is_read_back_from_its_document() -> None:
    books = catalog(SUBSCRIBED, subscription_of("s/x", "acme", "basic", JAN))
    lines = planned_lines(books, "acme", "EUR", instant(FEB))
    (document,) = documents(books, FEB)

    assert [LineKey.of_line(line) for line in lines_of(document)] == [line.key for line in lines]


def test_what_is_carried_is_how_far_not_which() -> None:
    lines = planned_lines(catalog(SUBSCRIBED), "acme", "EUR", instant(MAR))
    reached = {("s", "per-call"): Reach(instant(MAR)), ("s", "seat"): Reach(instant(MAR))}

    assert with_lines({}, lines) == reached
    further: Carried = {("s", "seat"): Reach(instant(APR))}
    assert with_lines(further, lines)["s", "seat"] == Reach(instant(APR))
    assert with_lines({("t", "x"): Reach(5)}, []) == {("t", "x"): Reach(5)}


def test_a_quantity_without_a_price_is_an_issue_and_the_other_lines_stand() -> None:
    books = catalog(
        plan_of(
            "p",
            price_of("fee", flat("10")),
            price_of("x", graduated(("10", "1", "0")), "calls"),
        ),
        subscription_of("s", "acme", "p", JAN),
    )
    (whole,) = documents(books, FEB, {"calls": [UsagePart(0, 1, 10, 10, 10)]})
    (faulty,) = documents(books, FEB, {"calls": [UsagePart(0, 1, 11, 11, 11)]})
    (again,) = documents(books, FEB, {"calls": [UsagePart(0, 1, 12, 12, 12)]})

    assert whole.issues == ()
    assert lines_of(faulty) == [line for line in lines_of(whole) if line["source_id"] == "s/fee"]
    assert faulty.content["id"] == whole.content["id"]
    (issue,) = faulty.issues
    assert (issue.severity, issue.code, issue.path) == (
        Severity.CRITICAL, FaultCode.BEYOND_LAST_TIER, "quantity"
    )  # fmt: skip
    assert str(issue).startswith(f"s/x from {JAN}: ")
    assert "mend price x of plan p" in issue.mend
    assert again.issues[0].id == issue.id


def test_the_peak_of_a_period_is_its_highest_window() -> None:
    books = catalog(
        plan_of("p", price_of("x", per_unit("1"), "peak")),
        subscription_of("s", "acme", "p", JAN),
    )
    parts = [UsagePart(0, 3, 99, 1, 50), UsagePart(1, 1, 505, 505, 505), UsagePart(0, 1, 7, 7, 7)]
    (document,) = documents(books, FEB, {"peak": parts})

    assert lines_of(document)[0]["quantity"] == "50.5"


def test_the_closings_that_have_begun_and_are_not_cut() -> None:
    books = catalog(SUBSCRIBED, subscription_of("d", "acme", "dollars", "2026-01-15T00:00:00Z"))
    done = frozenset({("EUR", instant(FEB))})

    assert open_closings(books, "acme", EARLIEST, instant(JAN) - 1, frozenset()) == []
    assert open_closings(books, "acme", EARLIEST, instant(JAN), frozenset()) == [
        ("EUR", instant(FEB))
    ]
    assert open_closings(books, "acme", EARLIEST, instant(FEB), done) == [
        ("USD", instant("2026-02-15T00:00:00Z")),
        ("EUR", instant(MAR)),
    ]
    # What ended by then was cut: nobody need say so.
    assert open_closings(books, "acme", instant(FEB), instant(FEB), ()) == [
        ("USD", instant("2026-02-15T00:00:00Z")),
        ("EUR", instant(MAR)),
    ]


def test_a_draft_is_the_document_of_a_cut_ahead() -> None:
    """L4: what a draft shows before its cut is what the cut will make of the same usage."""
    books = catalog(SUBSCRIBED)
    used = {"calls": [UsagePart(0, 1, 5, 5, 5)]}
    ((_, ahead),) = open_closings(
        books, "acme", EARLIEST, instant("2026-01-20T00:00:00Z"), frozenset()
    )

    assert documents(books, instant_text(ahead), used) == documents(books, FEB, used)


GROUPED = price_of(
    "tokens", per_unit("0.5"), "tokens", filter={"region": ["eu", "us"]}, group_by=["model"]
)


def of(value: int, **dimensions: str) -> UsagePart:
    return UsagePart(0, 1, value, value, value, 0, tuple(sorted(dimensions.items())))


def grouped(*parts: UsagePart) -> Composed:
    books = catalog(plan_of("p", GROUPED), subscription_of("s", "acme", "p", JAN))
    (document,) = documents(books, FEB, {"tokens": list(parts)})
    return document


def test_a_group_is_a_line_priced_by_itself() -> None:
    document = grouped(
        of(3, model="small", region="us"),
        of(1, model="big", region="eu"),
        of(5, model="big", region="us"),
        of(99, model="big", region="asia"),
        of(99, model="huge"),
        of(7, region="eu"),
    )
    lines = lines_of(document)

    assert [(line["name"], line["quantity"], line["total_minor"]) for line in lines] == [
        ("Tokens (no model)", "7", 350),
        ("Tokens (model big)", "6", 300),
        ("Tokens (model small)", "3", 150),
    ]
    assert lines[1]["description"] == "Tokens (model big), 6 token"
    assert len({str(line["id"]) for line in lines}) == 3
    assert lines[1]["rate_card"] == {
        "plan": "p",
        "id": "tokens",
        "meter": "tokens",
        "price": per_unit("0.5"),
        "filter": {"region": ["eu", "us"]},
        "group_by": ["model"],
        "group": {"model": "big"},
    }


def test_a_group_has_the_ids_of_its_values_and_no_group_those_of_a_plain_price() -> None:
    plain = catalog(
        plan_of("p", price_of("tokens", per_unit("0.5"), "tokens")),
        subscription_of("s", "acme", "p", JAN),
    )
    (document,) = documents(plain, FEB, {"tokens": [of(7, region="eu")]})
    none, big = lines_of(grouped(of(7, region="eu"), of(1, region="eu", model="big")))

    assert none["id"] == lines_of(document)[0]["id"] != big["id"]
    assert LineKey.of_line(big) == LineKey("s", "tokens", instant(JAN), (("model", "big"),))


def test_where_nothing_was_used_there_is_one_line_so_that_the_period_is_carried() -> None:
    document = grouped(of(9, model="big", region="asia"))

    assert [line["quantity"] for line in lines_of(document)] == ["0"]
    assert carried_by_all([document.content]) == {("s", "tokens"): Reach(instant(FEB))}


def test_a_level_holds_from_before_the_period() -> None:
    books = catalog(
        plan_of("p", price_of("disk", per_unit("1"), "disk")),
        subscription_of("s", "acme", "p", JAN),
    )
    (line,) = planned_lines(books, "acme", "EUR", instant(FEB))
    assert line.request is not None
    assert line.request.grain is Grain.LEVELS
    points = [UsagePoint(instant(JAN) - 5, b"k", 1, 25)]
    (document,) = compose(books, "acme", "EUR", instant(FEB), [line], {line.request: points})

    assert lines_of(document)[0]["quantity"] == "2.5"
