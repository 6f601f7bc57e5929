"""Reading a batch: packed columns as numpy arrays, every length and index checked first.

Owns: what a readable batch is; which events of it are wrong by themselves.
Does not own: time (gate.py), meters in force (meter/sift.py), duplicates (dedupe).
Law: a batch that lies about itself is refused whole, never read past its end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.collect import limits
from pipeline.collect.batch import Mode, UsageBatch
from pipeline.collect.event import Refused, checked_dimensions, checked_text
from pipeline.core.calendar import EARLIEST, LATEST, Instant
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import FINGERPRINT_BYTES, KEY_BYTES
from pipeline.core.quantity import SCALE_MAX

Indexes = NDArray[np.uint16]
Longs = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one batch: `customer`, `meter`, `dimensions` index its dictionaries.

    `wide` holds the mantissas that do not fit `mantissa` (0 there), by event index;
    `reversed_at` the own times of reversals.
    """

    customer: Indexes
    meter: Indexes
    dimensions: Indexes
    time: Longs
    mantissa: Longs
    wide: Mapping[int, int]
    reversed_at: Mapping[int, Instant] = field(default_factory=dict)

    @property
    def gate_time(self) -> Longs:
        """By what the gate judges each event: its time, or a reversal's own."""
        if not self.reversed_at:
            return self.time
        times = self.time.copy()
        times[list(self.reversed_at)] = list(self.reversed_at.values())
        return times

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.time)


def _refuse(code: Code, path: str, message: str) -> Refused:
    return Refused(code, path, message)


def read_columns(
    batch: UsageBatch, *, copied: bool = False, familiar: bool = False
) -> Columns | Rejection:
    """Return the columns of a batch, or why it is refused whole.

    In a `copied` log sequenced events may have the keys of their old places with them. Where
    all customers are `familiar`, their names were found well formed before.
    """
    try:
        _check_header(batch)
        columns = Columns(
            customer=_indexes(batch, "customer_index", len(batch.customers)),
            meter=_indexes(batch, "meter_index", len(batch.meters)),
            dimensions=_indexes(batch, "dimensions_index", len(batch.dimensions)),
            time=_longs(batch, "time"),
            mantissa=_longs(batch, "mantissa"),
            wide=_wide(batch),
            reversed_at=_reversed_at(batch),
        )
        _check_keys(batch, copied=copied)
        _check_mantissas(columns)
        _check_dictionaries(batch, familiar=familiar)
    except Refused as refused:
        return refused.rejection
    return columns


def _check_header(batch: UsageBatch) -> None:
    if not 0 <= batch.event_count <= limits.BATCH_EVENTS_MAX:
        raise _refuse(
            Code.TOO_LARGE, "event_count", f"a batch holds 0 to {limits.BATCH_EVENTS_MAX} events"
        )
    if batch.mode is Mode.SEQUENCED:
        for path in ("producer", "epoch"):
            try:
                checked_text(getattr(batch, path), path, limits.ID_CHARS_MAX)
            except Refused:
                text = f"a sequenced batch needs its {path}"
                raise _refuse(Code.MISSING_FIELD, path, text) from None
        if not 0 <= batch.first_sequence < 1 << 62:
            raise _refuse(Code.BAD_BATCH, "first_sequence", "a sequence starts at 0")
    elif batch.event_count == 0 or batch.end:
        raise _refuse(Code.BAD_BATCH, "event_count", "only a sequence has heartbeats")
    if batch.reversals and batch.mode is Mode.SEQUENCED:
        raise _refuse(Code.BAD_BATCH, "reversals", "a reversal has its original's key, no sequence")


def _check_keys(batch: UsageBatch, *, copied: bool) -> None:
    count = batch.event_count
    keyed = batch.mode is Mode.KEYED
    for path, width in (("key", KEY_BYTES), ("fingerprint", FINGERPRINT_BYTES)):
        kept = copied and path == "key" and bool(batch.key)
        expected = count * width if keyed or kept else 0
        if len(getattr(batch, path)) != expected:
            raise _refuse(
                Code.BAD_LENGTH, path, f"{path} must have {expected} bytes for {count} events"
            )


