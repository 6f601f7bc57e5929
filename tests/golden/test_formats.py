"""The formats that never change: keys, messages, rows, seals, byte by byte.

A red test here means that old logs, claims or seals would no longer be understood. The golden
files were worked out once; no option rewrites them. `avro_oracle` makes the messages a second
time from the Avro specification; figures of others (Kafka, Avro) are named as theirs.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from aiokafka.partitioner import murmur2 as their_murmur2
from hypothesis import given
from hypothesis import strategies as st

from builders import T0, Books
from golden import avro_oracle, scenes
from pipeline.collect.batch import UsageBatch
from pipeline.collect.event import UsageEvent, event_of_record
from pipeline.core.errors import Rejection
from pipeline.core.identity import (
    Json,
    batch_digest,
    canonical,
    commitment,
    derived_id,
    digest,
    event_key,
    fingerprint,
    murmur2,
    partition_of,
    pass_digest,
    reversal_key,
    sequenced_key,
    value_key,
)
from pipeline.ledger.seal import (
    content_bytes,
    issue_record,
    point_evidence,
    point_lines,
    seal_of,
    window_lines,
    windows_digest,
)
from pipeline.meter.ticks import Tick
from pipeline.stores.codec import decode, encode_batch
from pipeline.stores.records import (
    encode_letter,
    encode_slices,
    encode_tick,
    encode_usage_event,
    letter_of,
    open_message,
    open_usage_event,
    slices_of,
)

FORMATS = Path(__file__).parent / "formats"


def golden_text(name: str) -> str:
    return (FORMATS / name).read_text("utf-8")


def golden_bytes(name: str) -> bytes:
    """The bytes of a hex file; a line with # says what the next ones are."""
    lines = (line for line in golden_text(name).splitlines() if not line.startswith("#"))
    return bytes.fromhex("".join(lines))


# ---- names: keys, fingerprints, ids, commitments -------------------------------------------
# Each by hand a second time: every field behind its length in 4 bytes, then BLAKE2b with the
# purpose as its person.

NAMES: list[tuple[str, bytes, str, int, str]] = [
    (
        "95aeebdc475674548d9a1ed730e180af",
        event_key("acme", "shop", "evt-1"),
        "talea.key.1",
        16,
        "00000004 61636d65  00000004 73686f70  00000005 6576742d31",
    ),
    (
        "a131358b1c58a8838da1b021383271a7",
        event_key("café", "", ""),
        "talea.key.1",
        16,
        "00000005 636166c3a9  00000000  00000000",
    ),
    (
        "d35dcbd92b3e5d52bc41701145edf8f8",  # partition 3, place 41
        sequenced_key("host-1", "e1", 3, 41),
        "talea.seqkey.1",
        16,
        "00000006 686f73742d31  00000002 6531  0000000c 00000003 0000000000000029",
    ),
    (
        "f0fb87fd3d983e795f03a570766c7f70",  # of a key, a print
        reversal_key(bytes(range(16)), bytes.fromhex("848a5266")),
        "talea.revkey.1",
        16,
        "00000010 000102030405060708090a0b0c0d0e0f  00000004 848a5266",
    ),
    (
        "62a6443ef74b791fd5978726a7fa9c3e",
        value_key("café"),
        "talea.value.1",
        16,
        "00000005 636166c3a9",
    ),
    (
        "848a5266",  # calls, 1772323200000001, 15e-1, no reversal, region eu
        fingerprint("calls", T0 + 1, 15, 1, {"region": "eu"}),
        "talea.print.1",
        4,
        "00000005 63616c6c73  00000010 31373732333233323030303030303031  00000005 3135652d31"
        "00000000  00000006 726567696f6e  00000002 6575",
    ),
    (
        "a2a95892",  # the same, reversed at 1772323200000000
        fingerprint("calls", T0 + 1, 15, 1, {"region": "eu"}, T0),
        "talea.print.1",
        4,
        "00000005 63616c6c73  00000010 31373732333233323030303030303031  00000005 3135652d31"
        "00000010 31373732333233323030303030303030  00000006 726567696f6e  00000002 6575",
    ),
    (
        "62aedb04",  # dimensions by name: a 1, b 2
        fingerprint("m", 1, 0, 0, {"b": "2", "a": "1"}),
        "talea.print.1",
        4,
        "00000001 6d  00000001 31  00000004 30652d30  00000000"
        "00000001 61  00000001 31  00000001 62  00000001 32",
    ),
    (
        "caaf026ff0dff07e784d9baaab9e1931",  # inv, acme, EUR, the instant, talea
        bytes.fromhex(
            derived_id("inv", "acme", "EUR", "2026-04-01T00:00:00Z", "talea").removeprefix("inv_")
        ),
        "talea.id.1",
        16,
        "00000003 696e76  00000004 61636d65  00000003 455552"
        "00000014 323032362d30342d30315430303a30303a30305a  00000005 74616c6561",
    ),
    (
        "70e33fa8d58147ef39b60557f51c26bc",  # one event's key and fingerprint
        bytes.fromhex(pass_digest(bytes(range(16)), b"\1\2\3\4")),
        "talea.pass.1",
        16,
        "00000010 000102030405060708090a0b0c0d0e0f  00000004 01020304",
    ),
    (
        "210b1d01edc154556f10617f16487ef599ab8e67dda3488979a0b775bc8a8507",
        bytes.fromhex(commitment(bytes(range(16)), "Ada Lovelace")),
        "talea.commit.1",
        32,
        "00000010 000102030405060708090a0b0c0d0e0f  0000000c 416461204c6f76656c616365",
    ),
]


