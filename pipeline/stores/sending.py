"""Sending from an event loop: librdkafka writes, a thread of its own takes the acks.

Owns: the way from an ack to the loop that waits for it.
Does not own: how records are written (kafka.py), what is sent.
Law: a send is done once the broker has the record, and fails where it will not get it.
"""

import asyncio
from functools import partial
from threading import Event, Thread

from pipeline.core.errors import ServerFailed
from pipeline.stores.kafka import SureProducer

_ACK_WAIT_S = 0.25


class LoopSender:
    """Sends records in order, many in flight, for the loop it is made in."""

    def __init__(self, bootstrap: str) -> None:
        """Connect lazily; `close` ends the thread."""
        self._producer = SureProducer(bootstrap)
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = Event()
        self._acks = Thread(target=self._take_acks, name="acks", daemon=True)
        self._acks.start()

    async def send(
        self, topic: str, partition: int, value: bytes, *, key: bytes | None = None
    ) -> asyncio.Future[None]:
        """Send one record and return what is done once the broker has it.

        Raises:
            ServerFailed: the broker did not take an earlier one.

        """
        sent: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(sent)
        acked = partial(self._loop.call_soon_threadsafe, self._settle, sent)
        self._producer.send(topic, partition, value, key=key, acked=acked)
        return sent

    def close(self) -> None:
        """Take no more acks."""
        self._closed.set()
        self._acks.join()

    def _settle(self, sent: asyncio.Future[None]) -> None:
        self._waiting.discard(sent)
        if not sent.done():  # whoever waited may have been cancelled
            sent.set_result(None)

    def _take_acks(self) -> None:
        while not self._closed.is_set():
            try:
                self._producer.poll(_ACK_WAIT_S)
            except ServerFailed as failed:
                self._loop.call_soon_threadsafe(self._fail, failed)
                return

    def _fail(self, failed: ServerFailed) -> None:
        for sent in self._waiting:
            if not sent.done():
                sent.set_exception(failed)
