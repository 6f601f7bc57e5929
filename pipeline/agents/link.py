"""The link to the broker: confluent_kafka's idempotent producer, its settings, its words.

Owns: the client's settings, one connection's life, what the broker's errors mean to us.
Does not own: what is sent when (sending.py), the bytes (packing.py).
Law: per partition, messages are acknowledged in the order of `send`, each written once by this
link. Never transactional: offsets of the usage log are contiguous.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from pipeline.agents.spool import Spooled
from pipeline.core.errors import BadInput, ServerFailed
from pipeline.topology import EVENT_COUNT_HEADER

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

Client = Mapping[str, str | int | bool]
"""More settings of librdkafka, such as security.protocol or sasl.username."""

_log = logging.getLogger("talea.agents")
_log.addHandler(logging.NullHandler())

_LAWS: Mapping[str, str | int | bool] = {
    "enable.idempotence": True,
    "acks": "all",
    # For ever: a message that times out would be sent again behind younger ones.
    "message.timeout.ms": 0,
}
_HABITS: Mapping[str, str | int | bool] = {
    "compression.type": "lz4",
    "log_level": 2,  # what fails is told by our own errors, not in somebody's log every second
    "linger.ms": 0,  # batches are made before they come here
    "reconnect.backoff.max.ms": 1000,
    "socket.keepalive.enable": True,
    "topic.metadata.refresh.interval.ms": 60_000,
}
_FORBIDDEN = ("transactional.id", "bootstrap.servers", *_LAWS)


class BrokerAway(ServerFailed):
    """The broker does not answer, or lacks the topic: to be tried again."""


class Link(Protocol):
    """One connection to a broker; `sending.Sender` is its only user, from one thread."""

    def partitions(self, wait_s: float) -> int:
        """Return the topic's partition count, or raise BrokerAway."""
        ...

    def send(self, batch: Spooled) -> bool:
        """Hand a batch over; False when there is no room now."""
        ...

    def poll(self, wait_s: float) -> Sequence[Spooled]:
        """Return what was acknowledged; raise BrokerAway once this link is no more use."""
        ...

    def trouble(self) -> str:
        """Return the last thing that went wrong on the way to the broker, or nothing."""
        ...

    def close(self) -> None:
        """Give up what is in flight and let go."""
        ...

    def abandon(self) -> None:
        """Leave it as it is, in a forked child."""
        ...


Connect = Callable[[], Link]


class KafkaLink:
    """A link to real Kafka."""

    def __init__(self, kafka: str, topic: str, client: Client) -> None:
        """Make the client; it connects by itself, in the background.

        Raises:
            BadInput: a setting that librdkafka does not know, or one that would break a law.

        """
        from confluent_kafka import KafkaException, Producer

        for name in _FORBIDDEN:
            if name in client:
                raise BadInput(f"client: {name} is not yours to set: leave it out")
        settings = {"bootstrap.servers": kafka, **_HABITS, **client, **_LAWS}
        try:
            self._producer = Producer({**settings, "error_cb": self._on_error, "logger": _log})
        except (KafkaException, TypeError, ValueError) as error:
            raise BadInput(f"client: Kafka's client refuses its settings: {error}") from None
        self._kafka = kafka
        self._topic = topic
        self._acked: list[Spooled] = []
        self._trouble = ""
        self._lost = ""

    def partitions(self, wait_s: float) -> int:
        """Return the topic's partition count."""
        from confluent_kafka import KafkaException

        try:
            # Asked for one topic by name, many a broker makes it, with partitions of its choice.
            found = self._producer.list_topics(timeout=wait_s).topics.get(self._topic)
        except KafkaException as error:
            self._producer.poll(0)
            what = self._trouble or str(error.args[0].str())
            raise BrokerAway(f"Kafka at {self._kafka} does not answer: {what}") from None
        if found is None or found.error is not None or not found.partitions:
            what = found.error.str() if found and found.error else "does not exist (yet)"
            raise BrokerAway(f"Kafka at {self._kafka}: topic {self._topic}: {what}: create it")
        self._trouble = ""
        return len(found.partitions)

    def send(self, batch: Spooled) -> bool:
        """Hand a batch to the client's queue."""
        from confluent_kafka import KafkaException

        try:
            self._producer.produce(
                self._topic,
                batch.message,
                partition=batch.partition,
                headers=[(EVENT_COUNT_HEADER, str(batch.event_count).encode())],
                on_delivery=partial(self._on_delivery, batch),
            )
        except BufferError:
            return False
        except KafkaException as error:
            self._lost = self._lost or str(error.args[0].str())
            return False
        return True

    def poll(self, wait_s: float) -> Sequence[Spooled]:
        """Return what was acknowledged since the last call."""
        self._producer.poll(wait_s)
        acked, self._acked = self._acked, []
        if self._lost and not acked:
            raise BrokerAway(f"Kafka at {self._kafka}, topic {self._topic}: {self._lost}")
        return acked

    def trouble(self) -> str:
        """Return the last thing that went wrong, or nothing."""
        return f"Kafka at {self._kafka}: {self._trouble}" if self._trouble else ""

    def close(self) -> None:
        """Drop what is in flight (the spool still has it) and let go of the client."""
        self._producer.purge()
        self._producer.poll(0)

    def abandon(self) -> None:
        """Keep the client alive in a forked child: its threads are not there to be joined."""
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._producer))

    def _on_delivery(self, batch: Spooled, error: "KafkaError | None", _: "Message") -> None:
        if error is None:
            self._trouble = ""
            self._acked.append(batch)
        else:
            self._lost = self._lost or error.str()

    def _on_error(self, error: "KafkaError") -> None:
        self._trouble = error.str()
        if error.fatal():
            self._lost = self._lost or error.str()
