"""What of a document differs in a replay, and what each difference is of."""

from typing import Any, cast

import pytest

from builders import T0
from pipeline.core.identity import Json
from pipeline.invoice.lines import Line
from pipeline.invoice.totals import Totals
from pipeline.replay.bounds import LogPlace, parse_bound
from pipeline.replay.diff import Cause, Moved, MovedUsage, Pair, Selection, UsedIn, diff

ALL = Selection()
PRICE, RULES, TAX = Cause.PRICE_REVISION, Cause.RULE_VERSION, Cause.TAX


def line(
    net: int,
    used: str | None = "1",
    unit: str = "0.10",
    *,
    id: str = "line_1",
    tax: int = 0,
    code: str | None = None,
    meter: str | None = "calls",
    category: str = "regular",
) -> Line:
    """A line as content has it, as far as a diff looks."""
    totals = Totals(amount=net, taxes_exclusive_total=tax, taxes_total=tax, total=net + tax)
    return {
        "id": id,
        "name": "Calls",
        "description": "Calls",
        "category": category,
        "source_id": "s-1/calls",
        "meter": meter,
        "metered_quantity": used,
        "rate_card": {"id": "calls", "price": {"type": "unit", "unit_amount": unit}},
        "fx": None,
        "discounts": [],
        "tax_code": code,
        "tax_jurisdiction": None if code is None else "DE",
        "period_start": "2026-03-01T00:00:00Z",
        "period_end": "2026-03-02T00:00:00Z",
        "totals": totals.json(),
    }


def document(*lines: Line, kind: str = "invoice", percent: str = "19") -> dict[str, Json]:
    """A document of one category of tax."""
    row: Json = {"tax_code": "S", "jurisdiction": "DE", "rate_percent": percent, "tax_minor": 1}
    told: list[Json] = [*lines]
    return {"id": "inv_1", "kind": kind, "currency": "EUR", "lines": told, "taxes": [row]}


def pair(
    before: dict[str, Json] | None, after: dict[str, Json] | None, number: str | None = "S-1"
) -> Pair:
    return Pair(number, "acme", T0, 7, before == after, before, after, LogPlace(3, 40))


def moved(events: int = 0, reversed: int = 0) -> MovedUsage:
    def asked(used: UsedIn) -> Moved:
        assert (used.customer, used.meter, used.below_cut) == ("acme", "calls", 7)
        return Moved(events, reversed)

    return asked


NOTHING = moved()


@pytest.mark.parametrize(
    ("before", "after", "usage", "causes"),
    [
        pytest.param(line(10), line(15, unit="0.15"), NOTHING, {PRICE: 5}, id="another price"),
        pytest.param(line(10), line(11), NOTHING, {RULES: 1}, id="same usage and price"),
        pytest.param(line(10), line(20, "2"), moved(1), {Cause.LATE_USAGE: 10}, id="an event more"),
        pytest.param(
            line(20, "2"), line(10), moved(-1), {Cause.DUPLICATE_REMOVED: -10}, id="one less"
        ),
        pytest.param(
            line(20, "2"), line(10), moved(1, 1), {Cause.REVERSAL: -10}, id="one taken back"
        ),
        pytest.param(
            line(10), line(30, "3"), NOTHING, {Cause.USAGE_CHANGED: 20}, id="another value"
        ),
        pytest.param(
            line(10),
            line(30, "2", "0.15"),
            moved(1),
            {Cause.USAGE_AND_PRICE: 20},
            id="more usage at another price",
        ),
        pytest.param(None, line(10), moved(1), {Cause.LATE_USAGE: 10}, id="a new group of usage"),
        pytest.param(line(10), None, NOTHING, {PRICE: -10}, id="not billed any more"),
        pytest.param(
            None, line(10, None, meter=None), NOTHING, {PRICE: 10}, id="a fee that was not there"
        ),
        pytest.param(
            line(10, None, meter=None, category="commitment"),
            line(4, None, meter=None, category="commitment"),
            NOTHING,
            {Cause.COVERED: -6},
            id="a commitment that others come to more for",
        ),
        pytest.param(
            line(10, None, meter=None, category="commitment"),
            line(20, None, "0.20", meter=None, category="commitment"),
            NOTHING,
            {PRICE: 10},
            id="a commitment to more",
        ),
        pytest.param(
            line(100, tax=19, code="S"),
            line(100, tax=7, code="R"),
            NOTHING,
            {TAX: -12},
            id="another category of tax",
        ),
        pytest.param(
            line(100, tax=19, code="S"),
            line(200, unit="0.20", tax=38, code="S"),
            NOTHING,
            {PRICE: 119},
            id="the tax that a price brings with it",
        ),
        pytest.param(
            line(100, tax=19, code="S"),
            line(200, unit="0.20", tax=14, code="R"),
            NOTHING,
            {PRICE: 100, TAX: -5},
            id="another price and another tax",
        ),
    ],
)
def test_the_cause_of_a_line(
    before: Line | None, after: Line | None, usage: MovedUsage, causes: dict[Cause, int]
) -> None:
    one, two = (document() if each is None else document(each) for each in (before, after))
    (found,) = diff([pair(one, two)], ALL, usage).documents
    (only,) = found.lines
    assert dict(only.causes) == causes
    assert sum(causes.values()) == only.difference_minor == found.difference_minor


