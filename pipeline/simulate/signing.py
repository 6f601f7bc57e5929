"""Signing: what must be signed of each chain, as the auditor works it out.

Owns: that each checkpoint signs what stands, and that a day that is over has one.
Does not own: the chain (auditor.py), who signs when (workers/checkpointing.py).
Law: it shares no step with the pipeline.
"""

import json
from collections.abc import Iterator
from random import Random

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pipeline.core.calendar import DAY, SECOND, Instant, instant_text, parse_instant
from pipeline.ledger.checkpoint import Head
from pipeline.simulate.database import Tables

AHEAD: Instant = DAY - 60 * SECOND
"""So far ahead is the clock of who signs: a day ends a minute after the story begins."""
_SIGNED_S = 60
"""Within so long what was issued on a day that is over is signed, in the calm."""


def key_of(random: Random) -> Ed25519PrivateKey:
    """Return the key of a stack."""
    return Ed25519PrivateKey.from_private_bytes(random.randbytes(32))


def signing_faults(
    tables: Tables, key: Ed25519PrivateKey, calm_end: Instant
) -> Iterator[tuple[str, str]]:
    """Yield checkpoints that do not stand for their documents, and documents without one."""
    public, last = key.public_key(), dict[str, int]()
    for (issuer, place), checkpoint in sorted(tables.checkpoints.items()):
        head, document = checkpoint.head, tables.documents.get((issuer, place))
        last[issuer] = place
        if document is None or document.sealed.seal != head.seal:
            yield "signed", f"{issuer} {place} is signed otherwise than it stands"
        try:
            public.verify(checkpoint.signature, _statement(issuer, place, head))
        except InvalidSignature:
            yield "signed", f"the signature at {issuer} {place} is of something else"
    for (issuer, place), document in sorted(tables.documents.items()):
        issued = parse_instant(json.loads(document.sealed.record)["issued_at"])
        if issued < calm_end - _SIGNED_S * SECOND and place > last.get(issuer, 0):
            yield "signed", f"{issuer} {place} was issued long ago and is not signed"


def _statement(issuer: str, place: int, head: Head) -> bytes:
    told = {
        "format": "talea.checkpoint.1",
        "issuer": issuer,
        "place": place,
        "seal": head.seal.hex(),
        "at": instant_text(head.at),
    }
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
