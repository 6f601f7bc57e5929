"""Avro, single-object encoding: records of the house to bytes and back.

Owns: schema files, their fingerprints, the two marker bytes.
Does not own: what a record means (collect, meter), compression (the broker's client).
Source: Avro 1.12 specification, "Single-object encoding".
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import cast

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from pipeline.collect.batch import MeterScale, Mode, Reversal, UsageBatch, WideValue
from pipeline.stores.schemas import schema_folder

MARKER = b"\xc3\x01"
HEAD_BYTES = 10
"""Of a message before its record: the marker and the schema's fingerprint."""
BATCH = "UsageBatch.v1"

Record = Mapping[str, object]
Decode = Callable[[bytes], tuple[str, dict[str, object]]]
"""Gives (schema name, record) of a message; raises Unreadable."""


class Unreadable(ValueError):
    """The bytes are no record of a schema we know."""


@cache
def _schema(name: str) -> tuple[bytes, object]:
    """Return (header bytes, parsed schema) of `<Record>.v<N>`."""
    raw = json.loads((schema_folder() / "avro" / f"{name}.avsc").read_text("utf-8"))
    crc = fingerprint(to_parsing_canonical_form(raw), "CRC-64-AVRO")
    return MARKER + bytes.fromhex(crc), parse_schema(raw)


def header_of(name: str) -> bytes:
    """Return what messages of a schema begin with."""
    return _schema(name)[0]


@cache
def _readers() -> dict[bytes, tuple[str, object]]:
    return {_schema(each.name)[0]: (each.name, each.parsed) for each in our_schemas()}


@dataclass(frozen=True, slots=True)
class OurSchema:
    """A schema file: `name` is `<Record>.v<N>`, `subject` the record's full name."""

    name: str
    subject: str
    text: str
    parsed: object


@cache
def our_schemas() -> Sequence[OurSchema]:
    """Return every schema of ours, the versions of a record side by side, oldest first."""
    paths = {path.stem: path for path in (schema_folder() / "avro").glob("*.avsc")}
    found = []
    for name in sorted(paths, key=lambda name: (name.split(".v")[0], int(name.split(".v")[1]))):
        parsed = cast(dict[str, object], _schema(name)[1])
        found.append(OurSchema(name, str(parsed["name"]), paths[name].read_text("utf-8"), parsed))
    return found


def encode(name: str, record: Record) -> bytes:
    """Return the single-object encoding of a record under schema `name` (`Tick.v1`)."""
    header, schema = _schema(name)
    out = BytesIO()
    out.write(header)
    schemaless_writer(out, cast(dict[str, object], schema), record)
    return out.getvalue()


def decode(message: bytes) -> tuple[str, dict[str, object]]:
    """Return (schema name, record) of a single-object encoding.

    Raises:
        Unreadable: no marker, an unknown fingerprint, truncated, or bytes left over.

    """
    found = _readers().get(message[:HEAD_BYTES])
    if found is None:
        raise Unreadable("not the single-object encoding of a schema we know")
    name, schema = found
    stream = BytesIO(message)
    stream.seek(HEAD_BYTES)
    try:
        record = schemaless_reader(stream, cast(dict[str, object], schema), None)
    except Exception as error:  # fastavro raises whatever the bytes provoke
        raise Unreadable(f"broken {name}: {type(error).__name__}: {error}"[:200]) from None
    if stream.tell() != len(message):
        raise Unreadable(f"{len(message) - stream.tell()} bytes after the end of {name}")
    return name, cast(dict[str, object], record)


def encode_batch(batch: UsageBatch) -> bytes:
    """Return the message of a batch."""
    return encode(
        BATCH,
        {
            **{name: getattr(batch, name) for name in UsageBatch.__slots__},
            "mode": batch.mode.value,
            "customers": list(batch.customers),
            "meters": [{"meter": m.meter, "scale": m.scale} for m in batch.meters],
            "wide": [{"index": w.index, "mantissa": w.mantissa} for w in batch.wide],
            "reversals": [{"index": r.index, "time": r.time} for r in batch.reversals],
        },
    )


def batch_of(record: Record) -> UsageBatch:
    """Return the batch of a decoded record."""
    fields = cast(dict[str, list[dict[str, object]]], dict(record))
    return UsageBatch(
        **{  # type: ignore[arg-type]  # the schema has checked the types
            **fields,
            "mode": Mode(cast(str, record["mode"])),
            "meters": [MeterScale(**m) for m in fields["meters"]],  # type: ignore[arg-type]
            "wide": [WideValue(**w) for w in fields["wide"]],  # type: ignore[arg-type]
            "reversals": [Reversal(**r) for r in fields["reversals"]],  # type: ignore[arg-type]
        }
    )
