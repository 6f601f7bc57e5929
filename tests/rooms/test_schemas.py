"""Schemas are a promise: old data has new readers, new data old ones, and no file ever changes."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form
from fastavro.utils import generate_one

from pipeline.collect import limits
from pipeline.core.identity import canonical
from pipeline.core.quantity import INTEGER_DIGITS_MAX, SCALE_MAX
from pipeline.stores.evolution import broken_promises, misfits
from pipeline.stores.schemas import schema_folder
from pipeline.topology import MESSAGE_BYTES_MAX, USAGE_BYTES_MAX

AVRO = schema_folder() / "avro"
LANDED = Path(__file__).parents[1] / "golden/formats/schemas.txt"
README = (schema_folder() / "README.md").read_text("utf-8")

INDEX_ROW_BYTES_MAX = 2704
"""What PostgreSQL lets one row of a B-tree hold: src/include/access/nbtree.h, BTMaxItemSize."""


def versions() -> dict[str, list[str]]:
    """Each record's files, oldest first."""
    found: dict[str, list[tuple[int, str]]] = {}
    for path in AVRO.glob("*.avsc"):
        record, number = path.stem.split(".v")
        found.setdefault(record, []).append((int(number), path.stem))
    return {record: [name for _, name in sorted(names)] for record, names in found.items()}


def raw(name: str) -> Any:
    return json.loads((AVRO / f"{name}.avsc").read_text("utf-8"))


def parsed(schema: Any) -> Any:
    return parse_schema(deepcopy(schema), named_schemas={})


def landed_line(name: str, text: bytes) -> str:
    form = to_parsing_canonical_form(json.loads(text))
    return f"{name} {fingerprint(form, 'CRC-64-AVRO')} {sha256(text).hexdigest()}"


def test_no_landed_schema_was_edited_and_each_is_on_the_list() -> None:
    """A new file adds its line, once; a line that would have to change is a broken promise."""
    lines = [landed_line(path.stem, path.read_bytes()) for path in AVRO.glob("*.avsc")]

    assert sorted(lines) == LANDED.read_text("utf-8").splitlines()
    assert len(lines) >= 4


@pytest.mark.parametrize("edit", [b" ", b"Usage"], ids=["a space", "a word in a doc"])
def test_the_smallest_edit_of_a_landed_file_shows(edit: bytes) -> None:
    text = (AVRO / "UsageBatch.v1.avsc").read_bytes()
    edited = text.replace(b"Many usage", b"Many  usage" if edit == b" " else b"Many " + edit, 1)

    assert landed_line("UsageBatch.v1", edited) not in LANDED.read_text("utf-8").splitlines()
    assert landed_line("UsageBatch.v1", text) in LANDED.read_text("utf-8").splitlines()


@pytest.mark.parametrize(
    ("older", "newer"),
    sorted(
        {pair for names in versions().values() for pair in pairwise(names)}
        | {(names[0], names[-1]) for names in versions().values()}
    ),
)
def test_a_version_keeps_what_the_one_before_promised(older: str, newer: str) -> None:
    assert broken_promises(parsed(raw(older)), parsed(raw(newer))) == []


