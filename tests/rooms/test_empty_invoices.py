"""Documents of periods that bill nothing: who wants one has one, with no line and a total of 0."""

from typing import cast

import pytest

from builders import (
    Decision,
    catalog_of,
    customer_of,
    flat,
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
from pipeline.catalog.changes import Changes, changes
from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.correcting import usage_note
from pipeline.invoice.history import History, Paper
from pipeline.invoice.layers import layers_of
from pipeline.invoice.planned import planned_lines
from pipeline.invoice.usage import Usage, UsagePart
from pipeline.invoice.validation import Seen, validated

MID_MARCH, APRIL, MAY = (instant(f"2026-{day}T00:00:00Z") for day in ("03-15", "04-01", "05-01"))


def told(*, asks: bool, **more: Json) -> Decision:
    kind, subject, body = customer_of("acme")
    return kind, subject, {**body, **({"empty_invoices": True} if asks else {}), **more}


def books(*decisions: Decision) -> Catalog:
    return catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        issuer_of("other"),
        plan_of("trial", price_of("fee", flat("10")), trial="P1M"),
        plan_of("other-trial", price_of("fee", flat("9")), issuer="other", trial="P1M"),
        plan_of("side", price_of("side", flat("5")), issuer="other"),
        *decisions,
    )


def made(catalog: Catalog, until: Instant, usage: Usage | None = None) -> list[Composed]:
    lines = planned_lines(catalog, "acme", "EUR", until)
    return compose(catalog, "acme", "EUR", until, lines, usage or {})


TRIED = subscription_of("s", "acme", "trial", "2026-03-01T00:00:00Z")
SIDE = subscription_of("t", "acme", "side", "2026-03-01T00:00:00Z")


@pytest.mark.parametrize(
    ("asks", "sold", "until", "documents"),
    [
        (True, [TRIED], APRIL, [("talea", 0, 0)]),
        (False, [TRIED], APRIL, []),
        (True, [TRIED], MAY, [("talea", 1, 1000)]),
        (False, [TRIED], MAY, [("talea", 1, 1000)]),
        (True, [TRIED], MID_MARCH, []),  # no period ends here
        (True, [TRIED, SIDE], APRIL, [("other", 1, 500), ("talea", 0, 0)]),
        (False, [TRIED, SIDE], APRIL, [("other", 1, 500)]),
        (True, [], APRIL, []),
    ],
)
def test_a_period_that_bills_nothing_is_a_document_where_it_is_asked_for(
    asks: bool, sold: list[Decision], until: Instant, documents: list[tuple[str, int, int]]
) -> None:
    found = made(books(told(asks=asks), *sold), until)

    assert [
        (
            each.issuer,
            len(cast(list[Json], each.content["lines"])),
            cast(dict[str, int], each.content["totals"])["total_minor"],
        )
        for each in found
    ] == documents


def test_it_tells_its_period_and_nothing_is_wrong_with_it() -> None:
    (empty,) = made(books(told(asks=True), TRIED), APRIL)

    assert (empty.content["period_start"], empty.content["period_end"]) == (
        "2026-03-01T00:00:00Z",
        "2026-04-01T00:00:00Z",
    )
    assert validated(empty, Seen([1000] * 12)).issues == ()


def test_a_decision_makes_no_document_of_nothing() -> None:
    catalog = books(told(asks=True), TRIED)

    assert compose(catalog, "acme", "EUR", APRIL, [], {}, "fact_1") == []


def test_what_comes_late_is_a_note_where_other_issuers_have_documents_of_nothing_too() -> None:
    """A document is composed anew alone, though its customer wants one of each issuer."""
    calls = price_of("calls", per_unit("2"), "calls", group_by=["region"])
    catalog = books(
        told(asks=True),
        meter_of("calls", dimensions=["region"]),
        plan_of("used", calls),
        subscription_of("u", "acme", "used", "2026-03-01T00:00:00Z"),
        subscription_of("t", "acme", "other-trial", "2026-03-01T00:00:00Z"),
    )
    assert [each.issuer for each in made(catalog, APRIL)] == ["other", "talea"]
    empty = next(each for each in made(catalog, APRIL) if each.issuer == "talea")
    paper = Paper(2, APRIL, empty.kind, empty.ordinal, empty.content)
    history = History("acme", [paper], lambda serial: catalog)
    anew = layers_of(history, paper)
    late = UsagePart(0, 1, 7, 7, 7, APRIL - 1, (("region", "eu"),))

    (request,) = anew.requests
    note = usage_note(history, anew, {request: [late]}, lambda *_: {}, MAY, ())

    assert note is not None
    assert note.kind == "debit_note"
    assert cast(dict[str, int], note.content["totals"])["total_minor"] == 1400


def test_it_is_asked_for_in_the_catalog() -> None:
    sheet = parse_sheet("customers: [{id: acme, empty_invoices: true}, {id: ben}]")
    assert isinstance(sheet, Sheet)

    new = changes(sheet, Catalog(), {}, lambda: bytes(16), "2026.6")

    assert isinstance(new, Changes)
    assert [each.body.get("empty_invoices") for each in new.facts] == [True, None]
