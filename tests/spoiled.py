"""Messages that lie, each with what is told of it: for the pure line and for real servers.

A row is (how to spoil a good batch of three events, code, path).
"""

from collections.abc import Callable
from dataclasses import replace
from struct import pack

from pipeline.collect import limits
from pipeline.collect.batch import MeterScale, Mode, Reversal, UsageBatch, WideValue
from pipeline.core.errors import Code
from pipeline.core.identity import canonical
from pipeline.stores.codec import encode_batch
from pipeline.stores.records import encode_slices

Spoil = Callable[[UsageBatch], bytes]

MARK = "~~~~"


def noise(count: int, start: int = 0x4E00) -> str:
    """Characters of three bytes that no compression makes small."""
    return "".join(chr(start + n * 7919 % 20_000) for n in range(count))


def spliced(batch: UsageBatch, raw: bytes) -> bytes:
    """A batch whose customer is these bytes, as long as MARK, whatever they are."""
    return encode_batch(replace(batch, customers=[MARK])).replace(MARK.encode(), raw)


def longest_dimensions(bytes_count: int = limits.DIMENSIONS_BYTES_MAX) -> dict[str, str]:
    """Dimensions of exactly this size as canonical JSON, hard to compress."""
    filler = bytes_count - len(canonical({"region": "", "zone": ""}))
    chars, ascii_rest = divmod(filler, 3)
    value = noise(chars) + "x" * ascii_rest
    return {"region": value[:250], "zone": value[250:]}


