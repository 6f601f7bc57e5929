"""Booking: one slice after the other into a partition's books.

Owns: the chain (offset = cursor + 1), sequence verdicts, which cut a row stands under.
Does not own: the transaction (stores/postgres/books.py), prices.
Law: booking a slice twice is booking it once; a missing slice is noticed, never stepped over.
"""

from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from itertools import repeat

import numpy as np

from pipeline.book.conflicts import SequenceConflict
from pipeline.book.reversing import Reversals, Settled
from pipeline.book.series import SeriesIndex
from pipeline.catalog.accounts import NO_ACCOUNTS, Accounts
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.cuts import Closed, CutSchedule, Due, instant_of
from pipeline.catalog.matches import EventPlace
from pipeline.collect.columns import Indexes, Longs, Mask
from pipeline.collect.limits import BATCH_EVENTS_MAX
from pipeline.core.calendar import EARLIEST, Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.dedupe.claims import Verdict
from pipeline.dedupe.sequences import SequenceState, judge_range
from pipeline.meter.minus import rows_of
from pipeline.meter.slices import Counts, Minus, Points, Rows, Slice
from pipeline.meter.ticks import NO_TICK, Tick

SequenceKey = tuple[str, str]
"""(producer, epoch)."""
_NO_SERIALS: Longs = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a partition's books stand.

    `offset` is the last source offset booked (-1: none), `metered_offset` the record of
    `usage.metered` that brought it; `log_time` never falls.
    """

    partition: int
    offset: int = -1
    metered_offset: int = -1
    tick: Tick = NO_TICK
    log_time: Instant = 0
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True)
class Cut:
    """A booked cut: the tick `serial` closed a payer's periods that end at `instant`.

    Or it named a decision about the payer's documents, the fact of that serial.
    """

    payer: str
    currency: str
    instant: Instant
    serial: int
    fact: int = 0


@dataclass(frozen=True, slots=True)
class LateUsage:
    """Usage of periods that were cut: its first window, and the log time as it was first met."""

    window_start: Instant
    met: Instant

    def and_also(self, other: "LateUsage") -> "LateUsage":
        """Return what both tell."""
        return LateUsage(min(self.window_start, other.window_start), min(self.met, other.met))


@dataclass(frozen=True, slots=True)
class TickPassed:
    """A tick in a partition: where it stands, and the counts up to and with it."""

    tick: Tick
    offset: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class BookedPoints:
    """Points of one slice: series and cut of point i are those of row `row[i]`.

    `key` is 16 bytes a point; `wide` maps a point to its mantissa where that does not fit int64.
    """

    row: Indexes
    key: bytes
    time: Longs
    mantissa: Longs
    multiplicity: Longs
    wide: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class BookedRows:
    """Rows of one slice under their cuts: the series of row i is `index[series[i]]`.

    `wide` maps a row to its (sum, minimum, maximum) where these do not fit int64; `points` is
    None where no meter of the slice keeps any. `minus`: each row takes one event off. `accounts`
    told who pays when they were booked.
    """

    index: SeriesIndex
    series: Longs
    window_start: Longs
    cut: Longs
    count: Longs
    sum: Longs
    minimum: Longs
    maximum: Longs
    wide: Mapping[int, tuple[int, int, int]]
    points: BookedPoints | None = None
    minus: bool = False
    accounts: Accounts = NO_ACCOUNTS


class Gap(Exception):
    """Slices are missing between the cursor and what came: nothing was booked of it.

    No broken invariant: the log has them, and that partition waits until they come.
    """

    def __init__(self, partition: int, expected: int, got: int) -> None:
        """Name partition and offsets."""
        super().__init__(
            f"partition {partition}: slice {got} came, but {expected} is next:"
            f" offsets {expected} to {got - 1} are missing"
        )
        self.partition, self.expected, self.got = partition, expected, got


@dataclass(slots=True)
class Booked:
    """What one flush adds to a partition's books."""

    rows: list[BookedRows] = field(default_factory=list)
    sequences: MutableMapping[SequenceKey, SequenceState] = field(default_factory=dict)
    ticks: list[TickPassed] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    marked: set[str] = field(default_factory=set)
    """Payers whose drafts are out of date, whether they have rows or not."""
    repeated: int = 0
    skipped: set[int] = field(default_factory=set)
    reversals: dict[EventPlace, Minus] = field(default_factory=dict)
    settled: list[Settled] = field(default_factory=list)
    conflicts: list[SequenceConflict] = field(default_factory=list)
    late: dict[tuple[str, int], LateUsage] = field(default_factory=dict)
    """Usage of closed periods, by payer and the cut it stands under."""

    @property
    def dirty(self) -> set[str]:
        """Payers whose drafts are out of date: of all rows together, not slice by slice."""
        met: dict[tuple[int, int], tuple[BookedRows, Mask]] = {}
        for rows in self.rows:
            key = (id(rows.index), id(rows.accounts))
            if key not in met:
                met[key] = (rows, np.zeros(len(rows.index), np.bool_))
            met[key][1][rows.series] = True
        found = set(self.marked)
        for rows, numbers in met.values():
            known = rows.index.customers
            customers = [known[number] for number in np.flatnonzero(numbers).tolist()]
            found.update(rows.accounts.payers_of(customers))
        return found


