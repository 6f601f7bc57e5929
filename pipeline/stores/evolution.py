"""Evolution of schemas: whether data written by one can be read by another, exactly.

Owns: the promise of schemas/README.md as a check.
Does not own: decoding (codec.py), where a schema comes from (schemas.py, registry.py).
Law: stricter than Avro: no promotion, no alias, and a decimal keeps its precision and scale,
which Avro's own resolution lets change.

Schemas come as fastavro parses them: every name in full.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

Schema = object
"""A parsed schema: a type's name, a list (a union), or a mapping with its `type`."""

_LOGICAL = ("logicalType", "precision", "scale")


@dataclass(frozen=True, slots=True)
class _Pair:
    """A writer's and a reader's schema under comparison, with the types each named so far."""

    writer: Mapping[str, Mapping[str, object]]
    reader: Mapping[str, Mapping[str, object]]
    seen: set[tuple[str, str]] = field(default_factory=set)


def misfits(writer: Schema, reader: Schema) -> list[str]:
    """Return why data of `writer` cannot be read exactly as `reader`; nothing: it can."""
    pair = _Pair(dict(_named(writer)), dict(_named(reader)))
    return list(_compare(pair, writer, reader, ""))


def broken_promises(older: Schema, newer: Schema) -> list[str]:
    """Return what a new version of a record breaks for those who know the old one.

    Old data must have new readers and new data old ones, and fields keep their place.
    """
    found = [f"new readers, old data: {why}" for why in misfits(older, newer)]
    found += [f"old readers, new data: {why}" for why in misfits(newer, older)]
    before, after = (
        {_short(name): record for name, record in _named(schema)} for schema in (older, newer)
    )
    for name, record in before.items():
        kept, now = _field_names(record), _field_names(after.get(name, {}))
        if now[: len(kept)] != kept:
            found.append(f"{name}: fields {kept} became {now}: new ones go to the end")
    return found


def unbounded(schema: Schema) -> str | None:
    """Return why a few bytes of a schema's data could keep a reader busy for ever, or None.

    Items that take no bytes may be counted in billions; a type inside itself nests as deep as
    the bytes go.
    """
    names = dict(_named(schema))
    return _unbounded(schema, names, ())


def _unbounded(
    schema: Schema, names: Mapping[str, Mapping[str, object]], above: tuple[str, ...]
) -> str | None:
    here = _resolved(schema, names)
    if isinstance(here, list):
        inner, called = here, above
    else:
        name = str(here.get("name", ""))
        if name and name in above:
            return f"holds {name} inside itself"
        called = (*above, name) if name else above
        inner = [each["type"] for each in _fields(here)]
        inner += [here[inside] for inside in ("items", "values") if inside in here]
        if "items" in here and _weightless(here["items"], names):
            return "has an array of items that take no bytes"
    return next((why for each in inner if (why := _unbounded(each, names, called))), None)


def _weightless(schema: Schema, names: Mapping[str, Mapping[str, object]]) -> bool:
    here = _resolved(schema, names)
    if isinstance(here, list):
        return False  # a union says which branch
    if here["type"] == "record":
        return all(_weightless(each["type"], names) for each in _fields(here))
    return here["type"] == "null" or here.get("size") == 0


def _named(schema: Schema) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield every named type in a schema: records, enums and fixed."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _named(branch)
    elif isinstance(schema, Mapping):
        if "name" in schema:
            yield str(schema["name"]), schema
        for each in _fields(schema):
            yield from _named(each["type"])
        for inside in ("items", "values", "type"):
            yield from _named(schema.get(inside))


def _short(name: object) -> str:
    """Return a name without its namespace: a new version may lie in another."""
    return str(name).rpartition(".")[2]


def _fields(schema: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    return cast(Sequence[Mapping[str, object]], schema.get("fields", ()))


def _field_names(schema: Mapping[str, object]) -> list[object]:
    return [each["name"] for each in _fields(schema)]


def _resolved(
    schema: Schema, names: Mapping[str, Mapping[str, object]]
) -> Mapping[str, object] | list[object]:
    """Return a schema as a mapping with its `type`, or as the list of a union."""
    if isinstance(schema, str):
        return names.get(schema, {"type": schema})
    return cast(Mapping[str, object] | list[object], schema)


def _compare(pair: _Pair, writer: Schema, reader: Schema, path: str) -> Iterator[str]:
    written, read = _resolved(writer, pair.writer), _resolved(reader, pair.reader)
    if isinstance(written, list) or isinstance(read, list):
        yield from _compare_unions(pair, written, read, path)
        return
    kind = written["type"]
    if kind != read["type"]:
        yield f"{path or 'the record'} is {kind}, not {read['type']}"
        return
    for what in (*_LOGICAL, "size"):
        if written.get(what) != read.get(what):
            yield f"{path} has {what} {written.get(what)}, not {read.get(what)}"
    if _short(written.get("name")) != _short(read.get("name")):
        yield f"{path or 'the record'} is called {written.get('name')}, not {read.get('name')}"
        return
    match kind:
        case "record":
            yield from _compare_records(pair, written, read, path)
        case "enum":
            missing = set(cast(list[str], written["symbols"])) - set(
                cast(list[str], read["symbols"])
            )
            if missing and "default" not in read:
                yield f"{path} may be {sorted(missing)}, which the reader does not know"
        case "array":
            yield from _compare(pair, written["items"], read["items"], f"{path}[]")
        case "map":
            yield from _compare(pair, written["values"], read["values"], f"{path}{{}}")


def _compare_unions(
    pair: _Pair,
    written: Mapping[str, object] | list[object],
    read: Mapping[str, object] | list[object],
    path: str,
) -> Iterator[str]:
    if not (isinstance(written, list) and isinstance(read, list) and len(written) == len(read)):
        yield f"{path} has other branches"
        return
    for place, (one, other) in enumerate(zip(written, read, strict=True)):
        yield from _compare(pair, one, other, f"{path}|{place}")


def _compare_records(
    pair: _Pair, written: Mapping[str, object], read: Mapping[str, object], path: str
) -> Iterator[str]:
    met = (str(written["name"]), str(read["name"]))
    if met in pair.seen:
        return
    pair.seen.add(met)
    had = {each["name"]: each for each in _fields(written)}
    for wanted in _fields(read):
        place = f"{path}.{wanted['name']}".lstrip(".")
        if wanted["name"] in had:
            yield from _compare(pair, had[wanted["name"]]["type"], wanted["type"], place)
        elif "default" not in wanted:
            yield f"{place} is missing and has no default"