SPOILED: dict[str, tuple[Spoil, Code, str]] = {
    "no schema": (lambda b: b"usage: 3", Code.UNREADABLE, ""),
    "nothing": (lambda b: b"", Code.UNREADABLE, ""),
    "JSON": (lambda b: b'{"specversion": "1.0", "id": "1"}', Code.UNREADABLE, ""),
    "another fingerprint": (
        lambda b: b"\xc3\x01" + bytes(8) + encode_batch(b)[10:],
        Code.UNREADABLE,
        "",
    ),
    "a registry's mark where none is known": (
        lambda b: b"\0\0\0\0\1" + encode_batch(b)[10:],
        Code.UNREADABLE,
        "",
    ),
    "truncated": (lambda b: encode_batch(b)[:-7], Code.UNREADABLE, ""),
    "bytes left over": (lambda b: encode_batch(b) + b"\0", Code.UNREADABLE, ""),
    "a message too large": (
        lambda b: encode_batch(b) + bytes(limits.READ_BYTES_MAX),
        Code.TOO_LARGE,
        "",
    ),
    "a record of another topic": (lambda b: encode_slices([]), Code.UNREADABLE, ""),
    "no UTF-8 in a string": (lambda b: spliced(b, b"a\xff\xfeb"), Code.UNREADABLE, ""),
    "half a character": (lambda b: spliced(b, b"abc\xe2"), Code.UNREADABLE, ""),
    "a surrogate in UTF-8": (lambda b: spliced(b, b"a\xed\xa0\x80"), Code.UNREADABLE, ""),
    "NUL in two bytes": (lambda b: spliced(b, b"ab\xc0\x80"), Code.UNREADABLE, ""),
    "a short column": (
        lambda b: encode_batch(replace(b, time=b.time[8:])),
        Code.BAD_LENGTH,
        "time",
    ),
    "a long column": (
        lambda b: encode_batch(replace(b, meter_index=b.meter_index + b"\0\0")),
        Code.BAD_LENGTH,
        "meter_index",
    ),
    "short keys": (lambda b: encode_batch(replace(b, key=b.key[1:])), Code.BAD_LENGTH, "key"),
    "a wild index": (
        lambda b: encode_batch(replace(b, customer_index=pack("<3H", 0, 9, 0))),
        Code.BAD_INDEX,
        "customer_index",
    ),
    "another count": (
        lambda b: encode_batch(replace(b, event_count=2)),
        Code.BAD_LENGTH,
        "customer_index",
    ),
    "a mantissa too wide": (
        lambda b: encode_batch(replace(b, mantissa=pack("<3q", 1, 1 << 52, 1))),
        Code.BAD_VALUE,
        "mantissa",
    ),
    "a wide value that is none": (
        lambda b: encode_batch(replace(b, wide=[WideValue(0, "NaN")])),
        Code.BAD_BATCH,
        "wide",
    ),
    "a value of 10^400": (
        lambda b: encode_batch(replace(b, wide=[WideValue(0, "1" + "0" * 400)])),
        Code.BAD_BATCH,
        "wide",
    ),
    "a wide value with an exponent": (
        lambda b: encode_batch(replace(b, wide=[WideValue(0, "1e9")])),
        Code.BAD_BATCH,
        "wide",
    ),
    "digits of another script": (
        lambda b: encode_batch(replace(b, wide=[WideValue(0, "٣")])),
        Code.BAD_BATCH,
        "wide",
    ),
    "a scale too fine": (
        lambda b: encode_batch(replace(b, meters=[MeterScale("gigabytes", 40)])),
        Code.BAD_VALUE,
        "meters",
    ),
    "too many events": (
        lambda b: encode_batch(replace(b, event_count=2001)),
        Code.TOO_LARGE,
        "event_count",
    ),
    "fewer than none": (
        lambda b: encode_batch(replace(b, event_count=-1)),
        Code.TOO_LARGE,
        "event_count",
    ),
    "a heartbeat with keys": (
        lambda b: encode_batch(replace(b, event_count=0)),
        Code.BAD_BATCH,
        "event_count",
    ),
    "a reversal of nothing": (
        lambda b: encode_batch(replace(b, reversals=[Reversal(-1, 1)])),
        Code.BAD_BATCH,
        "reversals",
    ),
    "a sequence of nobody": (
        lambda b: encode_batch(replace(b, mode=Mode.SEQUENCED, key=b"", fingerprint=b"")),
        Code.MISSING_FIELD,
        "producer",
    ),
    "a pass of nobody": (
        lambda b: encode_batch(replace(b, gate_pass="mine")),
        Code.UNKNOWN_PASS,
        "gate_pass",
    ),
    "a huge dictionary": (
        lambda b: encode_batch(replace(b, customers=["x"] * (limits.DICTIONARY_MAX + 1))),
        Code.TOO_LARGE,
        "customers",
    ),
    "huge dictionaries of nothing": (
        lambda b: encode_batch(replace(b, dimensions=[{}] * 900_000)),
        Code.TOO_LARGE,
        "dimensions",
    ),
    "NUL": (
        lambda b: encode_batch(replace(b, customers=["ac\0me"])),
        Code.BAD_FIELD,
        "customers[0]",
    ),
    "a control character": (
        lambda b: encode_batch(replace(b, customers=["acme", "ac\x1bme"])),
        Code.BAD_FIELD,
        "customers[1]",
    ),
    "a name too long": (
        lambda b: encode_batch(replace(b, customers=["x" * 5000])),
        Code.TOO_LARGE,
        "customers[0]",
    ),
    "an empty name": (
        lambda b: encode_batch(replace(b, customers=[""])),
        Code.MISSING_FIELD,
        "customers[0]",
    ),
    "NUL in a dimension": (
        lambda b: encode_batch(replace(b, dimensions=[{"region": "e\0u"}])),
        Code.BAD_FIELD,
        "dimensions.region",
    ),
    "too many dimensions": (
        lambda b: encode_batch(replace(b, dimensions=[{str(n): "x" for n in range(33)}])),
        Code.TOO_LARGE,
        "dimensions",
    ),
    "dimensions too long together": (
        lambda b: encode_batch(
            replace(b, dimensions=[longest_dimensions(limits.DIMENSIONS_BYTES_MAX + 1)])
        ),
        Code.TOO_LARGE,
        "dimensions",
    ),
}
