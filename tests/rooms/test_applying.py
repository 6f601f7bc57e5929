"""Which notes an applied diff makes, and what refuses it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from builders import (
    T0,
    catalog_of,
    customer_of,
    facts,
    graduated,
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
from golden import stories
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.corrections import Decision
from pipeline.catalog.early import EarlyUsage
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.notes import Cause, change_of, lines_of, note
from pipeline.invoice.planned import Carried, carried_by_all, planned_lines, requests_of
from pipeline.invoice.usage import UsagePart
from pipeline.replay.applying import families, moved_since, repricings, total_minor
from pipeline.replay.diff import Moved, Pair, Selection, diff
from pipeline.replay.incident import crediting, opened
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.preparing import BookedCuts
from pipeline.workers.applying import Looked, decide_looked

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
    found = families([pair(INVOICE, INVOICE), pair(NOTE, NOTE, 2)], ALL)
    assert [each for each in found if each.differs] == []


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


JAN, MID, FEB = (instant(f"2026-{day}T00:00:00Z") for day in ("01-01", "01-16", "02-01"))


def priced(amount: str, *others: dict[str, Json]) -> Catalog:
    """A month of calls at a price each."""
    return catalog_of(
        log_of(),
        rules_of(),
        issuer_of(),
        meter_of("calls", window_s=3600),
        meter_of("bursts", window_s=3600),
        plan_of("p", price_of("calls", per_unit(amount), "calls"), *others),
        customer_of("acme"),
        subscription_of("s", "acme", "p", "2026-01-01T00:00:00Z"),
    )


WRONG, RIGHT = priced("10"), priced("1")


def january(*cuts: tuple[Instant, Catalog, int]) -> list[dict[str, Json]]:
    """The invoices of cuts: of usage billed early, and of the period's end."""
    made: list[dict[str, Json]] = []
    for at, catalog, used in cuts:
        early = EarlyUsage("s", JAN) if at < FEB else None
        carried = carried_by_all(made)
        lines = planned_lines(catalog, "acme", "EUR", at, carried, early)
        calls = [asked for asked in requests_of(lines) if asked.meter == "calls"]
        usage = {asked: [UsagePart(0, 1, used, 0, 0)] for asked in calls}
        (one,) = compose(catalog, "acme", "EUR", at, lines, usage, "fact" if early else None)
        made.append(one.content)
    return made


def notes_of(before: Sequence[dict[str, Json]], after: Sequence[dict[str, Json]]) -> int:
    """What the notes come to of a diff of these invoices."""
    sides = zip(before, after, strict=True)
    pairs = [Pair(str(n), "acme", MID + n, n, False, *each) for n, each in enumerate(sides)]
    decided = repricings(families(pairs, ALL), ALL, "diff_1", FEB)
    return total_minor(each.told().body for each in decided).get("EUR", 0)


@pytest.mark.parametrize(
    ("last", "known", "noted"),
    [
        pytest.param(RIGHT, 1, 0, id="the last invoice gives it back, and is to come"),
        pytest.param(RIGHT, 2, 0, id="the last invoice gave it back"),
        pytest.param(WRONG, 2, -90000, id="the last invoice was wrong as well"),
    ],
)
def test_what_was_billed_early_at_a_wrong_price_is_not_given_back_twice(
    last: Catalog, known: int, noted: int
) -> None:
    before = january((MID, WRONG, 60), (FEB, last, 100))
    after = january((MID, RIGHT, 60), (FEB, RIGHT, 100))
    notes = notes_of(before[:known], after[:known])
    assert (notes, sum(map(total, before)) + notes) == (noted, 10000)


UNUSED = price_of("bursts", graduated((None, "1", "5.00")), "bursts")
"""Its first tier charges, used or not."""
CHARGED = priced("1", UNUSED)


@pytest.mark.parametrize(
    ("last", "known", "noted"),
    [
        pytest.param(CHARGED, 1, 0, id="the last invoice bills it, and is to come"),
        pytest.param(CHARGED, 2, 0, id="the last invoice billed it"),
        pytest.param(RIGHT, 2, 500, id="the last invoice did not bill it"),
    ],
)
def test_what_was_wrongly_not_billed_early_is_not_billed_twice(
    last: Catalog, known: int, noted: int
) -> None:
    before = january((MID, RIGHT, 60), (FEB, last, 100))
    after = january((MID, CHARGED, 60), (FEB, CHARGED, 100))
    notes = notes_of(before[:known], after[:known])
    assert (notes, sum(map(total, before)) + notes) == (noted, 10500)


class Store:
    """The facts, and documents that nothing happened to."""

    def __init__(self, known: list[Fact]) -> None:
        self.known, self.written = known, list[list[FactKind]]()

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        return self.known[after:until]

    def append_facts(
        self, decide: Callable[[Sequence[Fact]], Sequence[NewFact]], author: Author, now: Instant
    ) -> list[Fact]:
        head, new = len(self.known), decide(self.known)
        more = [
            Fact(head + n, f"fact_{head + n}", one.kind, one.subject, one.body, "ada", "", now)
            for n, one in enumerate(new, start=1)
        ]
        self.known += more
        self.written.append([fact.kind for fact in more])
        return more

    def notes_by_document(self, ids: Sequence[str]) -> dict[str, list[str]]:
        return {}

    def carried_by(self, payers: Sequence[str]) -> dict[tuple[str, str], Carried]:
        return {}

    def read_cuts(self, payers: Sequence[str], after: int) -> BookedCuts:
        return BookedCuts()


def test_the_notes_of_an_incident_are_decided_with_the_fact_that_tells_of_them() -> None:
    """Whoever died between had its survey find them once more: it took them for meant."""
    wrong = facts(log_of(), rules_of(), issuer_of(), customer_of("acme"))
    incident = opened("INC-1", wrong[3:])
    store = Store(
        [
            *wrong,
            replace(wrong[3], serial=5, kind=incident.kind, subject="INC-1", body=incident.body),
        ]
    )
    pairs = [pair(INVOICE, FEWER)]
    looked = Looked("a replay", pairs, ALL, diff(pairs, ALL, lambda _: Moved(0, 0)), 5)

    def also(known: Sequence[Fact], bodies: Sequence[Mapping[str, Json]]) -> list[NewFact]:
        return crediting(known, "INC-1", looked.shown.id, bodies)

    first, second = (
        decide_looked(store, looked, looked.shown.id, Author("ada", ""), T0, also) for _ in range(2)
    )

    assert store.written == [[FactKind.MENDED, FactKind.REPRICING, FactKind.INCIDENT], []]
    assert (first.already, second.already) == (False, True)
    assert first.facts == second.facts
    assert store.known[-1].body["total_minor"] == first.total_minor == {"USD": -4990}
