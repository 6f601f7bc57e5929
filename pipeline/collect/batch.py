"""UsageBatch: many events of one partition in packed columns.

Owns: the columns and their packing, one edge event to one place in them.
Does not own: Avro (stores/codec.py), reading with numpy (columns.py), sequence numbers (agents).
Law: pack then read gives back every event, to the last digit.

Columns are little-endian. `value` = mantissa x 10^-scale, the scale that of the event's entry
in `meters`. A batch is one Kafka message; its events have one customer partition.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from struct import Struct
from typing import TypeAlias, TypeVar

from pipeline.collect.event import UsageEvent
from pipeline.collect.limits import (
    BATCH_BYTES_MAX,
    DIMENSION_CHARS_MAX,
    DIMENSIONS_MAX,
    ID_CHARS_MAX,
    MANTISSA_MAX,
    METER_CHARS_MAX,
    WIDE_DIGITS_MAX,
)
from pipeline.core.calendar import Instant
from pipeline.core.identity import FINGERPRINT_BYTES, KEY_BYTES
from pipeline.core.quantity import mantissa_scale

Pairs: TypeAlias = tuple[tuple[str, str], ...]
"""The dimensions of an event, sorted by name."""

Entry: TypeAlias = tuple[int, str, str, Instant, int, int, Pairs, str, str, Instant | None]
"""A checked event and its partition: what `Packer.append` takes, without an object.

Partition, customer, meter, time, mantissa, scale, dimensions, source, id (or ""), and a
reversal's own time.
"""

COLUMN_BYTES = 43
"""At most what one event takes in the columns: 42 bytes keyed, 22 sequenced."""
_UTF8 = 4
_EVENT_BYTES_MAX = (
    COLUMN_BYTES
    + _UTF8 * (ID_CHARS_MAX + METER_CHARS_MAX + 2 * DIMENSIONS_MAX * DIMENSION_CHARS_MAX)
    + 4 * (DIMENSIONS_MAX + 2)
    + WIDE_DIGITS_MAX
    + 32
)
_HEADER_BYTES_MAX = _UTF8 * 3 * ID_CHARS_MAX + 256
PACKED_BYTES_MAX = BATCH_BYTES_MAX - _EVENT_BYTES_MAX - _HEADER_BYTES_MAX
"""A packer whose `bytes_bound` is at most this can take one event more, whatever it holds."""


class Mode(StrEnum):
    """How the events of a batch are told apart from their repeats."""

    KEYED = "keyed"
    """Each by its own idempotency key."""
    SEQUENCED = "sequenced"
    """All by their place in the producer's sequence."""


@dataclass(frozen=True, slots=True)
class MeterScale:
    """A dictionary entry: a meter and the scale of the values under it."""

    meter: str
    scale: int


@dataclass(frozen=True, slots=True)
class WideValue:
    """A value whose mantissa does not fit the int64 column (which then holds 0)."""

    index: int
    mantissa: str


@dataclass(frozen=True, slots=True)
class Reversal:
    """Marks event `index` as a reversal, with its own time."""

    index: int
    time: Instant


@dataclass(frozen=True, slots=True)
class UsageBatch:
    """One message of the usage log.

    An `event_count` of 0 is a heartbeat: it shows how far the sequence got; with `end` it is
    the last word of its epoch.
    """

    mode: Mode
    producer: str
    epoch: str
    first_sequence: int
    gate_pass: str
    event_count: int
    end: bool
    customers: Sequence[str]
    meters: Sequence[MeterScale]
    dimensions: Sequence[dict[str, str]]
    key: bytes
    fingerprint: bytes
    customer_index: bytes
    meter_index: bytes
    dimensions_index: bytes
    time: bytes
    mantissa: bytes
    wide: Sequence[WideValue] = field(default_factory=list)
    reversals: Sequence[Reversal] = field(default_factory=list)


_CACHE_MAX = 4096
_K = TypeVar("_K")
_V = TypeVar("_V")
_length = Struct(">I").pack


_LENGTHS = [_length(size) for size in range(_UTF8 * ID_CHARS_MAX + 1)]
"""The frames of everything that has a limit in an event's name."""


