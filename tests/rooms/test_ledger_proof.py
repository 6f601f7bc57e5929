"""The proof of a document: whoever changes it, or a record behind it, is found without talea."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.identity import Json
from pipeline.invoice.totals import Totals
from pipeline.ledger.checkpoint import Head
from pipeline.ledger.proof import line_usage, proof_of
from pipeline.ledger.seal import (
    FIRST_SEAL,
    Issue,
    Sealed,
    content_bytes,
    evidence_json,
    issue_record,
    seal_of,
    windows_digest,
)
from pipeline.meter.meters import Aggregation, Meter
from pipeline.stores.schemas import schema_folder
from pipeline.stores.signing import signed

T0 = 1_772_323_200_000_000
MINUTE_US = 60_000_000
VERIFIER = schema_folder() / "verify_proof.py"
KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)) for n in (1, 2))
CALLS = Meter("calls", Aggregation.SUM, "call", MINUTE_US, ("region",))
MARCH: dict[str, Json] = {
    "period_start": "2026-03-01T00:00:00Z",
    "period_end": "2026-03-01T01:00:00Z",
}


def line(name: str, minor: int, *children: dict[str, Json], **known: Json) -> dict[str, Json]:
    totals = Totals.of(amount=minor).json()
    blank: dict[str, Json] = {
        "id": name,
        "meter": None,
        "metered_quantity": None,
        "pre_line_quantity": "0",
        "rate_card": {},
        "total_minor": minor,
        "totals": totals,
        "children": list(children),
    }
    return {**blank, **MARCH, **known}


def content(name: str, *lines: dict[str, Json], **known: Json) -> dict[str, Json]:
    total = sum(int(str(each["total_minor"])) for each in lines)
    shared: dict[str, Json] = {"id": name, "customer": "acme", "currency": "EUR"}
    return {**shared, "totals": Totals.of(amount=total).json(), "lines": list(lines), **known}


def windows(count: int) -> list[list[Json]]:
    """Usage of one event of 2.5 a minute."""
    return [
        ["acme", "calls", 1, '{"region":"eu"}', T0 + n * MINUTE_US, 1, 25, 25, 25]
        for n in range(count)
    ]


def sealed(place: int, told: dict[str, Json], before: Sealed | None, used: Any = ()) -> Sealed:
    text = content_bytes(told)
    previous = before.seal.hex() if before else FIRST_SEAL
    evidence = evidence_json([], windows_digest(used))
    number = f"T-{place}"
    record = issue_record(
        text, Issue(number, "talea", T0, 14, 1, 1, 1, "2026a", evidence, previous)
    )
    return Sealed(place, number, text, record, seal_of(record))


USED = windows(4)
BILLED = line("l1", 30, line("c1", 10), line("c2", 20), meter="calls", metered_quantity="10")
INVOICE = content("i1", BILLED, line("l2", 12))
MORE = line("n1l", -5, meter="calls", metered_quantity="2.5", corrects="l1")
NOTE = content("n1", MORE, corrects="i1")


def proof(with_windows: bool = False) -> Any:
    """The proof of T-1; T-2 and T-3 stand behind it, T-2 corrects it."""
    first = sealed(1, INVOICE, None, USED)
    second = sealed(2, NOTE, first)
    third = sealed(3, content("i3", line("l", 1)), second)
    usage = line_usage(BILLED, CALLS, "acme", USED)
    both = [usage], [line_usage(BILLED, CALLS, "acme", windows(5))]
    told: Any = USED if with_windows else None
    signed_head = signed(Head("talea", 3, third.seal, T0), KEY)
    notes = [(second, NOTE)]
    found = proof_of(first, [second, third], signed_head, notes, INVOICE, both, told)
    return json.loads(json.dumps(found))


def check(told: Any, folder: Path) -> tuple[int, str]:
    """What the program says of a proof, with nothing but the standard library."""
    path = folder / "it.proof.json"
    path.write_text(told if isinstance(told, str) else json.dumps(told))
    run = subprocess.run(
        [sys.executable, "-I", "-S", str(VERIFIER), str(path)], capture_output=True, text=True
    )
    assert run.stderr == ""
    return run.returncode, run.stdout


@pytest.mark.parametrize("with_windows", [False, True])
def test_a_proof_holds(with_windows: bool, tmp_path: Path) -> None:
    code, told = check(proof(with_windows), tmp_path)

    assert code == 0, told
    assert told.startswith("T-1 of acme: 37 minor units EUR after 1 notes, 1 quantities with these")
    assert "2 lines sum, 1 of 1 recomputed from" in told
    assert "2 seals up to T-3" in told
    public = KEY.public_key().public_bytes_raw().hex()
    assert told.endswith(f", signed 2026-03-01T00:00:00Z with the key {public}\n")


def test_a_head_that_nobody_signed_is_said_to_be_so(tmp_path: Path) -> None:
    told = proof()
    told["checkpoint"] = None

    code, said = check(told, tmp_path)

    assert (code, said.endswith(", which nobody signed\n")) == (0, True)


@given(text=st.binary(max_size=200), seed=st.binary(min_size=32, max_size=32), flip=st.data())
@settings(max_examples=25, deadline=None)
def test_the_program_knows_signatures_as_the_library_does(
    text: bytes, seed: bytes, flip: st.DataObject
) -> None:
    is_signed = run_path(str(VERIFIER))["is_signed"]
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(text)
    at = flip.draw(st.integers(0, 8 * 64 - 1))
    wrong = bytearray(signature)
    wrong[at // 8] ^= 1 << at % 8

    assert is_signed(text, public, signature)
    assert not is_signed(text, public, bytes(wrong))
    assert not is_signed(text + b"0", public, signature)
    assert not is_signed(text, public, signature + b"0")


def edited(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


Tamper = Callable[[Any], object]
TAMPERED: dict[str, tuple[Tamper, str]] = {
    "content edited": (
        lambda p: p.update(content=edited(p["content"], '"total_minor":12', '"total_minor":13')),
        "T-1: its content is not the one that was sealed",
    ),
    "record edited": (
        lambda p: p.update(record=edited(p["record"], "2026a", "2026b")),
        "T-1: its issue record is not the one that was sealed",
    ),
    "sealed as another": (lambda p: p.update(number="T-9"), "T-9: it was sealed as number T-1"),
    "one deleted behind it": (lambda p: p["following"].pop(0), "T-3: it does not follow T-1"),
    "two swapped": (lambda p: p["following"].reverse(), "T-3: it does not follow T-1"),
    "one inserted": (
        lambda p: p["following"].insert(1, p["following"][0]),
        "T-2: it does not follow T-2",
    ),
    "the tail deleted": (
        lambda p: p["following"].pop(),
        "the chain ends with T-2 at place 2, the head is told as T-3 at place 3",
    ),
    "the chain cut behind the document": (
        lambda p: (p["following"].clear(), p.update(head=dict(p["head"], place=1, number="T-1"))),
        "the chain ends with T-1 at place 1",
    ),
    "the head of another chain": (
        lambda p: (
            p["following"].pop(),
            p.update(head={"place": 2, "number": "T-2", "seal": p["notes"][0]["seal"]}),
        ),
        "the checkpoint signs place 3 of talea, not the head",
    ),
    "the checkpoint edited": (
        lambda p: p["checkpoint"].update(
            statement=edited(p["checkpoint"]["statement"], "2026-03", "2026-02")
        ),
        "the signature of the checkpoint does not hold",
    ),
    "the checkpoint by another key": (
        lambda p: p["checkpoint"].update(key=OTHER_KEY.public_key().public_bytes_raw().hex()),
        "the signature of the checkpoint does not hold",
    ),
    "a note edited": (
        lambda p: p["notes"][0].update(content=edited(p["notes"][0]["content"], "-5", "-4")),
        "T-2: its content is not the one that was sealed",
    ),
    "a note left out": (
        lambda p: p["notes"].clear(),
        "T-1: with its notes it comes to 42, told is 37",
    ),
    "usage edited": (
        lambda p: p["usage"][0]["parts"][0].__setitem__(2, 90),
        "T-1: the usage of line l1 does not come to its quantity",
    ),
    "usage edited that a note corrected by": (
        lambda p: p["corrected"][0]["parts"][0].__setitem__(2, 90),
        "T-1: line l1 with its notes is not its usage",
    ),
}


@pytest.mark.parametrize(("tamper", "found"), TAMPERED.values(), ids=TAMPERED)
def test_what_was_tampered_with_is_named(tamper: Tamper, found: str, tmp_path: Path) -> None:
    told = proof()
    tamper(told)

    code, said = check(told, tmp_path)

    assert code == 1
    assert found in said


def test_windows_that_were_not_sealed_are_named(tmp_path: Path) -> None:
    told = proof(with_windows=True)
    told["windows"][2][6] = 26

    code, said = check(told, tmp_path)

    assert code == 1
    assert "T-1: its windows are not the ones that were sealed" in said
    assert "the usage of line l1 does not come to its quantity" in said


def test_children_that_do_not_sum_are_named_though_sealed(tmp_path: Path) -> None:
    wrong = content("i1", line("l1", 30, line("c1", 10), line("c2", 19)))
    told: Any = proof_of(sealed(1, wrong, None), [], None, [], wrong, ([], []), None)

    assert check(told, tmp_path) == (1, "T-1: the children of line l1 do not sum to it\n")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "talea.proof.1"}'])
def test_what_is_no_proof_is_said_in_one_line(text: str, tmp_path: Path) -> None:
    code, said = check(text, tmp_path)

    assert code == 1
    assert said.count("\n") == 1
    assert "is no proof" in said


@pytest.mark.parametrize("count", [10, 100_000])
def test_a_line_costs_the_same_however_many_windows_made_it(count: int) -> None:
    usage = line_usage(BILLED, CALLS, "acme", windows(count))

    assert usage["windows"] == count
    assert len(json.dumps(usage)) < 600


def test_the_program_is_short_and_needs_nothing() -> None:
    text = VERIFIER.read_text()
    imported = {one.split()[1] for one in text.splitlines() if one.startswith(("import", "from"))}

    assert len(text.splitlines()) <= 300
    assert imported <= {"json", "sys", "fractions", "hashlib"}
