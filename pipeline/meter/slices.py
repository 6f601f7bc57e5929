"""Slices: what one source message contributed, and nothing else did.

Owns: the record between metering and pricing.
Law: a slice depends on its message, its log time and the claims of two generations: rebuilt
by anyone it is identical, so a slice sent twice is booked once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.collect.batch import MeterScale, WideValue
from pipeline.core.calendar import Instant
from pipeline.dedupe.sequences import SequenceRange
from pipeline.meter.ticks import Tick


@dataclass(frozen=True, slots=True)
class Counts:
    """Events by outcome. offered = fresh + duplicate + conflict + late + rejected."""

    offered: int = 0
    fresh: int = 0
    duplicate: int = 0
    conflict: int = 0
    late: int = 0
    rejected: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Add outcome by outcome."""
        return Counts(
            self.offered + other.offered,
            self.fresh + other.fresh,
            self.duplicate + other.duplicate,
            self.conflict + other.conflict,
            self.late + other.late,
            self.rejected + other.rejected,
        )

    @property
    def closed(self) -> bool:
        """Whether every offered event has exactly one outcome."""
        told = self.fresh + self.duplicate + self.conflict + self.late + self.rejected
        return self.offered == told


@dataclass(frozen=True, slots=True)
class WideRow:
    """A row whose aggregates do not fit int64: decimal digits instead."""

    row: int
    sum: str
    minimum: str
    maximum: str


@dataclass(frozen=True, slots=True)
class Points:
    """Single events of meters that need them, as packed columns beside their slice's rows.

    `row` (uint16) is the row whose series and cut are the point's; `key` 16 bytes; `time` (int64,
    us); `mantissa` (int64, at the scale of the row's meter entry; 0 where it stands in `wide`);
    `multiplicity` (int32): how often it was told.
    """

    row: bytes = b""
    key: bytes = b""
    time: bytes = b""
    mantissa: bytes = b""
    multiplicity: bytes = b""
    wide: Sequence[WideValue] = ()


NO_POINTS = Points()


@dataclass(frozen=True, slots=True)
class Rows:
    """Aggregates by (customer, meter and scale, dimensions, window), as packed columns.

    The three index columns (uint16) point into the dictionaries; `window_start` (int64, us),
    `count`, `sum`, `minimum`, `maximum` (int64, mantissas at the meter entry's scale).
    """

    customers: Sequence[str] = ()
    meters: Sequence[MeterScale] = ()
    dimensions: Sequence[dict[str, str]] = ()
    customer_index: bytes = b""
    meter_index: bytes = b""
    dimensions_index: bytes = b""
    window_start: bytes = b""
    count: bytes = b""
    sum: bytes = b""
    minimum: bytes = b""
    maximum: bytes = b""
    wide: Sequence[WideRow] = ()
    points: Points = NO_POINTS


@dataclass(frozen=True, slots=True)
class Minus:
    """What one fresh reversal takes off, once its original is known to count.

    `index` is its place in its message; `key` and `payload_print` are its original's, `time` is
    its original's event time. `point_key` is empty where the meter keeps no points.
    """

    index: int
    key: bytes
    payload_print: bytes
    customer: str
    meter: str
    scale: int
    dimensions: tuple[tuple[str, str], ...]
    window_start: Instant
    time: Instant
    mantissa: int
    point_key: bytes = b""
    point_time: Instant = 0


@dataclass(frozen=True, slots=True)
class Slice:
    """The contribution of the message at `offset` of one partition of the usage log."""

    offset: int
    log_time: Instant
    tick: Tick | None
    counts: Counts
    sequence: SequenceRange | None = None
    rows: Rows = field(default_factory=Rows)
    minuses: tuple[Minus, ...] = ()

    @property
    def refused_whole(self) -> bool:
        """Whether nothing of the message got past the door."""
        offered = self.counts.offered
        plain = self.tick is None and self.sequence is None
        return plain and self.counts == Counts(offered=offered, rejected=offered)
