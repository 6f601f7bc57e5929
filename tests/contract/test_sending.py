"""Sending from a loop, against the broker that librdkafka carries for tests."""

import asyncio
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from pipeline.core.errors import ServerFailed
from pipeline.stores.kafka import read_range
from pipeline.stores.sending import LoopSender, RecordTooLarge
from pipeline.topology import MESSAGE_BYTES_MAX

PATIENCE_S = 30


@pytest.fixture
def broker() -> Iterator[str]:
    holder = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    known = next(iter(holder.list_topics(timeout=10).brokers.values()))
    holder.list_topics("slices", timeout=10)
    yield f"{known.host}:{known.port}"
    holder.flush(1)


def test_a_send_is_done_once_the_broker_has_it_and_order_is_kept(broker: str) -> None:
    values = [str(number).encode() for number in range(200)]

    async def send_all() -> None:
        sender = LoopSender(broker)
        try:
            for send in [await sender.send("slices", 1, value) for value in values]:
                await asyncio.wait_for(send, PATIENCE_S)
        finally:
            sender.close()

    asyncio.run(send_all())
    assert [record.value for record in read_range(broker, "slices", 1, 0, 200)] == values


@pytest.mark.parametrize("gather_ms", [0, 5])
def test_what_the_broker_does_not_take_fails_alone(broker: str, gather_ms: int) -> None:
    async def send_all() -> list[BaseException | None]:
        sender = LoopSender(broker, gather_ms=gather_ms)

        async def sent(place: int) -> None:
            await (await sender.send("slices", place, b"value"))  # told at sight, or by the ack

        try:
            found = asyncio.gather(*map(sent, (0, 999, 1)), return_exceptions=True)
            return await asyncio.wait_for(found, PATIENCE_S)
        finally:
            sender.close()

    before, failed, behind = asyncio.run(send_all())
    assert (before, behind) == (None, None)
    assert isinstance(failed, ServerFailed)
    assert "did not take a record" in str(failed)


def test_a_record_that_is_too_large_is_no_servers_failure(broker: str) -> None:
    async def send_one() -> None:
        sender = LoopSender(broker)
        try:
            await sender.send("slices", 0, bytes(MESSAGE_BYTES_MAX + 1))
        finally:
            sender.close()

    with pytest.raises(RecordTooLarge, match="size"):
        asyncio.run(send_one())