class Partition:
    """The books of one partition in memory: cursor, sequences, cut schedule.

    `catalog_at(position)` gives the catalog of a tick; `cut_serials` holds each payer's latest
    cut, `known_cuts` every (payer, currency, instant) that was cut, `skips` the offsets that
    facts skip; `waiting` the reversals that nothing matched yet. `sequences` may lack those that
    are over: who books then asks `knows` first, or repeats would count as new.
    """

    def __init__(
        self,
        cursor: Cursor,
        catalog: Catalog,
        sequences: MutableMapping[SequenceKey, SequenceState],
        cuts: Iterable[Cut],
        waiting: Mapping[EventPlace, Minus] | None = None,
    ) -> None:
        """Go on where `cursor` stands; `catalog` is the one at its tick."""
        self.cursor = cursor
        self.reversals = Reversals.of(waiting or {})
        self.skips: Collection[int] = ()
        self._sequences = sequences
        self._series = SeriesIndex()
        self._cut_serials: dict[str, int] = {}
        self._cut_of_series: Longs = _NO_SERIALS
        self._known: dict[Closed, int] = {}
        self._closed: dict[str, Instant] = {}
        self._last_closed: Instant = EARLIEST
        for cut in cuts:
            self._remember(cut)
        self._accounts = catalog.accounts
        self._schedule: CutSchedule | None = None
        if cursor.tick.serial:
            self._schedule = CutSchedule(cursor.partition, catalog, cursor.tick)

    def _remember(self, cut: Cut) -> None:
        self._known[cut.payer, cut.currency, cut.instant] = cut.serial
        self._cut_serials[cut.payer] = max(self._cut_serials.get(cut.payer, 0), cut.serial)
        if not cut.fact:
            self._closed[cut.payer] = max(self._closed.get(cut.payer, EARLIEST), cut.instant)
            self._last_closed = max(self._last_closed, cut.instant)
        self._cut_of_series = _NO_SERIALS

    def book(self, piece: Slice, metered_offset: int, catalog: Catalog, into: Booked) -> None:
        """Book one slice; `catalog` is the one at the slice's tick, if it has one.

        Raises:
            Gap: slices between the cursor and this one are missing.

        """
        expected = self.cursor.offset + 1
        if piece.offset < expected:
            into.repeated += 1
            self.cursor = replace(self.cursor, metered_offset=metered_offset)
            return
        if piece.offset > expected or self._precedes_skip(piece):
            raise Gap(self.cursor.partition, expected, max(piece.offset, expected + 1))
        if expected in self.skips:
            into.skipped.add(expected)
        counts = self._judge(piece, into)
        if not counts.closed:
            raise BrokenInvariant(f"slice {piece.offset}: outcomes do not add up: {counts}")
        if counts.fresh and piece.rows.count:
            into.rows.append(self._rows(piece.rows, into))
        if piece.minuses:
            counts = self._reverse(piece, counts, into)
        if piece.tick is not None:
            counts = self._settle(piece.tick, catalog, counts, into)
        self.cursor = Cursor(
            partition=self.cursor.partition,
            offset=piece.offset,
            metered_offset=metered_offset,
            tick=piece.tick or self.cursor.tick,
            log_time=max(self.cursor.log_time, piece.log_time),
            counts=self.cursor.counts + counts,
        )
        if piece.tick is not None:
            self._pass_tick(piece.tick, catalog, into)

    def knows(self, key: SequenceKey) -> bool:
        """Return whether the state of a sequence is at hand; one that is over may not be."""
        return key in self._sequences

    def take_up(self, sequences: Mapping[SequenceKey, SequenceState]) -> None:
        """Learn where sequences stand that are not at hand."""
        self._sequences.update(sequences)

    def forget_over(self, booked: Booked) -> None:
        """Let go of sequences that are over and saved: `take_up` brings them back."""
        for key, state in booked.sequences.items():
            if state.over:
                self._sequences.pop(key, None)

    @property
    def series_met(self) -> int:
        """How many series have a number."""
        return len(self._series)

    def forget_series(self) -> None:
        """Begin to number series anew: that costs time, and what was booked keeps its numbers."""
        self._series, self._cut_of_series = SeriesIndex(), _NO_SERIALS

    def _precedes_skip(self, piece: Slice) -> bool:
        """Return whether a skip is next, and the slice is of a worker that did not know it.

        What such a worker made of the message, and of those behind it, comes again from one that
        knows, as a gap does: it may have acked them when the skip was decided.
        """
        return self.cursor.offset + 1 in self.skips and not piece.refused_whole

    def _judge(self, piece: Slice, into: Booked) -> Counts:
        """Return the slice's counts once its sequence was judged."""
        seen, counts = piece.sequence, piece.counts
        if seen is None:
            return counts
        key = (seen.producer, seen.epoch)
        known = self._sequences.get(key, SequenceState())
        verdict, state = judge_range(known, seen, piece.log_time, piece.offset)
        self._sequences[key] = into.sequences[key] = state
        if verdict is Verdict.FRESH:
            return counts
        if verdict is Verdict.CONFLICT and counts.fresh:
            at = self.cursor
            into.conflicts.append(
                SequenceConflict(piece.offset, at.tick, at.log_time, seen, known.recent)
            )
        moved = {"duplicate" if verdict is Verdict.DUPLICATE else "conflict": counts.fresh}
        return replace(counts, fresh=0, **moved)

    def _reverse(self, piece: Slice, counts: Counts, into: Booked) -> Counts:
        """Let reversals wait; return the counts: of one original the second is a duplicate."""
        new = self.reversals.come(piece.offset, piece.minuses)
        into.reversals |= new
        repeated = len(piece.minuses) - len(new)
        return replace(counts, fresh=counts.fresh - repeated, duplicate=counts.duplicate + repeated)

    def _settle(self, tick: Tick, catalog: Catalog, counts: Counts, into: Booked) -> Counts:
        """Take off what matches name for the first time; return the counts, conflicts told."""
        named = catalog.matches_between(self.cursor.partition, self.cursor.tick, tick)
        if not named:
            return counts
        settled, minuses = self.reversals.settle(named)
        into.settled += settled
        for start in range(0, len(minuses), BATCH_EVENTS_MAX):
            rows = self._rows(rows_of(minuses[start : start + BATCH_EVENTS_MAX]), into)
            into.rows.append(replace(rows, minus=True))
        conflicts = len(settled) - len(minuses)
        return replace(counts, fresh=counts.fresh - conflicts, conflict=counts.conflict + conflicts)

    def _rows(self, rows: Rows, into: Booked) -> BookedRows:
        series, customers = self._series.numbers(rows), np.frombuffer(rows.customer_index, "<u2")
        self._note_late(rows, customers, into)
        return BookedRows(
            index=self._series,
            series=series,
            window_start=np.frombuffer(rows.window_start, "<i8"),
            cut=self._serials()[series],
            count=np.frombuffer(rows.count, "<i8"),
            sum=np.frombuffer(rows.sum, "<i8"),
            minimum=np.frombuffer(rows.minimum, "<i8"),
            maximum=np.frombuffer(rows.maximum, "<i8"),
            wide={w.row: (int(w.sum), int(w.minimum), int(w.maximum)) for w in rows.wide},
            points=_points(rows.points) if rows.points.row else None,
            accounts=self._accounts,
        )

    def _note_late(self, rows: Rows, customers: Indexes, into: Booked) -> None:
        """Note whose usage lies in periods that were cut: their documents are to be corrected."""
        starts = np.frombuffer(rows.window_start, "<i8")
        if starts.min() >= self._last_closed:  # as nearly always
            return
        payers = self._accounts.payers_of(rows.customers)
        closed = np.array(list(map(self._closed.get, payers, repeat(EARLIEST))), "<i8")
        for row in np.flatnonzero(starts < closed[customers]).tolist():
            payer = payers[customers[row]]
            met = LateUsage(int(starts[row]), self.cursor.log_time)
            key = (payer, self._cut_serials[payer])
            into.late[key] = met.and_also(into.late.get(key, met))

    def _serials(self) -> Longs:
        """Return the serial of its payer's latest cut, 0 where there was none, by series."""
        known, customers = self._cut_of_series, self._series.customers
        if len(known) < len(customers):
            payers = self._accounts.payers_of(customers[len(known) :])
            met = [self._cut_serials.get(payer, 0) for payer in payers]
            self._cut_of_series = known = np.append(known, np.array(met, np.int64))
        return known

    def _pass_tick(self, tick: Tick, catalog: Catalog, into: Booked) -> None:
        if catalog.accounts is not self._accounts:
            self._accounts, self._cut_of_series = catalog.accounts, _NO_SERIALS
        into.ticks.append(TickPassed(tick, self.cursor.offset, self.cursor.counts))
        if self._schedule is None:
            self._schedule = CutSchedule(self.cursor.partition, catalog, NO_TICK)
        for due in self._schedule.pass_tick(tick, catalog):
            self._cut(due, tick, into)
        into.marked.update(self._schedule.started())

    def _cut(self, due: Due, tick: Tick, into: Booked) -> None:
        instant = instant_of(due, self._known, tick.serial)
        if instant is None:
            return
        cut = Cut(due.payer, due.currency, instant, tick.serial, due.fact)
        self._remember(cut)
        into.cuts.append(cut)
        into.marked.add(due.payer)


def _points(points: Points) -> BookedPoints:
    return BookedPoints(
        row=np.frombuffer(points.row, "<u2"),
        key=points.key,
        time=np.frombuffer(points.time, "<i8"),
        mantissa=np.frombuffer(points.mantissa, "<i8"),
        multiplicity=np.frombuffer(points.multiplicity, "<i4").astype("<i8"),
        wide={w.index: int(w.mantissa) for w in points.wide},
    )