def _indexes(batch: UsageBatch, path: str, entries: int) -> Indexes:
    column = np.frombuffer(_exact(batch, path, 2), dtype="<u2")
    if len(column) and int(column.max()) >= entries:
        raise _refuse(Code.BAD_INDEX, path, f"{path} names entry {column.max()} of {entries}")
    return column


def _longs(batch: UsageBatch, path: str) -> Longs:
    return np.frombuffer(_exact(batch, path, 8), dtype="<i8")


def _exact(batch: UsageBatch, path: str, width: int) -> bytes:
    column: bytes = getattr(batch, path)
    if len(column) != batch.event_count * width:
        raise _refuse(
            Code.BAD_LENGTH,
            path,
            f"{path} has {len(column)} bytes for {batch.event_count} events of {width}",
        )
    return column


def _wide(batch: UsageBatch) -> dict[int, int]:
    wide: dict[int, int] = {}
    for place in batch.wide:
        digits = place.mantissa.removeprefix("-")
        if (
            not 0 <= place.index < batch.event_count
            or place.index in wide
            or len(digits) > limits.WIDE_DIGITS_MAX
            or not (digits.isascii() and digits.isdigit())
        ):
            raise _refuse(Code.BAD_BATCH, "wide", f"entry {place.index} of wide is malformed")
        wide[place.index] = int(place.mantissa)
    return wide


def _reversed_at(batch: UsageBatch) -> dict[int, Instant]:
    found: dict[int, Instant] = {}
    for each in batch.reversals:
        if not 0 <= each.index < batch.event_count or each.index in found:
            raise _refuse(Code.BAD_BATCH, "reversals", f"entry {each.index} is none, or twice")
        found[each.index] = each.time
    return found


def _check_mantissas(columns: Columns) -> None:
    limit = limits.MANTISSA_MAX
    if len(columns) and not -limit < columns.mantissa.min() <= columns.mantissa.max() < limit:
        raise _refuse(Code.BAD_VALUE, "mantissa", "a mantissa from 2^52 on belongs into wide")
    for index in columns.wide:
        if columns.mantissa[index] != 0:
            raise _refuse(Code.BAD_BATCH, "wide", f"event {index} has two mantissas")


def _check_dictionaries(batch: UsageBatch, *, familiar: bool) -> None:
    for path, entries in (
        ("customers", batch.customers),
        ("meters", batch.meters),
        ("dimensions", batch.dimensions),
    ):
        if len(entries) > limits.DICTIONARY_MAX:
            raise _refuse(Code.TOO_LARGE, path, f"more than {limits.DICTIONARY_MAX} {path}")
    if not familiar:
        _check_names(batch.customers, "customers", limits.ID_CHARS_MAX)
    _check_names([entry.meter for entry in batch.meters], "meters", limits.METER_CHARS_MAX)
    for entry in batch.meters:
        if not 0 <= entry.scale <= SCALE_MAX:
            raise _refuse(Code.BAD_VALUE, "meters", f"scale {entry.scale} is not 0 to {SCALE_MAX}")
    for dimensions in batch.dimensions:
        if dimensions:
            checked_dimensions(dimensions, "dimensions")


def _check_names(names: Sequence[str], path: str, chars_max: int) -> None:
    lengths = set(map(len, names))
    if 0 not in lengths and max(lengths, default=0) <= chars_max and "".join(names).isprintable():
        return  # nearly every batch: no name was looked at by itself
    for index, name in enumerate(names):
        checked_text(name, f"{path}[{index}]", chars_max)


def outside_calendar(columns: Columns) -> Mask:
    """Return which events have a time outside the years we bill."""
    outside = (columns.time < EARLIEST) | (columns.time >= LATEST)
    if columns.reversed_at:
        own = columns.gate_time
        outside |= (own < EARLIEST) | (own >= LATEST)
    return outside
