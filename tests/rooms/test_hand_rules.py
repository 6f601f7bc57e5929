"""What may be decided by hand of documents that are about to be issued."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from builders import (
    T0,
    Decision,
    catalog_of,
    customer_of,
    document_edit_of,
    flat,
    hand_line_of,
    issuer_of,
    line_edit_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
)
from pipeline.catalog.by_hand import DocumentEdit, HandLine, LineEdit, LineType, hand_line
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.catalog.hand_rules import (
    adding,
    approving,
    editing,
    holding,
    listed_price,
    own_price,
    retrying,
    telling,
)
from pipeline.cli.editing import edit
from pipeline.core.errors import BadInput

BASE: list[Decision] = [
    log_of(),
    rules_of(),
    issuer_of(),
    meter_of("calls"),
    plan_of("basic", price_of("fee", flat("20")), price_of("per-call", per_unit("1"), "calls")),
    customer_of("acme"),
]
ONE = Fraction(1)


def known(*more: Decision) -> Catalog:
    return catalog_of(*BASE, *more)


def held(scope: str, name: str | None, *, on: bool = True) -> Decision:
    (fact,) = holding(known(), scope, name, on=True)
    return fact.kind, fact.subject, {**fact.body, "on": on}


def line(unit: str, kind: LineType = LineType.CHARGE, **other: Any) -> HandLine:
    card = own_price("l1", "Line", Fraction(unit), ONE)
    return HandLine("l1", "acme", "talea", "EUR", T0, kind, card, ONE, **other)


@pytest.mark.parametrize(("scope", "name"), [("all", None), ("customer", "acme"), ("price", "fee")])
def test_what_is_held_is_held_once_and_released_once(scope: str, name: str | None) -> None:
    holds = held(scope, name)
    assert holding(known(holds), scope, name, on=True) == []
    (release,) = holding(known(holds), scope, name, on=False)
    assert release.body["on"] is False
    released = held(scope, name, on=False)
    assert holding(known(holds, released), scope, name, on=False) == []
    assert len(holding(known(holds, released), scope, name, on=True)) == 1


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (lambda c: holding(c, "customer", "who", on=True), "no customer who"),
        (lambda c: holding(c, "price", "what", on=True), "no plan has a price what"),
        (lambda c: adding(c, line("5", LineType.CREDIT)), "a credit is below zero"),
        (lambda c: adding(c, line("5", LineType.DISCOUNT)), "a discount is below zero"),
        (lambda c: adding(c, so_many("0")), "--quantity is above zero"),
        (lambda c: adding(c, so_many("-1")), "write --type credit"),
        (lambda c: adding(c, line("-5")), "a charge is not below zero"),
        (lambda c: listed_price(c, "basic/what", "EUR", ONE), "no price basic/what is in force"),
        (lambda c: listed_price(c, "fee", "EUR", ONE), "write PLAN/PRICE"),
        (lambda c: listed_price(c, "basic/fee", "USD", ONE), "basic/fee has no USD"),
    ],
)
def test_what_cannot_be_is_refused(wanted: Callable[[Catalog], object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        wanted(known())


def as_facts(found: Sequence[NewFact]) -> list[Decision]:
    return [(fact.kind, fact.subject, dict(fact.body)) for fact in found]


def so_many(quantity: str) -> HandLine:
    """A line whose terms no fact could be read with again: every reader of it would stop."""
    many = Fraction(quantity)
    return replace(line("5"), card=own_price("l1", "Line", Fraction(5), many), quantity=many)


def test_a_line_told_twice_is_one_and_its_id_is_no_other_s() -> None:
    told = adding(known(), line("5"))
    standing = known(*as_facts(told))

    assert [fact.kind for fact in told] == [FactKind.HAND_LINE]
    assert adding(standing, line("5")) == []
    with pytest.raises(ValueError, match="line l1 stands already"):
        adding(standing, line("6"))
    assert hand_line(0, told[0].body) == line("5")


@pytest.mark.parametrize("unit", ["-5", "0", "5"])
def test_an_adjustment_goes_both_ways(unit: str) -> None:
    assert len(adding(known(), line(unit, LineType.ADJUSTMENT))) == 1


def test_a_listed_price_comes_without_the_terms_of_its_plan() -> None:
    fee = listed_price(known(), "basic/fee", "EUR", Fraction(3))
    calls = listed_price(known(), "basic/per-call", "EUR", Fraction(3))
    assert (fee.meter, fee.terms.quantity, calls.meter) == (None, Fraction(3), "calls")
    assert not fee.in_advance


def test_an_edit_stands_on_what_was_edited_before() -> None:
    before = known(line_edit_of("d", "acme", "l", name="Fee", amount_minor=500))

    (renamed,) = editing(before, LineEdit("d", "acme", "l", name="Base"))
    assert (renamed.body["name"], renamed.body["amount_minor"]) == ("Base", 500)
    (priced,) = editing(before, LineEdit("d", "acme", "l", quantity=Fraction(2)))
    assert (priced.body["name"], priced.body["amount_minor"]) == ("Fee", None)
    assert editing(before, LineEdit("d", "acme", "l", amount_minor=500)) == []


def test_a_document_is_told_on_top_of_what_it_was_told_before() -> None:
    said = document_edit_of("d", "acme", {"name": "a1", "city": "b2"}, memo="Soon.")
    before = known(said)

    (more,) = telling(before, DocumentEdit("d", "acme", {"name": "c3"}, payment_days=0), [])
    assert more.body == {
        **said[2],
        "profile": {"name": "c3", "city": "b2"},
        "payment_days": 0,
    }
    (less,) = telling(before, DocumentEdit("d", "acme"), ["memo", "city"])
    assert less.body == {**said[2], "profile": {"name": "a1"}, "memo": None}
    assert telling(before, DocumentEdit("d", "acme", {"name": "a1"}, memo="Soon."), []) == []
    assert telling(known(), DocumentEdit("d", "acme"), ["memo", "name"]) == []
    assert telling(before, DocumentEdit("other", "acme", memo="Soon."), [])[0].subject == "other"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"said": ["vat_id=DE1"]}, "--set vat_id: it stands under tax"),
        ({"said": ["name"]}, "--set name: write KEY=VALUE"),
        ({"said": ["na me=x"]}, "--set na me: 'na me' is no id"),
        ({"said": ["name=x"], "line": "l", "amount": "1"}, "what of it?"),
        ({"amount": "1"}, "what of it?"),
        ({"line": "l"}, "what of it?"),
        ({}, "what of it?"),
    ],
)
def test_an_edit_says_what_of_what(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput) as refused:
        edit("inv_1", "ada", "because", **asked)

    assert str(refused.value).startswith(why)


def test_an_approval_stands_and_a_retry_is_always_new() -> None:
    (approval,) = approving(known(), "d")
    assert approving(known(*as_facts([approval])), "d") == []
    assert as_facts(retrying("d")) == as_facts(retrying("d"))
    assert known(hand_line_of("l", "acme", "2026-03-01T00:00:00Z", flat("1"))).by_hand.position == 7
