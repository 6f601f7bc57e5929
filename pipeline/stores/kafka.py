"""Kafka by librdkafka: topics, ordered reading of one partition, sure writing.

Owns: how we talk to the broker.  Does not own: topic names (topology), what records mean.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller
from time import monotonic
from typing import Protocol

import stamina
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
)
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.core.errors import BadInput, BrokenInvariant, ServerFailed
from pipeline.topology import (
    EVENT_COUNT_HEADER,
    MESSAGE_BYTES_MAX,
    READER_GROUP,
    TOPICS,
    USAGE_EVENTS,
    Stack,
    Topic,
)

_ANSWER_S = 20.0
_QUEUE_WAIT_S = 0.1
FOLLOW_WAIT_MS = 500
"""How long the broker may hold a follower's fetch: news ends the wait, so silence costs little."""
_QUEUED_KBYTES = 8 * 1024  # fetched ahead of a flush: as much as one

stamina.instrumentation.set_on_retry_hooks([])  # they would log on stdout, which is for results


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record as it was read. `event_count` is the header's figure, None where unreadable."""

    offset: int
    value: bytes
    event_count: int | None


def admin(bootstrap: str) -> AdminClient:
    """Return an admin client."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})


def create_topics(
    bootstrap: str,
    stack: Stack,
    partitions: int,
    replication: int = 1,
    topics: Sequence[Topic] = TOPICS,
) -> None:
    """Create the topics that are missing; refuse a usage log with another partition count.

    Raises:
        BadInput: the usage log has another partition count (fixed for the life of a log).
        ServerFailed: the broker does not answer or refuses.

    """
    client = admin(bootstrap)
    present = partition_counts(client)
    missing = [topic for topic in topics if stack.topic(topic) not in present]
    for topic in topics:
        count = present.get(stack.topic(topic))
        if topic.per_log and count is not None and count != partitions:
            raise BadInput(
                f"topic {stack.topic(topic)} has {count} partitions, the log {partitions}:"
                " the count is fixed for the life of a log; use a new prefix for another"
            )
    new = [
        NewTopic(
            stack.topic(topic),
            num_partitions=partitions if topic.per_log else 1,
            replication_factor=replication,
            config=topic.config,
        )
        for topic in missing
    ]
    if not new:
        return
    for name, answer in client.create_topics(new, operation_timeout=_ANSWER_S).items():
        try:
            answer.result(_ANSWER_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise ServerFailed(f"the broker would not create {name}: {error}") from None


def partition_counts(client: AdminClient) -> dict[str, int]:
    """Return the partition count of every topic.

    Raises:
        ServerFailed: the broker does not answer.

    """
    try:
        listed = client.list_topics(timeout=_ANSWER_S)
    except KafkaException as error:
        raise ServerFailed(f"Kafka does not answer ({error}): is the stack up?") from None
    return {name: len(topic.partitions) for name, topic in listed.topics.items()}


def topic_id(bootstrap: str, name: str) -> str:
    """Return the id that the broker gave a topic when it was created."""
    client = admin(bootstrap)  # must outlive its answers
    try:
        described = client.describe_topics(TopicCollection([name]))
        return str(described[name].result(_ANSWER_S).topic_id)
    except KafkaException as error:
        raise ServerFailed(f"Kafka does not know topic {name} ({error})") from None


def open_reader(bootstrap: str, settings: Mapping[str, str | int | bool] | None = None) -> Consumer:
    """Return a consumer for partitions that are assigned by hand, outside any group."""
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": READER_GROUP,  # never joined, never committed
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_uncommitted",
            "fetch.wait.max.ms": 50,
            # Bounds what zstd may inflate to; a batch above it would never be read.
            "receive.message.max.bytes": (1 << 31) - 1,
            "log_level": 2,
            **(settings or {}),
        }
    )


def log_ends(
    bootstrap: str, name: str, partitions: int, *, isolation: str = "read_uncommitted"
) -> list[tuple[int, int]]:
    """Return (first offset kept, next offset) of each partition."""
    consumer = open_reader(bootstrap, {"isolation.level": isolation})
    try:
        for attempt in stamina.retry_context(
            on=_passing, attempts=None, timeout=_ANSWER_S, wait_max=0.5
        ):
            with attempt:
                return [
                    consumer.get_watermark_offsets(Place(name, number), timeout=_ANSWER_S)
                    for number in range(partitions)
                ]
    except KafkaException as error:
        raise ServerFailed(f"Kafka does not answer ({error}): is the stack up?") from None
    finally:
        consumer.close()
    raise AssertionError("a retry either returns or raises")


def _passing(error: Exception) -> bool:
    """Return whether an error passes by itself: a topic just created has no leader yet."""
    return isinstance(error, KafkaException) and error.args[0].code() in (
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
    )


def event_count(headers: Sequence[tuple[str, bytes | None]] | None) -> int | None:
    """Return what the record header counts, None where there is no readable one."""
    for name, value in headers or ():
        if name.partition("\0")[0] == EVENT_COUNT_HEADER:  # librdkafka's names end at a NUL
            digits = value or b""
            return int(digits) if digits.isdigit() and len(digits) < 10 else None
    return None


def read_range(
    bootstrap: str, name: str, partition: int, start: int, end: int
) -> Iterator[LogRecord]:
    """Yield the records of one partition with start <= offset < end.

    Raises:
        BrokenInvariant: an offset in the range is missing (the log must be contiguous).
        ServerFailed: the broker stops answering.

    """
    if start >= end:
        return
    consumer = open_reader(bootstrap)
    try:
        consumer.assign([Place(name, partition, start)])
        following, deadline = start, monotonic() + _ANSWER_S
        while following < end:
            for message in consumer.consume(1000, timeout=0.1):
                if (error := message.error()) is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        continue
                    raise ServerFailed(f"reading {name}[{partition}] failed: {error}")
                offset = message.offset()
                if offset != following:
                    raise BrokenInvariant(
                        f"{name}[{partition}] has no offsets {following} to {offset}"
                    )
                if offset >= end:
                    return
                yield _record(message)
                following, deadline = offset + 1, monotonic() + _ANSWER_S
            if monotonic() > deadline:
                raise ServerFailed(
                    f"{name}[{partition}] gave nothing after offset {following} for"
                    f" {_ANSWER_S:.0f} s: is the broker up?"
                )
    finally:
        consumer.close()


def _record(message: Message) -> LogRecord:
    return LogRecord(
        message.offset() or 0, message.value() or b"", event_count(headers_of(message))
    )


class Headed(Protocol):
    """What has headers: a message of the client's, or one made up."""

    def headers(self) -> object: ...


