"""Sending from an event loop: librdkafka writes, a thread of its own takes the acks.

Owns: the way from an ack, or a refusal, to the loop that waits for it.
Does not own: how records are written (kafka.py), what is sent.
Law: a send is done once the broker has the record, and fails where it will not get it: of the
record's own fault with RecordTooLarge, else as a server's failure.
"""

import asyncio
from collections import deque
from threading import Event, Thread

from confluent_kafka import KafkaError, KafkaException

from pipeline.core.errors import ServerFailed
from pipeline.stores.kafka import SureProducer

_ACK_WAIT_S = 0.25
_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)


class RecordTooLarge(Exception):
    """No broker of ours takes a record of this size, however often it is sent."""


class LoopSender:
    """Sends records in order, many in flight, for the loop it is made in."""

    def __init__(self, bootstrap: str, *, gather_ms: int = 0) -> None:
        """Connect lazily; `close` ends the thread. What comes within `gather_ms` is one request."""
        self._producer = SureProducer(bootstrap, linger_ms=gather_ms)
        self._loop = asyncio.get_running_loop()
        self._answers: deque[tuple[asyncio.Future[None], KafkaError | None]] = deque()
        self._closed = Event()
        self._acks = Thread(target=self._take_acks, name="acks", daemon=True)
        self._acks.start()

    async def send(
        self, topic: str, partition: int, value: bytes, *, key: bytes | None = None
    ) -> asyncio.Future[None]:
        """Send one record and return what is done once the broker has it.

        Raises:
            RecordTooLarge: it is, at sight.
            ServerFailed: the client does not take it.

        """
        sent: asyncio.Future[None] = self._loop.create_future()

        def settle(error: KafkaError | None = None) -> None:
            self._answers.append((sent, error))

        try:
            self._producer.send(topic, partition, value, key=key, acked=settle, failed=settle)
        except KafkaException as refusal:
            raise _failure(refusal.args[0]) from None
        return sent

    def close(self) -> None:
        """Take no more acks."""
        self._closed.set()
        self._acks.join()

    def _take_acks(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(_ACK_WAIT_S)
            if self._answers:  # those of one poll wake the loop once
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        while self._answers:
            _settle(*self._answers.popleft())


def _settle(sent: asyncio.Future[None], error: KafkaError | None) -> None:
    if sent.done():  # whoever waited was cancelled
        return
    if error is None:
        sent.set_result(None)
    else:
        sent.set_exception(_failure(error))


def _failure(error: KafkaError) -> Exception:
    if error.code() in _TOO_LARGE:
        return RecordTooLarge(error.str())
    return ServerFailed(f"Kafka did not take a record ({error})")
