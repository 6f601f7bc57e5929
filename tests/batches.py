"""Record batches made by hand: what a client library would never write, and a broker takes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from struct import pack
from time import time

from aiokafka import codec
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_ENCODE: Mapping[int, Callable[[bytes], bytes]] = {
    0: bytes,
    1: codec.gzip_encode,
    2: codec.snappy_encode,
    3: codec.lz4_encode,
    4: codec.zstd_encode,
}

Headers = Sequence[tuple[str, bytes | None]]
Written = tuple[bytes | None, bytes | None, Headers]
"""Key, value and headers of a record."""


def batch(codec_number: int, records: Sequence[Written], base: int = 40) -> bytes:
    """A batch as the broker keeps it, from offset `base` on."""
    builder = DefaultRecordBatchBuilder(2, codec_number, 0, -1, -1, -1, 1 << 20)
    for place, (key, value, headers) in enumerate(records):
        builder.append(place, int(time() * 1000) + place, key, value, list(headers))
    return pack(">q", base) + bytes(builder.build())[8:]


def overwritten(plain: bytes, names: bytes, by: bytes, codec_number: int = 0) -> bytes:
    """A batch with bytes of its records replaced, and its checksum made anew."""
    assert len(names) == len(by)
    assert names in plain[61:]
    payload = bytes(_ENCODE[codec_number](plain[61:].replace(names, by)))
    tail = pack(">h", codec_number) + plain[23:61] + payload
    return (
        plain[:8] + pack(">i", len(tail) + 9) + plain[12:17] + pack(">I", calc_crc32c(tail)) + tail
    )


def produce(kafka: str, topic: str, partition: int, raw: bytes) -> int:
    """Hand a batch to the broker as it is; return the offset it got."""

    async def send() -> int:
        client = AIOKafkaClient(bootstrap_servers=kafka)
        await client.bootstrap()
        try:
            node = next(broker.nodeId for broker in client.cluster.brokers())
            request = ProduceRequest(
                transactional_id=None,
                required_acks=-1,
                timeout=20_000,
                topics=[(topic, [(partition, raw)])],
            )
            answer = await client.send(node, request)
        finally:
            await client.close()
        (_, error, offset, *_), *_ = answer.topics[0][1]
        assert error == 0, f"the broker says {error}"
        return int(offset)

    return asyncio.run(send())
