"""Identity: keys, fingerprints, partitions, derived ids, commitments, canonical bytes.

Owns: every byte string that names a thing for ever. Each has a golden test
(tests/golden/test_formats.py): a change here is a change of the log format.
Law: the same content has the same name on every machine, in every run.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import TypeAlias

KEY_BYTES = 16
"""Length of an idempotency key."""
FINGERPRINT_BYTES = 4
"""Length of a payload fingerprint."""

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"
"""What canonical JSON may hold: no float."""


def _framed(fields: Iterable[bytes]) -> bytes:
    """Join fields, each behind its length (4 bytes, big-endian): no two lists collide."""
    return b"".join([len(field).to_bytes(4, "big") + field for field in fields])


def _blake(purpose: bytes, size: int, fields: Iterable[bytes]) -> bytes:
    return blake2b(_framed(fields), digest_size=size, person=purpose).digest()


def event_key(customer: str, source: str, event_id: str) -> bytes:
    """Return the 16-byte idempotency key of an event with a user id."""
    fields = (customer.encode(), source.encode(), event_id.encode())
    return _blake(b"talea.key.1", KEY_BYTES, fields)


def sequenced_key(producer: str, epoch: str, partition: int, sequence: int) -> bytes:
    """Return the 16-byte key that stands for an event known by its place in a sequence."""
    return sequenced_keys(producer, epoch, partition, (sequence,))


def sequenced_keys(producer: str, epoch: str, partition: int, places: Iterable[int]) -> bytes:
    """Return the keys of several events of one sequence, hashing what they share once."""
    shared = _framed((producer.encode(), epoch.encode()))
    seed = blake2b(shared, digest_size=KEY_BYTES, person=b"talea.seqkey.1")
    head = (12).to_bytes(4, "big") + partition.to_bytes(4, "big")
    found = []
    for place in places:
        state = seed.copy()
        state.update(head + place.to_bytes(8, "big"))
        found.append(state.digest())
    return b"".join(found)


def reversal_key(key: bytes, payload_print: bytes) -> bytes:
    """Return the 16-byte key that a reversal claims: of its original's key and payload."""
    return _blake(b"talea.revkey.1", KEY_BYTES, (key, payload_print))


def value_key(value: str) -> bytes:
    """Return the 16-byte key that stands for a value where distinct values are counted."""
    return _blake(b"talea.value.1", KEY_BYTES, (value.encode(),))


def fingerprint(
    meter: str,
    time_us: int,
    mantissa: int,
    scale: int,
    dimensions: Mapping[str, str],
    reversed_at_us: int | None = None,
) -> bytes:
    """Return 4 bytes over the normalised payload: a reused key with other content shows.

    `mantissa` and `scale` are in their smallest form (1.50 and 1.5 are one value).
    """
    fields = [meter.encode(), str(time_us).encode(), f"{mantissa}e-{scale}".encode()]
    fields.append(b"" if reversed_at_us is None else str(reversed_at_us).encode())
    for name in sorted(dimensions):
        fields += [name.encode(), dimensions[name].encode()]
    return _blake(b"talea.print.1", FINGERPRINT_BYTES, fields)


def batch_digest(message: bytes) -> bytes:
    """Return the 16-byte digest of a batch as it was sent (resends are byte-identical)."""
    return blake2b(message, digest_size=16, person=b"talea.batch.1").digest()


def pass_digest(keys: bytes, fingerprints: bytes) -> str:
    """Return the name of a keyed batch in a gate pass: its two columns, in hex."""
    return _blake(b"talea.pass.1", 16, (keys, fingerprints)).hex()


def murmur2(data: bytes) -> int:
    """Return the 32-bit murmur2 hash, seed 0x9747b28c.

    Source: org.apache.kafka.common.utils.Utils.murmur2, so that a Java producer's default
    partitioner agrees with us.
    """
    mask, magic = 0xFFFFFFFF, 0x5BD1E995
    length = len(data)
    state = (0x9747B28C ^ length) & mask
    for at in range(0, length - 3, 4):
        word = int.from_bytes(data[at : at + 4], "little") * magic & mask
        word = (word ^ word >> 24) * magic & mask
        state = state * magic & mask ^ word
    tail = data[length & ~3 :]
    if tail:
        state = (state ^ int.from_bytes(tail, "little")) * magic & mask
    state = (state ^ state >> 13) * magic & mask
    return state ^ state >> 15


@lru_cache(maxsize=1 << 16)
def partition_of(customer: str, partitions: int) -> int:
    """Return the partition of a customer: murmur2(id), sign bit off, modulo partitions."""
    return (murmur2(customer.encode()) & 0x7FFFFFFF) % partitions


def canonical(value: Json) -> bytes:
    """Return canonical JSON: UTF-8, keys sorted by code point, no spaces, no float.

    Raises:
        TypeError: a float, or anything JSON has no word for.

    """
    _refuse_floats(value)
    return _ENCODER.encode(value).encode()


_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
"""Made once: `json.dumps` would make one for every call."""


def _refuse_floats(value: Json) -> None:
    if type(value) in _LEAVES:  # most of what there is; their subclasses are asked below
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str and not isinstance(key, str):
                raise TypeError(f"canonical JSON has string keys only, not {key!r}")
            if type(item) not in _LEAVES:
                _refuse_floats(item)
    elif isinstance(value, list):
        for item in value:
            if type(item) not in _LEAVES:
                _refuse_floats(item)
    elif not isinstance(value, int | str):
        raise TypeError(f"canonical JSON has no {type(value).__name__}: {value!r}")


_LEAVES = frozenset((str, int, bool, type(None)))


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hex."""
    return sha256(data).hexdigest()


def derived_id(prefix: str, *parts: str) -> str:
    """Return an id that follows from content alone: prefix_ and 32 hex digits."""
    fields = [prefix.encode(), *map(str.encode, parts)]
    return f"{prefix}_{_blake(b'talea.id.1', 16, fields).hex()}"


def commitment(salt: bytes, value: str) -> str:
    """Return the hex commitment to a personal value.

    Value and salt lie in an erasable table; once they are gone the commitment tells nothing
    and every seal over it still holds.
    """
    return _blake(b"talea.commit.1", 32, (salt, value.encode())).hex()
