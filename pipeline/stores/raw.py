"""Raw usage on the broker: reading on from where we stand, and counting what lies there.

Owns: what of the topic can be seen: what a transaction took back was never there.
Does not own: what a message means (collect/raw.py), where we stand (stores/postgres/collecting).
"""

from collections.abc import Iterator, Mapping
from time import monotonic

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Place

from pipeline.core.errors import ServerFailed
from pipeline.stores.kafka import FOLLOW_WAIT_MS, log_ends, open_reader

_COMMITTED = "read_committed"
_ANSWER_S = 20.0
_ENDS_S = 2.0
_QUEUED_KBYTES = 32 * 1024
_PASSING = (
    KafkaError._PARTITION_EOF,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
)
"""Not the end: the client goes on by itself."""


class RawSource:
    """Follows partitions of raw usage from given offsets, without a group."""

    def __init__(self, bootstrap: str, name: str, starts: Mapping[int, int]) -> None:
        """Start each partition at its offset."""
        self._name = name
        self._consumer = open_reader(
            bootstrap,
            {
                "isolation.level": _COMMITTED,
                "queued.max.messages.kbytes": _QUEUED_KBYTES,
                "fetch.wait.max.ms": FOLLOW_WAIT_MS,
            },
        )
        self._consumer.assign([Place(name, number, offset) for number, offset in starts.items()])

    def read(self, count_max: int, wait_s: float) -> list[Message]:
        """Return up to `count_max` messages; fewer once `wait_s` is over.

        Raises:
            ServerFailed: a partition cannot be read on: the topic went, or the next offset.

        """
        found = self._consumer.consume(count_max, timeout=wait_s)
        if any([message.error() is not None for message in found]):  # a list: half the time
            return [message for message in found if self._is_there(message)]
        return found

    def pause(self, partition: int) -> None:
        """Read nothing more of a partition; what was fetched of it may still come."""
        self._consumer.pause([Place(self._name, partition)])

    def _is_there(self, message: Message) -> bool:
        error = message.error()
        if error is not None and error.code() not in _PASSING:
            raise ServerFailed(f"reading {self._name}[{message.partition()}] failed: {error}")
        return error is None

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


def raw_ends(bootstrap: str, name: str, partitions: int) -> list[tuple[int, int]]:
    """Return (first offset kept, next offset) of each partition, open transactions left out."""
    return log_ends(bootstrap, name, partitions, isolation=_COMMITTED)


class RawEnds:
    """Asks where raw usage ends, again and again, over one connection."""

    def __init__(self, bootstrap: str, name: str, partitions: int) -> None:
        """Connect lazily."""
        self._places = [Place(name, number) for number in range(partitions)]
        self._consumer = open_reader(bootstrap, {"isolation.level": _COMMITTED})

    def read(self) -> list[int]:
        """Return the next offset of each partition; nothing where the broker does not say."""
        try:
            return [
                self._consumer.get_watermark_offsets(place, timeout=_ENDS_S)[1]
                for place in self._places
            ]
        except (KafkaException, TypeError):  # it gives none where time is out
            return []

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()


def raw_offsets(bootstrap: str, name: str, partition: int, start: int, end: int) -> Iterator[int]:
    """Yield the offsets of the messages that lie in [start, end): some hold a marker, or nothing.

    Raises:
        ServerFailed: the broker stops answering.

    """
    if start >= end:
        return
    consumer = open_reader(bootstrap, {"isolation.level": _COMMITTED})
    deadline = monotonic() + _ANSWER_S
    try:
        consumer.assign([Place(name, partition, start)])
        while True:
            for message in consumer.consume(1000, timeout=0.1):
                error, offset = message.error(), message.offset() or 0
                if error is not None and error.code() not in _PASSING:
                    raise ServerFailed(f"reading {name}[{partition}] failed: {error}")
                if error is None and offset < end:
                    yield offset
                    deadline = monotonic() + _ANSWER_S
                at_end = error is not None and error.code() == KafkaError._PARTITION_EOF
                if at_end or (error is None and offset >= end - 1):
                    return
            if monotonic() > deadline:
                raise ServerFailed(f"{name}[{partition}] gives nothing: is the broker up?")
    finally:
        consumer.close()
