"""Correcting at cuts: what is carried, what people decided beside usage, what is void."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from builders import (
    HOUR,
    T0,
    Decision,
    fact_log,
    flat,
    hand_line_of,
    issuer_of,
    keyed,
    line_edit_of,
    usage,
)
from laws.test_corrections import DECISIONS, STEP, Ledger, Sent, World, document_of
from laws.test_mended import CHEAPER, DEARER, Told
from pipeline.catalog.catalog import FactLog
from pipeline.catalog.corrections import Decision as Correction
from pipeline.catalog.corrections import Part
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.core.calendar import instant_text
from pipeline.core.identity import Json
from pipeline.invoice.notes import is_note, lines_of
from pipeline.invoice.totals import Totals
from pipeline.invoice.usage import UsageRequest


def with_issuer(**terms: Json) -> FactLog:
    """The facts of the law's shop, its issuer with other terms."""
    kind, subject, body = issuer_of()
    other: Decision = (kind, subject, {**body, **terms})
    return fact_log(*(other if d[0] is FactKind.ISSUER else d for d in DECISIONS))


def notes(world: World) -> list[tuple[str, int]]:
    """(reason, total) of every note, in order."""
    contents = [document_of(each) for each in world.ledger.prepared]
    found = []
    for content in filter(is_note, contents):
        totals: dict[str, int] = content["totals"]  # type: ignore[assignment]
        found.append((str(content["reason_code"]), totals["total_minor"]))
    return found


def late(world: World, name: str, region: str, value: str = "1") -> None:
    """Usage of the first day comes after its cut."""
    world.line.send(keyed(usage("acme", value, time=T0 + HOUR, id=name, region=region)))


def first_day(world: World) -> World:
    """The first day, without usage, is over and cut: 3.33 for the minimum, 5.00 for a seat."""
    world.tick(T0)
    for step in range(4, 7):
        world.tick(T0 + step * STEP)
    return world


def test_what_comes_to_less_than_a_note_is_worth_is_carried_not_dropped() -> None:
    """A region is 0.013 a call: 2 calls are 0.03; a note is worth 0.05."""
    world = first_day(World(with_issuer(notes_from="0.05")))
    late(world, "a", "eu", "2")
    world.tick(T0 + 10 * STEP)
    assert notes(world) == []

    late(world, "b", "us", "2")
    world.tick(T0 + 14 * STEP)
    assert notes(world) == [("usage_changed", 6)]


def test_what_people_took_off_is_not_undone_by_usage() -> None:
    world = first_day(World())
    invoice = next(each for each in world.ledger.prepared if each.payer == "acme")
    content = document_of(invoice)
    seat = str(line_of(content, "Seat")["id"])
    credit = Correction(
        FactKind.CREDIT_NOTE, "acme", "EUR", invoice.instant + 1, str(content["id"]), (Part(seat),)
    )
    world.decide(replace(credit, code="goodwill").told())
    late(world, "a", "eu", "2")
    world.tick(T0 + 7 * STEP)
    world.tick(T0 + 10 * STEP)

    assert notes(world) == [("goodwill", -500), ("usage_changed", 3)]


def test_a_void_document_is_corrected_no_more_and_its_successor_is() -> None:
    world = first_day(World())
    invoice = next(each for each in world.ledger.prepared if each.payer == "acme")
    void = Correction(
        FactKind.VOID, "acme", "EUR", invoice.instant + 1, str(document_of(invoice)["id"])
    )
    world.decide(replace(void, code="wrong", reissue=True).told())
    world.tick(T0 + 7 * STEP)
    late(world, "a", "eu", "2")
    world.tick(T0 + 10 * STEP)

    contents = [document_of(each) for each in world.ledger.prepared if each.payer == "acme"]
    successor = next(each for each in contents if each.get("replaces"))
    assert notes(world) == [("wrong", -833), ("usage_changed", 3)]
    assert [each["corrects"] for each in contents if each["kind"] == "debit_note"] == [
        successor["id"]
    ]


def by_hand(world: World) -> World:
    """The first day, its seat edited to 7.00, with 2.00 by hand on it: 12.33."""
    plain = document_of(first_day(World()).ledger.prepared[0])
    document, seat = str(plain["id"]), str(line_of(plain, "Seat")["id"])
    world.tick(T0)
    world.decide(NewFact(*line_edit_of(document, "acme", seat, amount_minor=700)))
    at = instant_text(T0 + HOUR)
    world.decide(NewFact(*hand_line_of("extra", "acme", at, flat("2"), document=document)))
    for step in range(4, 7):
        world.tick(T0 + step * STEP)
    return world


