"""Laws of notes: whatever is taken off, line by line or cent by cent, sums to the invoice exactly.

The invoices are those of the golden stories: tiers, discounts, minimum, exchange, two rates of tax
and tax in the price. A clerk credits and debits at random; what is left is then taken off line by
line, or in one go. Nothing may be a cent off (getlago/lago-api#2643), in any of the seven totals,
of any line, of any tier, of any category of tax.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden import stories
from pipeline.catalog.corrections import Decision, Part
from pipeline.catalog.facts import FactKind
from pipeline.core.identity import Json
from pipeline.core.quantity import exact
from pipeline.invoice.crediting import Left, NothingLeft
from pipeline.invoice.notes import Cause, Change, booked, children, lines_of, note
from pipeline.invoice.totals import Totals

Content = Mapping[str, Json]

INVOICES = [
    story.told()
    for story in (
        stories.UNIT_AND_FLAT,
        stories.GRADUATED,
        stories.TERMS,
        stories.PERCENTAGE,
        stories.MATRIX,
        stories.SEATS,
        stories.EXCHANGED,
        stories.TWO_RATES,
        stories.INCLUSIVE,
    )
]
"""All of them charge, no line gives anything back."""


def decided(kind: FactKind, *parts: Part, amount: int | None = None) -> Decision:
    return Decision(kind, "acme", "EUR", 0, "inv", parts, amount, "test", fact="f")


def noted(invoice: Content, change: Change, number: int) -> Content:
    """The note of a change; its own figures add up."""
    content = note(invoice, change, Cause("2026-05-01T00:00:00Z", "test", f"fact-{number}"))
    totals = Totals.of_json(content["totals"])
    assert totals == Totals.sum(Totals.of_json(line["totals"]) for line in lines_of(content))
    for line in lines_of(content):
        whole = Totals.of_json(line["totals"])
        assert adds_up(whole)
        own = [Totals.of_json(child["totals"]) for child in children(line)]
        assert all(map(adds_up, own))
        assert not own or Totals.sum(own) == whole
        told = sum(each["amount_minor"] for each in cast(list[dict[str, int]], line["discounts"]))
        assert own or told == whole.discounts_total
    taxes = cast(list[dict[str, int]], content.get("taxes", []))
    assert sum(each["tax_minor"] for each in taxes) == totals.taxes_total
    assert content["kind"] == ("debit_note" if totals.total > 0 else "credit_note")
    return content


def adds_up(totals: Totals) -> bool:
    taxes = totals.taxes_inclusive_total + totals.taxes_exclusive_total == totals.taxes_total
    whole = totals.amount + totals.charges_total - totals.discounts_total
    return taxes and whole + totals.taxes_exclusive_total == totals.total


def is_empty(content: Content) -> bool:
    """Whether nothing is left of a document, down to every tier and category of tax."""
    return (
        Totals.of_json(content["totals"]) == Totals()
        and not lines_of(content)
        and not content.get("taxes")
    )


def whole_lines(invoice: Content, notes: Sequence[Content]) -> list[Part]:
    return [Part(cast(str, line["id"])) for line in lines_of(booked(invoice, notes))]


@st.composite
def clerks(draw: st.DrawFn) -> tuple[Content, list[Content]]:
    """An invoice and some notes that a clerk made of it."""
    invoice, notes = draw(st.sampled_from(INVOICES)), list[Content]()
    for number in range(draw(st.integers(0, 5))):
        line = draw(st.sampled_from(lines_of(invoice)))
        part = Part(cast(str, line["id"]))
        share = Fraction(draw(st.integers(1, 40)), 40)
        total = Totals.of_json(line["totals"]).total
        kind = draw(st.sampled_from([FactKind.CREDIT_NOTE] * 3 + [FactKind.DEBIT_NOTE]))
        minor = max(1, int(total * share))
        counted = exact(str(line["quantity"])) * share
        asked = draw(
            st.sampled_from([
                decided(kind, part),
                decided(kind, Part(part.line, amount_minor=minor)),
                decided(kind, amount=minor),
                decided(FactKind.CREDIT_NOTE, Part(part.line, quantity=counted)),
            ])
        )  # fmt: skip
        try:
            change = Left(invoice, notes).change(asked)
        except NothingLeft:
            continue
        if change.is_money:
            notes.append(noted(invoice, change, number))
    return invoice, notes


@given(clerks())
def test_what_is_left_line_by_line_is_all_that_is_left(told: tuple[Content, list[Content]]) -> None:
    invoice, notes = told
    for number, part in enumerate(whole_lines(invoice, notes), start=10):
        notes = [*notes, noted(invoice, Left(invoice, notes).change(credit(part)), number)]

    assert is_empty(booked(invoice, notes))


@given(clerks())
def test_a_void_brings_to_zero_whatever_was_done(told: tuple[Content, list[Content]]) -> None:
    invoice, notes = told
    change = Left(invoice, notes).change(decided(FactKind.VOID))

    assert is_empty(booked(invoice, [*notes, noted(invoice, change, 10)]))


@given(clerks(), st.data())
def test_never_more_than_is_left(told: tuple[Content, list[Content]], data: Any) -> None:
    invoice, notes = told
    stands = booked(invoice, notes)
    over = Totals.of_json(stands["totals"]).total + 1
    with pytest.raises(NothingLeft, match="is left of it"):
        Left(invoice, notes).change(decided(FactKind.CREDIT_NOTE, amount=over))
    if lines_of(stands):
        line = data.draw(st.sampled_from(lines_of(stands)))
        more = Totals.of_json(line["totals"]).total + 1
        part = Part(cast(str, line["id"]), amount_minor=more)
        with pytest.raises(NothingLeft, match="is left of line"):
            Left(invoice, notes).change(credit(part))


@pytest.mark.parametrize("invoice", INVOICES)
def test_cent_by_cent_is_the_whole_invoice(invoice: Content) -> None:
    """Seven notes of an amount each, then the rest: the remainder goes with the last."""
    notes = list[Content]()
    share = Totals.of_json(invoice["totals"]).total // 7
    for number in range(7):
        asked = decided(FactKind.CREDIT_NOTE, amount=share)
        change = Left(invoice, notes).change(asked)
        assert change.totals.total == -share
        notes.append(noted(invoice, change, number))
    rest = Left(invoice, notes).change(decided(FactKind.CREDIT_NOTE))

    assert is_empty(booked(invoice, [*notes, noted(invoice, rest, 7)]))


@pytest.mark.parametrize("invoice", INVOICES)
def test_what_was_credited_is_put_back_exactly(invoice: Content) -> None:
    off = noted(invoice, Left(invoice, []).change(decided(FactKind.CREDIT_NOTE)), 1)
    back = noted(invoice, Left(invoice, [off]).change(decided(FactKind.DEBIT_NOTE)), 2)

    stands = booked(invoice, [off, back])
    assert stands["totals"] == invoice["totals"]
    assert {line["id"]: line["totals"] for line in lines_of(stands)} == {
        line["id"]: line["totals"] for line in lines_of(invoice)
    }


def credit(part: Part) -> Decision:
    return decided(FactKind.CREDIT_NOTE, part)
