"""Lines and edits by hand: what a document makes of them."""

from collections.abc import Mapping
from typing import cast

import pytest

from builders import (
    Decision,
    catalog_of,
    customer_of,
    document_edit_of,
    flat,
    graduated,
    hand_line_of,
    instant,
    issuer_of,
    line_edit_of,
    log_of,
    meter_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from pipeline.catalog.catalog import Catalog
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.invoice.by_hand import takes_lines
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.history import History, Paper
from pipeline.invoice.lines import document_id_of
from pipeline.invoice.notes import Cause, difference, note
from pipeline.invoice.planned import Carried, carried_by_all, planned_lines
from pipeline.invoice.text import invoice_text
from pipeline.invoice.usage import UsagePart

MARCH, APRIL = instant("2026-04-01T00:00:00Z"), instant("2026-05-01T00:00:00Z")
MAY = instant("2026-06-01T00:00:00Z")
DOCUMENT = document_id_of("acme", "EUR", "2026-04-01T00:00:00Z", "talea")
CALLS = graduated(("10", "1", "0"), (None, "0.5", "0"))
BASE: list[Decision] = [
    log_of(),
    rules_of(),
    issuer_of(),
    meter_of("calls"),
    plan_of(
        "basic",
        price_of("fee", flat("20")),
        price_of("per-call", CALLS, "calls"),
    ),
    customer_of("acme"),
    subscription_of("s", "acme", "basic", "2026-03-01T00:00:00Z"),
]
Lines = Mapping[str, Mapping[str, Json]]


def composed(
    *decisions: Decision, cut: Instant = MARCH, carried: Carried | None = None, used: int = 30
) -> Composed:
    """The document of a cut, with so many calls."""
    return _made(catalog_of(*BASE, *decisions), cut, carried, used)


def _made(catalog: Catalog, cut: Instant, carried: Carried | None, used: int) -> Composed:
    lines = planned_lines(catalog, "acme", "EUR", cut, carried)
    usage = {
        line.request: [UsagePart(0, used, used, 1, 1)] for line in lines if line.request is not None
    }
    (document,) = compose(catalog, "acme", "EUR", cut, lines, usage)
    return document


def by_item(document: Composed) -> Lines:
    """Its lines, by what they bill."""
    lines = cast(list[Mapping[str, Json]], document.content["lines"])
    return {str(line["source_id"]).rpartition("/")[2]: line for line in lines}


def total(document: Composed) -> int:
    """What it comes to."""
    return cast(dict[str, int], document.content["totals"])["total_minor"]


def test_a_custom_charge_falls_on_the_next_document_and_on_no_other() -> None:
    charge = hand_line_of("set-up", "acme", "2026-03-10T00:00:00Z", flat("150"), quantity="2")
    before, march = composed(), composed(charge)
    carried = carried_by_all([march.content])

    assert total(march) == total(before) + 30000
    line = by_item(march)["set-up"]
    assert (line["type"], line["managed_by"]) == ("charge", "manual")
    assert (line["source_type"], line["source_id"]) == ("adjustment", "set-up")
    assert (line["quantity"], line["unit_amount"], line["total_minor"]) == ("2", "150", 30000)
    assert (march.content["period_start"], march.content["period_end"]) == (
        before.content["period_start"],
        before.content["period_end"],
    )
    assert "set-up" not in by_item(composed(charge, cut=APRIL, carried=carried))


@pytest.mark.parametrize("type_", ["credit", "discount", "adjustment"])
def test_what_is_below_zero_is_taken_off(type_: str) -> None:
    back = hand_line_of("sorry", "acme", "2026-03-10T00:00:00Z", flat("-5"), type=type_)

    document = composed(back)

    assert total(document) == total(composed()) - 500
    assert by_item(document)["sorry"]["type"] == type_


def test_a_price_of_the_catalog_is_rated_for_the_quantity_told() -> None:
    told = hand_line_of(
        "extra", "acme", "2026-03-10T00:00:00Z", CALLS, quantity="12", plan="basic", meter="calls"
    )

    line = by_item(composed(told))["extra"]

    assert (line["source_type"], line["source_id"]) == ("price", "basic/extra")
    assert (line["line_kind"], line["total_minor"]) == ("usage_based", 1100)
    assert (line["quantity"], line["metered_quantity"]) == ("12", None)
    children = cast(list[dict[str, Json]], line["children"])
    assert [child["total_minor"] for child in children] == [1000, 100]
    assert {child["managed_by"] for child in children} == {"manual"}


def test_a_line_for_one_document_is_on_that_one_also_after_its_cut() -> None:
    late = hand_line_of("late", "acme", "2026-04-01T00:00:00Z", flat("7"), document=DOCUMENT)
    before, later = catalog_of(*BASE), catalog_of(*BASE, late)

    lines = planned_lines(before.decided_by(later), "acme", "EUR", MARCH)
    assert [line.hand.id for line in lines if line.hand] == ["late"]
    assert not [line for line in planned_lines(later, "acme", "EUR", APRIL) if line.hand]


def test_a_line_that_names_no_document_is_not_added_after_the_cut() -> None:
    late = hand_line_of("late", "acme", "2026-03-31T00:00:00Z", flat("7"))
    before, later = catalog_of(*BASE), catalog_of(*BASE, late)

    lines = planned_lines(before.decided_by(later), "acme", "EUR", MARCH)
    assert not [line for line in lines if line.hand]


def test_an_edited_line_says_what_its_edit_says_whatever_its_usage_becomes() -> None:
    line = by_item(composed())["per-call"]
    edit = line_edit_of(DOCUMENT, "acme", str(line["id"]), amount_minor=1234, description="agreed")

    for used in (30, 31_000):
        document = composed(edit, used=used)
        told = by_item(document)["per-call"]
        assert (told["total_minor"], told["managed_by"], told["children"]) == (1234, "manual", [])
        assert told["description"] == "agreed"
        assert total(document) == 2000 + 1234
    assert told["id"] == line["id"]
    assert told["metered_quantity"] == "31000"


def test_an_edit_of_a_name_leaves_the_price_and_its_children() -> None:
    line = by_item(composed())["per-call"]
    document = composed(line_edit_of(DOCUMENT, "acme", str(line["id"]), name="Requests"))

    told = by_item(document)["per-call"]
    assert told["name"] == "Requests"
    assert told["totals"] == line["totals"]
    assert len(cast(list[Json], told["children"])) == 2


def test_an_edit_of_quantity_and_unit_is_priced_anew() -> None:
    line = by_item(composed())["fee"]
    edit = line_edit_of(DOCUMENT, "acme", str(line["id"]), quantity="0.5", unit_amount="19.99")

    told = by_item(composed(edit))["fee"]
    assert (told["quantity"], told["unit_amount"], told["total_minor"]) == ("0.5", "19.99", 1000)


def test_an_edit_is_of_one_document() -> None:
    line = by_item(composed())["fee"]
    edit = line_edit_of(DOCUMENT, "acme", str(line["id"]), amount_minor=1)

    carried = carried_by_all([composed(edit).content])
    assert by_item(composed(edit, cut=APRIL, carried=carried))["fee"]["total_minor"] == 2000


def test_a_line_that_cannot_be_rated_can_be_given_an_amount() -> None:
    ends: dict[str, Json] = {"type": "volume", "tiers": [{"up_to": "10", "unit_amount": "1"}]}
    facts = [
        *BASE[:4],
        plan_of("basic", price_of("per-call", ends, "calls")),
        *BASE[5:],
    ]
    held = _made(catalog_of(*facts), MARCH, None, 30)
    (issue,) = held.issues
    assert (held.content["lines"], issue.line is not None) == ([], True)

    edit = line_edit_of(DOCUMENT, "acme", str(issue.line), amount_minor=900)
    mended = _made(catalog_of(*facts, edit), MARCH, None, 30)
    assert (mended.issues, total(mended)) == ((), 900)


TOLD = document_edit_of(
    DOCUMENT,
    "acme",
    {"address": "b2", "name": "c3"},
    purchase_order="PO-4711",
    memo="As agreed in May.",
    payment_days=45,
)


def test_a_draft_is_told_of_its_customer_and_later_ones_do_not_inherit_it() -> None:
    named = customer_of("acme", name="a1", city="d4")
    told, plain = composed(named, TOLD).content, composed(named).content

    assert told["billing_profile"] == {"address": "b2", "city": "d4", "name": "c3"}
    own = {"purchase_order": "PO-4711", "memo": "As agreed in May.", "payment_days": 45}
    assert {name: told[name] for name in own} == own
    assert {key: told[key] for key in plain if key != "billing_profile"} == {
        key: plain[key] for key in plain if key != "billing_profile"
    }
    carried = carried_by_all([told])
    april = composed(named, TOLD, cut=APRIL, carried=carried).content
    assert april == composed(named, cut=APRIL, carried=carried).content
    head = invoice_text(told)
    assert "\nOrder     PO-4711\nMemo      As agreed in May.\n" in head


def test_a_note_names_the_purchase_order_of_its_invoice() -> None:
    original = composed(TOLD).content
    told = note(original, difference(composed(TOLD, used=40).content, original), Cause("", "late"))

    assert told["purchase_order"] == "PO-4711"
    assert "memo" not in told


def test_what_a_draft_is_told_enters_it_after_its_cut() -> None:
    known = catalog_of(*BASE).decided_by(catalog_of(*BASE, TOLD))

    assert _made(known, MARCH, None, 30).content["memo"] == "As agreed in May."
    assert known.by_hand.position_of("acme", DOCUMENT) == len(BASE) + 1


def test_who_is_issued_anew_keeps_what_the_one_before_was_told() -> None:
    catalog = catalog_of(*BASE, TOLD)
    lines = [e for e in planned_lines(catalog, "acme", "EUR", MARCH) if e.request is None]

    (anew,) = compose(catalog, "acme", "EUR", MAY, lines, {}, "fact_1", [DOCUMENT])

    assert anew.content["id"] != DOCUMENT
    assert anew.content["purchase_order"] == "PO-4711"
    assert anew.content["billing_profile"] == {"address": "b2", "name": "c3"}


def test_a_named_document_has_the_line_or_says_that_it_takes_none() -> None:
    """What is issued in the place of a void one goes by the decision's id: the line was nowhere."""
    at = "2026-03-20T00:00:00Z"
    line = hand_line_of("extra", "acme", at, flat("7"), document=DOCUMENT)
    plain = composed()
    again = issued_again(plain)
    correcting = note(
        composed(line).content, difference(plain.content, composed(line).content), Cause("x", "y")
    )

    assert takes_lines(plain.content)
    assert total(composed(line)) == total(plain) + 700
    named = hand_line_of("more", "acme", at, flat("7"), document=again.id)
    assert issued_again(plain, named).content == again.content
    assert not takes_lines(again.content)
    assert not takes_lines(correcting)


def issued_again(plain: Composed, *decisions: Decision) -> Composed:
    """The document of March in its own place, once it is void."""
    catalog = catalog_of(*BASE, *decisions)
    paper = Paper(1, MARCH, plain.kind, plain.ordinal, plain.content)
    anew = History("acme", [paper], lambda _: catalog).reissue(paper, 2, APRIL, "fact_void")
    return anew.composed("acme", "EUR", {of: [UsagePart(0, 1, 1, 1, 1)] for of in anew.requests})
