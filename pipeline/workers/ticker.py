"""Ticker: time into the log. Facts to their mirror, then a tick to every partition.

Owns: the order (mirror facts, commit the tick's row, send it, note the acks), leadership.
Does not own: serials (stores/postgres/facts.py), what a tick means (meter/ticks.py).
Law: each partition holds every serial, in order, with equal content. Leadership is a lock on
the very connection that writes, so a ticker that lost it cannot write.
"""

from collections.abc import Callable, Iterable
from threading import Event
from typing import Protocol

from pipeline.catalog.facts import mirror_of
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import ServerFailed
from pipeline.meter.ticks import Tick
from pipeline.stores.kafka import SureProducer, usage_log
from pipeline.stores.postgres.connection import Unreachable
from pipeline.stores.records import encode_tick
from pipeline.topology import BILLING_FACTS
from pipeline.workers.knowledge import FACTS_AT_ONCE, FactReader
from pipeline.workers.seams import Writer
from pipeline.workers.surroundings import Surroundings


class TickStore(FactReader, Protocol):
    """Where ticks and facts get their serials: a session of its own, in autocommit."""

    def try_lead(self) -> bool: ...

    def fact_head(self) -> tuple[int, int]: ...

    def mark_mirrored(self, serial: int) -> None: ...

    def write_tick(self, clock: Instant, partitions: int) -> Tick | None: ...

    def unacked_ticks(self) -> list[Tick]: ...

    def mark_acked(self, serials: Iterable[int]) -> None: ...


class Ticker:
    """Writes ticks while it leads."""

    def __init__(
        self,
        around: Surroundings,
        store: TickStore,
        producer: Writer,
        clock: Callable[[], Instant],
    ) -> None:
        """Write over a session that nobody else uses."""
        self._around, self._store = around, store
        self._producer, self._clock = producer, clock

    def try_lead(self) -> bool:
        """Return whether this ticker leads from now on; a new leader ends what was begun."""
        leads = self._store.try_lead()
        if leads:
            self._send(self._store.unacked_ticks())
        return leads

    def tick(self) -> Tick:
        """Write one tick and return it once every partition has it.

        Whoever writes many facts keeps it waiting for as long as that takes.
        """
        while True:
            self._mirror()
            tick = self._store.write_tick(self._clock(), self._around.partitions)
            if tick is not None:
                self._send([tick])
                return tick

    def _mirror(self) -> None:
        head, mirrored = self._store.fact_head()
        topic = self._around.stack.topic(BILLING_FACTS)
        for after in range(mirrored, head, FACTS_AT_ONCE):
            until = min(after + FACTS_AT_ONCE, head)
            for fact in self._store.read_facts(after, until):
                self._producer.send(topic, 0, mirror_of(fact), key=fact.id.encode())
            self._producer.flush()
            self._store.mark_mirrored(until)

    def _send(self, ticks: list[Tick]) -> None:
        partitions = self._around.partitions
        for tick in ticks:
            message = encode_tick(tick, partitions)
            for partition in range(partitions):
                self._producer.send(
                    usage_log(self._around.stack), partition, message, event_count=0
                )
        self._producer.flush()
        self._store.mark_acked([tick.serial for tick in ticks])


def run_ticker(around: Surroundings, stop: Event) -> None:
    """Tick at the set interval until stopped; wait while another one leads.

    A test clock is moved by whoever drives it: there this rests.

    Raises:
        ServerFailed: a server does not answer, or this ticker was silent so long that it does
            not lead any more.

    """
    interval_s = around.settings.tick_s
    idle_s = max(around.settings.session_s, 3 * interval_s)  # its own pauses are no silence
    try:
        with around.database.session("ticker", idle_s=idle_s) as session:
            if session.test_clock_start() is not None:
                session.close()
                stop.wait()
                return
            clock = session.clock()
            ticker = Ticker(around, session, SureProducer(around.kafka), clock)
            while not ticker.try_lead():
                if stop.wait(min(interval_s, 1.0)):
                    return
            while not stop.is_set():
                stop.wait(wait_s(interval_s, ticker.tick().time, clock()))
    except Unreachable as error:
        raise ServerFailed(f"the ticker lost its session, and with it the lead: {error}") from None


def wait_s(interval_s: float, ticked: Instant, now: Instant) -> float:
    """Return the seconds until the next tick, however the clock jumped since the last one."""
    return min(interval_s, max(0.0, interval_s - (now - ticked) / SECOND))
