"""Healing: a gap in the chain of slices is mended by letting metering read those offsets again.

Owns: finding gaps, setting the metering group to cursor + 1, mending by itself beside pricing.
Does not own: what a gap is (replay/chain.py), groups (stores/groups.py), stopping metering
(stores/postgres/standstill.py).
Law: the log has every event, the cursor decides: reading again what was booked does nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Thread
from time import monotonic, sleep

import structlog

from pipeline.book.booking import Cursor, Gap
from pipeline.core.errors import BrokenInvariant, TaleaError
from pipeline.meter.slices import Slice
from pipeline.replay.chain import ChainGap, chain_gap, log_gap, offsets_of
from pipeline.stores.groups import group_members, set_group_offsets
from pipeline.stores.kafka import log_ends, read_range, usage_log
from pipeline.stores.postgres.connection import Unreachable
from pipeline.stores.records import read_slices
from pipeline.topology import USAGE_METERED
from pipeline.workers.surroundings import Surroundings

_log = structlog.get_logger()

Tell = Callable[[str], None]
"""Called with what is going on, for a person."""

_SESSIONS = 3
_SPARE_S = 30.0
_BACK_S = 30.0
_POLL_S = 0.2
_AGAIN_MIN_S, _AGAIN_MAX_S = 30.0, 600.0


def find_gaps(around: Surroundings) -> list[ChainGap]:
    """Return the first gap of each partition that has one.

    Raises:
        ServerFailed: a server does not answer.

    """
    with around.database.session("gaps") as connection:
        cursors = {number: cursor for number, (cursor, _) in connection.load_cursors().items()}
        skips = connection.read_skips()
    metered = around.stack.topic(USAGE_METERED)
    numbers = range(around.partitions)
    kept = log_ends(around.kafka, usage_log(around.stack), around.partitions)
    sliced = log_ends(around.kafka, metered, around.partitions)
    found = []
    for number in numbers:
        cursor = cursors.get(number) or Cursor(number)
        skipped = {offset for partition, offset in skips if partition == number}
        came = offsets_of(_came(around, metered, cursor, *sliced[number]), skipped)
        gap = log_gap(number, cursor.offset, *kept[number]) or chain_gap(
            number, cursor.offset + 1, came
        )
        if gap is not None:
            found.append(gap)
    return found


def _came(
    around: Surroundings, metered: str, cursor: Cursor, first: int, end: int
) -> Iterator[Slice]:
    """Yield the slices behind the cursor, as they came."""
    start = max(cursor.metered_offset + 1, first)
    for record in read_range(around.kafka, metered, cursor.partition, start, end):
        yield from read_slices(record.value)


def set_back(around: Surroundings, offsets: dict[int, int], tell: Tell) -> None:
    """Let metering read partitions on from other offsets: while it stands still, once it is gone.

    Raises:
        ServerFailed: a worker does not stop, or a server does not answer.

    """
    patience_s = _SESSIONS * around.settings.session_s + _SPARE_S
    set_group_offsets(
        around.kafka,
        around.stack.metering_group,
        usage_log(around.stack),
        offsets,
        patience_s,
        lambda members: tell(f"waiting until {members} metering workers are gone"),
    )


def mend(around: Surroundings, partitions: Iterable[int] | None, tell: Tell) -> list[ChainGap]:
    """Set metering back to cursor + 1 where there is a gap (None: in any partition).

    Return the gaps that were there; of those the log has lost nothing is tried.

    Raises:
        ServerFailed: a worker does not stop, or a server does not answer.

    """
    wanted = None if partitions is None else set(partitions)

    def gaps() -> list[ChainGap]:
        return [gap for gap in find_gaps(around) if wanted is None or gap.partition in wanted]

    if not any(not gap.lost for gap in gaps()):
        return gaps()
    tell("asking metering to stand still")
    with around.database.session("standstill") as connection, connection.hold_metering():
        found = gaps()  # the books went on meanwhile
        offsets = {gap.partition: gap.first for gap in found if not gap.lost}
        set_back(around, offsets, tell)
    return found


def metering_members(around: Surroundings) -> int:
    """Return how many metering workers Kafka counts; one that died counts for a session more."""
    return group_members(around.kafka, around.stack.metering_group)


def metering_came_back(around: Surroundings, tell: Tell) -> bool:
    """Return whether a metering worker joins the group soon after it was let go."""
    deadline = monotonic() + _BACK_S
    while not metering_members(around):
        if monotonic() > deadline:
            return False
        tell("waiting for metering to come back")
        sleep(_POLL_S)
    return True


@dataclass(slots=True)
class _Open:
    gap: Gap
    due: float
    pause_s: float = _AGAIN_MIN_S


class GapKeeper:
    """Remembers the gaps that pricing meets, says each once, mends them in a thread beside it."""

    def __init__(
        self, mend_gaps: Callable[[Iterable[int]], object] = list, after_s: float = 0
    ) -> None:
        """Mend by itself what stays open for `after_s` (0: never)."""
        self._mend, self._after_s = mend_gaps, after_s
        self._open: dict[int, _Open] = {}
        self._mending: Thread | None = None

    def met(self, gap: Gap) -> None:
        """Take note of a slice that came too early."""
        known = self._open.get(gap.partition)
        if known is not None and known.gap.expected == gap.expected:
            return
        self._open[gap.partition] = _Open(gap, monotonic() + self._after_s)
        _log.error(
            "slices are missing: this partition waits, the others go on",
            partition=gap.partition,
            offsets=[gap.expected, gap.got - 1],
            mend=f"talea heal --partition {gap.partition}",
            by_itself_in_s=self._after_s or None,
        )

    def reached(self, partition: int, offset: int) -> None:
        """Take note of where a partition's books stand."""
        known = self._open.get(partition)
        if known is not None and offset >= known.gap.got - 1:
            del self._open[partition]
            _log.warning("the gap is closed", partition=partition, booked=offset)

    def look(self) -> None:
        """Start mending what is due, unless that is under way."""
        now = monotonic()
        due = [number for number, one in self._open.items() if self._after_s and now >= one.due]
        if not due or (self._mending is not None and self._mending.is_alive()):
            return
        for number in due:
            one = self._open[number]
            one.due, one.pause_s = now + one.pause_s, min(one.pause_s * 2, _AGAIN_MAX_S)
        self._mending = Thread(target=self._try, args=(due,), name="mending", daemon=True)
        self._mending.start()

    def join(self) -> None:
        """Wait until what is being mended is."""
        if self._mending is not None:
            self._mending.join()

    def _try(self, partitions: list[int]) -> None:
        try:
            self._mend(partitions)
        except (TaleaError, BrokenInvariant, *Unreachable) as error:
            _log.error("the gap was not mended", partitions=partitions, why=str(error))


def mend_by_itself(around: Surroundings, partitions: Iterable[int]) -> None:
    """Mend gaps that pricing met, and say so."""
    for gap in mend(around, partitions, lambda _text: None):
        if gap.lost:
            _log.critical("the usage log lost what the books wait for: restore it", **gap.json())
        else:
            _log.warning("metering reads a gap again", **gap.json())
