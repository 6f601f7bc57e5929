"""Which notes an applied diff makes, and what refuses it."""

import pytest

from builders import T0
from golden import stories
from pipeline.catalog.corrections import Decision
from pipeline.catalog.facts import FactKind
from pipeline.core.identity import Json
from pipeline.invoice.notes import Cause, change_of, lines_of, note
from pipeline.replay.applying import families, moved_since, repricings, total_minor
from pipeline.replay.diff import Pair, Selection

ALL = Selection()
INVOICE = stories.UNIT_AND_FLAT.told()
FEWER: dict[str, Json] = {**INVOICE, "lines": [lines_of(INVOICE)[0]]}
"""The same invoice without its other lines."""
NOTE = note(
    INVOICE,
    change_of(INVOICE, lines_of(INVOICE)[1:], -1),
    Cause("2026-05-01T00:00:00Z", "goodwill", "fact"),
)


def pair(before: dict[str, Json] | None, after: dict[str, Json] | None, serial: int = 1) -> Pair:
    return Pair("S-1", "acme", T0, serial, before == after, before, after)


def total(content: dict[str, Json]) -> int:
    return int(content["totals"]["total_minor"])  # type: ignore[index,call-overload,arg-type]


def test_a_document_that_is_not_in_the_replay_is_brought_to_nothing() -> None:
    found = families([pair(INVOICE, None)], ALL)
    (decided,) = repricings(found, ALL, "diff_1", T0)
    assert (decided.kind, decided.reference) == (FactKind.REPRICING, "diff_1")
    assert total_minor([decided.told().body]) == {"USD": -total(INVOICE)}
    assert decided.at > T0  # behind the cut of its document


def test_what_a_note_took_off_before_is_not_taken_off_again() -> None:
    """The invoice is without those lines in the replay, and so is what it stands at."""
    pairs = [pair(NOTE, None, 2), pair(INVOICE, FEWER)]
    assert repricings(families(pairs, ALL), ALL, "diff_1", T0) == []


def test_only_lines_of_the_meters_that_were_looked_at_are_corrected() -> None:
    calls = Selection(meters=frozenset(["api-calls"]))
    (decided,) = repricings(families([pair(INVOICE, None)], calls), calls, "diff_1", T0)
    assert decided.change is not None
    assert {line["meter"] for line in decided.change["lines"]} == {"api-calls"}  # type: ignore[union-attr,index,call-overload]


def test_what_is_the_same_is_left_alone() -> None:
    assert families([pair(INVOICE, INVOICE), pair(NOTE, NOTE, 2)], ALL) == []


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([pair(None, INVOICE)], id="an invoice that was never issued"),
        pytest.param([pair(None, NOTE, 2)], id="a note of one that nobody has"),
    ],
)
def test_without_an_issued_invoice_there_is_nothing_to_correct(pairs: list[Pair]) -> None:
    with pytest.raises(ValueError, match="was never issued"):
        families(pairs, ALL)


def test_whatever_happened_to_an_invoice_since_refuses_its_diff() -> None:
    found, document = families([pair(INVOICE, None), pair(NOTE, None, 2)], ALL), INVOICE["id"]
    credit = Decision(FactKind.CREDIT_NOTE, "acme", "USD", T0, str(document))
    known = {str(document): [str(NOTE["id"])]}
    assert moved_since(found, {}, known) is None
    assert moved_since(found, {}, {str(document): [str(NOTE["id"]), "note_new"]}) == document
    assert moved_since(found, {str(document): [credit]}, known) == document
    assert moved_since(found, {"inv_other": [credit]}, known) is None
