"""Packing: checked events to batches, one packer for each (mode, partition).

Owns: when a batch is full or old, ids in sending order, the place of each batch in its sequence.
Does not own: the columns (collect/batch.py), locks (recorder.py holds one around every call).
Law: the sequence of (epoch, partition) has no hole and no overlap, in the order of the ids.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from time import monotonic

from pipeline.agents.spool import Reach, Spooled
from pipeline.collect.batch import PACKED_BYTES_MAX, Entry, Mode, Packer, UsageBatch, heartbeat
from pipeline.collect.limits import BATCH_EVENTS_MAX
from pipeline.core.errors import BadInput


@dataclass(frozen=True, slots=True)
class Sealed:
    """A batch that takes no more events, not yet encoded."""

    id: int
    partition: int
    batch: UsageBatch
    reach: Reach | None

    def encoded(self) -> Spooled:
        """Return it as it is sent: the bytes that every resend repeats."""
        from pipeline.stores.codec import encode_batch  # 70 ms to load, off the program's start

        message = encode_batch(self.batch)
        return Spooled(self.id, self.partition, self.batch.event_count, message, self.reach)


class _Lane:
    """One packer and when its oldest event came."""

    __slots__ = ("mode", "packer", "partition", "since_s")

    def __init__(self, mode: Mode, partition: int) -> None:
        self.mode = mode
        self.partition = partition
        self.packer = Packer(mode)
        self.since_s = 0.0


class Packing:
    """The open batches of one epoch."""

    def __init__(
        self,
        producer: str,
        epoch: str,
        partitions: int,
        batch_events: int,
        first_id: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Start an epoch; `first_id` is the first id it may give, `clock` counts seconds."""
        if not 1 <= batch_events <= BATCH_EVENTS_MAX:
            raise BadInput(f"batch_events: {batch_events} is not 1 to {BATCH_EVENTS_MAX}")
        self._producer = producer
        self._epoch = epoch
        self._batch_events = batch_events
        self._next_id = first_id
        self._clock = clock
        self._keyed = [_Lane(Mode.KEYED, partition) for partition in range(partitions)]
        self._sequenced = [_Lane(Mode.SEQUENCED, partition) for partition in range(partitions)]
        self._next: dict[int, int] = {}

    @property
    def last_id(self) -> int:
        """The id given last."""
        return self._next_id - 1

    def place(self, entry: Entry) -> tuple[Sealed | None, bool]:
        """Take one event; return the batch it filled, and whether it is the first of one."""
        home, customer, meter, instant, mantissa, scale, pairs, source, event_id, back = entry
        lane = (self._keyed if event_id else self._sequenced)[home]
        packer = lane.packer
        packer.append(customer, meter, instant, mantissa, scale, pairs, source, event_id, back)
        count = len(packer)
        if count >= self._batch_events or packer.bytes_bound > PACKED_BYTES_MAX:
            return self._seal(lane), False
        if count == 1:
            lane.since_s = self._clock()
            return None, True
        return None, False

    def seal(self, until_s: float) -> list[Sealed]:
        """Return the batches whose oldest event came at `until_s` or before."""
        return [self._seal(lane) for lane in self._filled() if lane.since_s <= until_s]

    def oldest_s(self) -> float | None:
        """Return when the oldest event still in a packer came."""
        return min((lane.since_s for lane in self._filled()), default=None)

    def waiting_events(self) -> int:
        """Return the number of events still in a packer."""
        return sum(len(lane.packer) for lane in self._filled())

    def heartbeats(self, quiet: Collection[int], *, end: bool) -> list[Sealed]:
        """Return a mark for each sequence of this epoch, but none for `quiet` partitions."""
        return [
            self.mark(Reach(self._producer, self._epoch, partition, place, ended=end))
            for partition, place in sorted(self._next.items())
            if partition not in quiet
        ]

    def mark(self, reach: Reach) -> Sealed:
        """Return the empty batch that tells how far a sequence got."""
        batch = heartbeat(reach.producer, reach.epoch, reach.next, end=reach.ended)
        return Sealed(self._new_id(), reach.partition, batch, reach)

    def _filled(self) -> Iterable[_Lane]:
        return (lane for lane in (*self._keyed, *self._sequenced) if len(lane.packer))

    def _seal(self, lane: _Lane) -> Sealed:
        first, reach = 0, None
        if lane.mode is Mode.SEQUENCED:
            first = self._next.get(lane.partition, 0)
            self._next[lane.partition] = place = first + len(lane.packer)
            reach = Reach(self._producer, self._epoch, lane.partition, place)
        batch = lane.packer.take(self._producer, self._epoch, first)
        return Sealed(self._new_id(), lane.partition, batch, reach)

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1
