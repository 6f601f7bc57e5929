"""Checkpointing: sign the heads of chains, once a day and where a proof needs one.

Owns: load -> judge -> sign -> save, and how often.
Does not own: what is due and what is signed (ledger/checkpoint.py), the key (stores/signing.py).
Law: a chain that does not hold is not signed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.core.calendar import Instant
from pipeline.core.errors import TaleaError
from pipeline.ledger.checkpoint import Checkpoint, Head, head_to_sign, is_due, nearest
from pipeline.ledger.seal import Sealed
from pipeline.stores.postgres.connection import Unreachable
from pipeline.stores.signing import signed, signing_key
from pipeline.workers.surroundings import Surroundings

_log = structlog.get_logger()

_LOOK_S = 600.0
_BITE = 1_000


class Chains(Protocol):
    """What is sealed, and what is signed of it."""

    def issuers_sealed(self) -> list[str]: ...

    def chain_after(self, issuer: str, place: int, until: int | None = None) -> list[Sealed]: ...

    def read_checkpoints(self, issuer: str | None = None) -> list[Checkpoint]: ...

    def write_checkpoint(self, checkpoint: Checkpoint) -> None: ...


@dataclass(frozen=True, slots=True)
class Signing:
    """A key, and the clock that says when it signed."""

    key: Ed25519PrivateKey
    clock: Callable[[], Instant]


def checkpoint_behind(
    store: Chains, issuer: str, place: int, signing: Signing
) -> Checkpoint | None:
    """Return the nearest checkpoint at a place or behind it; sign the head where there is none.

    None where the chain does not hold: the proof carries all of it, and shows where.
    """
    known = store.read_checkpoints(issuer)
    found = nearest(known, place)
    if found is not None:
        return found
    return _sign(store, issuer, known[-1] if known else None, signing)


def sign_days(store: Chains, signing: Signing) -> None:
    """Sign the head of each issuer that issued anything on a day that is over."""
    for issuer in store.issuers_sealed():
        known = store.read_checkpoints(issuer)
        last = known[-1] if known else None
        place = last.head.place if last else 0
        if any(
            is_due(each, signing.clock()) for each in store.chain_after(issuer, place, place + 1)
        ):
            _sign(store, issuer, last, signing)


def _sign(
    store: Chains, issuer: str, last: Checkpoint | None, signing: Signing
) -> Checkpoint | None:
    behind = _behind(store, issuer, last.head.place if last else 0)
    head = head_to_sign(issuer, last, behind, signing.clock())
    if isinstance(head, str):
        _log.critical("a chain does not hold and is not signed", why=head)
    if not isinstance(head, Head):
        return None
    checkpoint = signed(head, signing.key)
    store.write_checkpoint(checkpoint)
    return checkpoint


def _behind(store: Chains, issuer: str, place: int) -> Iterator[Sealed]:
    """Yield what stands behind a place, some at a time: it may be years."""
    while bite := store.chain_after(issuer, place, place + _BITE):
        yield from bite
        place = bite[-1].place


def run_checkpoints(around: Surroundings, stop: Event) -> None:
    """Look now and every ten minutes whether a day wants its checkpoint, until stopped."""
    while True:
        try:
            with around.database.session("checkpoints") as connection:
                sign_days(connection, Signing(signing_key(around.settings), connection.clock()))
        except (TaleaError, *Unreachable) as error:
            _log.error("no checkpoint was written", why=str(error))
        if stop.wait(_LOOK_S):
            return
