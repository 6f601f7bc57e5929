"""Totals kept up with what is booked are those that the books hold."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import HOUR, T0
from pipeline.book.booking import Booked, BookedRows, Cursor
from pipeline.book.series import SeriesIndex
from pipeline.collect.batch import MeterScale
from pipeline.collect.columns import Longs
from pipeline.invoice.usage import UsagePart, UsageRequest, Used
from pipeline.meter.meters import Grain
from pipeline.meter.scope import Scope
from pipeline.meter.slices import Rows
from pipeline.stores.postgres.books import Anchor, Flush
from pipeline.workers.totals import Totals

Row = tuple[str, str, int, int, int, int]
"""Customer, meter, scale, hour after T0, how many events, the value of each."""

SCALES = (0, 3)
WIDE = 1 << 70
CALLS = UsageRequest("acme", "calls", T0, T0 + 2 * HOUR)
REQUESTS = [
    CALLS,
    replace(CALLS, start=T0 + HOUR, end=T0 + 3 * HOUR),
    replace(CALLS, meter="bytes"),
    replace(CALLS, customer="globex"),
]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["acme", "acme", "globex"]),
        st.sampled_from(["calls", "calls", "bytes"]),
        st.sampled_from(SCALES),
        st.integers(0, 2),
        st.sampled_from([1, 1, 2, -1]),
        st.sampled_from([-3, 7, 7, (1 << 62), WIDE, -WIDE]),
    ),
    min_size=1,
    max_size=4,
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["book", "book", "another books", "rate", "rate", "rate"]),
        ROWS,
        st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4),
    ),
    max_size=12,
)


def fits(figure: int) -> bool:
    """Whether a column holds it."""
    return -(1 << 63) <= figure < 1 << 63


@dataclass
class Database:
    """All rows that were written, and where the books stand."""

    cursor: Cursor = field(default_factory=lambda: Cursor(0))
    rows: list[Row] = field(default_factory=list)
    index: SeriesIndex = field(default_factory=SeriesIndex)
    asked: int = 0

    def ask_usage(
        self, requests: Iterable[UsageRequest]
    ) -> Callable[[], Mapping[UsageRequest, Sequence[Used]]]:
        asked = list(requests)
        self.asked += len(asked)
        return lambda: {each: parts for each in asked if (parts := self.parts(each))}

    def parts(self, request: UsageRequest) -> list[UsagePart]:
        """Add up anew; what comes to no event is not told."""
        found = []
        for scale in SCALES:
            own = [
                (count, value)
                for whose, meter, of, hour, count, value in self.rows
                if (whose, meter, of) == (request.customer, request.meter, scale)
                and request.start <= T0 + hour * HOUR < request.end
            ]
            count, values = sum(count for count, _ in own), [value for _, value in own]
            if count:
                total = sum(count * value for count, value in own)
                found.append(UsagePart(scale, count, total, min(values), max(values)))
        return found

    def book(self, rows: Sequence[Row]) -> Flush:
        """Write rows and move the cursor; return the flush."""
        before, self.cursor = self.cursor, replace(self.cursor, offset=self.cursor.offset + 1)
        self.rows += rows
        booked = Booked(rows=[self._booked(row) for row in rows])
        return Flush(before, self.cursor, Anchor("topic", b""), booked)

    def _booked(self, row: Row) -> BookedRows:
        whose, meter, scale, hour, count, value = row
        first = bytes(2)
        told = Rows([whose], [MeterScale(meter, scale)], [{}], first, first, first)
        total = count * value
        wide = {} if fits(total) and fits(value) else {0: (total, value, value)}

        def column(figure: int) -> Longs:
            return np.array([0 if wide and not fits(figure) else figure], np.int64)

        return BookedRows(
            self.index,
            self.index.numbers(told),
            column(T0 + hour * HOUR),
            column(0),
            column(count),
            column(total),
            column(value),
            column(value),
            wide,
        )


@given(STEPS, st.sampled_from([2, 100]))
@settings(max_examples=500)
def test_totals_are_what_the_books_hold(
    steps: Sequence[tuple[str, Sequence[Row], Sequence[UsageRequest]]], most: int
) -> None:
    """Whatever is booked in between, by this worker or by another one that it knows nothing of."""
    database, totals = Database(), Totals(most)
    for what, rows, requests in steps:
        if what == "book":
            totals.booked([database.book(rows)])
        elif what == "another books":
            database.book(rows)
        else:
            totals.stand_at([database.cursor])
            told = totals.ask(database, requests)()
            assert {each: parts for each, parts in told.items() if parts} == {
                each: parts for each in requests if (parts := database.parts(each))
            }


ROW: Row = ("acme", "calls", 0, 1, 2, 7)


def told(totals: Totals, database: Database, request: UsageRequest = CALLS) -> Sequence[Used]:
    """What a rating is told now."""
    totals.stand_at([database.cursor])
    return totals.ask(database, [request])().get(request, [])


def test_what_is_known_is_not_asked_again() -> None:
    database, totals = Database(), Totals()
    database.book([ROW])
    first = told(totals, database)
    totals.booked([database.book([ROW])])

    assert (first, told(totals, database)) == (
        [UsagePart(0, 2, 14, 7, 7)],
        [UsagePart(0, 4, 28, 7, 7)],
    )
    assert database.asked == 1


def test_usage_elsewhere_leaves_totals_as_they_are() -> None:
    database, totals = Database(), Totals()
    database.book([ROW])
    before = told(totals, database)
    others = [("globex", "calls"), ("acme", "bytes")]
    totals.booked([database.book([(*each, 0, 1, 1, 9) for each in others])])
    totals.booked([database.book([("acme", "calls", 0, 2, 1, 9)])])

    assert told(totals, database) == before
    assert database.asked == 1


def test_who_sees_that_another_has_booked_asks_anew() -> None:
    database, totals = Database(), Totals()
    database.book([ROW])
    told(totals, database)
    database.book([ROW])

    assert told(totals, database) == [UsagePart(0, 4, 28, 7, 7)]
    assert database.asked == 2


def test_extremes_of_usage_that_comes_to_no_event_are_not_forgotten() -> None:
    """Nothing is told of it, so what comes then is no beginning."""
    database, totals = Database(), Totals()
    database.book([ROW, ("acme", "calls", 0, 1, -2, 7)])
    before = told(totals, database)
    totals.booked([database.book([("acme", "calls", 0, 0, 1, 9)])])

    assert (before, told(totals, database)) == ([], [UsagePart(0, 1, 9, 7, 9)])


def test_points_windows_and_chosen_dimensions_are_always_asked() -> None:
    database, totals = Database(), Totals()
    chosen = Scope(where=(("region", ("eu",)),))
    asked = [replace(CALLS, grain=grain) for grain in Grain if grain is not Grain.TOTALS]
    for request in [*asked, replace(CALLS, scope=chosen)] * 2:
        told(totals, database, request)

    assert database.asked == 2 * (len(asked) + 1)


def test_rows_that_together_outgrow_a_column_are_added_exactly() -> None:
    database, totals = Database(), Totals()
    database.book([ROW])
    told(totals, database)
    large: Row = ("acme", "calls", 0, 1, 1, 1 << 62)
    totals.booked([database.book([large, large])])

    assert told(totals, database) == [UsagePart(0, 4, 14 + (1 << 63), 7, 1 << 62)]
    assert database.asked == 1
