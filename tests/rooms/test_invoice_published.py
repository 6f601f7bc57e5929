"""Which records a changed draft makes; records are read again as they were written."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import T0, kept
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json, canonical
from pipeline.invoice.published import (
    DraftInvoice,
    DraftLine,
    DraftPosition,
    DraftText,
    Issued,
    Shelf,
    draft_records,
    draft_value,
    issued_value,
    line_values,
    read_draft,
    read_issued,
    read_line,
)

AT = DraftPosition(3, 41, T0)
ISSUED = Issued("talea", 7, "T-7", "inv_1", "acme", b'{"a":1}', b'{"b":"\xc3\xa9"}', b"\0\xff")


def draft(*lines: str) -> DraftInvoice:
    rows: list[Json] = [{"id": line, "name": "café"} for line in lines]
    return DraftInvoice(AT, {"id": "inv_1", "customer": "acme", "lines": rows})


@pytest.mark.parametrize(
    ("standing", "now", "written", "gone"),
    [
        ([], draft("a", "b"), ["a", "b", "inv_1"], []),
        (["a", "b"], draft("a", "b"), ["a", "b", "inv_1"], []),
        (["a", "b"], draft("a"), ["a", "inv_1"], ["b"]),
        (["a", "b"], draft("c"), ["c", "inv_1"], ["a", "b"]),
        (["a"], draft(), ["inv_1"], ["a"]),
        (["b", "a"], None, [], ["a", "b", "inv_1"]),
        ([], None, [], ["inv_1"]),
    ],
    ids=["new", "the same", "a line fewer", "others", "no line", "gone", "gone, without lines"],
)
def test_what_a_changed_draft_makes_of_its_keys(
    standing: list[str], now: DraftInvoice | None, written: list[str], gone: list[str]
) -> None:
    records = draft_records("inv_1", "acme", standing, kept(now) if now else None)

    assert [record.key for record in records if record.value is not None] == written
    assert [record.key for record in records if record.value is None] == gone
    assert {record.owner for record in records} == {"acme"}
    shelves = {record.key: record.shelf for record in records}
    assert shelves.pop("inv_1") is Shelf.DRAFTS
    assert set(shelves.values()) <= {Shelf.LINES}


def test_each_is_read_as_it_was_written() -> None:
    ((line_id, value),) = line_values("inv_1", "acme", kept(draft("a")))

    assert read_draft(draft_value(kept(draft("a", "b")))) == draft("a", "b")
    assert read_line(value) == DraftLine(AT, "inv_1", "acme", draft("a").lines[0])
    assert line_id == "a"
    assert read_issued(issued_value(ISSUED)) == ISSUED


def test_a_line_of_a_draft_is_the_line_of_its_own_record() -> None:
    *lines, whole = draft_records("inv_1", "acme", [], kept(draft("a", "b")))

    assert whole.value is not None
    assert [read_line(one.value or b"").line for one in lines] == read_draft(whole.value).lines
    assert {read_line(one.value or b"").position for one in lines} == {AT}


@given(
    st.lists(st.text(), unique=True),
    st.text(),
    st.dictionaries(st.text(), st.text() | st.lists(st.text()).map(list), max_size=3),
)
def test_records_are_canonical_whatever_a_draft_says(
    names: list[str], customer: str, more: dict[str, Json]
) -> None:
    """Also where a text looks like the list of lines that records are cut from."""
    lines: list[Json] = [{**more, "id": name, "name": '"lines":[' + name} for name in names]
    content: dict[str, Json] = {"a": '],"lines":[{', "id": "d", "lines": lines, "z": [more]}
    text = kept(DraftInvoice(AT, content))

    values = [draft_value(text), *(value for _, value in line_values("d", customer, text))]
    assert values == [canonical(json.loads(value)) for value in values]
    assert read_draft(values[0]) == DraftInvoice(AT, content)
    assert [read_line(value).line for value in values[1:]] == lines
    assert {read_line(value).customer for value in values[1:]} <= {customer}


def test_a_line_may_have_a_list_of_that_name_too() -> None:
    """A price may be of the usage whose dimension `lines` has one of some values."""
    told: Json = {"filter": {"lines": ["], x"]}}
    rows: list[Json] = [{"id": name, "rate_card": told} for name in ("a", "b")]
    text = kept(DraftInvoice(AT, {"customer": "acme", "id": "d", "lines": rows, "z": told}))

    assert {name: json.loads(line) for name, line in text.lines.items()} == {
        "a": rows[0],
        "b": rows[1],
    }


@pytest.mark.parametrize("content", ['{"id":"d"}', '{"a":{"lines":[]},"id":"d","lines":[]}'])
def test_a_content_without_one_list_of_lines_is_a_defect(content: str) -> None:
    with pytest.raises(BrokenInvariant, match="not one list of lines"):
        DraftText.kept(AT, content, "[]")


VALUES: list[tuple[Callable[[bytes], object], bytes]] = [
    (read_draft, draft_value(kept(draft("a")))),
    (read_line, dict(line_values("inv_1", "acme", kept(draft("a"))))["a"]),
    (read_issued, issued_value(ISSUED)),
]


@pytest.mark.parametrize(("read", "value"), VALUES)
def test_what_is_no_record_of_ours_is_refused(
    read: Callable[[bytes], object], value: bytes
) -> None:
    fields: dict[str, Any] = json.loads(value)
    for rubbish in (b"", b"\xff", b"null", b"[]", b'{"format":"talea.other.1"}', value[:-1]):
        with pytest.raises(ValueError, match=r"."):
            read(rubbish)
    for name in fields:
        without = {key: item for key, item in fields.items() if key != name}
        with pytest.raises(ValueError, match=r"."):
            read(canonical(without))
    for name in {"position", "content", "line", "place"} & fields.keys() - {"issue_record"}:
        if not isinstance(fields[name], str):
            with pytest.raises(ValueError, match=name):
                read(canonical({**fields, name: "x"}))
