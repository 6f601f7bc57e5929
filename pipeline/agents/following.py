"""Following a topic from its beginning: every partition, no group, committed records only.

Owns: the consumer's settings, where the end is.  Does not own: what records mean (feed.py).
Law: per partition, records come in the order of the log, each once for each follower.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.agents.link import BrokerAway, Client
from pipeline.core.errors import BadInput
from pipeline.topology import READER_GROUP

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

_ANSWER_S = 20.0
_POLL_S = 0.1
_BITE = 500


@dataclass(frozen=True, slots=True)
class Found:
    """One record as it stands in the topic; no value: a tombstone."""

    partition: int
    offset: int
    key: bytes
    value: bytes | None


class Follower:
    """Reads one topic, for as long as one likes."""

    def __init__(self, kafka: str, topic: str, client: Client | None = None) -> None:
        """Begin at the beginning of every partition.

        Raises:
            BadInput: a setting that librdkafka does not know.
            BrokerAway: the broker does not answer, or has no such topic.

        """
        from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

        settings = {
            "log_level": 2,
            "fetch.wait.max.ms": 50,
            **(client or {}),
            "bootstrap.servers": kafka,
            "group.id": READER_GROUP,  # never joined, never committed
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "error_cb": self._on_error,
        }
        self._where, self._trouble = f"Kafka at {kafka}, topic {topic}", ""
        try:
            self._consumer = Consumer(settings)
        except (KafkaException, TypeError, ValueError) as error:
            raise BadInput(f"client: Kafka's client refuses its settings: {error}") from None
        try:
            listed = self._consumer.list_topics(timeout=_ANSWER_S).topics.get(topic)
        except KafkaException as error:
            raise BrokerAway(f"{self._where}: {self._trouble or error}") from None
        if listed is None or listed.error is not None or not listed.partitions:
            raise BrokerAway(f"{self._where}: does not exist (yet): create it (talea set-up)")
        self._partitions = frozenset(listed.partitions)
        self._consumer.assign(
            [TopicPartition(topic, number, OFFSET_BEGINNING) for number in self._partitions]
        )
        self._ended: set[int] = set()

    def read(self, wait_s: float) -> list[Found]:
        """Return what comes within `wait_s`, in order.

        Raises:
            BrokerAway: this follower is no more use; begin with another one.

        """
        found = []
        for message in self._consumer.consume(_BITE, timeout=wait_s):
            error = message.error()
            if error is None:
                found.append(_found(message))
            elif error.code() == error._PARTITION_EOF:
                self._ended.add(message.partition() or 0)
            elif not error.retriable():
                raise BrokerAway(f"{self._where}: {error.str()}")
        return found

    def until_end(self) -> Iterator[Found]:
        """Yield everything up to the end that each partition has once it is reached."""
        while not self._ended >= self._partitions:
            yield from self.read(_POLL_S)

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def _on_error(self, error: "KafkaError") -> None:
        self._trouble = error.str()


def _found(message: "Message") -> Found:
    key, value = message.key(), message.value()
    return Found(
        message.partition() or 0,
        message.offset() or 0,
        key.encode() if isinstance(key, str) else key or b"",
        value.encode() if isinstance(value, str) else value,
    )