def shared(one: Any, other: Any) -> Any:
    """One record with the fields that the other has too, however deep."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {name: shared(one[name], other[name]) for name in one.keys() & other.keys()}
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [shared(*pair) for pair in zip(one, other, strict=True)]
    return one


@pytest.mark.parametrize("names", versions().values(), ids=lambda names: names[-1])
def test_old_data_has_new_readers_and_new_data_old_ones(names: list[str]) -> None:
    """By what reads them in production, both ways, between every two versions."""
    for writer in names:
        for reader in names:
            record = generate_one(parsed(raw(writer)))
            out = BytesIO()
            schemaless_writer(out, parsed(raw(writer)), record)
            out.seek(0)
            read: Any = schemaless_reader(out, parsed(raw(writer)), parsed(raw(reader)))
            assert shared(read, record) == shared(record, read)


SUM = {
    "type": "record",
    "name": "Sum",
    "namespace": "t",
    "fields": [
        {"name": "id", "type": "string"},
        {
            "name": "total",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2},
        },
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["a", "b"]}},
        {"name": "note", "type": ["null", "string"], "default": None},
        {
            "name": "parts",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Part",
                    "fields": [{"name": "n", "type": "int"}],
                },
            },
        },
        {"name": "mark", "type": {"type": "fixed", "name": "Mark", "size": 4}},
        {"name": "more", "type": {"type": "map", "values": "Part"}},
    ],
}

Edit = Callable[[list[Any]], object]


def edited(edit: Edit) -> Any:
    schema = deepcopy(SUM)
    edit(schema["fields"])  # type: ignore[arg-type]
    return schema


KEPT: dict[str, Edit] = {
    "nothing": lambda f: None,
    "another doc": lambda f: f[0].update(doc="Its name."),
    "a field at the end with a default": lambda f: f.append(
        {"name": "x", "type": "long", "default": 0}
    ),
    "a field of a part with a default": lambda f: f[4]["type"]["items"]["fields"].append(
        {"name": "x", "type": ["null", "int"], "default": None}
    ),
}
BROKEN: dict[str, tuple[Edit, str]] = {
    "a field removed": (lambda f: f.pop(0), "id is missing"),
    "a field with a default removed": (lambda f: f.pop(3), "go to the end"),
    "a field without a default": (
        lambda f: f.append({"name": "x", "type": "long"}),
        "x is missing and has no default",
    ),
    "a field in the middle": (
        lambda f: f.insert(1, {"name": "x", "type": "long", "default": 0}),
        "go to the end",
    ),
    "a field renamed": (lambda f: f[0].update(name="key"), "id is missing"),
    "a field renamed behind an alias": (
        lambda f: f[0].update(name="key", aliases=["id"]),
        "id is missing",
    ),
    "retyped": (lambda f: f[0].update(type="bytes"), "id is string, not bytes"),
    "promoted": (
        lambda f: f[4]["type"]["items"]["fields"][0].update(type="long"),
        "parts[].n is int, not long",
    ),
    "another scale": (lambda f: f[1]["type"].update(scale=3), "scale 2, not 3"),
    "another precision": (lambda f: f[1]["type"].update(precision=30), "precision 20, not 30"),
    "no longer a decimal": (
        lambda f: f[1].update(type="bytes"),
        "logicalType decimal, not None",
    ),
    "a symbol more": (lambda f: f[2]["type"]["symbols"].append("c"), "may be ['c']"),
    "a symbol less": (lambda f: f[2]["type"]["symbols"].pop(), "may be ['b']"),
    "a branch more": (lambda f: f[3]["type"].append("int"), "note has other branches"),
    "no union any more": (
        lambda f: f[3].update(type="string", default=""),
        "note has other branches",
    ),
    "branches turned": (lambda f: f[3].update(type=["string", "null"]), "note|0"),
    "a wider fixed": (lambda f: f[5]["type"].update(size=8), "size 4, not 8"),
    "a type renamed": (lambda f: f[5]["type"].update(name="Brand"), "is called t.Mark"),
    "another kind of value": (lambda f: f[6]["type"].update(values="string"), "more{}"),
}


@pytest.mark.parametrize("name", KEPT)
def test_an_edit_that_keeps_the_promise(name: str) -> None:
    assert broken_promises(parsed(SUM), parsed(edited(KEPT[name]))) == []


@pytest.mark.parametrize("name", BROKEN)
def test_an_edit_that_breaks_the_promise_is_named(name: str) -> None:
    edit, what = BROKEN[name]
    found = broken_promises(parsed(SUM), parsed(edited(edit)))

    assert any(what in line for line in found), found


def test_a_schema_that_names_itself_comes_to_an_end() -> None:
    tree = {
        "type": "record",
        "name": "Tree",
        "fields": [{"name": "below", "type": {"type": "array", "items": "Tree"}}],
    }

    assert misfits(parsed(tree), parsed(tree)) == []


def test_a_reader_may_want_less_than_was_written() -> None:
    more = parsed(edited(lambda f: f.append({"name": "x", "type": "long"})))

    assert misfits(more, parsed(SUM)) == []
    assert misfits(parsed(SUM), more) == ["x is missing and has no default"]


# --- limits ---


def limits_told() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([\d,]+) \| (.+?) \|$", README, re.MULTILINE)
    return {name: (figure, unit) for name, figure, unit in rows}


def test_the_limits_told_are_those_of_the_code() -> None:
    known = {name: value for name, value in vars(limits).items() if name.isupper()}
    known |= {"INTEGER_DIGITS_MAX": INTEGER_DIGITS_MAX, "SCALE_MAX": SCALE_MAX}
    known |= {"USAGE_BYTES_MAX": USAGE_BYTES_MAX, "MESSAGE_BYTES_MAX": MESSAGE_BYTES_MAX}

    assert {name: figure for name, (figure, _) in limits_told().items()} == {
        name: f"{value:,}" for name, value in known.items()
    }
    assert all(unit.strip() for _, unit in limits_told().values())


def test_the_longest_series_still_fits_an_index_of_the_database() -> None:
    """The unique index of `series`: one that does not fit would stop the books for good."""
    names = 4 * (limits.ID_CHARS_MAX + limits.METER_CHARS_MAX)

    assert names + limits.DIMENSIONS_BYTES_MAX + 64 <= INDEX_ROW_BYTES_MAX
    assert 2 * 4 * limits.ID_CHARS_MAX + 64 <= INDEX_ROW_BYTES_MAX  # producer and epoch


def test_escapes_count_too() -> None:
    assert len(canonical({'"' * 10: "\\" * 10})) == 2 * 20 + 7
