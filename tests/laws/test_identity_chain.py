"""Laws of the chain: whatever is done to issued documents is found, and found where it was done."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from builders import T0
from pipeline.core.identity import canonical
from pipeline.ledger.seal import (
    FIRST_SEAL,
    Issue,
    Sealed,
    chain_faults,
    content_bytes,
    issue_record,
    seal_of,
)

Chain = list[Sealed]


def sealed(place: int, content: bytes, previous: str, issued_at: int = T0) -> Sealed:
    number = f"T-{place:06}"
    issue = Issue(
        number=number,
        issuer="talea",
        issued_at=issued_at,
        payment_days=14,
        fact_position_cut=1,
        fact_position_last=1,
        rule_version=1,
        tzdata_version="2026.6",
        evidence={},
        previous_seal=previous,
    )
    record = issue_record(content, issue)
    return Sealed(place, number, content, record, seal_of(record))


def chained(length: int) -> Chain:
    chain: Chain = []
    previous = FIRST_SEAL
    for place in range(1, length + 1):
        chain.append(sealed(place, content_bytes({"invoice": place}), previous))
        previous = chain[-1].seal.hex()
    return chain


few = settings(max_examples=30)
lengths = st.integers(1, 9)
places = st.integers(0, 8)


@few
@given(lengths)
def test_an_untouched_chain_holds(length: int) -> None:
    assert chain_faults(chained(length)) == {}


EDITS: dict[str, Callable[[Sealed], Sealed]] = {
    "content": lambda d: replace(d, content=canonical({"invoice": -1})),
    "a byte of content": lambda d: replace(d, content=d.content + b" "),
    "record": lambda d: replace(d, record=d.record.replace(b"T-", b"U-")),
    "record and seal": lambda d: resealed(d, d.record.replace(b"2026.6", b"2026.7")),
    "content, record and seal": lambda d: sealed(d.place, b'{"invoice":-1}', previous_of(d)),
    "seal": lambda d: replace(d, seal=bytes(32)),
    "number": lambda d: replace(d, number="T-999999"),
    "no record": lambda d: resealed(d, b""),
    "no JSON": lambda d: resealed(d, b"\xff{"),
    "a list": lambda d: resealed(d, b"[]"),
    "a number": lambda d: resealed(d, b"1"),
    "an abyss": lambda d: resealed(d, b"[" * 100_000),
    "an empty record": lambda d: resealed(d, b"{}"),
    "place": lambda d: replace(d, place=d.place + 100),
}


def resealed(document: Sealed, record: bytes) -> Sealed:
    return replace(document, record=record, seal=seal_of(record))


def previous_of(document: Sealed) -> str:
    return chained(document.place)[-2].seal.hex() if document.place > 1 else FIRST_SEAL


@pytest.mark.parametrize("edit", EDITS)
@few
@given(lengths, places)
def test_an_edit_is_found_at_the_document_or_right_after_it(
    edit: str, length: int, where: int
) -> None:
    """Only a superuser who seals the last document anew goes unseen: the topic shows that."""
    chain = chained(length)
    at = where % length
    genuine = chain[at]
    chain[at] = EDITS[edit](genuine)
    faults = chain_faults(chain)

    near = {chain[at].number, *(document.number for document in chain[at + 1 : at + 2])}
    assert faults.keys() <= near
    unseen = edit in ("record and seal", "content, record and seal") and at == length - 1
    assert bool(faults) != unseen


@few
@given(st.integers(2, 9), places)
def test_a_deletion_is_found_at_the_document_after_it(length: int, where: int) -> None:
    chain = chained(length)
    at = where % (length - 1)
    del chain[at]

    assert [*chain_faults(chain)] == [chain[at].number]


@few
@given(st.integers(2, 9), places, places)
def test_a_reorder_is_found(length: int, one: int, other: int) -> None:
    """Two documents change places, the column too."""
    chain = chained(length)
    one, other = sorted((one % length, other % length))
    assume(one != other)
    first, second = chain[one], chain[other]
    chain[one] = replace(second, place=first.place)
    chain[other] = replace(first, place=second.place)

    assert {first.number, second.number} <= chain_faults(chain).keys()


@few
@given(lengths, places, st.booleans())
def test_an_insertion_is_found(length: int, where: int, shifted: bool) -> None:
    """A forged document, well sealed behind its neighbour; the others move up or not."""
    chain = chained(length)
    at = where % length
    before = chain[at - 1].seal.hex() if at else FIRST_SEAL
    forged = sealed(at + 1, canonical({"invoice": "forged"}), before, T0 + 1)
    rest = [replace(d, place=d.place + shifted) for d in chain[at:]]

    assert chain_faults([*chain[:at], forged, *rest])


@few
@given(lengths, st.integers(1, 8))
def test_a_deleted_tail_is_not_seen_here(length: int, taken: int) -> None:
    """The anchor topic shows it; the chain alone cannot."""
    assert chain_faults(chained(length)[:-taken]) == {}


@few
@given(lengths, places)
def test_a_document_of_another_chain_does_not_fit(length: int, where: int) -> None:
    chain, at = chained(length), where % length
    stranger = sealed(at + 1, canonical({"invoice": "theirs"}), "ab" * 32)
    chain[at] = stranger

    assert stranger.number in chain_faults(chain)