@pytest.mark.parametrize(("golden", "ours", "purpose", "size", "framed"), NAMES)
def test_what_names_a_thing(golden: str, ours: bytes, purpose: str, size: int, framed: str) -> None:
    person = purpose.encode().ljust(16, b"\0")
    by_hand = hashlib.blake2b(bytes.fromhex(framed), digest_size=size, person=person)

    assert ours.hex() == by_hand.hexdigest() == golden


def test_the_digest_of_a_message() -> None:
    by_hand = hashlib.blake2b(b"any bytes", digest_size=16, person=b"talea.batch.1\0\0\0")

    assert batch_digest(b"any bytes") == by_hand.digest()
    assert by_hand.hexdigest() == "3de4fffb583c930a344f1c396914659d"


# ---- partitions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "signed"),
    [  # org.apache.kafka.common.utils.UtilsTest.testMurmur2
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(text: str, signed: int) -> None:
    assert murmur2(text.encode()) == signed & 0xFFFFFFFF


@given(st.binary(max_size=70))
def test_murmur2_is_that_of_another_client(data: bytes) -> None:
    assert murmur2(data) == their_murmur2(data)


@pytest.mark.parametrize(
    ("customer", "of_8", "of_64"),
    [("acme", 4, 4), ("café", 2, 50), ("customer-1", 1, 1), ("customer-3", 2, 42), ("", 1, 25)],
)
def test_the_partition_of_a_customer(customer: str, of_8: int, of_64: int) -> None:
    assert (partition_of(customer, 8), partition_of(customer, 64)) == (of_8, of_64)
    assert partition_of(customer, 64) == (their_murmur2(customer.encode()) & 0x7FFFFFFF) % 64


# ---- messages ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "golden"),
    [("null", 0x63DD24E7CC258F8A), ("int", 0x7275D51A3F395C8F)],  # Avro: schema-tests.txt
)
def test_the_oracle_knows_avros_own_fingerprints(schema: str, golden: int) -> None:
    assert avro_oracle.crc64(avro_oracle.canonical_form(schema).encode()) == golden


@pytest.mark.parametrize(
    ("schema", "header"),
    [
        ("UsageBatch.v1", "c301f2fe74987b26c1fa"),
        ("UsageEvent.v1", "c3017436ba82da14723d"),
        ("Tick.v1", "c30122bcbd7e0f82a44b"),
        ("MeteredSlices.v1", "c301c62d99f8aa258294"),
        ("MeteredSlices.v2", "c301aec4c5bce857da4b"),
        ("MeteredSlices.v3", "c30139cf698bf254c120"),
        ("MeteredSlices.v4", "c301445d47ba0a77d9d3"),
        ("RejectedUsage.v1", "c301469abbaf1fdb86b1"),
        ("RejectedUsage.v2", "c301bee9e1bfdc0b68a2"),
    ],
)
def test_the_schemas_do_not_change(schema: str, header: str) -> None:
    assert avro_oracle.header(schema).hex() == header


