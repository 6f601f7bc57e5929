"""One event at the edge: what is let in, and what a CloudEvent is refused for."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.collect import limits
from pipeline.collect.event import UsageEvent, parse_cloudevent
from pipeline.core.calendar import parse_instant
from pipeline.core.errors import Code, Rejection

GOOD: dict[str, object] = {
    "specversion": "1.0",
    "type": "usage",
    "id": "req-1",
    "source": "gateway",
    "time": "2026-01-31T12:00:00.5+01:00",
    "data": {"customer": "acme", "meter": "api_calls", "value": "1.50"},
}


def line(inside: dict[str, object] | None = None, **envelope: object) -> bytes:
    """Return the good event with fields of data or envelope replaced; `...` takes one away."""
    known = GOOD["data"]
    assert isinstance(known, dict)
    inner = {k: v for k, v in {**known, **(inside or {})}.items() if v is not ...}
    event = {**GOOD, "data": inner, **envelope}
    return json.dumps({k: v for k, v in event.items() if v is not ...}).encode()


def raw(text: str) -> bytes:
    """Return the good event as text with a value written as it stands."""
    return line({"value": "@"}).replace(b'"@"', text.encode())


def test_a_cloudevent_is_a_usage_event() -> None:
    assert parse_cloudevent(line({"dimensions": {"region": "eu", "zone": ""}})) == UsageEvent(
        customer="acme",
        meter="api_calls",
        time=parse_instant("2026-01-31T11:00:00.5Z"),
        value=Decimal("1.50"),
        id="req-1",
        source="gateway",
        dimensions={"region": "eu", "zone": ""},
    )


@pytest.mark.parametrize("text", ["7", "-7", "0.000000000000000001", "1234567890.123456789"])
def test_a_json_number_is_taken_digit_by_digit(text: str) -> None:
    event = parse_cloudevent(raw(text))
    assert isinstance(event, UsageEvent)
    assert str(event.value) == str(Decimal(text))


def test_extensions_and_unknown_data_are_let_pass() -> None:
    assert isinstance(parse_cloudevent(line({"note": 1}, traceparent="00-x")), UsageEvent)


def test_a_reversal_carries_its_own_time() -> None:
    event = parse_cloudevent(line({"kind": "reversal", "reversed_at": "2026-02-01T00:00:00Z"}))
    assert isinstance(event, UsageEvent)
    assert event.reversed_at == parse_instant("2026-02-01T00:00:00Z")


long_id = "x" * (limits.ID_CHARS_MAX + 1)

BAD: list[tuple[str, bytes, Code, str]] = [
    ("not UTF-8", b'{"id": "\xff"}', Code.UNREADABLE, ""),
    ("not JSON", b"{", Code.UNREADABLE, ""),
    ("empty", b"", Code.UNREADABLE, ""),
    ("two values", line() + line(), Code.UNREADABLE, ""),
    ("byte order mark", b"\xef\xbb\xbf" + line(), Code.UNREADABLE, ""),
    ("nested too deep", b"[" * 100_000, Code.UNREADABLE, ""),
    ("line too long", b" " * (limits.LINE_BYTES_MAX + 1), Code.TOO_LARGE, ""),
    ("a list", b"[]", Code.BAD_FIELD, ""),
    ("a string", b'"x"', Code.BAD_FIELD, ""),
    ("deep inside", line({"note": "@"}).replace(b'"@"', b"[" * 9999), Code.UNREADABLE, ""),
    ("key twice inside", raw('"1", "value": "2"'), Code.BAD_FIELD, ""),
    ("key twice", b'{"id": "1", "id": "2"}', Code.BAD_FIELD, ""),
    ("no specversion", line(specversion=...), Code.BAD_FIELD, "specversion"),
    ("other specversion", line(specversion="0.3"), Code.BAD_FIELD, "specversion"),
    ("specversion a number", line(specversion=1.0), Code.BAD_FIELD, "specversion"),
    ("no data", line(data=...), Code.MISSING_FIELD, "data"),
    ("data a string", line(data="acme"), Code.MISSING_FIELD, "data"),
    ("no id", line(id=...), Code.MISSING_FIELD, "id"),
    ("empty id", line(id=""), Code.MISSING_FIELD, "id"),
    ("id a number", line(id=7), Code.BAD_FIELD, "id"),
    ("id too long", line(id=long_id), Code.TOO_LARGE, "id"),
    ("no source", line(source=...), Code.MISSING_FIELD, "source"),
    ("source null", line(source=None), Code.MISSING_FIELD, "source"),
    ("source a list", line(source=["a"]), Code.BAD_FIELD, "source"),
    ("no time", line(time=...), Code.MISSING_FIELD, "time"),
    ("time without zone", line(time="2026-01-31T12:00:00"), Code.BAD_TIME, "time"),
    ("time a number", line(time=1_769_860_800), Code.BAD_TIME, "time"),
    ("no such day", line(time="2026-02-30T12:00:00Z"), Code.BAD_TIME, "time"),
    ("a leap second", line(time="2026-12-31T23:59:60Z"), Code.BAD_TIME, "time"),
    ("year 0", line(time="0000-01-01T00:00:00Z"), Code.BAD_TIME, "time"),
    ("no such zone", line(time="2026-01-31T12:00:00+24:00"), Code.BAD_TIME, "time"),
    ("time in 1999", line(time="1999-12-31T23:59:59Z"), Code.BAD_TIME, "time"),
    ("time in 2100", line(time="2100-01-01T00:00:00Z"), Code.BAD_TIME, "time"),
    ("nanoseconds", line(time="2026-01-01T00:00:00.000000001Z"), Code.BAD_TIME, "time"),
    ("no customer", line({"customer": ...}), Code.MISSING_FIELD, "data.customer"),
    ("customer a number", line({"customer": 7}), Code.BAD_FIELD, "data.customer"),
    ("customer true", line({"customer": True}), Code.BAD_FIELD, "data.customer"),
    ("customer too long", line({"customer": long_id}), Code.TOO_LARGE, "data.customer"),
    ("control character", line({"customer": "a\tb"}), Code.BAD_FIELD, "data.customer"),
    ("NUL", line({"customer": "a\0b"}), Code.BAD_FIELD, "data.customer"),
    ("NUL in the id", line(id="\0"), Code.BAD_FIELD, "id"),
    ("lone surrogate", line({"customer": "\ud800"}), Code.BAD_FIELD, "data.customer"),
    ("no meter", line({"meter": ""}), Code.MISSING_FIELD, "data.meter"),
    ("meter too long", line({"meter": "m" * 129}), Code.TOO_LARGE, "data.meter"),
    ("no value", line({"value": ...}), Code.MISSING_FIELD, "data.value"),
    ("empty value", line({"value": ""}), Code.BAD_VALUE, "data.value"),
    ("a word", line({"value": "one"}), Code.BAD_VALUE, "data.value"),
    ("an exponent", line({"value": "1e3"}), Code.BAD_VALUE, "data.value"),
    ("a number with exponent", raw("1E3"), Code.BAD_VALUE, "data.value"),
    ("NaN as text", line({"value": "NaN"}), Code.BAD_VALUE, "data.value"),
    ("NaN as a number", raw("NaN"), Code.BAD_VALUE, ""),
    ("Infinity", raw("-Infinity"), Code.BAD_VALUE, ""),
    ("comma", line({"value": "1,5"}), Code.BAD_VALUE, "data.value"),
    ("no digit before the point", line({"value": ".5"}), Code.BAD_VALUE, "data.value"),
    ("plus sign", line({"value": "+5"}), Code.BAD_VALUE, "data.value"),
    ("spaces", line({"value": " 5"}), Code.BAD_VALUE, "data.value"),
    ("Arabic digits", line({"value": "٣"}), Code.BAD_VALUE, "data.value"),
    ("21 digits", line({"value": "1" * 21}), Code.BAD_VALUE, "data.value"),
    ("19 decimals", line({"value": "0." + "1" * 19}), Code.BAD_VALUE, "data.value"),
    ("a million digits", raw("1" * 100_000), Code.BAD_VALUE, "data.value"),
    ("10^400", raw("1" + "0" * 400), Code.BAD_VALUE, "data.value"),
    ("1e400", raw("1e400"), Code.BAD_VALUE, "data.value"),
    ("40 decimals", raw("0." + "1" * 40), Code.BAD_VALUE, "data.value"),
    ("minus NaN", raw("-NaN"), Code.UNREADABLE, ""),
    ("value true", line({"value": True}), Code.BAD_VALUE, "data.value"),
    ("dimensions a list", line({"dimensions": ["eu"]}), Code.BAD_FIELD, "data.dimensions"),
    ("a number in them", line({"dimensions": {"r": 1}}), Code.BAD_FIELD, "data.dimensions.r"),
    ("null in them", line({"dimensions": {"r": None}}), Code.MISSING_FIELD, "data.dimensions.r"),
    ("no name", line({"dimensions": {"": "x"}}), Code.MISSING_FIELD, "data.dimensions.<name>"),
    (
        "33 dimensions",
        line({"dimensions": {str(i): "x" for i in range(33)}}),
        Code.TOO_LARGE,
        "data.dimensions",
    ),
    (
        "dimensions too long together",
        line({"dimensions": {str(i): "x" * 250 for i in range(5)}}),
        Code.TOO_LARGE,
        "data.dimensions",
    ),
    ("NUL in one", line({"dimensions": {"r": "\0"}}), Code.BAD_FIELD, "data.dimensions.r"),
    ("another kind", line({"kind": "refund"}), Code.BAD_FIELD, "data.kind"),
    ("kind a list", line({"kind": []}), Code.BAD_FIELD, "data.kind"),
    ("reversal, no time", line({"kind": "reversal"}), Code.MISSING_FIELD, "data.reversed_at"),
]


@pytest.mark.parametrize(
    ("bad", "code", "path"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_a_bad_cloudevent_is_refused_with_code_and_path(bad: bytes, code: Code, path: str) -> None:
    refused = parse_cloudevent(bad)
    assert isinstance(refused, Rejection), refused
    assert (refused.code, refused.path) == (code, path)
    assert refused.message
    assert "\n" not in refused.message


@given(st.binary(max_size=200))
def test_no_bytes_raise(noise: bytes) -> None:
    assert isinstance(parse_cloudevent(noise), UsageEvent | Rejection)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    ),
    st.sampled_from(["id", "source", "time", "specversion", "data"]),
)
def test_no_field_raises_whatever_it_holds(value: object, name: str) -> None:
    inside: dict[str, object] | None = None
    assert isinstance(parse_cloudevent(line(inside, **{name: value})), UsageEvent | Rejection)
