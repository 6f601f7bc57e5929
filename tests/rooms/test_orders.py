"""Orders: bought once, billed once, on an invoice at their instant; read, checked, never changed."""

from typing import Any

import pytest

from builders import (
    HOUR,
    T0,
    Decision,
    catalog_of,
    customer_of,
    flat,
    instant,
    issuer_of,
    log_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from json_schema import faults
from pipeline.catalog import shape
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.changes import Changes, changes
from pipeline.catalog.checking import check
from pipeline.catalog.cuts import CutSchedule
from pipeline.catalog.facts import FactKind
from pipeline.catalog.planning import buyers
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.catalog.yaml import as_json
from pipeline.catalog.yaml import compose as read_yaml
from pipeline.core.calendar import instant_text
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.drafts import open_closings
from pipeline.invoice.lines import LineKey
from pipeline.invoice.planned import Carried, carried_by_all, planned_lines, with_lines
from pipeline.meter.ticks import Tick
from rooms.test_sheet_changes import TZDATA, Desk
from rooms.test_sheet_problems import cases

MID, APR = "2026-03-16T12:00:00Z", "2026-04-01T00:00:00Z"
SETUP = price_of("setup", flat("250"))
HOURS = price_of("hours", flat("99.99"), quantity="2.5")


def order_of(
    name: str, *lines: dict[str, Json], at: str = MID, customer: str = "acme", currency: str = "EUR"
) -> Decision:
    body: dict[str, Json] = {
        "id": name,
        "customer": customer,
        "issuer": "talea",
        "currency": currency,
        "at": at,
        "payment_days": 7,
        "lines": list(lines),
    }
    return FactKind.ORDER, name, body


def books(*more: Decision) -> Catalog:
    return catalog_of(log_of(), rules_of(), issuer_of(), customer_of("acme"), *more)


def issued(catalog: Catalog, until: str, carried: Carried | None = None) -> tuple[Any, Carried]:
    """The document of acme at an instant, and what is carried then."""
    lines = planned_lines(catalog, "acme", "EUR", instant(until), carried)
    made = compose(catalog, "acme", "EUR", instant(until), lines, {})
    return (made[0].content if made else None), with_lines(carried or {}, lines)


def test_an_order_is_billed_line_by_line_once() -> None:
    catalog = books(order_of("o-1", SETUP, HOURS))
    document, carried = issued(catalog, MID)

    told = [
        (line["source_id"], line["quantity"], line["unit_amount"], line["total_minor"])
        for line in document["lines"]
    ]
    assert told == [("o-1/hours", "2.5", "99.99", 24998), ("o-1/setup", "1", "250", 25000)]
    line = document["lines"][0]
    assert (line["source_type"], line["managed_by"]) == ("order_line_item", "manual")
    assert (line["subscription"], line["invoice_at"]) == (None, MID)
    assert (line["period_start"], line["period_end"]) == (MID, MID)
    assert line["rate_card"] == {
        "order": "o-1",
        "id": "hours",
        "meter": None,
        "price": {"type": "flat", "amount": "99.99"},
        "quantity": "2.5",
    }
    assert issued(catalog, APR, carried)[0] is None
    assert carried_by_all([document]) == carried
    assert {LineKey.of_line(line) for line in document["lines"]} == {
        LineKey("", "o-1/hours", instant(MID)),
        LineKey("", "o-1/setup", instant(MID)),
    }


def test_a_fixed_discount_and_one_of_percent_come_off_an_order() -> None:
    off: Json = [{"type": "percentage", "percent": "10"}, {"type": "fixed", "amount": "5"}]
    document, _ = issued(books(order_of("o-1", {**SETUP, "discounts": off})), MID)

    assert document["totals"]["total_minor"] == 25000 - 2500 - 500


def test_an_order_is_cut_at_its_instant_and_one_of_the_past_at_once() -> None:
    first = Tick(1, T0, 4)
    before, after = books(), books(order_of("o-1", SETUP, at=instant_text(T0 + 2 * HOUR)))
    late = books(order_of("o-1", SETUP, at=instant_text(T0 - HOUR)))

    schedule = CutSchedule(0, before, first)
    assert schedule.pass_tick(Tick(2, T0 + HOUR, 5), after) == []
    assert schedule.started() == ["acme"]  # there is something new to draft
    (due,) = schedule.pass_tick(Tick(3, T0 + 2 * HOUR, 5), after)
    assert (due.instant, due.payer, due.currency) == (T0 + 2 * HOUR, "acme", "EUR")
    assert schedule.pass_tick(Tick(4, T0 + 3 * HOUR, 5), after) == []
    (due,) = CutSchedule(0, before, first).pass_tick(Tick(2, T0 + HOUR, 5), late)
    assert due.instant == T0 - HOUR


def test_orders_and_periods_of_one_instant_share_a_document() -> None:
    catalog = books(
        plan_of("p", price_of("fee", flat("10"))),
        subscription_of("s", "acme", "p", "2026-03-01T00:00:00Z"),
        order_of("o-1", SETUP, at=APR),
        order_of("o-2", SETUP, at=MID),
        order_of("o-3", SETUP, at=APR, currency="USD"),
    )
    _, carried = issued(catalog, MID)
    document, _ = issued(catalog, APR, carried)

    assert [line["source_id"] for line in document["lines"]] == ["o-1/setup", "s/fee"]
    assert open_closings(catalog, "acme", instant(MID) - 1, instant(MID), ()) == [
        ("EUR", instant(MID)),
        ("EUR", instant(APR)),
    ]


SHEET = """\
issuers: [{id: shop, name: The Shop, number_prefix: A-}]
meters: [{id: calls, aggregation: sum, unit: call}]
customers: [{id: acme}]
orders:
  - id: checkout-1
    customer: acme
    issuer: shop
    currency: EUR
    at: 2026-04-01T12:00:00Z
    payment_days: 0
    lines:
      - {id: setup, name: Set-up, price: {type: flat, amount: "250"}}
      - {id: hours, name: Hours, price: {type: flat, amount: "99.99"}, quantity: "2.5"}
"""

# ruff: noqa: E501
# After *: what stands in SHEET => what stands there instead. Below: the problems that makes.
BROKEN = r"""
* customer: acme => customer: acme-2
  line 6: orders[0].customer: no customer acme-2, in this file: add it under customers, or mend the id
* issuer: shop => issuer: talea
  line 7: orders[0].issuer: no issuer talea, in this file: add it under issuers, or mend the id
* currency: EUR => (nothing)
  line 5: orders[0].currency: required, but absent or empty: add currency
* at: 2026-04-01T12:00:00Z => at: today
  line 9: orders[0].at: 'today' is not an RFC 3339 instant with a zone: write it like 2026-11-01T00:00:00Z
* id: hours => id: setup
  line 13: orders[0].lines[1].id: setup stands on line 12 already: rename or remove one
* price: {type: flat, amount: "250"} => meter: calls, price: {type: unit, unit_amount: "1"}
  line 12: orders[0].lines[0].price.type: an order bills no usage: use flat, with a quantity
* amount: "250"} => amount: "250"}, payment_term: in_advance
  line 12: orders[0].lines[0].payment_term: an order is due at its instant: remove it
* quantity: "2.5" => quantity: "-2"
  line 13: orders[0].lines[1].quantity: '-2' is not above zero: write a number above 0
* payment_days: 0 => payment_days: 0\n    note: x
  line 11: orders[0].note: nobody reads this key: remove it, or use id, customer, issuer, currency, at, payment_days, lines
"""


@pytest.mark.parametrize(("old", "new", "expected"), cases(BROKEN))
def test_a_broken_order(old: str, new: str, expected: list[str]) -> None:
    assert old in SHEET

    assert [str(found) for found in check(SHEET.replace(old, new, 1), None)[1]] == expected


def test_an_order_without_lines_buys_nothing() -> None:
    text = SHEET.split("    lines:")[0]

    (problem,) = check(text, None)[1]
    assert str(problem) == "line 5: orders[0].lines: required, but absent or empty: add lines"


def test_an_order_told_twice_is_one_and_never_changes_once_billed() -> None:
    desk = Desk()
    assert desk.apply(SHEET)[-1] == "order checkout-1"
    assert [*faults(shape.sheet_schema(), as_json(read_yaml(SHEET)[0]))] == []
    sheet = parse_sheet(SHEET.replace("250", "300"))
    assert isinstance(sheet, Sheet)

    assert desk.ask(SHEET) == Changes((), ())
    before, at = instant("2026-04-01T11:59:59Z"), instant("2026-04-01T12:00:00Z")
    found = changes(sheet, desk.catalog, desk.known, desk.salt, TZDATA, before)
    assert isinstance(found, Changes)
    assert buyers(found.facts) == {"acme"}
    refused = changes(sheet, desk.catalog, desk.known, desk.salt, TZDATA, at)
    assert not isinstance(refused, Changes)
    (problem,) = refused
    assert str(problem) == (
        "line 5: orders[0]: checkout-1 was billed at 2026-04-01T12:00:00Z and never changes:"
        " use another id"
    )


def test_an_order_of_the_past_is_billed_by_the_next_instant_that_is_free() -> None:
    """It is told as any other, though its own instant was cut, perhaps for another order."""
    desk, at = Desk(), instant("2026-04-01T12:00:00Z")
    desk.apply(SHEET)
    sheet = parse_sheet(SHEET.replace("checkout-1", "checkout-2"))
    assert isinstance(sheet, Sheet)
    asked = changes(sheet, desk.catalog, desk.known, desk.salt, TZDATA, at + HOUR)
    assert isinstance(asked, Changes)
    assert buyers(asked.facts) == {"acme"}

    first, both = (
        books(order_of("o-1", SETUP)),
        books(order_of("o-1", SETUP), order_of("o-2", HOURS)),
    )
    document, carried = issued(first, MID)
    later, carried = issued(both, MID.replace("Z", ".000001Z"), carried)
    told = [(line["source_id"], line["invoice_at"], line["total_minor"]) for line in later["lines"]]
    assert told == [("o-2/hours", MID, 24998)]
    assert later["id"] != document["id"]
    assert issued(both, APR, carried)[0] is None