MESSAGES: list[tuple[str, Callable[[], bytes]]] = [
    ("batch_keyed.hex", lambda: encode_batch(scenes.keyed_batch())),
    ("batch_sequenced.hex", lambda: encode_batch(scenes.sequenced_batch())),
    ("batch_heartbeat.hex", lambda: encode_batch(scenes.last_word())),
    ("tick.hex", lambda: encode_tick(Tick(300, T0, 12), 8)),
    ("metered_slices.hex", lambda: encode_slices(scenes.line().slices[:4])),
    ("metered_slices_v2.hex", lambda: encode_slices(scenes.pointed_slices())),
    ("metered_slices_v3.hex", lambda: encode_slices(scenes.reversed_slices())),
    ("metered_slices_v4.hex", lambda: encode_slices(scenes.many_slices())),
    ("usage_event.hex", lambda: encode_usage_event(scenes.THIRD)),
    ("usage_event_reversal.hex", lambda: encode_usage_event(scenes.undone(scenes.FIRST))),
    ("rejected_usage_v2.hex", lambda: encode_letter(scenes.LETTER)),
]
NO_LONGER_WRITTEN = ("rejected_usage.hex",)


@pytest.mark.parametrize(("name", "message"), MESSAGES)
def test_message_bytes(name: str, message: Callable[[], bytes]) -> None:
    assert message() == golden_bytes(name)


@pytest.mark.parametrize("name", [*(name for name, _ in MESSAGES), *NO_LONGER_WRITTEN])
def test_the_oracle_writes_the_same_bytes_and_comments(name: str) -> None:
    schema, record = decode(golden_bytes(name))
    lines: list[str] = []
    for path, raw in avro_oracle.explained(schema, record):
        lines += [f"# {path}", *(raw[at : at + 40].hex() for at in range(0, len(raw), 40))]

    assert "\n".join(lines) + "\n" == golden_text(name)


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("batch_keyed.hex", scenes.keyed_batch()),
        ("batch_sequenced.hex", scenes.sequenced_batch()),
        ("batch_heartbeat.hex", scenes.last_word()),
    ],
)
def test_old_batches_are_understood(name: str, batch: UsageBatch) -> None:
    assert open_message(golden_bytes(name)) == batch


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("usage_event.hex", scenes.THIRD),
        ("usage_event_reversal.hex", scenes.undone(scenes.FIRST)),
    ],
)
def test_old_events_are_understood(name: str, event: UsageEvent) -> None:
    record = open_usage_event(golden_bytes(name))

    assert not isinstance(record, Rejection)
    assert event_of_record(record) == event


def test_old_ticks_and_slices_are_understood() -> None:
    assert open_message(golden_bytes("tick.hex")) == Tick(300, T0, 12)

    slices = slices_of(decode(golden_bytes("metered_slices.hex"))[1])
    assert [piece.counts for piece in slices] == [s.counts for s in scenes.line().slices[:4]]
    assert encode_slices(slices) == golden_bytes("metered_slices.hex")

    pointed = slices_of(decode(golden_bytes("metered_slices_v2.hex"))[1])
    points = [piece.rows.points for piece in pointed]
    assert points == [piece.rows.points for piece in scenes.pointed_slices()]
    assert encode_slices(pointed) == golden_bytes("metered_slices_v2.hex")

    many = slices_of(decode(golden_bytes("metered_slices_v4.hex"))[1])
    assert many[1].rows == scenes.many_slices()[1].rows
    assert encode_slices(many) == golden_bytes("metered_slices_v4.hex")


def test_old_dead_letters_are_understood() -> None:
    now = letter_of(golden_bytes("rejected_usage_v2.hex"))
    assert encode_letter(now) == golden_bytes("rejected_usage_v2.hex")

    before = letter_of(golden_bytes("rejected_usage.hex"))
    assert before == replace(now, topic="usage.events.v1", headers=(), customer="")


# ---- the books -----------------------------------------------------------------------------


def usage_text(kept: Books) -> Iterator[str]:
    """Usage rows as the table holds them, sorted by their key."""
    yield "customer meter scale dimensions window_us cut count sum minimum maximum"
    rows = []
    for (series, window, cut), part in kept.store.items():
        dimensions = canonical(dict(series.dimensions)).decode()
        key = (series.customer, series.meter, series.scale, dimensions, window, cut)
        rows.append((*key, part.count, part.sum, part.minimum, part.maximum))
    yield from (" ".join(map(str, row)) for row in sorted(rows))


