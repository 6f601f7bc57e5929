"""The issue record and the chain of seals, field by field."""

import json
from dataclasses import replace

import pytest

from builders import instant
from pipeline.core.identity import Json, digest
from pipeline.ledger.seal import (
    FIRST_SEAL,
    Issue,
    PartitionEvidence,
    Sealed,
    chain_faults,
    content_bytes,
    evidence_json,
    issue_record,
    seal_of,
)

CONTENT = content_bytes({"id": "inv_1", "total": 1})
ISSUE = Issue(
    number="T-000001",
    issuer="talea",
    issued_at=instant("2026-04-01T00:00:01Z"),
    payment_days=30,
    fact_position_cut=7,
    fact_position_last=9,
    rule_version=3,
    tzdata_version="2026.6",
    evidence=evidence_json([PartitionEvidence(2, 10, 99, 5, {"offered": 4})], "ab" * 32),
    previous_seal=FIRST_SEAL,
)


def test_an_issue_record_holds_what_the_content_leaves_out() -> None:
    assert json.loads(issue_record(CONTENT, ISSUE)) == {
        "format": "talea.issue.1",
        "content_digest": digest(CONTENT),
        "number": "T-000001",
        "issuer": "talea",
        "issued_at": "2026-04-01T00:00:01Z",
        "due_at": "2026-05-01T00:00:01Z",
        "evidence": {
            "partitions": [
                {
                    "partition": 2,
                    "from_offset": 10,
                    "to_offset": 99,
                    "cut_tick": 5,
                    "counts": {"offered": 4},
                }
            ],
            "windows_digest": "ab" * 32,
        },
        "fact_position_cut": 7,
        "fact_position_last": 9,
        "settlement": None,
        "rule_version": 3,
        "tzdata_version": "2026.6",
        "previous_seal": FIRST_SEAL,
    }


OTHERS: list[dict[str, object]] = [
    {"number": "T-000002"},
    {"issuer": "sister"},
    {"issued_at": ISSUE.issued_at + 1},
    {"payment_days": 14},
    {"fact_position_cut": 8},
    {"fact_position_last": 8},
    {"rule_version": 4},
    {"tzdata_version": "2026.7"},
    {"evidence": evidence_json([], "ab" * 32)},
    {"previous_seal": "1" * 64},
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
def test_every_field_is_under_the_seal(other: dict[str, object]) -> None:
    changed = replace(ISSUE, **other)  # type: ignore[arg-type]

    assert seal_of(issue_record(CONTENT, changed)) != seal_of(issue_record(CONTENT, ISSUE))


def test_the_content_is_under_the_seal() -> None:
    assert seal_of(issue_record(CONTENT + b" ", ISSUE)) != seal_of(issue_record(CONTENT, ISSUE))


def test_no_float_comes_under_a_seal() -> None:
    share: Json = 0.5  # type: ignore[assignment]
    with pytest.raises(TypeError, match="no float"):
        content_bytes({"share": share})


def document(place: int, previous: str) -> Sealed:
    number = f"T-{place:06}"
    record = issue_record(CONTENT, replace(ISSUE, number=number, previous_seal=previous))
    return Sealed(place, number, CONTENT, record, seal_of(record))


ONE = document(1, FIRST_SEAL)
TWO = document(2, ONE.seal.hex())
THREE = document(3, TWO.seal.hex())

FAULTS = [
    ([ONE, TWO, THREE], {}),
    ([], {}),
    ([ONE, THREE], {"T-000003": "stands at place 3 of its chain where 2 is expected"}),
    ([TWO, THREE], {"T-000002": "stands at place 2 of its chain where 1 is expected"}),
    ([replace(ONE, content=b"{}")], {"T-000001": "its content is not the one that was sealed"}),
    (
        [replace(ONE, record=ONE.record + b" ")],
        {"T-000001": "its issue record is not the one that was sealed"},
    ),
    ([replace(ONE, number="X")], {"X": "it was sealed as number T-000001"}),
    (
        [ONE, document(2, "0" * 64)],
        {"T-000002": "it does not follow the document before it: one was removed, added or moved"},
    ),
    (
        [replace(ONE, record=b"[1]", seal=seal_of(b"[1]"))],
        {"T-000001": "its issue record is none"},
    ),
    (
        [replace(ONE, record=b"{", seal=seal_of(b"{"))],
        {"T-000001": "its issue record cannot be read"},
    ),
]


@pytest.mark.parametrize(("chain", "faults"), FAULTS)
def test_faults_of_a_chain(chain: list[Sealed], faults: dict[str, str]) -> None:
    assert chain_faults(chain) == faults
