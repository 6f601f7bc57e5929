"""Totals: usage that drafts asked for, kept up with what is booked since.

Owns: which totals are known, and up to where.  Does not own: reading and writing usage (stores).
Law: what is told of a request is what the books hold of it at the cursor they are read at.

Most drafts are rated again because a little was used: to add up all windows of a month anew for
each of them is most of what Postgres does. Whoever books a partition is the only one who writes
its usage, and moves its cursor with it; so what was read at one cursor, with what was booked from
there to another, is what would be read there. Where a cursor is another than expected somebody
else has booked: everything is read anew.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from pipeline.book.booking import BookedRows, Cursor
from pipeline.book.merging import merge
from pipeline.book.series import SeriesIndex
from pipeline.collect.columns import Longs
from pipeline.invoice.usage import UsagePart, UsageRequest, Used
from pipeline.meter.meters import Grain
from pipeline.stores.postgres.books import Flush

_MOST = 16_000
"""Requests remembered, half a kilobyte each."""
_Part: TypeAlias = list[int]
"""The first five fields of a UsagePart: to make one of each row that is booked took longest."""
_COUNT = 1


class UsageToAsk(Protocol):
    """Usage as drafts ask for it."""

    def ask_usage(
        self, requests: Iterable[UsageRequest]
    ) -> Callable[[], Mapping[UsageRequest, Sequence[Used]]]:
        """Ask for usage; return what waits for it."""
        ...


class Totals:
    """What one worker knows of the usage that it books. Points and windows are always read."""

    def __init__(self, most: int = _MOST) -> None:
        """Start with nothing known."""
        self._most = most
        self._parts: dict[UsageRequest, list[_Part]] = {}
        self._of: dict[str, list[UsageRequest]] = {}
        """The requests that are known, by customer."""
        self._cursors: dict[int, Cursor] = {}
        """Up to where."""

    def stand_at(self, cursors: Iterable[Cursor]) -> None:
        """Begin anew where a snapshot shows other cursors than those of what is known."""
        for cursor in cursors:
            if self._cursors.get(cursor.partition) != cursor:
                self._forget()
                self._cursors[cursor.partition] = cursor

    def ask(
        self, store: UsageToAsk, requests: Iterable[UsageRequest]
    ) -> Callable[[], Mapping[UsageRequest, Sequence[Used]]]:
        """Ask for what is not known; return what waits for it and tells all.

        Call it in the snapshot whose cursors `stand_at` was told.
        """
        told: dict[UsageRequest, Sequence[Used]] = {}
        asked = list[UsageRequest]()
        for request in dict.fromkeys(requests):
            parts = self._parts.get(request)
            if parts is None:
                asked.append(request)
            else:
                told[request] = [_told(*part) for part in parts if part[_COUNT]]
        answered = store.ask_usage(asked)

        def all_told() -> Mapping[UsageRequest, Sequence[Used]]:
            found = answered()
            for request in asked:
                self._remember(request, found.get(request, ()))
            told.update(found)
            return told

        return all_told

    def booked(self, flushes: Iterable[Flush]) -> None:
        """Add what was written."""
        for flush in flushes:
            number = flush.after.partition
            if self._cursors.get(number) != flush.before:
                self._forget()
            elif self._parts:
                self._add(flush.booked.rows)
            self._cursors[number] = flush.after

    def _forget(self) -> None:
        self._parts.clear()
        self._of.clear()

    def _remember(self, request: UsageRequest, used: Sequence[Used]) -> None:
        if request.grain is not Grain.TOTALS or not request.scope.whole:
            return
        if len(self._parts) >= self._most:
            self._forget()
        parts = (part for part in used if isinstance(part, UsagePart))
        self._parts[request] = [[p.scale, p.count, p.sum, p.minimum, p.maximum] for p in parts]
        self._of.setdefault(request.customer, []).append(request)

    def _add(self, booked: Sequence[BookedRows]) -> None:
        by_index: dict[SeriesIndex, list[BookedRows]] = {}
        for rows in booked:
            by_index.setdefault(rows.index, []).append(rows)
            for place, wide in rows.wide.items():
                first = rows.series[place], rows.window_start[place], rows.count[place]
                series, window, count = map(int, first)
                self._add_row(rows.index, series, window, (count, *wide))
        for index, of in by_index.items():
            columns = [np.concatenate(parts) for parts in zip(*map(_narrow, of), strict=True)]
            merged = merge(columns)
            rows_of = zip(*(column.tolist() for column in merged.columns), strict=True)
            for series, window, _, *figures in (*rows_of, *merged.wide):
                self._add_row(index, series, window, figures)

    def _add_row(
        self, index: SeriesIndex, series: int, window: int, figures: Sequence[int]
    ) -> None:
        requests = self._of.get(index.customers[series])
        if not requests:
            return
        meter, scale = index.measured(series)
        count, total, low, high = figures
        for request in [*requests]:
            if request.meter != meter or not request.start <= window < request.end:
                continue
            parts = self._parts[request]
            for part in parts:
                if part[0] == scale:
                    part[1] += count
                    part[2] += total
                    if low < part[3]:
                        part[3] = low
                    if high > part[4]:
                        part[4] = high
                    break
            else:  # what comes to no event is not told, but may be there, with its extremes
                del self._parts[request]
                requests.remove(request)


def _told(scale: int, count: int, total: int, minimum: int, maximum: int) -> UsagePart:
    return UsagePart(scale, count, total, minimum, maximum)


def _narrow(rows: BookedRows) -> list[Longs]:
    cut = np.zeros(len(rows.series), np.int64)
    columns = rows.series, rows.window_start, cut, rows.count, rows.sum, rows.minimum, rows.maximum
    return [np.delete(column, [*rows.wide]) if rows.wide else column for column in columns]