def test_usage_rows_keyed_by_cut() -> None:
    assert list(usage_text(scenes.books())) == golden_text("usage_rows.txt").splitlines()


def flat_fields(value: Json, path: str = "") -> Iterable[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from flat_fields(item, f"{path}.{name}")
    else:
        yield f"{path.removeprefix('.')} = {value}"


def test_the_cursor() -> None:
    cursor = asdict(scenes.books().partition.cursor)

    assert list(flat_fields(cursor)) == golden_text("cursor.txt").splitlines()


# ---- documents -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "golden"),
    [
        ({"b": 1, "a": [True, None, "x"]}, b'{"a":[true,null,"x"],"b":1}'),
        ({"é": "ü", "z": "\U0001f9fe"}, '{"z":"\U0001f9fe","é":"ü"}'.encode()),  # by code point
        ({"\U0001f9fe": 1, "ﬀ": 2}, '{"ﬀ":2,"\U0001f9fe":1}'.encode()),  # not by UTF-16
        ('"\\/\n\r\t\b\f\x01\x7f\u2028', b'"\\"\\\\/\\n\\r\\t\\b\\f\\u0001\x7f\xe2\x80\xa8"'),
        ([10**30, -1, 0], b"[1000000000000000000000000000000,-1,0]"),
        ({}, b"{}"),
        ([], b"[]"),
    ],
)
def test_canonical_json(value: Json, golden: bytes) -> None:
    assert canonical(value) == golden


@pytest.mark.parametrize("value", [1.0, float("nan"), {1: "a"}, ("a",), b"a", {"a": [0.5]}])
def test_canonical_json_refuses(value: Json) -> None:
    with pytest.raises(TypeError):
        canonical(value)


def test_content_bytes() -> None:
    golden = golden_text("content.json").removesuffix("\n").encode()

    assert content_bytes(scenes.content()) == golden
    assert digest(golden) == hashlib.sha256(golden).hexdigest()
    assert digest(golden) == "65dcaad2eef0b5cee258f99404bbd65e3104fb2764e513159e7c1eceebc50078"


def test_issue_record_and_seal() -> None:
    content = golden_text("content.json").removesuffix("\n").encode()
    golden = golden_text("issue_record.json").removesuffix("\n").encode()
    record = issue_record(content, scenes.issue())

    assert record == golden
    assert json.loads(record)["content_digest"] == hashlib.sha256(content).hexdigest()
    assert seal_of(record) == hashlib.sha256(golden).digest()
    assert (
        seal_of(record).hex() == "64edc4f01d27bbfc80a8d0f87ee0d756c2056e0acf9769c28793140f76296638"
    )


def test_the_digest_of_windows() -> None:
    """Each window a canonical line, sorted, SHA-256 over the lines."""
    one: list[Json] = ["acme", "calls", 1, '{"region":"eu"}', T0, 2, 30, 10, 20]
    other: list[Json] = ["acme", "bytes", 0, "{}", T0, 1, 10**40, 10**40, 10**40]
    lines = (
        b'["acme","bytes",0,"{}",1772323200000000,1,' + b",".join([b"1" + b"0" * 40] * 3) + b"]\n"
        b'["acme","calls",1,"{\\"region\\":\\"eu\\"}",1772323200000000,2,30,10,20]'
    )

    assert windows_digest([one, other]) == windows_digest([other, one])
    assert windows_digest([one, other]) == hashlib.sha256(lines).hexdigest()
    assert windows_digest([]) == hashlib.sha256(b"").hexdigest()


def test_lines_written_of_figures_are_those_of_windows_and_points() -> None:
    named: list[Json] = ['a "b"]', "wört", 1, '{"region":"e\\u"}']
    point = point_evidence(named, T0, b"\x0a" * 16, -5, 2)
    figures = f'{T0},"{"0a" * 16}",-5,2'.encode()

    windows = window_lines(named, [b"%d,2,30,-10,20" % T0, b"%d,1,1,1,1" % (T0 + 1)])
    assert windows == [
        canonical([*named, T0, 2, 30, -10, 20]),
        canonical([*named, T0 + 1, 1, 1, 1, 1]),
    ]
    assert point_lines(named, [figures]) == [canonical(point)]
