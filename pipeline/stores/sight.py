"""A batch at sight: its names as one text, not one object each.

Owns: the sooner way to read a `UsageBatch`.
Does not own: what its schema says, whatever is no plain batch (codec.py).
Law: what is read at sight is what the schema reads.
"""

import json
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import cast

import numpy as np
from fastavro import parse_schema, schemaless_reader
from numpy.typing import NDArray

from pipeline.collect.names import Names
from pipeline.stores.codec import BATCH, HEAD_BYTES, Unreadable, decode, header_of
from pipeline.stores.schemas import schema_folder

_COUNT_MAX = 1 << 14
"""Twice the entries of an array, as its first two bytes can tell them."""
_FEW_NAMES = 64
"""Fewer are found sooner one by one than in columns."""
_LINE_BREAK = 10
_SHORT = 16


def decode_at_sight(message: bytes) -> tuple[str, dict[str, object]]:
    """Return what `decode` returns.

    Raises:
        Unreadable: as `decode`.

    """
    if message.startswith(header_of(BATCH)):
        at_sight = _batch_at_sight(message)
        if at_sight is not None:
            return BATCH, at_sight
    return decode(message)


def _batch_at_sight(message: bytes) -> dict[str, object] | None:
    """Return the record of a batch, its names as one text; None where that cannot be."""
    before, behind = _around_names()
    stream = BytesIO(message)
    stream.seek(HEAD_BYTES)
    try:
        record = cast(dict[str, object], schemaless_reader(stream, before, None))
        names, at = _names(message, stream.tell())
        stream.seek(at)
        record |= cast(dict[str, object], schemaless_reader(stream, behind, None))
    except Exception:  # fastavro raises whatever the bytes provoke
        return None
    return {**record, "customers": names} if stream.tell() == len(message) else None


@cache
def _around_names() -> tuple[dict[str, object], dict[str, object]]:
    """Return schemas of what stands before the names of a batch, and of what stands behind."""
    raw = json.loads((schema_folder() / "avro" / f"{BATCH}.avsc").read_text("utf-8"))
    fields = raw["fields"]
    at = [field["name"] for field in fields].index("customers")
    parts = ({**raw, "fields": fields[:at]}, {**raw, "fields": fields[at + 1 :]})
    before, behind = (cast(dict[str, object], parse_schema(part)) for part in parts)
    return before, behind


def _names(message: bytes, at: int) -> tuple[Sequence[str], int]:
    """Return an array of short ASCII strings, and where it ends.

    Raises:
        Unreadable: they are not all of that kind, or stand in several blocks.
        IndexError: the message ends before them.

    """
    count, at = message[at], at + 1
    if count & 0x80:
        count, at = count & 0x7F | message[at] << 7, at + 1
    if count > _COUNT_MAX or count & 1:
        raise Unreadable("a block of another kind")
    if not count:
        return [], at
    places = _places(message, at, count >> 1)
    end = at + int(places[-1]) + 1 + (message[at + int(places[-1])] >> 1)
    lines = np.frombuffer(message, np.uint8, end - at, at).copy()
    lengths = lines[places]
    lines[places] = _LINE_BREAK
    if (
        int(np.bitwise_or.reduce(lengths)) & 0x81
        or int(lines.max()) & 0x80
        or np.count_nonzero(lines == _LINE_BREAK) != len(places)
        or message[end]
    ):
        raise Unreadable("names of another kind")
    return Names(lines[1:].tobytes().decode("ascii")), end + 1


def _places(message: bytes, at: int, count: int) -> NDArray[np.int64] | list[int]:
    """Return where the lengths of so many strings stand, counted from the first."""
    if count >= _FEW_NAMES:
        size_max = min(count * _SHORT, len(message) - at)
        near = np.frombuffer(message, np.uint8, size_max, at)
        # Of names of less than 16 characters the lengths alone are below all letters.
        found = np.flatnonzero(near < 2 * _SHORT)[:count]
        if len(found) == count and not found[0]:
            sizes = near[found[:-1]] >> 1
            if np.array_equal(found[1:], found[:-1] + 1 + sizes):
                return found
    places, start = [], at
    for _ in range(count):
        places.append(at - start)
        at += 1 + (message[at] >> 1)
    return places