def _frame(text: str) -> bytes:
    framed = text.encode()
    return _length(len(framed)) + framed


_NO_TEXT = _frame("")


class _Namer:
    """`core.identity.event_key` and `fingerprint`, with what repeats hashed once.

    tests/rooms/test_collect_batch.py holds it to them, byte for byte.
    """

    __slots__ = ("_dimensions", "_keys", "_prints")

    def __init__(self) -> None:
        """Start with nothing remembered."""
        self._keys: dict[tuple[str, str], blake2b] = {}
        self._prints: dict[str, blake2b] = {}
        self._dimensions: dict[Pairs, bytes] = {}

    def key(self, customer: str, source: str, event_id: str) -> bytes:
        """Return the idempotency key."""
        seed = self._keys.get((customer, source))
        if seed is None:
            seed = blake2b(digest_size=KEY_BYTES, person=b"talea.key.1")
            seed.update(_frame(customer) + _frame(source))
            _room(self._keys)[customer, source] = seed
        state, framed = seed.copy(), event_id.encode()
        state.update(_LENGTHS[len(framed)] + framed)
        return state.digest()

    def fingerprint(
        self,
        meter: str,
        time: Instant,
        mantissa: int,
        scale: int,
        pairs: Pairs,
        reversed_at: Instant | None,
    ) -> bytes:
        """Return the payload's fingerprint."""
        seed = self._prints.get(meter)
        if seed is None:
            seed = blake2b(digest_size=FINGERPRINT_BYTES, person=b"talea.print.1")
            seed.update(_frame(meter))
            _room(self._prints)[meter] = seed
        tail = self._dimensions.get(pairs)
        if tail is None:
            tail = b"".join(_frame(name) + _frame(item) for name, item in pairs)
            _room(self._dimensions)[pairs] = tail
        state, when, value = seed.copy(), b"%d" % time, b"%de-%d" % (mantissa, scale)
        reversal = _NO_TEXT if reversed_at is None else _frame(str(reversed_at))
        state.update(
            b"".join((_LENGTHS[len(when)], when, _LENGTHS[len(value)], value, reversal, tail))
        )
        return state.digest()


def _room(cache: dict[_K, _V]) -> dict[_K, _V]:
    """Return the cache, emptied if it is full."""
    if len(cache) >= _CACHE_MAX:
        cache.clear()
    return cache