def headers_of(message: Headed) -> Sequence[tuple[str, bytes | None]]:
    """Return a message's headers; none where a name is no UTF-8 (stores/fetched.py).

    Such a name leaves a hole in the client's list, and its error may only be noticed once the
    hole was stepped into, which is the end of the process; called so it is noticed at once.
    Once a message: the client remembers the list, and is silent the second time.
    """
    try:
        return _call_headers(message) or ()
    except UnicodeDecodeError:
        return ()
    except SystemError as error:
        if isinstance(error.__cause__, UnicodeDecodeError):
            return ()
        raise


_call_headers = methodcaller("headers")  # a call site of its own would be specialised, unchecked


class MeteredReader:
    """Follows partitions of `usage.metered` from given offsets, without a group."""

    def __init__(self, bootstrap: str, name: str, starts: Mapping[int, int]) -> None:
        """Start each partition at its offset; one that retention has passed starts earlier."""
        self._consumer = open_reader(
            bootstrap,
            {
                "auto.offset.reset": "earliest",
                "queued.max.messages.kbytes": _QUEUED_KBYTES,
                "fetch.wait.max.ms": FOLLOW_WAIT_MS,
            },
        )
        self._consumer.assign(
            [Place(name, number, offset or OFFSET_BEGINNING) for number, offset in starts.items()]
        )

    def read(self, count_max: int, wait_s: float) -> list[tuple[int, int, bytes]]:
        """Return up to `count_max` records as (partition, offset, value)."""
        found = []
        for message in self._consumer.consume(count_max, timeout=wait_s):
            if (error := message.error()) is None:
                found.append((message.partition(), message.offset(), message.value() or b""))
            elif error.code() != KafkaError._PARTITION_EOF and error.fatal():
                raise ServerFailed(f"reading usage.metered failed: {error}")
        return found  # type: ignore[return-value]

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


