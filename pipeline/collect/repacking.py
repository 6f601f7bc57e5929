"""Repacking: events of batches that were read, into other batches, column by column.

Owns: batches of other sizes and partitions whose events keep key, fingerprint, value and order.
Does not own: which events go where (replay/copying.py).
Law: repacked and read, an event is what it was, to the byte of its key.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np

from pipeline.collect.batch import (
    COLUMN_BYTES,
    MeterScale,
    Mode,
    Pairs,
    Reversal,
    UsageBatch,
    WideValue,
)
from pipeline.collect.columns import Columns, Indexes, Longs
from pipeline.collect.keyed import keys_at
from pipeline.collect.limits import BATCH_BYTES_MAX, WIDE_DIGITS_MAX
from pipeline.core.identity import FINGERPRINT_BYTES

_E = TypeVar("_E")


class Origin(NamedTuple):
    """Where events of a batch were read: the partition, and the offset of their message."""

    partition: int
    offset: int


@dataclass(frozen=True)
class Cut:
    """Some events of one batch, in their order, by their places in it."""

    origin: Origin
    batch: UsageBatch
    columns: Columns
    places: Longs

    def halves(self) -> tuple["Cut", "Cut"]:
        """Return it as two."""
        middle = len(self.places) // 2
        return self.part(0, middle), self.part(middle, len(self.places))

    def part(self, start: int, end: int) -> "Cut":
        """Return some of it."""
        return Cut(self.origin, self.batch, self.columns, self.places[start:end])

    @cached_property
    def bytes_bound(self) -> int:
        """At most what its events take once they are encoded."""
        batch, columns = self.batch, self.columns
        names = sum(2 + len(batch.customers[e].encode()) for e in _used(columns.customer, self))
        meters = sum(3 + len(batch.meters[e].meter.encode()) for e in _used(columns.meter, self))
        sparse = len(columns.wide) * (8 + WIDE_DIGITS_MAX) + len(columns.reversed_at) * 16
        pairs = sum(
            2 + sum(4 + len((name + item).encode()) for name, item in batch.dimensions[e].items())
            for e in _used(columns.dimensions, self)
        )
        return names + meters + pairs + sparse + COLUMN_BYTES * len(self.places)


def _used(column: Indexes, cut: Cut) -> list[int]:
    found: list[int] = np.unique(column[cut.places]).tolist()
    return found


def fitting(cut: Cut, events_max: int) -> Iterator[Cut]:
    """Yield a cut in parts that each fit into a batch."""
    for start in range(0, len(cut.places), events_max):
        part = cut.part(start, start + events_max)
        if len(part.places) > 1 and part.bytes_bound > BATCH_BYTES_MAX:
            for half in part.halves():
                yield from fitting(half, events_max)
        else:
            yield part


@dataclass(slots=True)
class Repacker:
    """Gathers cuts of one mode and gate pass until `take`."""

    mode: Mode
    gate_pass: str
    count: int = 0
    bytes_bound: int = 0
    origins: list[tuple[int, Cut]] = field(default_factory=list)
    """The cuts that it holds, each with the place of its first event here."""
    _customers: dict[str, int] = field(default_factory=dict)
    _meters: dict[MeterScale, int] = field(default_factory=dict)
    _dimensions: dict[Pairs, int] = field(default_factory=dict)
    _indexes: tuple[list[bytes], list[bytes], list[bytes]] = field(
        default_factory=lambda: ([], [], [])
    )
    _keys: list[bytes] = field(default_factory=list)
    _prints: list[bytes] = field(default_factory=list)
    _times: list[bytes] = field(default_factory=list)
    _mantissas: list[bytes] = field(default_factory=list)
    _wide: list[WideValue] = field(default_factory=list)
    _reversals: list[Reversal] = field(default_factory=list)

    def takes(self, cut: Cut, events_max: int) -> bool:
        """Return whether a cut still fits, and is of the same kind."""
        same = cut.batch.gate_pass == self.gate_pass and cut.batch.mode is self.mode
        fits = self.bytes_bound + cut.bytes_bound <= BATCH_BYTES_MAX
        return same and (not self.count or (self.count + len(cut.places) <= events_max and fits))

    def add(self, cut: Cut) -> None:
        """Append the events of a cut."""
        batch, columns, places = cut.batch, cut.columns, cut.places
        told: list[Pairs] = [tuple(sorted(each.items())) for each in batch.dimensions]
        entries = (
            _moved(columns.customer[places], batch.customers, self._customers),
            _moved(columns.meter[places], batch.meters, self._meters),
            _moved(columns.dimensions[places], told, self._dimensions),
        )
        for column, moved in zip(self._indexes, entries, strict=True):
            column.append(moved)
        self._keys.append(keys_at(batch, places.tolist(), cut.origin.partition))
        if self.mode is Mode.KEYED:
            prints = np.frombuffer(batch.fingerprint, f"V{FINGERPRINT_BYTES}")
            self._prints.append(prints[places].tobytes())
        self._times.append(columns.time[places].tobytes())
        self._mantissas.append(columns.mantissa[places].tobytes())
        if columns.wide or columns.reversed_at:
            self._add_sparse(columns.wide, columns.reversed_at, places)
        self.origins.append((self.count, cut))
        self.bytes_bound += cut.bytes_bound
        self.count += len(places)

    def _add_sparse(
        self, wide: Mapping[int, int], reversed_at: Mapping[int, int], places: Longs
    ) -> None:
        for place, at in enumerate(places.tolist(), self.count):
            if at in wide:
                self._wide.append(WideValue(place, str(wide[at])))
            if at in reversed_at:
                self._reversals.append(Reversal(place, reversed_at[at]))

    def take(self, producer: str, epoch: str, first_sequence: int) -> UsageBatch:
        """Return what was gathered as one batch; gather no more."""
        customers, meters, dimensions = (b"".join(column) for column in self._indexes)
        return UsageBatch(
            mode=self.mode,
            producer=producer,
            epoch=epoch,
            first_sequence=first_sequence,
            gate_pass=self.gate_pass,
            event_count=self.count,
            end=False,
            customers=list(self._customers),
            meters=list(self._meters),
            dimensions=[dict(pairs) for pairs in self._dimensions],
            key=b"".join(self._keys),
            fingerprint=b"".join(self._prints),
            customer_index=customers,
            meter_index=meters,
            dimensions_index=dimensions,
            time=b"".join(self._times),
            mantissa=b"".join(self._mantissas),
            wide=self._wide,
            reversals=self._reversals,
        )


def _moved(column: Indexes, entries: Sequence[_E], known: dict[_E, int]) -> bytes:
    """Return a column of indexes into one dictionary as indexes into another, which grows."""
    used, inverse = np.unique(column, return_inverse=True)
    moved = [known.setdefault(entries[entry], len(known)) for entry in used.tolist()]
    return np.array(moved, "<u2")[inverse].tobytes()
