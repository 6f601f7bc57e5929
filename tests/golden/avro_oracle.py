"""Avro as its specification has it, on one page: an oracle that shares no code with fastavro.

Canonical form, CRC-64-AVRO and the binary encoding, each piece with the path it stands for, so
that golden bytes can be read. Source: Avro 1.12 specification.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).parents[2] / "schemas" / "avro"
PRIMITIVE = ("null", "boolean", "int", "long", "bytes", "string")

Pieces = Iterator[tuple[str, bytes]]


def schema_of(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.avsc").read_text("utf-8"))


def canonical_form(schema: Any, namespace: str = "") -> str:
    """Only what decides parsing: full names, fixed order, no doc, no space."""
    if isinstance(schema, str):
        return f'"{schema}"' if schema in PRIMITIVE else f'"{namespace}.{schema}"'
    if isinstance(schema, list):
        return f"[{','.join(canonical_form(branch, namespace) for branch in schema)}]"
    kind, inner = schema["type"], schema.get("namespace", namespace)
    if kind == "array":
        return f'{{"type":"array","items":{canonical_form(schema["items"], inner)}}}'
    if kind == "map":
        return f'{{"type":"map","values":{canonical_form(schema["values"], inner)}}}'
    head = f'{{"name":"{inner}.{schema["name"]}","type":"{kind}"'
    if kind == "enum":
        symbols = ",".join(f'"{symbol}"' for symbol in schema["symbols"])
        return f'{head},"symbols":[{symbols}]}}'
    fields = (
        f'{{"name":"{field["name"]}","type":{canonical_form(field["type"], inner)}}}'
        for field in schema["fields"]
    )
    return f'{head},"fields":[{",".join(fields)}]}}'


def crc64(data: bytes) -> int:
    """The Rabin fingerprint, bit by bit."""
    empty = 0xC15D213AA4D7A795
    state = empty
    for byte in data:
        low = (state ^ byte) & 0xFF
        for _ in range(8):
            low = (low >> 1) ^ (empty if low & 1 else 0)
        state = (state >> 8) ^ low
    return state


def header(name: str) -> bytes:
    """The ten bytes before a record: marker, fingerprint little-endian."""
    return b"\xc3\x01" + crc64(canonical_form(schema_of(name)).encode()).to_bytes(8, "little")


def whole(number: int) -> bytes:
    """Zigzag, then seven bits a byte, lowest first."""
    left = number * 2 if number >= 0 else -number * 2 - 1
    out = []
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def pieces(schema: Any, value: Any, path: str) -> Pieces:
    """Every piece of the encoding with its path."""
    kind = schema["type"] if isinstance(schema, Mapping) else schema
    if isinstance(schema, list):
        yield f"{path}: {'null' if value is None else 'there'}", whole(0 if value is None else 1)
        if value is not None:
            yield from pieces(schema[1], value, path)
    elif kind == "record":
        for field in schema["fields"]:
            yield from pieces(field["type"], value[field["name"]], f"{path}.{field['name']}")
    elif kind == "array" or kind == "map":
        yield from _many(schema, kind, value, path)
    elif kind == "enum":
        yield f"{path}: {value}", whole(schema["symbols"].index(value))
    elif kind == "boolean":
        yield f"{path}: {value}", b"\1" if value else b"\0"
    elif kind in ("int", "long"):
        yield f"{path}: {value}", whole(value)
    else:
        raw = value.encode() if kind == "string" else value
        yield (
            f"{path}: {len(raw)} bytes" + (f" {value!r}" * (kind == "string")),
            whole(len(raw)) + raw,
        )


def _many(schema: Any, kind: str, value: Any, path: str) -> Pieces:
    if value:
        yield f"{path}: {len(value)} entries", whole(len(value))
    if kind == "array":
        for index, item in enumerate(value):
            yield from pieces(schema["items"], item, f"{path}[{index}]")
    else:
        for name, item in value.items():
            yield f"{path} name {name!r}", whole(len(name.encode())) + name.encode()
            yield from pieces(schema["values"], item, f"{path}.{name}")
    yield f"{path}: end", b"\0"


def explained(name: str, record: Mapping[str, Any]) -> Pieces:
    """A whole message, piece by piece."""
    yield f"single-object marker, fingerprint of {name}", header(name)
    schema = schema_of(name)
    for path, raw in pieces(schema, record, ""):
        yield path.removeprefix("."), raw


def encoded(name: str, record: Mapping[str, Any]) -> bytes:
    """A whole message."""
    return b"".join(raw for _, raw in explained(name, record))
