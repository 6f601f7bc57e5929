"""The last record of a kind in each partition, against the broker that librdkafka carries."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from pipeline.stores.kafka import SureProducer
from pipeline.stores.tails import last_of

PARTITIONS = 4


@pytest.fixture
def broker() -> Iterator[str]:
    holder = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    known = next(iter(holder.list_topics(timeout=10).brokers.values()))
    holder.list_topics("log", timeout=10)
    yield f"{known.host}:{known.port}"
    holder.flush(1)


def tick(value: bytes) -> str | None:
    return value.decode() if value.startswith(b"tick") else None


def test_it_is_found_however_far_back_it_lies(broker: str) -> None:
    """Partition 0 ends with one, 1 has it 1500 records ago, 2 none at all, 3 has no record."""
    producer = SureProducer(broker)
    for number in range(1500):
        producer.send("log", 0, b"tick 1" if number == 700 else b"usage")
        producer.send("log", 1, {0: b"tick 1", 2: b"tick 2"}.get(number, b"usage"))
    producer.send("log", 0, b"tick 2")
    for _ in range(40):
        producer.send("log", 2, b"usage")
    producer.flush()

    assert last_of(broker, "log", PARTITIONS, tick) == {0: "tick 2", 1: "tick 2"}
