"""Golden invoices: stories, each to the last cent, as a person reads them.

The texts in `invoices/` were worked out by hand (see `stories.py`); no option rewrites them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from builders import catalog_of, credit_of, facts, log_of, usage
from golden import stories
from pipeline.core.identity import Json
from pipeline.invoice.lifecycle import Standing
from pipeline.invoice.notes import Cause, difference, note
from pipeline.invoice.revenue import By, revenue
from pipeline.invoice.settling import settle
from pipeline.invoice.shown import Issued, contract_faults, shown, subjects
from pipeline.invoice.text import invoice_text, payouts_text

INVOICES = Path(__file__).parent / "invoices"

Node = Mapping[str, Json]

STORIES = [
    ("unit_and_flat", stories.UNIT_AND_FLAT, 5422),
    ("graduated", stories.GRADUATED, 1239573140),
    ("prorated", stories.PRORATED, 4832),
    ("terms", stories.TERMS, 5852),
    ("percentage", stories.PERCENTAGE, 2596),
    ("matrix", stories.MATRIX, 539),
    ("price_change", stories.PRICE_CHANGE, 6850),
    ("seats", stories.SEATS, 12560),
    ("plan_change", stories.PLAN_CHANGE, 2760),
    ("cancelled", stories.CANCELLED, -1440),
    ("agreed", stories.AGREED, 1480),
    ("exchanged", stories.EXCHANGED, 5630),
    ("order", stories.ORDER, 51998),
    ("two_rates", stories.TWO_RATES, 9231),
    ("commitment", stories.COMMITMENT, 6493),
    ("reverse_charge", stories.REVERSE_CHARGE, 5422),
    ("inclusive", stories.INCLUSIVE, 3402),
    ("exempt", stories.EXEMPT, 15000),
    ("moved", stories.MOVED, -1736),
    ("by_hand", stories.BY_HAND, 33140),
    ("threshold", stories.THRESHOLD, 1250),
    ("threshold_rest", stories.THRESHOLD_REST, 2250),
    ("sub_accounts", stories.SUB_ACCOUNTS, 7282),
    ("marketplace", stories.MARKETPLACE, 8313),
]


@pytest.mark.parametrize(("name", "story", "total_minor"), STORIES)
def test_the_invoice_reads(name: str, story: stories.Story, total_minor: int) -> None:
    content = story.told()

    assert invoice_text(content) == (INVOICES / f"{name}.txt").read_text("utf-8")
    assert cast(Node, content["totals"])["total_minor"] == total_minor


def families(node: Node, key: str) -> Iterator[tuple[Node, list[Node]]]:
    """Every record that has children, with them; the document first."""
    children = cast(list[Node], node[key])
    if children:
        yield node, children
    for child in children:
        yield from families(child, "children")


@pytest.mark.parametrize("story", [story for _, story, _ in STORIES])
def test_children_sum_to_their_parent_in_all_seven_totals(story: stories.Story) -> None:
    looked = 0
    for parent, children in families(story.told(), "lines"):
        for name, total in cast(Mapping[str, int], parent["totals"]).items():
            assert total == sum(cast(Mapping[str, int], c["totals"])[name] for c in children)
            looked += 1
    assert looked >= 7


@pytest.mark.parametrize("story", [story for _, story, _ in STORIES])
def test_no_two_lines_share_an_id(story: stories.Story) -> None:
    content = story.told()
    ids = [content["id"]]
    for _, children in families(content, "lines"):
        ids += [child["id"] for child in children]

    assert len(ids) == len(set(map(str, ids))) >= 2


def test_a_note_reads() -> None:
    """40 more exports come late: 57 x 0.25 = 14.25 need no top-up of 5.75 to 10.00."""
    late = usage(value="40", meter="exports", id="x2", time=stories.at("30"))
    original = stories.TERMS.told()
    anew = replace(stories.TERMS, events=[*stories.TERMS.events, late]).told()

    change = difference(anew, original)
    content = note(original, change, Cause("2026-05-01T00:00:00Z", "usage_changed"))

    assert change.totals.total == 425
    assert invoice_text(content) == (INVOICES / "note.txt").read_text("utf-8")


def test_what_sellers_are_paid_out_reads() -> None:
    text = (INVOICES / "marketplace_payouts.txt").read_text("utf-8")

    assert payouts_text(stories.MARKETPLACE.told()) == text


def test_an_empty_invoice_reads() -> None:
    content = stories.EMPTY.told()

    assert invoice_text(content) == (INVOICES / "empty.txt").read_text("utf-8")


def shown_of(story: stories.Story) -> dict[str, Json]:
    """What is shown of the document of a story once it is issued."""
    content = story.told()
    told_later = [decision for _, decision in story.later]
    record: Node = {
        "issued_at": "2026-04-01T00:00:00Z",
        "due_at": "2026-04-15T00:00:00Z",
        "fact_position_cut": 9,
        "evidence": {"partitions": [], "windows_digest": ""},
        "settlement": None,
    }
    named = subjects(content)
    about = [f for f in facts(*story.facts, *told_later) if f.subject in named]
    before = Standing.before_issue(content, None)
    return shown(Issued("T-1", content, record, "00", before, (), tuple(about)), 0)


@pytest.mark.parametrize("story", [stories.EMPTY, *(story for _, story, _ in STORIES)])
def test_what_is_shown_of_an_invoice_keeps_its_contract(story: stories.Story) -> None:
    told = shown_of(story)

    assert [*contract_faults(told)] == []
    if told["lines"]:
        broken = {**told, "lines": cast(list[Json], told["lines"])[1:]}
        assert any("is not the sum" in fault for fault in contract_faults(broken))


ON_DOCUMENTS = """number state customer billing_profile currency issued_at due_at period_start
    period_end catalog_revision totals validation_issues seal lines"""
ON_LINES = """id type line_kind category name description status managed_by source_type source_id
    subscription meter sku quantity unit_amount amount_minor subtotal_minor total_minor currency
    payment_term invoice_at tax_amount_minor tax_code tax_jurisdiction period_start period_end
    metered_quantity pre_line_quantity discounts resource_ids metadata external_reference
    reason_code fx rate_card provenance totals children"""
NEVER_NULL = """id type line_kind status source_type description quantity unit_amount total_minor
    currency period_start period_end rate_card provenance totals"""
TOTALS = """amount charges_total discounts_total taxes_inclusive_total taxes_exclusive_total
    taxes_total total"""


def broken(what: str, name: str) -> dict[str, Json]:
    """What is shown of an invoice, but for one field."""
    told = shown_of(stories.TERMS)
    lines = [dict(line) for line in cast(list[Node], told["lines"])]
    totals = {**cast(Node, lines[0]["totals"])}
    match what:
        case "document":
            del told[name]
        case "line":
            del lines[0][name]
        case "null":
            lines[0][name] = None
        case _:
            del totals[f"{name}_minor"]
            lines[0]["totals"] = totals
    return {**told, "lines": [*lines]} if what != "document" else told


@pytest.mark.parametrize(
    ("what", "name"),
    [
        (what, name)
        for what, names in (
            ("document", ON_DOCUMENTS),
            ("line", ON_LINES),
            ("null", NEVER_NULL),
            ("totals", TOTALS),
        )
        for name in names.split()
    ],
)
def test_no_field_of_the_contract_can_be_lost(what: str, name: str) -> None:
    """The names are those that readers were promised, not those of the code."""
    whole, left = shown_of(stories.TERMS), broken(what, name)

    assert whole != left
    assert [*contract_faults(left)] != []


@pytest.mark.parametrize("by", By)
def test_revenue_sums_to_what_was_invoiced(by: By) -> None:
    contents = [story.told() for _, story, _ in STORIES]
    sums: dict[str, int] = {}
    for content in contents:
        currency, totals = str(content["currency"]), cast(Mapping[str, int], content["totals"])
        sums[currency] = sums.get(currency, 0) + totals["total_minor"]
    found: dict[str, int] = {}
    for each in revenue(contents, by):
        assert each.net_minor + each.tax_minor == each.total_minor
        found[each.currency] = found.get(each.currency, 0) + each.total_minor
    assert found == sums


def test_a_settled_invoice_reads() -> None:
    """49.90 and 4.32 of usage: 1.50 is paid by what is for usage alone, the rest of 20.00 next."""
    content = stories.UNIT_AND_FLAT.told()
    known = catalog_of(
        log_of(),
        credit_of("welcome", "acme", "20.00", "USD"),
        credit_of("usage", "acme", "1.50", "USD", priority=-1, meters=["api-calls"]),
        credit_of("euros", "acme", "100.00", "EUR"),
    )
    settlement = settle(content, known.deals.credits["acme"].values(), {}).json()

    told = invoice_text({**content, "settlement": settlement})
    assert told == (INVOICES / "settled.txt").read_text("utf-8")