def test_the_rate_of_a_category_is_another() -> None:
    before = document(line(100, tax=19, code="S"))
    after = document(line(100, tax=20, code="S"), percent="20")
    found = diff([pair(before, after)], ALL, NOTHING)
    assert found.by_cause == {TAX: {"EUR": 1}}


def test_what_is_only_on_one_side_counts_whole() -> None:
    note = document(line(-5), kind="credit_note")
    found = diff([pair(None, note, None), pair(document(line(7)), None)], ALL, NOTHING)
    told = [(e.pair.number, e.before_minor, e.after_minor) for e in found.documents]
    assert told == [("S-1", 7, 0), (None, 0, -5)]
    assert found.totals == {"EUR": -12}


def test_what_moves_no_money_is_told_without_a_cause() -> None:
    before, after = document(line(10)), document({**line(10), "name": "Requests"})
    found = diff([pair(before, after)], ALL, NOTHING).json()
    (invoice,) = cast(list[Any], found["invoices"])
    assert invoice["causes"] == []
    assert (found["total_difference_minor"], found["by_cause"]) == ({}, {})
    assert found["customers_touched"] == 1


@pytest.mark.parametrize(
    ("selection", "lines"),
    [
        ({}, 2),
        ({"customers": ["acme"]}, 2),
        ({"customers": ["globex"]}, 0),
        ({"meters": ["calls"]}, 1),
        ({"meters": ["bytes"]}, 0),
        ({"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T00:00:01Z"}, 2),
        ({"from": "2026-03-01T00:00:01Z"}, 0),
        ({"to": "2026-03-01T00:00:00Z"}, 0),
        ({"from": "3:40", "to": "3:41"}, 2),
        ({"from": "3:41"}, 0),
        ({"to": "3:40"}, 0),
        ({"from": "0:9,2:50", "to": "4:0"}, 2),
        ({"from": "2026-03-01T00:00:00Z", "to": "1:7,3:41"}, 2),
        ({"from": "2026-03-01T00:00:01Z", "to": "3:41"}, 0),
    ],
)
def test_only_what_is_selected_is_told(selection: dict[str, Json], lines: int) -> None:
    before = document(line(10), line(500, None, id="line_2", meter=None))
    after = document(line(15, unit="0.15"), line(600, None, "6", id="line_2", meter=None))
    selected = Selection.of_json(selection)
    found = diff([pair(before, after)], selected, NOTHING)
    assert sum(len(each.lines) for each in found.documents) == lines
    assert selected.json() == selection


def test_offsets_are_told_in_order_of_partition() -> None:
    selected = Selection(start=parse_bound("12:7,3:0040"))
    assert selected.json() == {"from": "3:40,12:7"}
    assert Selection.of_json(selected.json()) == selected


def test_the_same_diff_has_the_same_id_and_another_has_another() -> None:
    def told(after: int) -> Json:
        sides = document(line(10)), document(line(after, unit="0.15"))
        return diff([pair(*sides)], ALL, NOTHING).json()["diff_id"]

    assert told(15) == told(15)
    assert told(15) != told(16)
