"""Correcting at cuts: what is carried, what people decided beside usage, what is void."""

from dataclasses import replace

from builders import HOUR, T0, Decision, fact_log, issuer_of, keyed, usage
from laws.test_corrections import DECISIONS, STEP, World, document_of
from pipeline.catalog.catalog import FactLog
from pipeline.catalog.corrections import Decision as Correction
from pipeline.catalog.corrections import Part
from pipeline.catalog.facts import FactKind
from pipeline.core.identity import Json
from pipeline.invoice.notes import is_note, lines_of


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
    seat = next(str(line["id"]) for line in lines_of(content) if line["name"] == "Seat")
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
