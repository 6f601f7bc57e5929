"""Checkpoints: which head is signed, when, with which key, and what a proof then carries."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pipeline.core.calendar import DAY, Instant, parse_instant
from pipeline.core.errors import BadInput
from pipeline.ledger.checkpoint import Checkpoint, checkpoint_fault
from pipeline.ledger.seal import (
    FIRST_SEAL,
    Issue,
    Sealed,
    content_bytes,
    evidence_json,
    issue_record,
    seal_of,
)
from pipeline.settings import Settings
from pipeline.stores.signing import signature_holds, signing_key
from pipeline.workers.checkpointing import Signing, checkpoint_behind, sign_days

NOON = parse_instant("2026-03-01T12:00:00Z")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


@dataclass
class Shelf:
    """The chain of one issuer, and its checkpoints."""

    chain: list[Sealed] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)

    def issue(self, count: int, at: Instant = NOON) -> None:
        for _ in range(count):
            place = len(self.chain) + 1
            previous = self.chain[-1].seal.hex() if self.chain else FIRST_SEAL
            content = content_bytes({"place": place})
            evidence = evidence_json([], "")
            issue = Issue(f"T-{place}", "talea", at, 14, 1, 1, 1, "2026a", evidence, previous)
            record = issue_record(content, issue)
            self.chain.append(Sealed(place, f"T-{place}", content, record, seal_of(record)))

    @property
    def signed(self) -> list[int]:
        return [each.head.place for each in self.checkpoints]

    def issuers_sealed(self) -> list[str]:
        return ["talea"] if self.chain else []

    def chain_after(self, issuer: str, place: int, until: int | None = None) -> list[Sealed]:
        assert issuer == "talea"
        return self.chain[place:until]

    def read_checkpoints(self, issuer: str | None = None) -> list[Checkpoint]:
        assert issuer == "talea"
        return list(self.checkpoints)

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        self.checkpoints.append(checkpoint)


def at(instant: Instant) -> Signing:
    return Signing(KEY, lambda: instant)


@pytest.mark.parametrize(
    ("count", "looks", "places"),
    [
        (0, [NOON + DAY], []),
        (3, [NOON, NOON + 11 * DAY // 24], []),
        (3, [NOON + DAY // 2], [3]),
        (3, [NOON + DAY, NOON + 2 * DAY], [3]),
        (2_500, [NOON + DAY], [2_500]),
    ],
    ids=[
        "nothing issued",
        "the day goes on",
        "the day is over",
        "once",
        "more than are read at once",
    ],
)
def test_a_day_is_signed_when_it_is_over(
    count: int, looks: list[Instant], places: list[int]
) -> None:
    shelf = Shelf()
    shelf.issue(count)
    for look in looks:
        sign_days(shelf, at(look))

    assert shelf.signed == places
    assert all(map(signature_holds, shelf.checkpoints))


def test_each_checkpoint_rests_on_the_one_before() -> None:
    shelf = Shelf()
    for day in range(3):
        shelf.issue(2, NOON + day * DAY)
        sign_days(shelf, at(NOON + (day + 1) * DAY))

    assert shelf.signed == [2, 4, 6]
    assert all(one.head.at < other.head.at for one, other in pairwise(shelf.checkpoints))


@pytest.mark.parametrize(("place", "found"), [(1, 2), (2, 2), (3, 5), (5, 5)])
def test_a_proof_goes_to_the_nearest_checkpoint_and_makes_one_where_there_is_none(
    place: int, found: int
) -> None:
    shelf = Shelf()
    shelf.issue(2)
    sign_days(shelf, at(NOON + DAY))
    shelf.issue(3, NOON + DAY)

    checkpoint = checkpoint_behind(shelf, "talea", place, at(NOON + DAY))

    assert checkpoint is not None
    assert checkpoint.head.place == found
    assert checkpoint.head.seal == shelf.chain[found - 1].seal
    assert shelf.signed == sorted({2, found})


def test_a_chain_that_does_not_hold_is_not_signed() -> None:
    shelf = Shelf()
    shelf.issue(4)
    del shelf.chain[2]

    assert checkpoint_behind(shelf, "talea", 1, at(NOON)) is None
    sign_days(shelf, at(NOON + DAY))

    assert shelf.signed == []


def test_a_document_that_was_sealed_anew_is_not_what_was_signed() -> None:
    shelf = Shelf()
    shelf.issue(2)
    checkpoint = checkpoint_behind(shelf, "talea", 2, at(NOON))
    assert checkpoint is not None
    last = shelf.chain[-1]
    anew = replace(last, seal=seal_of(b"another"))

    assert checkpoint_fault(checkpoint, last) is None
    assert "another seal" in str(checkpoint_fault(checkpoint, anew))
    assert "not there any more" in str(checkpoint_fault(checkpoint, None))


def test_a_head_is_signed_whole() -> None:
    shelf = Shelf()
    shelf.issue(1)
    checkpoint = checkpoint_behind(shelf, "talea", 1, at(NOON))
    assert checkpoint is not None
    head = checkpoint.head
    others = [
        replace(head, issuer="other"),
        replace(head, place=2),
        replace(head, seal=bytes(32)),
        replace(head, at=NOON + 1),
    ]

    assert json.loads(checkpoint.head.statement)["place"] == 1
    assert not any(signature_holds(replace(checkpoint, head=each)) for each in others)
    assert not signature_holds(replace(checkpoint, key=b"short"))


def test_the_home_keeps_one_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")

    with ThreadPoolExecutor(8) as several:
        keys = [*several.map(lambda _: signing_key(settings).private_bytes_raw(), range(64))]

    assert len(set(keys)) == 1
    assert [path.name for path in settings.home.iterdir()] == ["signing.key"]
    assert stat.S_IMODE(settings.own_key.stat().st_mode) == 0o600


def test_a_key_may_lie_elsewhere(tmp_path: Path) -> None:
    kept = signing_key(Settings(home=tmp_path)).private_bytes_raw()
    named = Settings(home=tmp_path / "other", signing_key=tmp_path / "signing.key")

    assert signing_key(named).private_bytes_raw() == kept
    assert not named.home.exists()


OTHER_KIND = X25519PrivateKey.generate().private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)


@pytest.mark.parametrize(
    "text", [None, b"", b"no key", OTHER_KIND], ids=["missing", "empty", "no key", "another kind"]
)
def test_what_is_no_key_is_said_in_one_line(text: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "named.key"
    if text is not None:
        path.write_bytes(text)

    with pytest.raises(BadInput) as refused:
        signing_key(Settings(home=tmp_path, signing_key=path))

    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
