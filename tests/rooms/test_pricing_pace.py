"""When drafts are rated: at once where the books are up to date, in turns where they are behind."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from builders import T0, Line, fact_log, facts, keyed, log_of, meter_of, rules_of, usage
from pipeline.book.booking import Cursor
from pipeline.catalog.facts import NewFact
from pipeline.core.calendar import SECOND
from pipeline.meter.ticks import Tick
from pipeline.settings import Settings
from pipeline.simulate.database import MemoryDatabase
from pipeline.simulate.log import MemoryWriter
from pipeline.simulate.papers_session import WorkerSession
from pipeline.simulate.world import Chances, World
from pipeline.stores.kafka import LogRecord
from pipeline.stores.postgres.books import Anchor
from pipeline.stores.postgres.database import Database
from pipeline.stores.postgres.facts import Author
from pipeline.stores.records import encode_slices
from pipeline.topology import Stack
from pipeline.workers.pricing import PricingWorker
from pipeline.workers.surroundings import Surroundings

SETTINGS = Settings(home=Path("nowhere"))
AROUND = Surroundings("", "", Database("", ""), Stack(), 1, SETTINGS)
BITE_S = 0.2
TOLD = log_of(), rules_of(), meter_of("calls")


class SilentLog:
    """A log in which nothing comes but this; it notes how long it was waited for."""

    def __init__(self, *coming: bytes) -> None:
        self.waited_s: list[float] = []
        self.coming = [(0, offset, value) for offset, value in enumerate(coming, 1)]

    def topic_id(self, name: str) -> str:
        return "topic"

    def ends(self, name: str, partitions: int) -> list[tuple[int, int]]:
        return [(0, 1)] * partitions

    def read_range(self, name: str, partition: int, start: int, end: int) -> Iterator[LogRecord]:
        return iter(())

    def follow(self, name: str, starts: Mapping[int, int]) -> "SilentLog":
        return self

    def read(self, count_max: int, wait_s: float) -> list[tuple[int, int, bytes]]:
        self.waited_s.append(wait_s)
        came, self.coming = self.coming, []
        return came

    def close(self) -> None:
        pass


@dataclass
class Watch:
    """A clock that is moved by hand."""

    now_s: float = 0.0


@dataclass
class Dirty:
    """So many bites of payers to rate, each of which takes BITE_S."""

    watch: Watch
    bites: int
    rated_s: list[float] = field(default_factory=list)

    def take(self) -> list[tuple[str, int]]:
        if len(self.rated_s) == self.bites:
            return []
        self.rated_s.append(self.watch.now_s)
        self.watch.now_s += BITE_S
        return [("nobody's customer", 0)]


def worker(
    watch: Watch,
    dirty: Dirty,
    log: SilentLog,
    *ticks_s: int,
    raw_behind: bool = False,
    series_max: int = 1 << 18,
) -> PricingWorker:
    """A worker whose books stand at tick 1; others were written after so many seconds."""
    world = World(0, Chances().scaled(0))
    database = MemoryDatabase(world)

    class Session(WorkerSession):
        def take_dirty(self, partitions: Iterable[int], count_max: int) -> list[tuple[str, int]]:
            return dirty.take()

    def session() -> Session:
        return Session(database, world.start("test"))

    first = session()
    decided = [NewFact(f.kind, f.subject, f.body) for f in facts(*TOLD)]
    first.append_facts(lambda _: decided, Author("ada", "a test"), T0)
    first.mark_mirrored(len(decided))
    ticks = [first.write_tick(T0 + s * SECOND, 1) for s in (0, *ticks_s)]
    assert isinstance(ticks[0], Tick)
    stands = replace(Cursor(0), offset=0, metered_offset=0, tick=ticks[0], log_time=T0)
    database.tables.cursors[0] = (stands, Anchor("topic", b""))
    return PricingWorker(
        AROUND,
        [0],
        log,
        session(),
        session(),
        session(),
        writer=_none,
        clock=lambda: T0 + int(watch.now_s * SECOND),
        monotonic=lambda: watch.now_s,
        collectors_behind=lambda: raw_behind,
        series_max=series_max,
    )


def _none() -> MemoryWriter:
    raise AssertionError("nothing is written where nothing is booked")


@pytest.mark.parametrize(
    ("ticks_s", "now_s", "rated"),
    [
        ((), 60.0, 4 * 2),
        ((60,), 60.0, 4 * 2),
        ((5,), 5.0, 4 * 2),
        ((5,), 7.5, 1),
        ((5, 10, 60), 60.0, 1),
    ],
    ids=["the ticker is late", "it ticks again", "as it should", "a tick is late", "many are"],
)
def test_drafts_wait_for_books_that_are_behind_a_tick_and_for_nothing_else(
    ticks_s: tuple[int, ...], now_s: float, rated: int
) -> None:
    """Up to date, two bites fill the time in which slices gather; behind, rest follows one."""
    watch = Watch(now_s)
    dirty, log = Dirty(watch, bites=99), SilentLog()
    pricing = worker(watch, dirty, log, *ticks_s)

    for _ in range(4):
        pricing.step()
        watch.now_s += BITE_S / 2
    assert len(dirty.rated_s) == rated


def test_drafts_wait_for_collectors_that_are_behind_as_for_books() -> None:
    watch = Watch(60.0)
    dirty, log = Dirty(watch, bites=99), SilentLog()
    pricing = worker(watch, dirty, log, raw_behind=True)

    for _ in range(14):
        pricing.step()
        watch.now_s += BITE_S / 2
    assert len(dirty.rated_s) == 1
    watch.now_s += 2 * BITE_S
    pricing.step()
    assert len(dirty.rated_s) == 2


def test_slices_gather_while_payers_are_rated_and_else_while_nothing_is() -> None:
    watch, log = Watch(), SilentLog()
    pricing = worker(watch, Dirty(watch, bites=4), log)

    for _ in range(4):
        pricing.step()
    assert log.waited_s == [SETTINGS.flush_s, 0, 0, SETTINGS.flush_s]


@pytest.mark.parametrize(("ticks_s", "flushes"), [((5,), 1), ((5, 10, 60), 3)])
def test_slices_gather_for_longer_while_the_books_are_behind(
    ticks_s: tuple[int, ...], flushes: int
) -> None:
    """Not the first time: a worker learns after each flush where the books stand."""
    watch, log = Watch(ticks_s[-1]), SilentLog()
    pricing = worker(watch, Dirty(watch, bites=0), log, *ticks_s)

    for _ in range(3):
        pricing.step()
    assert sum(log.waited_s) == pytest.approx((1 + 2 * flushes) * SETTINGS.flush_s)


@pytest.mark.parametrize(("series_max", "met"), [(2, 2), (1, 0)])
def test_numbers_of_series_are_given_up_where_they_are_too_many(series_max: int, met: int) -> None:
    story = Line(fact_log(*TOLD))
    story.tick(Tick(1, T0, len(TOLD)))
    pieces = [story.send(keyed(usage(), usage("globex", id="2")))]
    log = SilentLog(encode_slices(pieces))
    watch = Watch()
    pricing = worker(watch, Dirty(watch, bites=0), log, series_max=series_max)

    assert pricing.step() == 1

    (partition,) = pricing._partitions.values()
    assert partition.cursor.counts.fresh == 2
    assert partition.series_met == met
