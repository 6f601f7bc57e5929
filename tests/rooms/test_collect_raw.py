"""Raw usage: every form a message may have, and what it is refused for."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builders import T0, usage
from golden import avro_oracle
from pipeline.collect import limits
from pipeline.collect.batch import Entry
from pipeline.collect.event import UsageEvent, parse_cloudevent
from pipeline.collect.letters import Headers
from pipeline.collect.raw import RawReader
from pipeline.core.calendar import instant_text
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import partition_of
from pipeline.core.quantity import mantissa_scale
from pipeline.meter.ticks import Tick
from pipeline.stores.codec import MARKER
from pipeline.stores.records import encode_tick, encode_usage_event, open_usage_event
from rooms.test_collect_event import BAD, line

PARTITIONS = 8
EVENT = usage("acme", "1.50", meter="calls", time=T0 + 1, id="evt-1", source="urn:x", region="eu")
DATA = b'{"customer":"acme","meter":"calls","value":"1.50","dimensions":{"region":"eu"}}'
STRUCTURED = (
    b'{"specversion":"1.0","type":"usage","id":"evt-1","source":"urn:x","time":"'
    + instant_text(T0 + 1).encode()
    + b'","data":'
    + DATA
    + b"}"
)
ATTRIBUTES: dict[str, bytes | None] = {
    "ce_specversion": b"1.0",
    "ce_type": b"usage",
    "ce_id": b"evt-1",
    "ce_source": b"urn:x",
    "ce_time": instant_text(T0 + 1).encode(),
}
JSON_EVENT = "application/cloudevents+json"


def entry_of(event: UsageEvent) -> Entry:
    """What packing takes of an event."""
    mantissa, scale = mantissa_scale(event.value)
    pairs = tuple(sorted(event.dimensions.items()))
    home = partition_of(event.customer, PARTITIONS)
    names = event.customer, event.meter
    keys = event.source, event.id, event.reversed_at
    return home, *names, event.time, mantissa, scale, pairs, *keys


def read(value: bytes | None, headers: Headers | None = None) -> Entry | Rejection:
    """What a new reader makes of a message, and of it again: nothing else."""
    reader = RawReader(PARTITIONS, open_usage_event)
    found = reader.read(value, headers)
    assert reader.read(value, headers) == found
    return found


def headers(changed: Mapping[str, bytes | None] | None = None) -> Headers:
    """The attributes of the good event, some of them changed."""
    return list({**ATTRIBUTES, **(changed or {})}.items())


def without(name: str) -> Headers:
    """The attributes but one."""
    return [one for one in ATTRIBUTES.items() if one[0] != name]


@pytest.mark.parametrize(
    ("value", "given_headers"),
    [
        (STRUCTURED, None),
        (STRUCTURED, [("content-type", JSON_EVENT.encode())]),
        (STRUCTURED, [("Content-Type", b"Application/CloudEvents+JSON ; charset=utf-8")]),
        (STRUCTURED, [("content-type", JSON_EVENT.encode()), *headers()]),
        (STRUCTURED, [("content-type", b"application/json"), ("traceparent", b"00-1-2-3")]),
        (STRUCTURED, [("traceparent", None), ("traceparent", b"00-1-2-3")]),
        (b" \n" + STRUCTURED + b"\r\n", None),
        (DATA, headers()),
        (DATA, [*headers(), ("content-type", b"application/json")]),
        (DATA, [*headers(), ("content-type", b"application/json; charset=utf-8")]),
        (DATA + b" ", headers({"ce_extension": None, "traceparent": b"00-1-2-3"})),
        (encode_usage_event(EVENT), None),
        (encode_usage_event(EVENT), [("traceparent", b"00-1-2-3")]),
    ],
)
def test_each_form_is_the_same_event(value: bytes, given_headers: Headers | None) -> None:
    assert read(value, given_headers) == entry_of(EVENT)


def avro(**changed: object) -> bytes:
    """The good event in Avro as the specification has it, with fields changed."""
    fields = {
        "id": "evt-1",
        "source": "urn:x",
        "customer": "acme",
        "meter": "calls",
        "time": T0 + 1,
        "value": "1.50",
        "dimensions": {"region": "eu"},
        "reversed_at": None,
    }
    return avro_oracle.encoded("UsageEvent.v1", {**fields, **changed})


def test_the_avro_oracle_writes_the_same() -> None:
    assert avro() == encode_usage_event(EVENT)


long = "x" * (limits.ID_CHARS_MAX + 1)
REFUSED: list[tuple[str, bytes | None, Headers, Code, str]] = [
    ("no value", None, (), Code.UNREADABLE, ""),
    ("no value, binary", None, headers(), Code.UNREADABLE, ""),
    ("nothing in it", b"", (), Code.UNREADABLE, ""),
    ("neither JSON nor Avro", b"usage: 3", (), Code.UNREADABLE, ""),
    ("a monster", b" " * limits.LINE_BYTES_MAX + STRUCTURED, (), Code.TOO_LARGE, ""),
    ("a JSON list", b"[1]", (), Code.UNREADABLE, ""),
    (
        "a batch of CloudEvents",
        b"[]",
        [("content-type", b"application/cloudevents-batch+json")],
        Code.UNREADABLE,
        "content-type",
    ),
    (
        "a CloudEvent in Avro",
        b"x",
        [("content-type", b"application/cloudevents+avro")],
        Code.UNREADABLE,
        "content-type",
    ),
    (
        "a content type that is no text",
        STRUCTURED,
        [("content-type", b"\xff")],
        Code.UNREADABLE,
        "content-type",
    ),
    ("an attribute that is no text", DATA, headers({"ce_id": b"\xff"}), Code.UNREADABLE, "ce_id"),
    ("an attribute twice", DATA, [*headers(), ("ce_id", b"2")], Code.BAD_FIELD, "ce_id"),
    ("no ce_id", DATA, without("ce_id"), Code.MISSING_FIELD, "ce_id"),
    ("ce_id empty", DATA, headers({"ce_id": b""}), Code.MISSING_FIELD, "ce_id"),
    ("ce_id null", DATA, headers({"ce_id": None}), Code.MISSING_FIELD, "ce_id"),
    ("ce_id too long", DATA, headers({"ce_id": long.encode()}), Code.TOO_LARGE, "ce_id"),
    ("ce_id with NUL", DATA, headers({"ce_id": b"a\0"}), Code.BAD_FIELD, "ce_id"),
    ("no ce_source", DATA, without("ce_source"), Code.MISSING_FIELD, "ce_source"),
    ("no ce_time", DATA, without("ce_time"), Code.MISSING_FIELD, "ce_time"),
    (
        "ce_time without zone",
        DATA,
        headers({"ce_time": b"2026-03-01T00:00:00"}),
        Code.BAD_TIME,
        "ce_time",
    ),
    ("no ce_specversion", DATA, without("ce_specversion"), Code.BAD_FIELD, "ce_specversion"),
    (
        "wrong ce_specversion",
        DATA,
        headers({"ce_specversion": b"0.3"}),
        Code.BAD_FIELD,
        "ce_specversion",
    ),
    ("binary, a list", b"[]", headers(), Code.BAD_FIELD, "data"),
    ("binary, no JSON", b"acme", headers(), Code.UNREADABLE, ""),
    ("binary, no UTF-8", b'{"customer":"\xff"}', headers(), Code.UNREADABLE, ""),
    (
        "binary, a key twice",
        DATA.replace(b"{", b'{"value":"9",', 1),
        headers(),
        Code.BAD_FIELD,
        "",
    ),
    ("binary, no customer", b'{"meter":"m"}', headers(), Code.MISSING_FIELD, "data.customer"),
    ("wrong fingerprint", MARKER + bytes(8) + avro()[10:], (), Code.UNREADABLE, ""),
    ("another record", encode_tick(Tick(1, T0, 1), 8), (), Code.UNREADABLE, ""),
    ("truncated", avro()[:-2], (), Code.UNREADABLE, ""),
    ("bytes left over", avro() + b"\0", (), Code.UNREADABLE, ""),
    (
        "Avro, a monster",
        avro() + bytes(limits.LINE_BYTES_MAX),
        (),
        Code.TOO_LARGE,
        "",
    ),
    ("Avro, no UTF-8", avro().replace(b"acme", b"ac\xffe"), (), Code.UNREADABLE, ""),
    ("Avro, empty customer", avro(customer=""), (), Code.MISSING_FIELD, "customer"),
    ("Avro, NUL", avro(customer="a\0"), (), Code.BAD_FIELD, "customer"),
    ("Avro, long meter", avro(meter=long), (), Code.TOO_LARGE, "meter"),
    ("Avro, exponent", avro(value="1e3"), (), Code.BAD_VALUE, "value"),
    ("Avro, 10^400", avro(value="1" + "0" * 400), (), Code.BAD_VALUE, "value"),
    ("Avro, 40 decimals", avro(value="0." + "1" * 40), (), Code.BAD_VALUE, "value"),
    ("Avro, time before 2000", avro(time=1), (), Code.BAD_TIME, "time"),
    ("Avro, time of no calendar", avro(time=-(2**63)), (), Code.BAD_TIME, "time"),
    (
        "Avro, too many dimensions",
        avro(dimensions={str(n): "x" for n in range(33)}),
        (),
        Code.TOO_LARGE,
        "dimensions",
    ),
    ("Avro, reversed in 1970", avro(reversed_at=0), (), Code.BAD_TIME, "reversed_at"),
    ("a reversal, no time", line({"kind": "reversal"}), (), Code.MISSING_FIELD, "data.reversed_at"),
    (
        "an escaped key twice",
        STRUCTURED.replace(b'"data":', b'"\\u0064ata":{},"data":'),
        (),
        Code.BAD_FIELD,
        "",
    ),
    (
        "dimensions no object",
        STRUCTURED.replace(b'{"region":"eu"}', b'""'),
        (),
        Code.BAD_FIELD,
        "data.dimensions",
    ),
]


@pytest.mark.parametrize(
    ("value", "given_headers", "code", "path"),
    [row[1:] for row in REFUSED],
    ids=[row[0] for row in REFUSED],
)
def test_what_is_refused(
    value: bytes | None, given_headers: Headers, code: Code, path: str
) -> None:
    refused = read(value, given_headers)
    assert isinstance(refused, Rejection), refused
    assert (refused.code, refused.path) == (code, path)
    assert "\n" not in refused.message


@pytest.mark.parametrize("value", [row[1] for row in BAD], ids=[row[0] for row in BAD])
def test_a_structured_message_is_refused_as_its_line_would_be(value: bytes) -> None:
    assert read(value, [("content-type", JSON_EVENT.encode())]) == parse_cloudevent(value)


def test_what_was_seen_before_lets_nothing_else_in() -> None:
    """A number looks like the text that was remembered; it is none."""
    reader = RawReader(PARTITIONS, open_usage_event)
    event = replace(EVENT, customer="7", meter="7", source="7", dimensions={"r": "7"})
    text = STRUCTURED.replace(b'"acme"', b'"7"').replace(b'"calls"', b'"7"')
    text = text.replace(b'"urn:x"', b'"7"').replace(b'{"region":"eu"}', b'{"r":"7"}')
    assert reader.read(text, None) == entry_of(event)

    for at in [at for at in range(len(text)) if text.startswith(b'"7"', at)]:
        spoiled = text[:at] + b"7" + text[at + 3 :]
        assert reader.read(spoiled, None) == parse_cloudevent(spoiled)


@pytest.mark.parametrize(
    ("value", "given_headers", "customer"),
    [
        (STRUCTURED, None, "acme"),
        (STRUCTURED.replace(b"calls", b""), None, "acme"),
        (DATA, without("ce_id"), "acme"),
        (avro(value="x"), None, "acme"),
        (STRUCTURED.replace(b'"acme"', b"7"), None, ""),
        (b"[", None, ""),
        (b'{"data":[]}', None, ""),
        (None, None, ""),
    ],
)
def test_a_refused_message_names_its_customer_where_it_can(
    value: bytes | None, given_headers: Headers | None, customer: str
) -> None:
    assert RawReader(PARTITIONS, open_usage_event).customer(value, given_headers) == customer


# ---- the fast way and the slow one -----------------------------------------------------------


def slowly(value: bytes) -> Entry | Rejection:
    """What the rules alone make of a structured message."""
    parsed = parse_cloudevent(value)
    if isinstance(parsed, Rejection):
        return parsed
    return entry_of(parsed)


PIECES = [
    *(b'"', b"\\", b"{", b"}", b",", b":", b"[", b"]", b"\0", b"\xff", b" ", b"1", b"-", b"e5"),
    *(b"NaN", b"null", b"true", b"{}", b"[]", b'""', b"\\u0000", b'"id":"2",', b'"value":3,'),
    *(b'"data":{},', b'"kind":"usage",', b'"x":7,', b'"x":{"y":"z"},', b'"x":[["y"]],', b"1e400"),
    *(b'"2000-01-01T00:00:00Z"', b'"1999-12-31T24:00:00Z"', "é".encode(), "\x85".encode()),
]
cuts = st.tuples(st.integers(0, len(STRUCTURED)), st.integers(0, 12), st.sampled_from(PIECES))


@given(st.lists(cuts, max_size=4))
@example([(1, 0, b'"x":7,'), (1, 0, b'"id":"2",')])
@example([(1, 0, b'"id":"evt-1",')])
@example([(1, 0, b'"x":NaN,')])
@example([(1, 0, b'"x":"\\"",')])
@example([(len(STRUCTURED) - 2, 0, b',"x":"y"')])
@example([(STRUCTURED.index(b'"usage"'), 7, b"7"), (1, 0, b'"type":9,')])
@example([(STRUCTURED.index(b'"1.50"'), 6, b"1e5")])
@example([(STRUCTURED.index(b'"1.50"'), 6, b"1.50")])
@example([(STRUCTURED.index(b'"1.50"'), 6, b"1" + b"0" * 30)])
@example([(STRUCTURED.index(b'Z"'), 0, b"0")])
@example([(STRUCTURED.index(b'Z"'), 1, b"+01:00")])
@example([(STRUCTURED.index(b'Z"'), 1, "\u0663Z".encode())])
def test_the_fast_way_reads_what_the_rules_read(edits: list[tuple[int, int, bytes]]) -> None:
    value = STRUCTURED
    for at, dropped, piece in edits:
        value = value[:at] + piece + value[at + dropped :]
    reader = RawReader(PARTITIONS, open_usage_event)
    reader.read(STRUCTURED, None)
    structured: Headers = [("content-type", JSON_EVENT.encode())]

    assert reader.read(value, structured) == slowly(value)


@given(
    st.fixed_dictionaries(
        {
            "customer": st.text(max_size=5) | st.integers(),
            "meter": st.text(max_size=5),
            "value": st.decimals(allow_nan=False, places=3).map(str) | st.integers(),
        },
        optional={
            "dimensions": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
            "note": st.text() | st.integers() | st.lists(st.text(max_size=2), max_size=2),
        },
    ),
    st.booleans(),
)
def test_any_text_is_read_as_the_rules_read_it(data: dict[str, object], escaped: bool) -> None:
    event = {**json.loads(STRUCTURED), "data": data}
    value = json.dumps(event, ensure_ascii=escaped).encode("utf-8", "surrogatepass")

    assert RawReader(PARTITIONS, open_usage_event).read(value, None) == slowly(value)


@given(st.binary(max_size=60), st.lists(st.tuples(st.text(max_size=6), st.none() | st.binary())))
def test_no_bytes_raise(value: bytes, noise: list[tuple[str, bytes | None]]) -> None:
    reader = RawReader(PARTITIONS, open_usage_event)

    assert isinstance(reader.read(value, noise), Rejection)
    assert reader.customer(value, noise) == ""