class Packer:
    """Collects the events of one partition into columns until `take`."""

    __slots__ = (
        "_columns",
        "_customers",
        "_dimensions",
        "_keys",
        "_kinds",
        "_meters",
        "_mode",
        "_namer",
        "_prints",
        "_reversals",
        "_wide",
        "text_bytes",
    )

    def __init__(self, mode: Mode) -> None:
        """Start empty."""
        self._mode = mode
        self._namer = _Namer() if mode is Mode.KEYED else None
        self._clear()

    def _clear(self) -> None:
        self._customers: dict[str, int] = {}
        self._meters: dict[tuple[str, int], int] = {}
        self._dimensions: dict[Pairs, int] = {}
        self._kinds: dict[tuple[str, int, Pairs], tuple[int, int]] = {}
        self._columns: list[tuple[int, tuple[int, int], int, int]] = []
        self._keys: list[bytes] = []
        self._prints: list[bytes] = []
        self._wide: list[WideValue] = []
        self._reversals: list[Reversal] = []
        self.text_bytes = 0

    def __len__(self) -> int:
        """Return how many events wait here."""
        return len(self._columns)

    @property
    def bytes_bound(self) -> int:
        """At most what the events take once encoded, without the batch's header."""
        return self.text_bytes + COLUMN_BYTES * len(self._columns)

    def add(self, event: UsageEvent) -> None:
        """Append one event."""
        mantissa, scale = mantissa_scale(event.value)
        self.append(
            event.customer,
            event.meter,
            event.time,
            mantissa,
            scale,
            tuple(sorted(event.dimensions.items())),
            event.source,
            event.id,
            event.reversed_at,
        )

    def append(
        self,
        customer: str,
        meter: str,
        time: Instant,
        mantissa: int,
        scale: int,
        pairs: Pairs,
        source: str = "",
        event_id: str = "",
        reversed_at: Instant | None = None,
    ) -> None:
        """Append one event, value in its smallest form: `add` without an object."""
        self.append_entry(
            (0, customer, meter, time, mantissa, scale, pairs, source, event_id, reversed_at)
        )

    def append_entry(self, entry: Entry) -> None:
        """Append one event of this partition as `collect.raw` reads it (hot path)."""
        _, customer, meter, time, mantissa, scale, pairs, source, event_id, reversed_at = entry
        columns, namer = self._columns, self._namer
        if namer is not None:
            self._keys.append(namer.key(customer, source, event_id))
            self._prints.append(namer.fingerprint(meter, time, mantissa, scale, pairs, reversed_at))
        if reversed_at is not None:
            self._reversals.append(Reversal(len(columns), reversed_at))
            self.text_bytes += 16
        if not -MANTISSA_MAX < mantissa < MANTISSA_MAX:
            self._wide.append(WideValue(len(columns), str(mantissa)))
            self.text_bytes += 8 + WIDE_DIGITS_MAX
            mantissa = 0
        who = self._customers.get(customer)
        if who is None:
            self._customers[customer] = who = len(self._customers)
            self.text_bytes += 2 + len(customer.encode())
        kind = self._kinds.get((meter, scale, pairs))
        if kind is None:
            self._kinds[meter, scale, pairs] = kind = self._kind(meter, scale, pairs)
        columns.append((who, kind, time, mantissa))

    def _kind(self, meter: str, scale: int, pairs: Pairs) -> tuple[int, int]:
        """Return the places of a meter with its scale, and of dimensions, met together."""
        place = self._dimensions.get(pairs)
        if place is None:
            self._dimensions[pairs] = place = len(self._dimensions)
            self.text_bytes += 2 + sum(4 + len((name + item).encode()) for name, item in pairs)
        what = self._meters.get((meter, scale))
        if what is None:
            self._meters[meter, scale] = what = len(self._meters)
            self.text_bytes += 3 + len(meter.encode())
        return what, place

    def take(
        self, producer: str, epoch: str, first_sequence: int, *, gate_pass: str = ""
    ) -> UsageBatch:
        """Return the batch and start empty again; there must be an event."""
        count = len(self._columns)
        customers, kinds, times, mantissas = zip(*self._columns, strict=True)
        meters, places = zip(*kinds, strict=True)
        shorts, longs = Struct(f"<{count}H"), Struct(f"<{count}q")
        batch = UsageBatch(
            mode=self._mode,
            producer=producer,
            epoch=epoch,
            first_sequence=first_sequence,
            gate_pass=gate_pass,
            event_count=count,
            end=False,
            customers=list(self._customers),
            meters=[MeterScale(meter, scale) for meter, scale in self._meters],
            dimensions=[dict(pairs) for pairs in self._dimensions],
            key=b"".join(self._keys),
            fingerprint=b"".join(self._prints),
            customer_index=shorts.pack(*customers),
            meter_index=shorts.pack(*meters),
            dimensions_index=shorts.pack(*places),
            time=longs.pack(*times),
            mantissa=longs.pack(*mantissas),
            wide=self._wide,
            reversals=self._reversals,
        )
        self._clear()
        return batch


def heartbeat(producer: str, epoch: str, next_sequence: int, *, end: bool) -> UsageBatch:
    """Return the empty batch that says how far a sequence got."""
    return UsageBatch(
        mode=Mode.SEQUENCED,
        producer=producer,
        epoch=epoch,
        first_sequence=next_sequence,
        gate_pass="",
        event_count=0,
        end=end,
        customers=[],
        meters=[],
        dimensions=[],
        key=b"",
        fingerprint=b"",
        customer_index=b"",
        meter_index=b"",
        dimensions_index=b"",
        time=b"",
        mantissa=b"",
    )


def pack_events(
    events: Sequence[UsageEvent], mode: Mode, producer: str, epoch: str, first_sequence: int
) -> UsageBatch:
    """Pack events of one partition into one batch."""
    packer = Packer(mode)
    for event in events:
        packer.add(event)
    return packer.take(producer, epoch, first_sequence)
