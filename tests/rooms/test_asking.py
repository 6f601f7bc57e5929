"""Decisions about issued documents: what is refused, in one line that says how to mend it."""

from dataclasses import replace

import pytest

from builders import catalog_of, facts, log_of
from golden import stories
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.corrections import Decision, Part, decision
from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import SECOND, Instant, parse_instant
from pipeline.core.errors import BrokenInvariant
from pipeline.invoice.asking import asked, correction, decided_already
from pipeline.invoice.disputing import Ruling, ending, lines_disputed, open_dispute, opening
from pipeline.invoice.history import History, Paper
from pipeline.invoice.notes import lines_of

CONTENT = stories.TERMS.told()
CUT = parse_instant(CONTENT["cut_instant"])
PAPER = Paper(7, CUT, "invoice", 0, CONTENT)
EXPORTS = next(line for line in lines_of(CONTENT) if line["name"] == "Exports")
LINE = str(EXPORTS["id"])
NOW = CUT + 9 * SECOND + 5
TOLD = (log_of(), *stories.TERMS.facts)


def wanted(kind: FactKind, *parts: Part, **more: object) -> Decision:
    plain = Decision(kind, "acme", "EUR", NOW, PAPER.id, parts, code="test")
    return replace(plain, **more)  # type: ignore[arg-type]


def no_catalog(serial: int) -> Catalog:
    raise BrokenInvariant(f"nobody asks for the catalog at {serial}")


def history(*papers: Paper) -> History:
    return History("acme", [PAPER, *papers], no_catalog)


def decided(*decisions: Decision) -> tuple[Catalog, list[Fact]]:
    """The catalog after decisions, and their facts."""
    told = [each.told() for each in decisions]
    made = facts(*TOLD, *((each.kind, each.subject, dict(each.body)) for each in told))
    return catalog_of(*((f.kind, f.subject, dict(f.body)) for f in made)), made[len(TOLD) :]


ALL_OF_IT = wanted(FactKind.CREDIT_NOTE)
TEN = wanted(FactKind.CREDIT_NOTE, amount_minor=1000)

REFUSED = [
    (wanted(FactKind.CREDIT_NOTE, amount_minor=5853), (), "58.52 EUR is left of it: ask for no"),
    (wanted(FactKind.CREDIT_NOTE, amount_minor=4853), (TEN,), "48.52 EUR is left of it"),
    (wanted(FactKind.CREDIT_NOTE, Part(LINE, amount_minor=1001)), (), "10.00 EUR is left of line"),
    (wanted(FactKind.CREDIT_NOTE, Part(LINE, quantity=18)), (), "17 is left of line"),  # type: ignore[arg-type]
    (wanted(FactKind.CREDIT_NOTE, Part("line_x")), (), "no line line_x: `talea invoices show N-1"),
    (wanted(FactKind.CREDIT_NOTE, Part(LINE), Part(LINE)), (), "is named twice: once is enough"),
    (ALL_OF_IT, (ALL_OF_IT,), "nothing is left of N-1: its notes took it all off"),
    (TEN, (wanted(FactKind.VOID),), "N-1 is void"),
    (wanted(FactKind.DEBIT_NOTE), (), "nothing is left of N-1"),
    (wanted(FactKind.VOID, document="inv_none"), (), "N-1 is none that is issued"),
]


@pytest.mark.parametrize(("asks", "before", "why"), REFUSED)
def test_a_decision_is_refused(asks: Decision, before: tuple[Decision, ...], why: str) -> None:
    """`before`: decisions whose notes are still to be made."""
    catalog, _ = decided(*before)
    with pytest.raises(ValueError, match=why.replace(".", r"\.")):
        asked(catalog, history(), asks, "N-1")


def test_a_part_is_corrected_with_its_line() -> None:
    child = EXPORTS["children"][0]["id"]  # type: ignore[index,call-overload]
    catalog, _ = decided()
    with pytest.raises(ValueError, match="parts are corrected with their line"):
        asked(catalog, history(), wanted(FactKind.CREDIT_NOTE, Part(str(child))), "N-1")


@pytest.mark.parametrize(
    ("clock", "at"),
    [
        (NOW, NOW),
        (CUT, CUT + 1),  # a document is corrected behind its own cut
        (CUT - 86_400 * SECOND, CUT + 1),
        (parse_instant("2026-05-01T00:00:00Z"), parse_instant("2026-05-01T00:00:00.000001Z")),
    ],
)
def test_a_decision_has_an_instant_of_its_own(clock: Instant, at: Instant) -> None:
    catalog, _ = decided()
    assert asked(catalog, history(), replace(TEN, at=clock), "N-1").at == at


def test_two_decisions_at_once_have_two_instants() -> None:
    catalog, _ = decided(TEN)
    assert asked(catalog, history(), TEN, "N-1").at == NOW + 1


def test_a_decision_is_read_as_it_was_told() -> None:
    parts = (Part(LINE, amount_minor=5), Part("line_y"))
    told = wanted(FactKind.CREDIT_NOTE, *parts, reference="INC-7", refund=True)
    catalog, (fact,) = decided(told)

    assert decision(fact) == replace(told, fact=fact.id, serial=fact.serial)
    assert catalog.deals.decisions.by_serial == {fact.serial: decision(fact)}
    assert decided_already(catalog, replace(told, at=NOW + 99))
    assert not decided_already(catalog, replace(told, reference="INC-8"))


def test_whoever_has_a_next_cut_waits_for_it() -> None:
    catalog, _ = decided()
    assert correction(catalog, "acme", "EUR", CUT, NOW) is None
    made = correction(catalog, "acme", "USD", CUT, NOW)
    assert made is not None
    assert (made.kind, made.payer, made.at) == (FactKind.CORRECTION, "acme", NOW)


def test_a_dispute_is_opened_once_and_ended_once() -> None:
    opened_by = opening([], PAPER, [LINE], {"windows_digest": "ab"}, "N-1")
    (opened,) = facts((opened_by.kind, opened_by.subject, dict(opened_by.body)))

    assert open_dispute([opened], PAPER.id) == opened
    assert lines_disputed(opened) == [LINE]
    assert opened.body["evidence"]["windows_digest"] == "ab"  # type: ignore[index,call-overload]
    with pytest.raises(ValueError, match="N-1 is disputed already: --accept or --reject ends that"):
        opening([opened], PAPER, [], {}, "N-1")
    ended, first = ending([opened], PAPER, Ruling.REJECTED, "N-1")
    assert (first, ended.body["dispute"]) == (opened, opened.id)
    closed = replace(opened, serial=2, body=ended.body)
    assert open_dispute([opened, closed], PAPER.id) is None
    with pytest.raises(ValueError, match="N-1 is not disputed"):
        ending([opened, closed], PAPER, Ruling.ACCEPTED, "N-1")
    with pytest.raises(ValueError, match="has no line line_x"):
        opening([], PAPER, ["line_x"], {}, "N-1")
