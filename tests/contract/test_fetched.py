"""Records as aiokafka reads them, and as we do where it cannot: one suite over both."""

import ast
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer

from batches import CODECS, Headers, Written, batch, overwritten, produce
from pipeline.stores.fetched import FetchedRecords, _records, read_any_header_name
from pipeline.stores.kafka import event_count, headers_of, read_range
from pipeline.stores.raw import RawSource

RECORDS: list[Written] = [
    (None, b"first", [("talea-events", b"3"), ("trace", None)]),
    (b"key", None, []),
    (b"", b"", [("zoë", b"")]),
    (b"k" * 300, b"v" * 70_000, [("n" * 200, bytes(range(256)))]),
]


def spoiled(name: bytes, by: bytes, codec: int) -> bytes:
    """A batch with one header's name overwritten."""
    named: list[Written] = [(None, b"1", [("good", b"1")]), (None, b"2", [("name", b"2")])]
    return overwritten(batch(0, [*named, *RECORDS]), name, by, codec)


def told(record: Any) -> tuple[object, ...]:
    headers = tuple(record.headers)
    return record.offset, record.timestamp, record.timestamp_type, record.key, record.value, headers


def read(kind: Callable[[bytes], Any], fetched: bytes) -> list[tuple[object, ...]]:
    records, found = kind(fetched), []
    while records.has_next():
        following = records.next_batch()
        assert following.validate_crc()
        found += [told(record) for record in following]
        assert following.next_offset == found[-1][0] + 1  # type: ignore[operator]
    return found


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_well_reads_as_ever(codec: str) -> None:
    fetched = batch(CODECS[codec], RECORDS) + batch(0, RECORDS[:1])

    assert read(FetchedRecords, fetched) == read(MemoryRecords, fetched)
    assert len(read(FetchedRecords, fetched)) == 5


@pytest.mark.parametrize("codec", CODECS)
def test_our_second_reading_agrees_with_the_first(codec: str) -> None:
    one = batch(CODECS[codec], RECORDS)

    assert [told(record) for record in _records(one)] == read(MemoryRecords, one)


@pytest.mark.parametrize("codec", CODECS)
def test_a_name_that_is_no_text_costs_its_record_the_headers_and_nothing_else(codec: str) -> None:
    fetched = spoiled(b"good", b"\xff\xfeod", CODECS[codec])
    with pytest.raises(UnicodeDecodeError):
        read(MemoryRecords, fetched)

    found = read(FetchedRecords, fetched + batch(0, RECORDS[:1]))
    assert [record[4] for record in found[:3]] == [b"1", b"2", b"first"]
    assert [record[5] for record in found[:2]] == [(), (("name", b"2"),)]
    assert found[2][5] == (("talea-events", b"3"), ("trace", None))
    assert len(found) == 7


def test_a_fetch_that_ends_within_a_batch_is_told_as_ever() -> None:
    whole = batch(0, RECORDS)
    for fetched in (b"", whole[:7], whole[:100], whole + whole[:100]):
        ours, theirs = FetchedRecords(fetched), MemoryRecords(fetched)
        assert ours.size_in_bytes() == theirs.size_in_bytes()
        assert ours.has_next() == theirs.has_next()
    assert len(read(FetchedRecords, whole + whole[:100])) == len(RECORDS)


@pytest.mark.parametrize("codec", CODECS)
def test_the_consumer_gets_every_record_and_knows_where_it_is(codec: str) -> None:
    """As its fetcher unpacks them; the batch after the broken one too."""
    fetched = spoiled(b"good", b"\xff\xfeod", CODECS[codec]) + batch(CODECS[codec], RECORDS, 46)
    place = TopicPartition("log", 0)
    unpacked = fetcher.PartitionRecords(
        place, FetchedRecords(fetched), [], 41, None, None, True, fetcher.READ_UNCOMMITTED
    )

    assert [record.offset for record in unpacked] == list(range(41, 50))
    assert unpacked.next_fetch_offset == 50


def test_aiokafka_takes_it_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
    read_any_header_name()

    assert fetcher.MemoryRecords is FetchedRecords


PIPELINE = Path(__file__).parents[2] / "pipeline"
NAMES = [b"x" * 12, b"talea-\xff\xfeents", b"talea-events", b"talea-events\0"]
COUNTS = [None, None, 3, 3]


@pytest.fixture
def broker() -> Iterator[str]:
    """The broker that librdkafka carries for tests, with forty records by all those names."""
    holder = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    known = next(iter(holder.list_topics(timeout=10).brokers.values()))
    kafka = f"{known.host}:{known.port}"
    holder.list_topics("log", timeout=10)
    for name in NAMES * 10:
        plain = batch(0, [(None, b"v", [("x" * len(name), b"3")])], 0)
        produce(kafka, "log", 0, overwritten(plain, b"x" * len(name), name))
    yield kafka
    holder.flush(1)


def test_librdkafka_reads_on_and_counts_as_we_do(broker: str) -> None:
    """Often: its error comes late."""
    records = islice(read_range(broker, "log", 0, 0, 80), 40)

    assert [record.event_count for record in records] == COUNTS * 10


def test_so_does_whoever_collects_raw_usage(broker: str) -> None:
    source = RawSource(broker, "log", {0: 0})
    found, deadline = list[int | None](), monotonic() + 20
    while len(found) < 40 and monotonic() < deadline:
        found += [event_count(headers_of(message)) for message in source.read(40, 0.2)]
    source.close()

    assert found == COUNTS * 10


def test_nobody_else_asks_the_client_for_headers() -> None:
    asking = {
        path.name
        for path in PIPELINE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node).endswith(".headers()")
    }
    using = {path.name for path in PIPELINE.rglob("*.py") if "headers_of(" in path.read_text()}

    assert asking == set()
    assert using == {"kafka.py", "collector.py"}


@pytest.mark.parametrize(
    ("headers", "count"),
    [
        ([("talea-events", b"3")], 3),
        ([("talea-events\0", b"3")], 3),
        ([("talea-events\0x", b"3"), ("talea-events", b"4")], 3),
        ([("talea-event", b"3")], None),
        ([("talea-events", b"\xb2")], None),
        ([("talea-events", b"-1")], None),
        ([("talea-events", b"1" * 10)], None),
        ([("talea-events", None)], None),
        ([], None),
    ],
)
def test_the_count_of_a_header(headers: Headers, count: int | None) -> None:
    """librdkafka ends a name at its first NUL, aiokafka does not: both must count alike."""
    assert event_count(headers) == count
