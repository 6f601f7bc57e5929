"""Keyed events: out of batches one by one, and into batches again under the keys they had.

Owns: what an event is once it has a key, and where sequenced events have theirs from.
Does not own: why events are sent again (replay/letters.py), sending (workers/readmission.py).
Law: read out and packed again, an event has the key, fingerprint and value that it had.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.collect.batch import PACKED_BYTES_MAX, Mode, Packer, Pairs, UsageBatch
from pipeline.collect.columns import Columns
from pipeline.collect.limits import BATCH_EVENTS_MAX
from pipeline.core.calendar import Instant
from pipeline.core.identity import (
    FINGERPRINT_BYTES,
    KEY_BYTES,
    event_key,
    fingerprint,
    reversal_key,
    sequenced_keys,
)


@dataclass(frozen=True, slots=True)
class KeyedEvent:
    """An event as it counts; `epoch` is (producer, epoch) where its key comes from a sequence."""

    customer: str
    meter: str
    time: Instant
    mantissa: int
    scale: int
    dimensions: Pairs
    key: bytes
    fingerprint: bytes
    reversed_at: Instant | None = None
    epoch: tuple[str, str] | None = None

    @property
    def gate_time(self) -> Instant:
        """By what the gate judges it."""
        return self.time if self.reversed_at is None else self.reversed_at

    @property
    def least(self) -> tuple[int, int]:
        """Mantissa and scale of its value in their smallest form."""
        return _smallest(self.mantissa, self.scale)

    @property
    def payload_print(self) -> bytes:
        """The fingerprint of the payload alone: a reversal's is its original's."""
        least, scale = self.least
        return fingerprint(self.meter, self.time, least, scale, dict(self.dimensions))

    @property
    def claims(self) -> tuple[bytes, bytes]:
        """Key and fingerprint that it claims: a reversal has a claim of its own."""
        if self.reversed_at is None:
            return self.key, self.fingerprint
        print_ = self.payload_print
        return reversal_key(self.key, print_), print_


def keyed_event(
    customer: str,
    meter: str,
    time: Instant,
    mantissa: int,
    scale: int,
    pairs: Pairs,
    source: str,
    event_id: str,
    reversed_at: Instant | None = None,
) -> KeyedEvent:
    """Return an event of the edge, value in its smallest form, under its own key."""
    own_print = fingerprint(meter, time, mantissa, scale, dict(pairs), reversed_at)
    key = event_key(customer, source, event_id)
    return KeyedEvent(customer, meter, time, mantissa, scale, pairs, key, own_print, reversed_at)


def events_at(
    batch: UsageBatch, columns: Columns, indexes: Iterable[int], partition: int
) -> Iterator[KeyedEvent]:
    """Yield the events of a readable batch of `partition` at these places."""
    for index in indexes:
        entry = batch.meters[int(columns.meter[index])]
        dimensions = batch.dimensions[int(columns.dimensions[index])]
        time = int(columns.time[index])
        mantissa = columns.wide.get(index, int(columns.mantissa[index]))
        back = columns.reversed_at.get(index)
        if batch.mode is Mode.KEYED:
            own_print = batch.fingerprint[
                index * FINGERPRINT_BYTES : (index + 1) * FINGERPRINT_BYTES
            ]
            epoch = None
        else:
            least, scale = _smallest(mantissa, entry.scale)
            own_print = fingerprint(entry.meter, time, least, scale, dimensions, back)
            epoch = (batch.producer, batch.epoch)
        yield KeyedEvent(
            batch.customers[int(columns.customer[index])],
            entry.meter,
            time,
            mantissa,
            entry.scale,
            tuple(sorted(dimensions.items())),
            key_at(batch, index, partition),
            own_print,
            back,
            epoch,
        )


def claimed_columns(batch: UsageBatch, columns: Columns, partition: int) -> tuple[bytes, bytes]:
    """Return the keys and fingerprints that the events of a keyed batch claim, as columns."""
    if not columns.reversed_at:
        return batch.key, batch.fingerprint
    keys, prints = bytearray(batch.key), bytearray(batch.fingerprint)
    places = sorted(columns.reversed_at)
    for at, event in zip(places, events_at(batch, columns, places, partition), strict=True):
        key, own_print = event.claims
        keys[at * KEY_BYTES : (at + 1) * KEY_BYTES] = key
        prints[at * FINGERPRINT_BYTES : (at + 1) * FINGERPRINT_BYTES] = own_print
    return bytes(keys), bytes(prints)


def key_at(batch: UsageBatch, index: int, partition: int) -> bytes:
    """Return the key of an event."""
    return keys_at(batch, (index,), partition)


def keys_at(batch: UsageBatch, indexes: Sequence[int], partition: int) -> bytes:
    """Return the keys of events; those of sequenced ones follow from their first places."""
    if batch.key:
        return b"".join(batch.key[at * KEY_BYTES : (at + 1) * KEY_BYTES] for at in indexes)
    places = (batch.first_sequence + at for at in indexes)
    return sequenced_keys(batch.producer, batch.epoch, partition, places)


def _smallest(mantissa: int, scale: int) -> tuple[int, int]:
    while scale and mantissa % 10 == 0:
        mantissa, scale = mantissa // 10, scale - 1
    return mantissa, scale


def pack_again(events: Iterable[KeyedEvent]) -> Iterator[UsageBatch]:
    """Yield events of one partition as keyed batches within the limits."""
    packer = Packer(Mode.SEQUENCED)  # it makes no keys of its own
    few: list[KeyedEvent] = []
    for event in events:
        if len(few) == BATCH_EVENTS_MAX or packer.bytes_bound > PACKED_BYTES_MAX:
            yield _keyed(packer.take("", "", 0), few)
            few = []
        packer.append(
            event.customer,
            event.meter,
            event.time,
            event.mantissa,
            event.scale,
            event.dimensions,
            reversed_at=event.reversed_at,
        )
        few.append(event)
    if few:
        yield _keyed(packer.take("", "", 0), few)


def _keyed(batch: UsageBatch, events: Sequence[KeyedEvent]) -> UsageBatch:
    keys = b"".join(event.key for event in events)
    prints = b"".join(event.fingerprint for event in events)
    return replace(batch, mode=Mode.KEYED, key=keys, fingerprint=prints)
