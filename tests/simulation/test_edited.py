"""Which edits the auditor finds on a document in the place of others."""

from pipeline.catalog.facts import Fact, FactKind
from pipeline.simulate.dues import ExpectedLine
from pipeline.simulate.edited import Edits, Place

FIRST, SECOND, THIRD = (("acme", "EUR", instant) for instant in (1, 2, 3))
LINE = ExpectedLine("sub-1/seat", "then", "later", None, 500, 7)
SOURCE = LINE.source, LINE.start


def edit(serial: int, amount: int) -> Fact:
    names = ("name", "description", "quantity", "unit_amount", "external_reference")
    body = {**dict.fromkeys(names), "amount_minor": amount}
    return Fact(serial, f"fact-{serial}", FactKind.LINE_EDIT, "line", body, "ada", "agreed", serial)


def totals(edits: Edits, place: Place) -> list[int]:
    """Return what a line may have come to, the last first."""
    return [line.total_minor for (line,) in edits.ever(place, [LINE])]


def test_a_document_says_what_was_edited_on_those_it_stands_for() -> None:
    told = {FIRST: {SOURCE: [edit(1, 700), edit(2, 800)]}, SECOND: {SOURCE: [edit(3, 900)]}}
    edits = Edits(told, {SECOND: [FIRST], THIRD: [FIRST, SECOND]})

    assert totals(edits, FIRST) == [800, 700, 500]
    assert totals(edits, SECOND) == [900, 800]
    assert totals(edits, THIRD) == [900]


def test_a_document_that_keeps_no_edits_says_what_it_would_by_itself() -> None:
    edits = Edits({FIRST: {SOURCE: [edit(1, 700)]}}, {SECOND: []})

    assert totals(edits, SECOND) == [500]
