"""What topics know that tables do not: facts, ticks, documents; and where they contradict."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from builders import T0, customer_of, facts, issuer_of, log_of, rules_of
from pipeline.catalog.facts import Fact, FactKind, mirror_of, read_mirrored
from pipeline.core.calendar import SECOND
from pipeline.core.identity import canonical
from pipeline.invoice.lifecycle import EventKind
from pipeline.invoice.published import Issued
from pipeline.ledger.restoring import (
    Contradicted,
    event_of,
    in_order,
    lost_documents,
    lost_facts,
    lost_ticks,
    personal_in,
)
from pipeline.ledger.seal import FIRST_SEAL, Issue, issue_record, seal_of
from pipeline.meter.ticks import Tick

FACTS = facts(log_of(), rules_of(), issuer_of(), customer_of("acme"))
MIRROR = [mirror_of(fact) for fact in FACTS]


def test_a_fact_comes_out_of_its_mirror_as_it_was() -> None:
    assert [read_mirrored(message) for message in MIRROR] == FACTS


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"[]", "not a fact"),
        (b"{", "property name"),
        (b'{"body":1}', "not a fact"),
        (b'{"serial":1,"body":{}}', "without id"),
        (MIRROR[0].replace(b'"serial":1', b'"serial":"1"'), "without serial"),
        (MIRROR[0].replace(b'"kind":"log"', b'"kind":"wish"'), "not a valid FactKind"),
    ],
)
def test_what_is_no_fact_is_not_taken_for_one(message: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_mirrored(message)


@pytest.mark.parametrize(
    ("mirror", "known", "lost"),
    [
        (MIRROR, 0, FACTS),
        (MIRROR, 2, FACTS[2:]),
        (MIRROR, 4, []),
        ([*MIRROR, *MIRROR[1:]], 3, FACTS[3:]),
        (MIRROR[:2], 3, []),
    ],
    ids=["all of them", "some", "none", "written twice", "not mirrored yet"],
)
def test_facts_behind_the_head_are_lost(mirror: list[bytes], known: int, lost: list[Fact]) -> None:
    assert lost_facts(mirror, FACTS[:known]) == lost


@pytest.mark.parametrize(
    ("mirror", "why"),
    [
        ([MIRROR[0], mirror_of(replace(FACTS[1], actor="eve"))], "fact 2 is another .* by eve"),
        ([*MIRROR, mirror_of(replace(FACTS[3], reason="later"))], "fact 4 is another"),
        ([*MIRROR[:2], MIRROR[3]], "fact 3 is missing, and fact 4 is there"),
    ],
    ids=["of one that is known", "of one that is lost", "a gap"],
)
def test_a_mirror_that_contradicts_gives_nothing(mirror: list[bytes], why: str) -> None:
    with pytest.raises(Contradicted, match=why):
        lost_facts(mirror, FACTS[:2])


def tick(serial: int, time: int = 0) -> Tick:
    return Tick(serial, T0 + serial * SECOND + time, 4)


def test_ticks_that_every_partition_has_are_lost() -> None:
    """The sixth reached one partition alone, somebody wrote another fifth, the ninth hangs."""
    everywhere = {tick(serial): {0, 1, 2} for serial in (3, 4, 5, 9)}
    seen = {**everywhere, tick(6): {1}, tick(5, 7): {0, 2}, tick(2): {0, 1, 2}}

    assert lost_ticks(seen, 2, 3) == [tick(3), tick(4), tick(5)]
    assert lost_ticks(seen, 5, 3) == []


def issued(place: int, previous: str, issuer: str = "talea", at: int = 0) -> Issued:
    content = canonical({"place": place})
    number = f"T-{place}"
    issue = Issue(number, issuer, T0 + at, 14, 1, 1, 1, "2026a", {}, previous)
    record = issue_record(content, issue)
    name = f"{issuer}-{place}"
    return Issued(issuer, place, number, name, "acme", content, record, seal_of(record), 0)


def chain(length: int, issuer: str = "talea", at: int = 0) -> list[Issued]:
    found: list[Issued] = []
    for place in range(1, length + 1):
        previous = found[-1].seal.hex() if found else FIRST_SEAL
        found.append(issued(place, previous, issuer, at + place * SECOND))
    return found


def sealed(documents: list[Issued]) -> dict[str, dict[int, bytes]]:
    found: dict[str, dict[int, bytes]] = {}
    for each in documents:
        found.setdefault(each.issuer, {})[each.place] = each.seal
    return found


def test_documents_behind_the_heads_are_lost_however_often_they_are_published() -> None:
    ours, theirs = chain(4), chain(2, "other")

    assert lost_documents([*ours, *theirs], {}) == [*theirs, *ours]
    assert lost_documents([*theirs, *ours, *ours[1:]], sealed([*ours[:2], *theirs])) == ours[2:]
    assert lost_documents(ours[:2], sealed(ours)) == []


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (lambda c: [*c[:2], issued(3, c[1].seal.hex(), at=7), c[3]], "with another seal than"),
        (lambda c: [*c[:3], replace(c[3], content=b"{}")], "content is not the one"),
        (lambda c: [*c[:3], replace(c[3], number="T-9")], "sealed as number T-4"),
        (lambda c: [*c[:3], issued(4, c[1].seal.hex())], "does not follow"),
        (lambda c: [*c[:3], issued(5, c[2].seal.hex())], "place 5 of its chain where 4"),
        (lambda c: [*c, issued(4, c[2].seal.hex(), at=9)], "with another seal than"),
    ],
    ids=[
        "of one that is known",
        "its content",
        "its number",
        "its chain",
        "a gap",
        "published two",
    ],
)
def test_a_topic_that_contradicts_gives_no_document(
    changed: Callable[[list[Issued]], list[Issued]], why: str
) -> None:
    documents = chain(4)
    with pytest.raises(Contradicted, match=why):
        lost_documents(changed(documents), sealed(documents[:3]))


def happened(kind: FactKind, after_s: int, **body: Any) -> Fact:
    told = {"document": "talea-1", **body}
    return Fact(9, "fact_9", kind, "talea-1", told, "ada", "bank", T0 + after_s * SECOND)


@pytest.mark.parametrize(
    ("fact", "event", "reference"),
    [
        (happened(FactKind.PAYMENT, 1, amount_minor=7, reference="tx"), EventKind.PAID, "tx"),
        (happened(FactKind.PAID_BACK, 1, amount_minor=7, reference="b"), EventKind.REFUNDED, "b"),
        (happened(FactKind.WRITE_OFF, 1), EventKind.WRITTEN_OFF, None),
        (happened(FactKind.DISPUTE, 1, state="open"), EventKind.DISPUTED, "fact_9"),
        (happened(FactKind.DISPUTE, 1, state="rejected"), EventKind.DISPUTE_CLOSED, "fact_9"),
    ],
)
def test_what_a_fact_made_happen_to_its_document(
    fact: Fact, event: EventKind, reference: str | None
) -> None:
    told = event_of(fact)
    assert told is not None
    assert (told[0], told[1].kind, told[1].reference) == ("talea-1", event, reference)
    assert told[1].amount_minor == fact.body.get("amount_minor", 0)
    assert (told[1].actor, told[1].reason, told[1].at) == ("ada", "bank", fact.recorded_at)


def test_documents_and_what_happened_to_them_come_in_the_order_of_time() -> None:
    """A clock that went back does not turn a chain round."""
    first, second, third = chain(3)
    back = issued(2, first.seal.hex(), at=-5 * SECOND)
    (other,) = chain(1, "other", at=SECOND)
    paid = happened(FactKind.PAYMENT, 2, amount_minor=7, reference="tx")
    decided = happened(FactKind.VOID, 1)

    assert in_order([other, first, second, third], [decided, paid]) == [
        first, other, second, paid, third,
    ]  # fmt: skip
    assert in_order([first, back, third], [paid]) == [first, back, paid, third]


def test_the_personal_values_behind_facts_are_named() -> None:
    told = happened(FactKind.CUSTOMER, 0, profile={"name": "c0ffee", "address": "beef"})

    assert [*personal_in([told, FACTS[0]])] == [("c0ffee", "talea-1"), ("beef", "talea-1")]
