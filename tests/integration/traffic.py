"""Usage on its way into a stack, heard by the oracle as it is sent.

A message is kept as the broker got it, so that it can be sent again to the byte.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from integration.running import RunningStack
from oracle import Oracle
from pipeline.collect.batch import Mode, UsageBatch, pack_events
from pipeline.collect.event import UsageEvent
from pipeline.core.identity import partition_of
from pipeline.stores.codec import encode_batch

BITE = 1000


@dataclass(frozen=True, slots=True)
class Sent:
    """One message of the usage log, and what the oracle is told at each delivery."""

    partition: int
    message: bytes
    event_count: int
    tell: Callable[[], None]


@dataclass
class Traffic:
    """Sends, and tells the oracle. The broker has it once `flush` returns."""

    stack: RunningStack
    oracle: Oracle
    sent: list[Sent] = field(default_factory=list)

    def keyed(self, *events: UsageEvent) -> list[Sent]:
        """Send events with ids, as many batches as it takes."""
        found = []
        for partition, own in self._by_partition(events):
            for few in _bites(own):
                batch = pack_events(few, Mode.KEYED, "", "", 0)
                found.append(self._send(partition, batch, partial(self.oracle.hears, few)))
        return found

    def sequenced(
        self, first: int, *events: UsageEvent, producer: str = "host-1", epoch: str = "e1"
    ) -> Sent:
        """Send events at places of a sequence; all of them have one partition."""
        ((partition, own),) = self._by_partition(events)
        batch = pack_events(own, Mode.SEQUENCED, producer, epoch, first)
        hears = self.oracle.hears_sequence
        return self._send(partition, batch, partial(hears, producer, epoch, partition, first, own))

    def again(self, *messages: Sent) -> None:
        """Send messages once more, as they were."""
        for one in messages:
            self.stack.producer.send(
                self.stack.log, one.partition, one.message, event_count=one.event_count
            )
            one.tell()

    def flush(self) -> None:
        """Return once the broker has everything."""
        self.stack.producer.flush()

    def partition(self, customer: str) -> int:
        """The partition of a customer."""
        return partition_of(customer, self.stack.around.partitions)

    def _by_partition(self, events: Iterable[UsageEvent]) -> list[tuple[int, list[UsageEvent]]]:
        parts: dict[int, list[UsageEvent]] = {}
        for event in events:
            parts.setdefault(self.partition(event.customer), []).append(event)
        return sorted(parts.items())

    def _send(self, partition: int, batch: UsageBatch, tell: Callable[[], None]) -> Sent:
        one = Sent(partition, encode_batch(batch), batch.event_count, tell)
        self.again(one)
        self.sent.append(one)
        return one


def _bites(events: Sequence[UsageEvent]) -> list[Sequence[UsageEvent]]:
    return [events[start : start + BITE] for start in range(0, len(events), BITE)]


def customers_everywhere(partitions: int, each: int = 1, name: str = "c") -> list[str]:
    """Customers of every partition, so many in each, in no partition's order."""
    found: list[str] = []
    had = [0] * partitions
    for number in count():
        partition = partition_of(f"{name}{number}", partitions)
        if had[partition] < each:
            had[partition] += 1
            found.append(f"{name}{number}")
        if len(found) == partitions * each:
            return found
    raise AssertionError("count() ends")


def check_books(stack: RunningStack, oracle: Oracle) -> None:
    """Hold what was booked against the oracle: outcomes, and usage to the last digit."""
    counted = stack.counts()
    assert {name: getattr(counted, name) for name in oracle.counts()} == oracle.counts()
    booked = {key: (row.count, row.sum, row.maximum) for key, row in stack.used().items()}
    assert booked == oracle.used()
