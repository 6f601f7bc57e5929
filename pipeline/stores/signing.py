"""The key that signs checkpoints.

Owns: its file, signing, whether a signature holds.  Does not own: what is signed (ledger).
Law: a key is made once, readable by its owner alone, and never replaced by another.
"""

import os
from pathlib import Path
from tempfile import mkstemp

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pipeline.core.errors import BadInput
from pipeline.ledger.checkpoint import Checkpoint, Head
from pipeline.settings import Settings


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """Return the key that settings name, or the home's own, made where there is none.

    Raises:
        BadInput: the file is no such key, or cannot be read.

    """
    path = settings.signing_key or settings.own_key
    try:
        if settings.signing_key is None and not path.exists():
            _make(path)
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{path}: no key to sign with: {_line(error)}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{path}: a {type(key).__name__} cannot sign, an Ed25519 key can")
    return key


def signed(head: Head, key: Ed25519PrivateKey) -> Checkpoint:
    """Return a head with its signature."""
    public = key.public_key().public_bytes_raw()
    return Checkpoint(head, public, key.sign(head.statement))


def signature_holds(checkpoint: Checkpoint) -> bool:
    """Return whether the signature is that of the checkpoint's key over its head."""
    try:
        key = Ed25519PublicKey.from_public_bytes(checkpoint.key)
        key.verify(checkpoint.signature, checkpoint.head.statement)
    except (InvalidSignature, ValueError):
        return False
    return True


def _make(path: Path) -> None:
    """Write a new key whole, in one step; whoever was first stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    descriptor, name = mkstemp(".new", f"{path.name}.", path.parent)  # its owner's alone
    draft = Path(name)
    try:
        with open(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
