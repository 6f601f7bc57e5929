"""Checkpoint: the head of an issuer's chain, signed, so that a proof need go no further than it.

Owns: what is signed, when a day's is due, what it says against the chain.
Does not own: keys and signatures (stores/signing.py), keeping (stores/postgres/checkpoints.py).
Law: only a chain that holds, from the checkpoint before up to the head, is signed.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.core.calendar import DAY, Instant, instant_text, parse_instant
from pipeline.core.identity import Json, canonical
from pipeline.ledger.seal import FIRST_SEAL, Sealed, link_fault

CHECKPOINT_FORMAT = "talea.checkpoint.1"


@dataclass(frozen=True, slots=True)
class Head:
    """The place and seal at the end of an issuer's chain, at an instant."""

    issuer: str
    place: int
    seal: bytes
    at: Instant

    @property
    def statement(self) -> bytes:
        """The bytes that are signed."""
        return canonical(
            {
                "format": CHECKPOINT_FORMAT,
                "issuer": self.issuer,
                "place": self.place,
                "seal": self.seal.hex(),
                "at": instant_text(self.at),
            }
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A head with its Ed25519 signature and the public key that it holds under."""

    head: Head
    key: bytes
    signature: bytes

    def json(self) -> dict[str, Json]:
        """Return it as a proof carries it."""
        return {
            "statement": self.head.statement.decode(),
            "key": self.key.hex(),
            "signature": self.signature.hex(),
        }


def head_to_sign(
    issuer: str, last: Checkpoint | None, behind: Iterable[Sealed], at: Instant
) -> Head | str | None:
    """Return the head of what stands, in order, behind the last checkpoint; None of nothing.

    A text says what is wrong with the chain.
    """
    place, seal = (last.head.place, last.head.seal.hex()) if last else (0, FIRST_SEAL)
    document = None
    for document in behind:
        fault = link_fault(document, place + 1, seal)
        if fault:
            return f"{document.number}: {fault}"
        place, seal = document.place, document.seal.hex()
    return None if document is None else Head(issuer, place, document.seal, at)


def is_due(unsigned: Sealed, now: Instant) -> bool:
    """Return whether a day ended since the first document that no checkpoint holds was issued."""
    issued = parse_instant(json.loads(unsigned.record)["issued_at"])
    return issued // DAY < now // DAY


def checkpoint_fault(checkpoint: Checkpoint, document: Sealed | None) -> str | None:
    """Return why a checkpoint does not stand for the document at its place, or None."""
    day = instant_text(checkpoint.head.at)
    if document is None:
        return f"it is not there any more; a checkpoint of {day} signed it"
    if document.seal != checkpoint.head.seal:
        return f"it has another seal than the checkpoint of {day} signed"
    return None


def nearest(checkpoints: Sequence[Checkpoint], place: int) -> Checkpoint | None:
    """Return the first checkpoint at a place or behind it, of those of one issuer."""
    behind = [each for each in checkpoints if each.head.place >= place]
    return min(behind, key=lambda each: each.head.place, default=None)