def void(world: World, document: Mapping[str, Json], at: int, *, keeps: bool) -> None:
    """Void a document, and issue it anew."""
    asked = Correction(FactKind.VOID, "acme", "EUR", at, str(document["id"]), code="wrong")
    world.decide(replace(asked, reissue=True, keeps_by_hand=keeps).told())


@pytest.mark.parametrize(
    ("first", "second", "totals"),
    [
        (True, True, [1233, 1233, 1233]),
        (False, True, [1233, 833, 833]),
        (True, False, [1233, 1233, 833]),
    ],
)
def test_what_is_issued_anew_keeps_what_was_done_by_hand_unless_told_otherwise(
    first: bool, second: bool, totals: list[int]
) -> None:
    world = by_hand(World())
    made = [document_of(world.ledger.prepared[0])]
    for number, keeps in enumerate((first, second), 1):
        void(world, made[-1], T0 + 5 * STEP + number, keeps=keeps)
        world.tick(T0 + (6 + number) * STEP)
        own = [document_of(p) for p in world.ledger.prepared if p.payer == "acme"]
        made.append(next(each for each in own if each.get("replaces") == made[-1]["id"]))
    assert [Totals.of_json(each["totals"]).total for each in made] == totals

    late(world, "a", "eu", "2")
    world.tick(T0 + 12 * STEP)
    assert notes(world)[-1] == ("usage_changed", 3)


def line_of(content: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    """The line of a name."""
    return next(line for line in lines_of(content) if line["name"] == name)


@dataclass
class Asked(Ledger):
    """Documents; remembers of how much each cut asks whether it moved, if of any."""

    asked: list[int] = field(default_factory=list)

    def moved_since(self, asked: Sequence[tuple[UsageRequest, int]], below_cut: int) -> list[bool]:
        self.asked.extend([len(asked)] if asked else [])
        return super().moved_since(asked, below_cut)


def applied(told: Told, name: str, right: Told, *, first_day: int = 0) -> list[Correction]:
    """Apply a diff; the note of acme's first day comes first, or last (-1)."""
    since, found = told.look(name, right, None)
    days = sorted(p.instant for p in told.world.ledger.prepared if p.payer == "acme")
    first = next(p for p in told.world.ledger.prepared if p.instant == days[0])
    document = str(document_of(first)["id"])
    found.sort(key=lambda each: ((each.document == document) != (first_day == 0), each.document))
    told.apply(since, found)
    return found


def test_the_cuts_of_a_diff_look_once_at_what_it_looked_at() -> None:
    """With its first note, not with each: so many notes ask for usage once more."""
    told, right = Told([], DECISIONS), Told([], DEARER)
    told.world.ledger = ledger = Asked(told.world.log, told.world.books, told.world.ticks)
    for step in range(1, 19):
        for each in (told, right):
            each.step(step)
    ledger.asked.clear()
    made = applied(told, "diff", right)
    told.step(19)

    payers = [each.payer for each in made]
    assert (payers.count("acme"), payers.count("globex")) == (4, 3)
    assert len(notes(told.world)) == len(made)
    assert len(ledger.asked) == 1 + 1


@pytest.mark.parametrize("first_day", [0, -1])
def test_what_notes_of_a_diff_leave_room_for_is_taken_back_with_the_first(first_day: int) -> None:
    """A call was 0.21, then 0.31: taken back, 0.31 is what its line has with all notes to come."""
    call = usage("acme", "1", time=T0 + HOUR, id="a", region="eu")
    sent = [Sent(call, 0, 16, None)]
    told, *rights = (Told(sent, prices) for prices in (DECISIONS, CHEAPER, DEARER))
    for step in range(1, 21):
        for each in (told, *rights):
            each.step(step)
        if step in (15, 17):
            applied(told, f"diff_{step}", rights[step == 17], first_day=first_day)

    wanted, found = rights[1].stands(), told.stands()
    day = min(p.instant for p in told.world.ledger.prepared)
    first = [document_of(p) for p in told.world.ledger.prepared if p.instant == day]
    ids = [str(each["id"]) for each in first if each["customer"] == "acme"]
    assert [found[each] for each in ids] == [wanted[each] for each in ids]
