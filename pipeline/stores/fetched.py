"""What aiokafka fetched, record by record, whatever bytes stand in a header's name.

Owns: reading a batch where aiokafka cannot: it stops for good at a name that is no UTF-8, which
clients with names of bytes can write.
Does not own: fetching, batches that are well (aiokafka reads those, as before).
Law: of a record with such a name no header is readable, here and by librdkafka (kafka.py): all
count it alike.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any

from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

_HEAD = Struct(">qiibIhiqqqhii")  # Kafka's RecordBatch, magic 2, up to its records
_LENGTH_AT, _LENGTH_END = 8, 12
_CODEC, _APPEND_TIME = 0x07, 0x08
_INFLATE: Mapping[int, Callable[[bytes], bytes]] = {
    0: bytes,
    1: codec.gzip_decode,
    2: codec.snappy_decode,
    3: codec.lz4_decode,
    4: codec.zstd_decode,
}


@dataclass(frozen=True, slots=True)
class FetchedRecord:
    """A record as aiokafka's consumer takes it."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    checksum: None = None


class FetchedRecords:
    """Batches of one fetch; stands where aiokafka has its MemoryRecords."""

    def __init__(self, fetched: bytes) -> None:
        """Take the bytes of one partition."""
        self._fetched, self._at = fetched, 0
        self._inner = MemoryRecords(fetched)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # what it asks of a fetch beside its batches

    def next_batch(self) -> "_Batch":
        """Return the next batch."""
        length = self._fetched[self._at + _LENGTH_AT : self._at + _LENGTH_END]
        start, self._at = self._at, self._at + _LENGTH_END + int.from_bytes(length, "big")
        return _Batch(self._inner.next_batch(), self._fetched, start, self._at)


class _Batch:
    """aiokafka's batch, read a second way where the first one fails."""

    def __init__(self, inner: Any, fetched: bytes, start: int, end: int) -> None:
        self._inner, self._fetched, self._start, self._end = inner, fetched, start, end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._inner))
        except UnicodeDecodeError:
            return _records(bytes(self._fetched[self._start : self._end]))

    def __next__(self) -> Any:
        return next(self._inner)


def _records(batch: bytes) -> Iterator[FetchedRecord]:
    head = _HEAD.unpack_from(batch)
    base, attributes, first_time, last_time, count = head[0], head[5], head[7], head[8], head[12]
    payload = bytearray(_INFLATE[attributes & _CODEC](batch[_HEAD.size :]))
    at = 0
    for _ in range(count):
        length, at = decode_varint(payload, at)
        end = at + length
        at += 1  # attributes: none are defined
        time_delta, at = decode_varint(payload, at)
        offset_delta, at = decode_varint(payload, at)
        key, at = _piece(payload, at)
        value, at = _piece(payload, at)
        by_broker = bool(attributes & _APPEND_TIME)
        yield FetchedRecord(
            offset=base + offset_delta,
            timestamp=last_time if by_broker else first_time + time_delta,
            timestamp_type=int(by_broker),
            key=key,
            value=value,
            headers=_headers(payload, at),
        )
        at = end


def _piece(payload: bytearray, at: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(payload, at)
    return (None, at) if length < 0 else (bytes(payload[at : at + length]), at + length)


def _headers(payload: bytearray, at: int) -> tuple[tuple[str, bytes | None], ...]:
    count, at = decode_varint(payload, at)
    found = []
    for _ in range(count):
        name, at = _piece(payload, at)
        value, at = _piece(payload, at)
        try:
            found.append(((name or b"").decode(), value))
        except UnicodeDecodeError:
            return ()
    return tuple(found)


def read_any_header_name() -> None:
    """Let every consumer of aiokafka in this process read so."""
    fetcher.MemoryRecords = FetchedRecords