class SureProducer:
    """Writes records and says when every one was acked; idempotent, never transactional."""

    def __init__(self, bootstrap: str, *, compression: str = "none", linger_ms: int = 0) -> None:
        """Connect lazily."""
        self._failed: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": linger_ms,
                "compression.type": compression,
                "message.max.bytes": MESSAGE_BYTES_MAX,
                "message.timeout.ms": 60_000,
                "log_level": 2,
            }
        )

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        event_count: int | None = None,
        acked: Callable[[], object] = lambda: None,
        failed: Callable[[KafkaError], object] | None = None,
    ) -> None:
        """Queue one record; `acked` is called from `poll` or `flush` once the broker has it.

        `failed` is, where it will not get it; without one, `poll` or `flush` raises.
        """

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                acked()
            elif failed is not None:
                failed(error)
            else:
                self._failed.append(str(error))

        headers: list[tuple[str, str | bytes | None]] = []
        if event_count is not None:
            headers.append((EVENT_COUNT_HEADER, str(event_count).encode()))
        while True:
            try:
                return self._producer.produce(
                    topic,
                    value=value,
                    key=key,
                    partition=partition,
                    headers=headers,
                    on_delivery=delivered,
                )
            except BufferError:  # the client's queue is full: the broker is slower than we are
                self.poll(_QUEUE_WAIT_S)

    def poll(self, wait_s: float = 0.0) -> None:
        """Take acknowledgements; wait for one, but not longer than told.

        Raises:
            ServerFailed: the broker did not take something.

        """
        self._producer.poll(wait_s)
        if self._failed:
            raise ServerFailed(f"Kafka did not take a record ({self._failed[0]})")

    def flush(self, timeout_s: float = 60.0) -> None:
        """Wait until everything sent was acked.

        Raises:
            ServerFailed: something was not.

        """
        left = self._producer.flush(timeout_s)
        if left or self._failed:
            why = self._failed[0] if self._failed else "no answer"
            self._failed.clear()
            raise ServerFailed(f"Kafka did not take {left or 'some'} records ({why})")


def usage_log(stack: Stack) -> str:
    """Return the name of the usage log on the broker."""
    return stack.topic(USAGE_EVENTS)


@dataclass(frozen=True, slots=True)
class KafkaLog:
    """The topics of one broker, as workers read them beside any consumer group."""

    bootstrap: str

    def topic_id(self, name: str) -> str:
        """Return the id that the broker gave a topic when it was created."""
        return topic_id(self.bootstrap, name)

    def ends(self, name: str, partitions: int) -> list[tuple[int, int]]:
        """Return (first offset kept, next offset) of each partition."""
        return log_ends(self.bootstrap, name, partitions)

    def read_range(self, name: str, partition: int, start: int, end: int) -> Iterator[LogRecord]:
        """Yield the records of one partition with start <= offset < end."""
        return read_range(self.bootstrap, name, partition, start, end)

    def follow(self, name: str, starts: Mapping[int, int]) -> MeteredReader:
        """Return a reader of partitions from given offsets on."""
        return MeteredReader(self.bootstrap, name, starts)
