"""Ticker: time into the log. Facts to their mirror, then a tick to every partition.

Owns: the order (mirror facts, commit the tick's row, send it, note the acks), leadership.
Does not own: serials (stores/postgres/facts.py), what a tick means (meter/ticks.py).
Law: each partition holds every serial, in order, with equal content. Leadership is a lock on
the very connection that writes, so a ticker that lost it cannot write.
"""

from collections.abc import Callable
from threading import Event

from pipeline.catalog.facts import Fact
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.identity import canonical
from pipeline.meter.ticks import Tick
from pipeline.stores.kafka import SureProducer, usage_log
from pipeline.stores.postgres import facts
from pipeline.stores.postgres.database import Connection, one
from pipeline.stores.records import encode_tick
from pipeline.topology import BILLING_FACTS
from pipeline.workers.surroundings import Surroundings

_LEADER_LOCK = "talea ticker"


def fact_message(fact: Fact) -> bytes:
    """Return a fact as it is mirrored."""
    return canonical(
        {
            "serial": fact.serial,
            "id": fact.id,
            "kind": fact.kind.value,
            "subject": fact.subject,
            "body": dict(fact.body),
            "actor": fact.actor,
            "reason": fact.reason,
            "recorded_at": instant_text(fact.recorded_at),
        }
    )


class Ticker:
    """Writes ticks while it leads."""

    def __init__(
        self,
        around: Surroundings,
        connection: Connection,
        producer: SureProducer,
        clock: Callable[[], Instant],
    ) -> None:
        """Use a connection of its own, in autocommit."""
        self._around, self._connection = around, connection
        self._producer, self._clock = producer, clock

    def try_lead(self) -> bool:
        """Return whether this ticker leads from now on; a new leader ends what was begun."""
        (leads,) = one(
            self._connection,
            "SELECT pg_try_advisory_lock(hashtext(%s), hashtext(current_schema()))",
            _LEADER_LOCK,
        )
        if leads:
            self._connection.execute("SET idle_session_timeout = '15s'")
            self._send(facts.unacked_ticks(self._connection))
        return bool(leads)

    def tick(self) -> Tick:
        """Write one tick and return it once every partition has it."""
        while True:
            self._mirror()
            tick = facts.write_tick(self._connection, self._clock(), self._around.partitions)
            if tick is not None:
                self._send([tick])
                return tick

    def _mirror(self) -> None:
        head, mirrored = facts.fact_head(self._connection)
        if head == mirrored:
            return
        topic = self._around.stack.topic(BILLING_FACTS)
        for fact in facts.read_facts(self._connection, mirrored, head):
            self._producer.send(topic, 0, fact_message(fact), key=fact.id.encode())
        self._producer.flush()
        facts.mark_mirrored(self._connection, head)

    def _send(self, ticks: list[Tick]) -> None:
        partitions = self._around.partitions
        for tick in ticks:
            message = encode_tick(tick, partitions)
            for partition in range(partitions):
                self._producer.send(
                    usage_log(self._around.stack), partition, message, event_count=0
                )
        self._producer.flush()
        facts.mark_acked(self._connection, [tick.serial for tick in ticks])


def run_ticker(around: Surroundings, clock: Callable[[], Instant], stop: Event) -> None:
    """Tick at the set interval until stopped; wait while another one leads."""
    interval_s = around.settings.tick_s
    connection = around.database.connect(name="ticker", autocommit=True)
    ticker = Ticker(around, connection, SureProducer(around.kafka), clock)
    while not ticker.try_lead():
        if stop.wait(min(interval_s, 1.0)):
            return
    while not stop.is_set():
        tick = ticker.tick()
        stop.wait(max(0.0, interval_s - (clock() - tick.time) / 1_000_000))
    connection.close()
