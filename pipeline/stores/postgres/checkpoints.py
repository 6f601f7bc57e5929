"""Signed heads of chains.

Owns: keeping and reading them.
Does not own: what they say (ledger/checkpoint.py), signatures (stores/signing.py).
Law: one stands at a place of a chain, and none changes.
"""

from pipeline.ledger.checkpoint import Checkpoint, Head
from pipeline.stores.postgres.connection import Connection


def issuers_sealed(connection: Connection) -> list[str]:
    """Return who issued anything."""
    rows = connection.execute("SELECT DISTINCT issuer FROM document ORDER BY issuer")
    return [issuer for (issuer,) in rows]


def read_checkpoints(connection: Connection, issuer: str | None = None) -> list[Checkpoint]:
    """Return the checkpoints of an issuer, or all, by issuer and place."""
    rows = connection.execute(
        "SELECT issuer, place, seal, at_us, key, signature FROM checkpoint"
        " WHERE %s::text IS NULL OR issuer = %s ORDER BY issuer, place",
        [issuer, issuer],
    )
    return [
        Checkpoint(Head(name, place, bytes(seal), at), bytes(key), bytes(signature))
        for name, place, seal, at, key, signature in rows
    ]


def write_checkpoint(connection: Connection, checkpoint: Checkpoint) -> None:
    """Keep a checkpoint; where one stands at its place, that one stays."""
    head = checkpoint.head
    connection.execute(
        "INSERT INTO checkpoint (issuer, place, seal, at_us, key, signature)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (issuer, place) DO NOTHING",
        [head.issuer, head.place, head.seal, head.at, checkpoint.key, checkpoint.signature],
    )
