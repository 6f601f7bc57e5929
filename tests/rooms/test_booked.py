"""Documents held against the books: usage of many is read at once, and is that of each alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from builders import HOUR, T0
from pipeline.book.booking import TickPassed
from pipeline.core.identity import Json
from pipeline.invoice.usage import UsagePart, UsageRequest, Used
from pipeline.meter.slices import Counts
from pipeline.meter.ticks import Tick
from pipeline.stores.postgres.usage import NO_CUT
from pipeline.workers.booked import BookFold, ReadAhead

CALLS, SEATS = (UsageRequest("acme", meter, T0, T0 + HOUR) for meter in ("calls", "seats"))
OTHER = UsageRequest("globex", "calls", T0, T0 + HOUR)


@dataclass
class Books:
    """Usage of one event a request below a cut, and which questions were asked."""

    asked: list[str] = field(default_factory=list)

    def read_usage(
        self, requests: Iterable[UsageRequest], below_cut: int = NO_CUT
    ) -> Mapping[UsageRequest, Sequence[Used]]:
        self.asked.append("usage")
        return {each: [UsagePart(0, 1, below_cut, 1, 1)] for each in requests}

    def evidence_of_usage(
        self, asked: Sequence[Iterable[UsageRequest]], below_cut: int
    ) -> list[list[list[Json]]]:
        self.asked.append("evidence")
        return [[[each.customer, each.meter, below_cut] for each in own] for own in asked]

    def tick_passed(self, partition: int, serial: int) -> TickPassed:
        self.asked.append("tick")
        if serial > 9:
            raise LookupError
        return TickPassed(Tick(serial, T0, 1), partition, Counts())


def test_what_was_read_ahead_is_what_is_read_for_one_document() -> None:
    books, ahead = Books(), ReadAhead()
    ahead.read(books, [[CALLS, SEATS], [OTHER], []], 7)
    ready, alone = BookFold(0, books, ahead), BookFold(0, Books(), ReadAhead())
    for asked in ([CALLS, SEATS], [OTHER], []):
        usage, windows = ready.usage(asked, 7)
        must, must_windows = alone.usage(asked, 7)
        assert {each: usage[each] for each in asked} == dict(must)
        assert windows == must_windows
    assert books.asked == ["usage", "evidence"]


def test_what_was_not_read_ahead_is_asked_for() -> None:
    books, ahead = Books(), ReadAhead()
    ahead.read(books, [[CALLS, SEATS]], 7)
    fold = BookFold(0, books, ahead)
    for asked, cut in (([CALLS], 7), ([CALLS, SEATS], 8)):
        usage, windows = fold.usage(asked, cut)
        assert [windows[0][-1], len(windows), len(usage)] == [cut, len(asked), len(asked)]
    assert books.asked == ["usage", "evidence"] + ["evidence", "usage"] * 2


def test_a_tick_is_asked_for_once_also_where_there_is_none() -> None:
    books = Books()
    fold = BookFold(3, books, ReadAhead())
    stands = [fold.tick_at(serial) for serial in (7, 7, 11, 11)]
    assert [stood and stood.offset for stood in stands] == [3, 3, None, None]
    assert books.asked == ["tick", "tick"]
