"""A producer that shuts out its predecessor: Kafka transactions under one name.

Owns: sending a few records as a whole, and that of all who send under a name only the last to
open it can.  Does not own: what is sent.
Law: once `fence` has returned, nothing that an earlier holder of the name had begun will ever
be written, however long it was stopped in the middle of it.

Used for the billing topics alone: in the usage log a transaction's marks would be gaps.
"""

from collections.abc import Iterable

from confluent_kafka import KafkaException, Producer

from pipeline.core.errors import ServerFailed

_ANSWER_S = 10.0
_GATHER_MS = 50
"""How long records wait for others to be packed with: drafts are much alike, and the broker takes
many at once. Whoever commits sends what waits."""
_DOCUMENT_BYTES_MAX = 64 << 20
"""Before compression; the broker holds what it gets against the topic's own limit."""


class FencedProducer:
    """Writes in transactions; any failure is the end of it, to be begun anew."""

    def __init__(self, bootstrap: str, name: str) -> None:
        """Connect lazily."""
        self._name = name
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "transactional.id": name,
                "transaction.timeout.ms": 20_000,  # how long a dead one can hold readers up
                "compression.type": "lz4",
                "message.max.bytes": _DOCUMENT_BYTES_MAX,
                "linger.ms": _GATHER_MS,
                "log_level": 2,
            }
        )

    def fence(self) -> None:
        """Take the name over.

        Raises:
            ServerFailed: the broker does not answer.

        """
        try:
            self._producer.init_transactions(_ANSWER_S)
        except KafkaException as error:
            raise ServerFailed(f"Kafka does not let {self._name} write: {error}") from None

    def send(self, records: Iterable[tuple[str, int, bytes, bytes | None]]) -> None:
        """Send (topic, partition, key, value) in a transaction that stays open.

        Raises:
            ServerFailed: the broker does not take them, or another one writes by now.

        """
        topic, key = "", b""
        try:
            self._producer.begin_transaction()
            for topic, partition, key, value in records:
                self._produce(topic, partition, key, value)
        except KafkaException as error:
            raise ServerFailed(f"{topic} does not take {key.decode()}: {error}") from None

    def _produce(self, topic: str, partition: int, key: bytes, value: bytes | None) -> None:
        while True:
            try:
                return self._producer.produce(topic, value, key, partition)
            except BufferError:
                self._producer.poll(0.05)

    def commit(self) -> None:
        """Return once everything sent is written.

        Raises:
            ServerFailed: it is not, or another one writes by now.

        """
        try:
            self._producer.commit_transaction(_ANSWER_S)
        except KafkaException as error:
            raise ServerFailed(f"Kafka did not take what {self._name} sent: {error}") from None
