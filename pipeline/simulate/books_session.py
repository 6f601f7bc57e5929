"""Books and usage in memory: the queries of stores/postgres/books.py, usage.py and points.py.

Law: one contract suite runs these and the real ones.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from pipeline.book.booking import (
    Booked,
    BookedPoints,
    BookedRows,
    Cursor,
    Cut,
    SequenceKey,
    TickPassed,
)
from pipeline.book.reversing import ReversalState, Reversed
from pipeline.book.series import SeriesKey
from pipeline.catalog.matches import EventPlace
from pipeline.collect.rounds import Stand
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import KEY_BYTES, Json, canonical
from pipeline.dedupe.sequences import SequenceState
from pipeline.invoice.usage import UsagePart, UsageRequest, Used, disjoint
from pipeline.ledger.seal import point_evidence, windows_digest
from pipeline.meter.meters import Grain
from pipeline.meter.points import UsagePoint
from pipeline.meter.scope import Pairs
from pipeline.meter.slices import Minus
from pipeline.meter.ticks import NO_TICK, Tick
from pipeline.simulate.database import CutRow, ReversalRow
from pipeline.simulate.facts_session import FactSession
from pipeline.stores.postgres.books import Anchor, Flush
from pipeline.stores.postgres.usage import NO_CUT

K = TypeVar("K")
V = TypeVar("V")


class BookSession(FactSession):
    """What is booked, and usage as documents ask for it."""

    def open_stands(self, partitions: Sequence[int], topic_id: str) -> list[Stand]:
        """Return where these partitions of raw usage stand; a new one before its first message.

        Raises:
            BrokenInvariant: a partition was read from another topic.

        """
        with self.transaction():
            found = [
                self.tables.stands.setdefault(number, (Stand(number), topic_id))
                for number in sorted(partitions)
            ]
        for stand, known in found:
            if known != topic_id:
                raise BrokenInvariant(f"partition {stand.partition} was read from another topic")
        return [stand for stand, _ in found]

    def save_stands(self, moves: Iterable[tuple[Stand, Stand]]) -> None:
        """Move partitions of raw usage from where they are believed to stand.

        Raises:
            BrokenInvariant: another collector moved one.

        """
        with self.transaction():
            for before, after in moves:
                stands, topic_id = self.tables.stands[before.partition]
                if stands != before:
                    raise BrokenInvariant("another one reads it; this one stops")
                self.tables.stands[before.partition] = (after, topic_id)

    def save(self, flushes: Sequence[Flush]) -> None:
        """Write flushes of one or more partitions in one transaction.

        Raises:
            BrokenInvariant: a cursor is not where this worker believes it.

        """
        with self.transaction():
            for flush in flushes:
                self._fence(flush.before)
                self._obey_skips(flush)
                self.write_flush(flush)

    def _fence(self, before: Cursor) -> None:
        stands = self.tables.cursors.get(before.partition)
        if (stands[0].offset if stands else -1) != before.offset:
            raise BrokenInvariant("another worker books it; this one stops")

    def _obey_skips(self, flush: Flush) -> None:
        for partition, offset in self.read_skips():
            here = partition == flush.before.partition and offset not in flush.booked.skipped
            if here and flush.before.offset < offset <= flush.after.offset:
                raise BrokenInvariant(f"a skip of {offset} was recorded meanwhile")

    def write_flush(self, flush: Flush) -> None:
        """Write one partition's part, with its cursor."""
        booked, partition, tables = flush.booked, flush.after.partition, self.tables
        for rows in booked.rows:
            self.add_usage(rows)
        for key, state in booked.sequences.items():
            tables.sequences[partition, key] = state
        for passed in booked.ticks:
            insert(tables.passed, (partition, passed.tick.serial), passed)
        for cut in booked.cuts:
            row, place = (
                CutRow(cut.serial, partition, cut.fact),
                (cut.payer, cut.currency, cut.instant),
            )
            insert(tables.cuts, place, row)
            insert(tables.unprepared, place, row)
        for payer in sorted(booked.dirty):
            tables.dirty.setdefault(payer, partition)
        for met, late in booked.late.items():
            tables.late[met] = late.and_also(tables.late.get(met, late))
        tables.cursors[partition] = (flush.after, flush.anchor)
        self._write_reversals(partition, booked)

    def _write_reversals(self, partition: int, booked: Booked) -> None:
        table = self.tables.reversals
        for place, minus in booked.reversals.items():
            insert(table, (partition, (minus.key, minus.payload_print)), ReversalRow(place, minus))
        for each in booked.settled:
            for key, row in list(table.items()):
                if (key[0], row.place) == (partition, each.place):
                    table[key] = replace(row, state=each.state)

    def waiting_counts(self) -> dict[int, int]:
        """Return how many reversals wait, by partition."""
        self.effect("read reversals")
        rows = self.tables.reversals.items()
        waiting = [n for (n, _), row in rows if row.state == ReversalState.WAITING]
        return {number: waiting.count(number) for number in sorted(set(waiting))}

    def load_waiting(self, partition: int) -> dict[EventPlace, Minus]:
        """Return the reversals of a partition that wait for a match."""
        self.effect("read reversals")
        rows = [row for (number, _), row in self.tables.reversals.items() if number == partition]
        waiting = [row for row in rows if row.state == ReversalState.WAITING]
        return {row.place: row.minus for row in sorted(waiting, key=lambda row: row.place)}

    def reversed_already(self, partition: int, keys: Iterable[bytes]) -> Mapping[Reversed, str]:
        """Return which of these originals have a reversal in the books, and its state."""
        self.effect("read reversals")
        wanted, found = set(keys), self.tables.reversals.items()
        return {k: row.state for (n, k), row in found if n == partition and k[0] in wanted}

    def add_usage(self, rows: BookedRows) -> None:
        """Merge usage rows into those that are there."""
        for i, number in enumerate(rows.series.tolist()):
            series = rows.index[number]
            values = (int(rows.sum[i]), int(rows.minimum[i]), int(rows.maximum[i]))
            total, low, high = rows.wide.get(i, values)
            key = (series, int(rows.window_start[i]), int(rows.cut[i]))
            part = UsagePart(series.scale, int(rows.count[i]), total, low, high)
            _add(self.tables.usage, key, part)
            if rows.minus:
                self.tables.reversed[key] = self.tables.reversed.get(key, 0) + 1
        if rows.points is not None:
            self._add_points(rows, rows.points)

    def _add_points(self, rows: BookedRows, points: BookedPoints) -> None:
        for i, row in enumerate(points.row.tolist()):
            value = points.wide.get(i, int(points.mantissa[i]))
            name = points.key[i * KEY_BYTES : (i + 1) * KEY_BYTES]
            series = rows.index[int(rows.series[row])]
            key = (series, int(points.time[i]), name, int(rows.cut[row]))
            before = self.tables.points.get(key, (value, 0))
            self.tables.points[key] = (before[0], before[1] + int(points.multiplicity[i]))

    def load_cursors(self) -> dict[int, tuple[Cursor, Anchor]]:
        """Return every partition's cursor and anchor."""
        self.effect("read cursors")
        return dict(self.tables.cursors)

    def load_sequence(self, partition: int, key: SequenceKey) -> SequenceState | None:
        """Return where one sequence stands, over or not."""
        self.effect("read sequences")
        return self.tables.sequences.get((partition, key))

    def load_sequences(self, partition: int) -> dict[SequenceKey, SequenceState]:
        """Return where each sequence of a partition stands that is not over."""
        self.effect("read sequences")
        found = self.tables.sequences.items()
        return {
            key: state for (number, key), state in found if number == partition and not state.over
        }

    def load_cuts(self, partition: int) -> list[Cut]:
        """Return every cut of a partition's payers."""
        self.effect("read cuts")
        found = self.tables.cuts.items()
        own = [(key, row) for key, row in found if row.partition == partition]
        return [Cut(*key, row.serial, row.fact) for key, row in own]

    def _ticks_passed(self, partition: int) -> list[TickPassed]:
        """Return the ticks of a partition, highest first."""
        found = [each for (number, _), each in self.tables.passed.items() if number == partition]
        return sorted(found, key=lambda passed: -passed.tick.serial)

    def tick_before(self, partition: int, offset: int) -> tuple[Tick, int]:
        """Return the highest tick booked below an offset, and where it stands (-1: none)."""
        self.effect("read tick")
        below = (each for each in self._ticks_passed(partition) if each.offset < offset)
        found = next(below, None)
        return (found.tick, found.offset) if found else (NO_TICK, -1)

    def offset_at(self, partition: int, time_us: int) -> int:
        """Return the offset of the last booked tick before a time; 0 where there is none."""
        self.effect("read offset")
        before = (p.offset for p in self._ticks_passed(partition) if p.tick.time < time_us)
        return next(before, 0)

    def last_tick_offset(self, partition: int, serial: int) -> int:
        """Return the offset of the highest booked tick up to `serial` (-1: none)."""
        until = [p.offset for p in self._ticks_passed(partition) if p.tick.serial <= serial]
        return max(until, default=-1)

    def tick_passed(self, partition: int, serial: int) -> TickPassed:
        """Return a booked tick as it stands in a partition."""
        return self.tables.passed[partition, serial]

    # --- usage ---

    def read_usage(
        self, requests: Iterable[UsageRequest], below_cut: int = NO_CUT
    ) -> dict[UsageRequest, list[Used]]:
        """Return the usage of each request, over rows and points with cut < `below_cut`."""
        asked = sorted(set(requests))
        parts: dict[UsageRequest, dict[_Group, UsagePart]] = {}
        plain = [each for each in asked if each.grain in (Grain.TOTALS, Grain.WINDOWS)]
        for request, series, start, part in self._rows(plain, below_cut):
            window = start if request.grain is Grain.WINDOWS else 0
            group = (series.scale, window, () if request.scope.whole else series.dimensions)
            _add(parts.setdefault(request, {}), group, part)
        found: dict[UsageRequest, list[Used]] = {
            request: [
                replace(part, window=group[1], dimensions=group[2])
                for group, part in sorted(groups.items())
                if part.count
            ]
            for request, groups in parts.items()
            if any(part.count for part in groups.values())
        }
        for request, series, point in self._points(asked, below_cut):
            found.setdefault(request, []).append(replace(point, dimensions=series.dimensions))
        return found

    def ask_usage(
        self, requests: Iterable[UsageRequest]
    ) -> Callable[[], dict[UsageRequest, list[Used]]]:
        """Ask for usage; return what waits for it."""
        return partial(self.read_usage, [*requests])

    def moved_since(self, asked: Sequence[tuple[UsageRequest, int]], below_cut: int) -> list[bool]:
        """Return of each request whether any row came to it under cuts in [`cut`, `below_cut`)."""
        return [
            any(
                since <= cut < below_cut and of.may_rest_on(series.customer, series.meter, start)
                for series, start, cut in self.tables.usage
            )
            for of, since in asked
        ]

    def digests_of_usage(
        self, asked: Sequence[Iterable[UsageRequest]], below_cut: int
    ) -> list[str]:
        """Return a digest for each document: of every window and point it rests on, each once."""
        return [windows_digest(each) for each in self.evidence_of_usage(asked, below_cut)]

    def evidence_of_usage(
        self, asked: Sequence[Iterable[UsageRequest]], below_cut: int
    ) -> list[list[list[Json]]]:
        """Return every window and point, as evidence tells them, that each document rests on."""
        return [self._evidence_of(requests, below_cut) for requests in asked]

    def _evidence_of(self, requests: Iterable[UsageRequest], below_cut: int) -> list[list[Json]]:
        asked = sorted(set(requests))
        found: dict[tuple[SeriesKey, Instant], UsagePart] = {}
        for _, series, start, part in self._rows(disjoint(asked), below_cut):
            _add(found, (series, start), part)
        windows: list[list[Json]] = [
            [*_text(series), start, part.count, part.sum, part.minimum, part.maximum]
            for (series, start), part in found.items()
        ]
        points = {
            (series, point.time, point.key): point_evidence(
                _text(series), point.time, point.key, point.mantissa, point.multiplicity
            )
            for _, series, point in self._points(asked, below_cut)
        }
        return [*windows, *points.values()]

    def _rows(
        self, requests: Iterable[UsageRequest], below_cut: int
    ) -> Iterable[tuple[UsageRequest, SeriesKey, Instant, UsagePart]]:
        asked: dict[tuple[str, str], list[UsageRequest]] = {}
        for request in requests:
            asked.setdefault((request.customer, request.meter), []).append(request)
        for (series, start, cut), part in self.tables.usage.items():
            for request in asked.get((series.customer, series.meter), ()):
                if cut < below_cut and request.start <= start < request.end:
                    yield request, series, start, part

    def _points(
        self, requests: Iterable[UsageRequest], below_cut: int
    ) -> Iterable[tuple[UsageRequest, SeriesKey, UsagePoint]]:
        """Yield the points that stand; for levels also the last before each request."""
        for request in requests:
            if request.grain not in (Grain.POINTS, Grain.LEVELS):
                continue
            standing: dict[tuple[SeriesKey, Instant, bytes], tuple[int, int]] = {}
            for (series, time, key, cut), (value, told) in self.tables.points.items():
                asked = (series.customer, series.meter) == (request.customer, request.meter)
                if asked and cut < below_cut and time < request.end:
                    before = standing.get((series, time, key), (value, 0))[1]
                    standing[series, time, key] = (value, before + told)
            last: dict[SeriesKey, UsagePoint] = {}
            in_order = sorted(standing.items(), key=lambda point: point[0][1:])
            for (series, time, key), (value, told) in in_order:
                point = UsagePoint(time, key, series.scale, value, told)
                if told > 0 and time >= request.start:
                    yield request, series, point
                elif told > 0:
                    last[series] = point
            if request.grain is Grain.LEVELS:
                yield from ((request, series, point) for series, point in last.items())


_Group = tuple[int, Instant, Pairs]
"""Scale, window, dimensions: as far as a request tells them apart."""


def _text(series: SeriesKey) -> list[Json]:
    dimensions = canonical(dict(series.dimensions)).decode()
    return [series.customer, series.meter, series.scale, dimensions]


def _add(into: dict[K, UsagePart], key: K, part: UsagePart) -> None:
    into[key] = _merged(into[key], part) if key in into else part


def _merged(one: UsagePart, other: UsagePart) -> UsagePart:
    return UsagePart(
        one.scale,
        one.count + other.count,
        one.sum + other.sum,
        min(one.minimum, other.minimum),
        max(one.maximum, other.maximum),
    )


def insert(table: dict[K, V], key: K, row: V) -> None:
    """Insert a row under a key that no other has."""
    if key in table:
        raise BrokenInvariant(f"a second row of {key}")
    table[key] = row
