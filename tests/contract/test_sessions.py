"""One suite over the database in memory and Postgres: so that the simulation does not lie."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from secrets import token_hex
from struct import pack
from time import monotonic, sleep
from typing import Protocol

import pytest
from psycopg import sql
from psycopg.errors import RestrictViolation, UndefinedTable, UniqueViolation

from builders import (
    MINUTE,
    T0,
    Books,
    Line,
    customer_of,
    fact_log,
    facts,
    flat,
    issuer_of,
    keyed,
    log_of,
    meter_of,
    plan_of,
    price_of,
    rules_of,
    sequenced,
    subscription_of,
    usage,
)
from pipeline.book.booking import Booked, Cursor, Cut, LateUsage
from pipeline.catalog.by_hand import Holds
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.collect.rounds import Stand
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json, canonical
from pipeline.dedupe.sequences import Remembered, SequenceState
from pipeline.embedded import Servers
from pipeline.invoice.fees import Fee, Reach
from pipeline.invoice.hollow import Filled, Hollow
from pipeline.invoice.lifecycle import EventKind, InvoiceEvent
from pipeline.invoice.planned import Carried
from pipeline.invoice.published import NO_ISSUES, DraftPosition, DraftText
from pipeline.invoice.usage import UsageRequest
from pipeline.ledger.checkpoint import Checkpoint, Head
from pipeline.ledger.seal import Sealed
from pipeline.meter.meters import Grain
from pipeline.meter.slices import Counts
from pipeline.meter.ticks import NO_TICK, Tick
from pipeline.simulate.database import MemoryDatabase
from pipeline.simulate.papers_session import WorkerSession
from pipeline.simulate.world import Chances, World
from pipeline.stores.postgres import preparing
from pipeline.stores.postgres.arrays import LONGS, TEXTS, longs, texts
from pipeline.stores.postgres.backfills import Staged
from pipeline.stores.postgres.books import Anchor, Flush
from pipeline.stores.postgres.books import Books as PostgresBooks
from pipeline.stores.postgres.connection import Overtaken
from pipeline.stores.postgres.database import Database, one
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.preparing import Prepared, PreparedCut, Registrar
from pipeline.stores.postgres.session import Session
from pipeline.stores.schemas import schema_folder
from pipeline.workers.backfilling import ShelfBesideBooks
from pipeline.workers.checkpointing import Chains
from pipeline.workers.collector import StandStore
from pipeline.workers.correcting import LateBooks
from pipeline.workers.finalizer import DocumentStore
from pipeline.workers.holding import PauseStore
from pipeline.workers.matching import MatchStore
from pipeline.workers.pausing import SkipStore
from pipeline.workers.paying import Lives
from pipeline.workers.pricing import BookKeeper, BookStore
from pipeline.workers.publisher import PublicationStore
from pipeline.workers.readmission import JobStore
from pipeline.workers.retaining import Shelves
from pipeline.workers.taxing import AwaitingDrafts
from pipeline.workers.ticker import TickStore
from pipeline.workers.verifying import Archive

pytestmark = pytest.mark.servers

DECISIONS = (
    log_of(),
    rules_of(),
    issuer_of(),
    meter_of("calls", "count"),
    meter_of("size", "sum", dimensions=["region"]),
    meter_of("level", "latest"),
    plan_of("quick", price_of("fee", flat("1")), cycle="PT1M"),
    customer_of("acme"),
    customer_of("globex"),
    subscription_of("s", "acme", "quick", "2026-03-01T00:00:00Z"),
)
FACTS = fact_log(*DECISIONS)
ADA = Author("ada", "a test")
ANCHOR = Anchor("topic", b"digest")


class Store(
    SkipStore,
    TickStore,
    BookStore,
    DocumentStore,
    LateBooks,
    PauseStore,
    Archive,
    JobStore,
    PublicationStore,
    MatchStore,
    StandStore,
    Lives,
    ShelfBesideBooks,
    Shelves,
    Chains,
    AwaitingDrafts,
    Protocol,
):
    """Everything that workers ask of a session."""

    def find_document(self, number: str) -> Document | None: ...

    def states(self, payer: str | None = None) -> dict[str, str]: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Side:
    """One of the two: opens sessions, and books to save with."""

    session: Callable[[], Store]
    books: Callable[[], BookKeeper]
    owner: Callable[[], Store]
    """Opens a session that may do what no worker may."""

    def with_facts(self) -> Store:
        """Open a session on a log whose facts are written and mirrored."""
        session = self.session()
        news = [NewFact(f.kind, f.subject, f.body) for f in FACTS_WRITTEN]
        session.append_facts(lambda _: news, ADA, T0)
        session.mark_mirrored(len(news))
        return session


FACTS_WRITTEN = facts(*DECISIONS)


@pytest.fixture(params=["memory", "Postgres"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    yield from _sides(request.param, request.getfixturevalue("servers"))


def _sides(name: str, servers: Servers) -> Iterator[Side]:
    if name == "memory":
        world = World(0, Chances().scaled(0))
        database = MemoryDatabase(world)

        def open_session() -> WorkerSession:
            return WorkerSession(database, world.start("test"))

        yield Side(open_session, open_session, open_session)
        return
    with _postgres(servers) as real, ExitStack() as held:

        def connect(*, autocommit: bool = True, owner: bool = False) -> Session:
            session = real.connect(name="contract", autocommit=autocommit, owner=owner)
            held.callback(session.close)
            return session

        books = partial(connect, autocommit=False)
        yield Side(connect, lambda: PostgresBooks(books()), partial(connect, owner=True))


@contextmanager
def _postgres(servers: Servers) -> Iterator[Database]:
    """A schema of its own, as long as it is needed."""
    real = Database(servers.postgres, f"c{token_hex(4)}")
    real.migrate()
    yield real
    with real.session("erase", owner=True) as connection:
        schema = sql.Identifier(real.schema)
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))


def test_a_new_schema_is_there_whole_or_not_at_all(servers: Servers) -> None:
    """Who lists replays while one begins found its tables without the later ones' columns."""
    new = Database(servers.postgres, f"c{token_hex(4)}")
    every, found = len([*(schema_folder() / "sql").glob("*.sql")]), set()
    with new.session("erase", owner=True) as connection, ThreadPoolExecutor(1) as beside:
        migrating = beside.submit(new.migrate)
        while not migrating.done():
            if one(connection, "SELECT to_regclass('migration')")[0] is not None:
                found |= {one(connection, "SELECT count(*) FROM migration")[0]}
        assert len(migrating.result()) == every
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(new.schema)))
    assert found <= {0, every}


def story() -> Line:
    """Usage of every kind around two cuts."""
    line = Line(FACTS)
    line.tick(Tick(1, T0, FACTS.head))
    line.send(
        keyed(
            usage(id="1"),
            usage("globex", id="2"),
            usage(id="3", meter="size", value="1.25", region="a"),
            usage(id="4", meter="size", value="7", region="b"),
            usage(id="5", meter="level", value="3", time=T0 - MINUTE),
        )
    )
    line.tick(Tick(2, T0 + MINUTE, FACTS.head))
    line.send(keyed(usage(id="6"), usage(id="7", meter="size", value="98765432109876543210")))
    line.send(sequenced(0, usage(meter="level", value="4"), usage(meter="size", value="-2.5")))
    line.send(sequenced(5, usage()))
    line.tick(Tick(3, T0 + 2 * MINUTE, FACTS.head))
    return line


def flushes(*cuts: int, forgetful: bool = False) -> list[Flush]:
    """The story's slices, saved in flushes that end before these slices.

    Whoever is forgetful numbers series anew in each.
    """
    line, books = story(), Books(FACTS)
    made = []
    edges = [0, *cuts, len(line.slices)]
    for start, end in pairwise(edges):
        before = books.partition.cursor
        booked = books.book(line.slices[start:end])
        made.append(Flush(before, books.partition.cursor, ANCHOR, booked))
        if forgetful:
            books.partition.forget_series()
    return made


REQUESTS = [
    UsageRequest("acme", meter, T0 - 60 * MINUTE, T0 + 60 * MINUTE, grain)
    for meter, grain in (
        ("calls", Grain.TOTALS),
        ("size", Grain.TOTALS),
        ("size", Grain.WINDOWS),
        ("level", Grain.POINTS),
        ("level", Grain.LEVELS),
    )
]


def test_raw_usage_is_stood_at_by_one_collector(side: Side) -> None:
    one, other = side.session(), side.session()
    first, second = one.open_stands([0, 1], "its id")
    assert [first, second] == other.open_stands([1, 0], "its id") == [Stand(0), Stand(1)]
    moved = Stand(0, 4, 3, 1, 1)
    one.save_stands([(first, moved)])

    with pytest.raises(BrokenInvariant, match="another one reads it"):
        other.save_stands([(second, Stand(1, 7, 8)), (first, Stand(0, 5, 6))])

    assert one.open_stands([0, 1], "its id") == [moved, second]
    with pytest.raises(BrokenInvariant, match="another topic"):
        one.open_stands([1], "that of another")


def test_a_unit_of_old_usage_is_staged_once_and_its_batches_are_forgotten(side: Side) -> None:
    one, other = side.session(), side.session()
    march, batches = Staged("march", "a digest", 3, "a file"), [(1, b"first"), (0, b"second")]

    assert one.stage_unit(march, batches) is None
    known = other.stage_unit(replace(march, digest="another"), [(0, b"else")])

    assert known is not None
    assert replace(known, staged=0) == march
    assert other.staged_unit("march") == known
    assert other.staged_batches("march") == batches
    other.forget_batches("march")
    assert (one.staged_batches("march"), one.staged_unit("march")) == ([], known)
    one.drop_unit("march")
    assert other.staged_unit("march") is None
    assert other.stage_unit(march, batches) is None
    other.drop_unit("march")
    assert other.staged_batches("march") == []


def test_serials_of_ticks_have_no_gap_and_their_times_rise(side: Side) -> None:
    session = side.with_facts()

    times = [T0, T0 + 5, T0 - 7]
    ticks = [session.write_tick(time, 1) for time in times]

    head = len(FACTS_WRITTEN)
    assert ticks == [Tick(1, T0, head), Tick(2, T0 + 5, head), Tick(3, T0 + 6, head)]
    assert session.ticks_from(2, 5) == ticks[1:]
    assert session.fact_position(3) == head


def test_no_tick_names_a_fact_that_was_not_mirrored(side: Side) -> None:
    session = side.with_facts()
    session.append_facts(lambda _: [NewFact(FACTS_WRITTEN[-1].kind, "s", {})], ADA, T0)

    assert session.write_tick(T0, 1) is None
    assert session.fact_head() == (len(FACTS_WRITTEN) + 1, len(FACTS_WRITTEN))
    session.mark_mirrored(len(FACTS_WRITTEN) + 1)
    assert session.write_tick(T0, 1) is not None


def test_ticks_that_were_not_acked_come_in_order(side: Side) -> None:
    session = side.with_facts()
    assert session.last_acked_tick() is None
    for second in range(4):
        session.write_tick(T0 + second, 1)
    session.mark_acked([1, 3])

    assert session.last_acked_tick() == Tick(3, T0 + 2, len(DECISIONS))

    assert [tick.serial for tick in session.unacked_ticks()] == [2, 4]


def test_one_leads_until_its_session_ends(side: Side) -> None:
    first, second = side.session(), side.session()

    assert first.try_lead()
    assert first.try_lead()
    assert not second.try_lead()
    first.close()
    assert any(second.try_lead() for _ in range(100))


def test_who_asks_for_some_kinds_of_facts_sees_yet_that_all_are_there(side: Side) -> None:
    session, last = side.with_facts(), len(DECISIONS)
    kinds = [session.read_facts(0)[place].kind for place in range(last)]
    meters = [serial for serial, kind in enumerate(kinds, 1) if kind is FactKind.METER]

    def serials(after: int, until: int | None) -> list[int]:
        return [fact.serial for fact in session.read_facts(after, until, {FactKind.METER})]

    assert len(meters) > 1
    assert kinds[last - 1] is not FactKind.METER
    assert serials(0, None) == meters
    assert serials(0, last) == [*meters, last]
    assert serials(meters[0], meters[1]) == [meters[1]]
    assert serials(meters[-1], last + 1) == []


def test_who_decides_sees_all_facts_and_a_failed_decision_writes_none(side: Side) -> None:
    session = side.with_facts()

    def decide(known: Sequence[Fact]) -> Sequence[NewFact]:
        assert [(fact.serial, fact.id) for fact in known] == [
            (fact.serial, fact.id) for fact in session.read_facts(0)
        ]
        raise LookupError

    with pytest.raises(LookupError):
        session.append_facts(decide, ADA, T0)

    assert session.fact_head()[0] == len(FACTS_WRITTEN)
    assert [f.serial for f in session.read_facts(3, 5)] == [4, 5]


def test_no_tick_is_written_while_facts_are_and_none_fails_of_it(servers: Servers) -> None:
    with ExitStack() as held:
        real = held.enter_context(_postgres(servers))
        writer, ticker = (held.enter_context(real.session(f"contract {n}")) for n in range(2))
        ticker.execute("SET lock_timeout = '20ms'")
        seen: list[Tick | None] = []

        def decide(_: Sequence[Fact]) -> Sequence[NewFact]:
            seen.append(ticker.write_tick(T0, 1))
            return [NewFact(f.kind, f.subject, f.body) for f in FACTS_WRITTEN]

        written = writer.append_facts(decide, ADA, T0)
        writer.mark_mirrored(len(written))

        assert seen == [None]
        assert ticker.write_tick(T0, 1) == Tick(1, T0, len(FACTS_WRITTEN))


def test_who_decides_by_facts_read_before_sees_those_written_since(servers: Servers) -> None:
    with ExitStack() as held:
        real = held.enter_context(_postgres(servers))
        first, second = (held.enter_context(real.session(f"contract {n}")) for n in range(2))
        news = [NewFact(f.kind, f.subject, f.body) for f in FACTS_WRITTEN]
        first.append_facts(lambda _: news[:2], ADA, T0)
        known = first.read_facts(0)
        second.append_facts(lambda _: news[2:3], ADA, T0)
        seen: list[int] = []

        def decide(facts: Sequence[Fact]) -> Sequence[NewFact]:
            seen.extend(fact.serial for fact in facts)
            return [*news[3:4], *news[1:2]]

        written = first.append_facts(decide, ADA, T0, known)

        assert seen == [1, 2, 3]
        assert [fact.serial for fact in written] == [4, 5]
        assert written == first.read_facts(3)
        assert [fact.id for fact in written] == [news[3].id_after(1), news[1].id_after(2)]


@pytest.mark.parametrize("forgetful", [False, True])
@pytest.mark.parametrize("cuts", [[], [1], [2, 4], [1, 2, 3, 4, 5]])
def test_usage_is_the_same_however_it_was_flushed(
    side: Side, cuts: list[int], forgetful: bool
) -> None:
    books, session = side.books(), side.session()
    for flush in flushes(*cuts, forgetful=forgetful):
        books.save([flush])

    model = Books(FACTS)
    model.book(story().slices)
    for below in (1, 2, 3, 1 << 62):
        used = session.read_usage(REQUESTS, below)
        for request, rows in model.used(REQUESTS, below).items():
            assert sorted(_told(row) for row in used.get(request, ())) == _summed(request, rows)
    assert session.load_cursors() == {0: (model.partition.cursor, ANCHOR)}


def test_what_came_to_a_request_since_a_cut_is_known(side: Side) -> None:
    books, session = side.books(), side.session()
    for flush in flushes(2):
        books.save([flush])
    model = Books(FACTS)
    model.book(story().slices)
    ahead = [replace(each, start=each.end, end=each.end + 60 * MINUTE) for each in REQUESTS]
    told = set()
    for since, below in ((0, 1), (0, 2), (1, 2), (1, 99), (2, 99), (98, 99)):
        asked = [(each, since) for each in (*REQUESTS, *ahead)]
        expected = [
            any(
                since <= cut < below and each.may_rest_on(series.customer, series.meter, window)
                for series, window, cut in model.store
            )
            for each, _ in asked
        ]
        assert session.moved_since(asked, below) == expected
        told |= {*zip((each.grain for each, _ in asked), expected, strict=True)}
    assert told == {(each.grain, moved) for each in REQUESTS for moved in (True, False)}
    assert session.moved_since([], 99) == []


def _told(row: object) -> tuple[object, ...]:
    names = ("time", "key", "window", "scale", "count", "sum", "minimum", "maximum", "mantissa")
    return tuple(getattr(row, name, 0) for name in names)


def _summed(request: UsageRequest, rows: object) -> list[tuple[object, ...]]:
    """Return what the model's rows come to at the request's grain."""
    found: dict[tuple[object, ...], list[int]] = {}
    for row in rows:  # type: ignore[attr-defined]
        if hasattr(row, "key"):
            found[_told(row)] = []
            continue
        window = row.window if request.grain is Grain.WINDOWS else 0
        sums = found.setdefault((window, row.scale), [0, 0, row.minimum, row.maximum])
        sums[:2] = [sums[0] + row.count, sums[1] + row.sum]
        sums[2:] = [min(sums[2], row.minimum), max(sums[3], row.maximum)]
    return sorted((0, 0, *place, *sums, 0) if sums else place for place, sums in found.items())


def test_both_sides_digest_usage_alike(servers: Servers) -> None:
    told = []
    for name in ("memory", "Postgres"):
        with ExitStack() as held:
            side = _opened(name, servers, held)
            books, session = side.books(), side.session()
            for flush in flushes(2, 3):
                books.save([flush])
            told.append([session.digests_of_usage([REQUESTS], below) for below in (1, 2, 3, 99)])
    assert told[0] == told[1]


def _opened(name: str, servers: Servers, held: ExitStack) -> Side:
    generator = _sides(name, servers)
    held.callback(lambda: next(generator, None))
    return next(generator)


def test_a_second_worker_is_refused_and_writes_nothing(side: Side) -> None:
    first, second, session = side.books(), side.books(), side.session()
    made = flushes(3)
    first.save([made[0]])

    with pytest.raises(BrokenInvariant, match="another worker books it"):
        second.save([made[0]])
    first.save([made[1]])
    with pytest.raises(BrokenInvariant, match="another worker books it"):
        second.save([made[1]])

    model = Books(FACTS)
    model.book(story().slices)
    (calls,) = session.read_usage(REQUESTS[:1])[REQUESTS[0]]
    assert getattr(calls, "count", None) == 3
    assert session.load_cursors()[0][0] == model.partition.cursor


def test_of_two_first_saves_at_once_one_is_refused(servers: Servers) -> None:
    """Where no cursor stands yet there is no row to lock: the second one waits all the same."""
    with ExitStack() as held:
        real = held.enter_context(_postgres(servers))
        workers = [real.connect(name="contract") for _ in range(2)]
        for worker in workers:
            held.callback(worker.close)
        holder = held.enter_context(real.session("contract holder", owner=True))
        (flush,) = flushes()
        pool = held.enter_context(ThreadPoolExecutor(len(workers)))
        with holder.transaction():  # holds both up in the midst of their transactions
            holder.execute("LOCK TABLE partition_tick IN EXCLUSIVE MODE")
            saved = [pool.submit(PostgresBooks(worker).save, [flush]) for worker in workers]
            _await_held_up(holder, len(workers))
        told = [error for future in saved if (error := future.exception(20))]

        assert [type(error) for error in told] == [BrokenInvariant]
        assert "another worker books it" in str(told[0])
        assert holder.execute("SELECT source_offset FROM cursor").fetchall() == [
            (flush.after.offset,)
        ]


def _held_up(session: Session) -> int:
    rows = session.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND application_name = 'talea contract'"
    ).fetchall()
    return int(rows[0][0])


def _await_held_up(holder: Session, count: int) -> None:
    deadline = monotonic() + 20
    while _held_up(holder) < count and monotonic() < deadline:
        sleep(0.01)


def test_a_flush_that_repeats_a_row_leaves_nothing_behind(side: Side) -> None:
    books, session = side.books(), side.session()
    (flush,) = flushes()
    twice = replace(flush.booked, ticks=flush.booked.ticks * 2)

    with pytest.raises((BrokenInvariant, UniqueViolation)):
        books.save([replace(flush, booked=twice)])

    assert session.load_cursors() == {}
    assert session.read_usage(REQUESTS) == {}
    books.save([flush])
    assert session.load_cursors()[0][0] == flush.after


def test_places_of_ticks_are_found(side: Side) -> None:
    books, session = side.books(), side.session()
    (flush,) = flushes()
    books.save([flush])
    head = FACTS.head

    first, second = Tick(1, T0, head), Tick(2, T0 + MINUTE, head)
    assert session.tick_before(0, 0) == (NO_TICK, -1)
    assert session.tick_before(0, 2) == (first, 0)
    assert session.tick_before(0, 3) == (second, 2)
    assert session.offset_at(0, T0) == 0
    assert session.offset_at(0, T0 + MINUTE + 1) == 2
    assert session.last_tick_offset(0, 0) == -1
    assert session.last_tick_offset(0, 2) == 2
    assert session.tick_passed(0, 2) == flush.booked.ticks[1]


def test_sequences_and_cuts_come_back(side: Side) -> None:
    books, session = side.books(), side.session()
    (flush,) = flushes()
    books.save([flush])

    assert session.load_sequences(0) == flush.booked.sequences
    assert sorted(session.load_cuts(0), key=str) == sorted(flush.booked.cuts, key=str)
    assert session.load_cuts(1) == []
    assert session.cuts_before(["acme", "globex"], 3) == {"acme": 2}
    assert session.cuts_before(["acme"], 2) == {}


def test_a_sequence_that_is_over_comes_back_when_it_is_asked_for_by_name(side: Side) -> None:
    books, session = side.books(), side.session()
    open_one, gap, over = (
        SequenceState(next=1),
        SequenceState(next=5, gaps=((1, 2),), since=(T0,), ended=True),
        SequenceState(next=5, ended=True),
    )
    kept = {("p", "open"): open_one, ("p", "gap"): gap, ("p", "over"): over}
    books.save([Flush(Cursor(0), Cursor(0, 0, 0), ANCHOR, Booked(sequences=dict(kept)))])

    assert session.load_sequences(0) == {key: kept[key] for key in [("p", "open"), ("p", "gap")]}
    assert {key: session.load_sequence(0, key) for key in kept} == kept
    assert session.load_sequence(0, ("p", "another")) is None
    assert session.load_sequence(1, ("p", "over")) is None


def marking(*payers: set[str]) -> list[Flush]:
    """Flushes of one partition, one after the other, that mark these payers and no more."""
    stands = [Cursor(0), *(replace(Cursor(0), offset=offset) for offset in range(len(payers)))]
    return [
        Flush(before, after, ANCHOR, Booked(marked=marked))
        for (before, after), marked in zip(pairwise(stands), payers, strict=True)
    ]


def test_batches_booked_before_positions_were_kept_are_still_known(servers: Servers) -> None:
    """Migration 0013 widens what is remembered of a sequence; what it lacks stands as -1."""
    migration = (schema_folder() / "sql" / "0013_conflicts.sql").read_text()
    batches = [Remembered(n, 1, bytes([n]) * 16) for n in range(64)]
    old = b"".join(pack(">qi16s", *each[:3]) for each in batches)
    with _postgres(servers) as real, real.session("contract", owner=True) as connection:
        for epoch, recent in (("e1", old), ("e2", b"")):
            connection.execute(
                "INSERT INTO sequence_state (partition_no, producer, epoch, next, ended, gaps,"
                " recent) VALUES (0, 'host-1', %s, 64, false, '{}', %s)",
                [epoch, recent],
            )
        connection.execute(migration.encode())
        found = connection.load_sequences(0)

    assert {epoch: [*state.recent] for (_, epoch), state in found.items()} == {
        "e1": batches,
        "e2": [],
    }


def test_a_mark_that_is_taken_is_gone_until_it_is_made_anew(side: Side) -> None:
    books, session = side.books(), side.session()
    first, second = marking({"acme", "globex"}, {"acme"})
    books.save([first])

    assert session.take_dirty([1], 10) == []
    assert session.take_dirty([0], 10) == [("acme", 0), ("globex", 0)]
    assert session.take_dirty([0], 10) == []
    books.save([second])
    assert session.take_dirty([0, 1], 10) == [("acme", 0)]


def test_a_payer_that_every_flush_marks_is_rated_in_its_turn(side: Side) -> None:
    """Neither does it wait for ever, nor do others wait for it."""
    books, session = side.books(), side.session()
    taken: list[tuple[str, int]] = []
    for flush in marking(*({"busy", f"quiet {i}"} for i in range(6))):
        books.save([flush])
        taken += session.take_dirty([0], 1)

    turns = [payer for payer, _ in taken]
    assert turns == ["busy", "quiet 0", "busy", "quiet 1", "quiet 2", "busy"]


def test_what_is_told_of_an_array_comes_back(servers: Servers) -> None:
    told = [[], [""], ["", ""], ["a", "", "b."], ["null", "{NULL}", '"\\', "é\n,"]]
    with _postgres(servers) as real, real.session("contract") as session:
        found = [one(session, f"SELECT {TEXTS}", texts(each))[0] for each in told]
        numbers = [one(session, f"SELECT {LONGS}", longs(each))[0] for each in ([], [-1, 1 << 62])]

    assert found == told
    assert numbers == [[], [-1, 1 << 62]]


@contextmanager
def owned(servers: Servers) -> Iterator[tuple[Session, Session]]:
    """The sessions of the tables' owner and of a worker."""
    with (
        _postgres(servers) as real,
        real.session("contract owner", owner=True) as owner,
        real.session("contract") as session,
    ):
        yield owner, session


def rows_read(session: Session, table: str) -> int:
    """How many rows of a table this transaction has read, by whatever plan."""
    (read,) = one(
        session,
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
        " WHERE schemaname = current_schema() AND relname = %s",
        table,
    )
    return int(read)


@pytest.mark.parametrize("analyzed", [True, False])
def test_a_bite_of_marks_reads_no_more_marks_than_it_takes(
    servers: Servers, *, analyzed: bool
) -> None:
    """Worked out while nobody was marked, its plan compared all marks with all that it took."""
    with owned(servers) as (owner, session):
        if analyzed:
            owner.execute("VACUUM ANALYZE dirty")
        for _ in range(20):
            assert session.take_dirty([0, 1], 100) == []
        owner.execute(
            "INSERT INTO dirty (payer, partition_no, version)"
            " SELECT 'payer-' || n, n % 2, 0 FROM generate_series(1, 5000) AS n"
        )
        with session.snapshot():
            assert len(session.take_dirty([0, 1], 100)) == 100
            read = rows_read(session, "dirty")
        assert 100 <= read <= 300


@pytest.mark.parametrize("analyzed", [True, False])
def test_a_bite_of_payers_reads_no_more_drafts_than_they_have(
    servers: Servers, *, analyzed: bool
) -> None:
    """Nobody had counted the drafts: all were read in the order in which they are locked."""
    with owned(servers) as (owner, session):
        drafts = [draft(1, name=f"d{n:04}", payer=f"payer-{n:04}") for n in range(5000)]
        session.store_drafts(drafts)
        if analyzed:
            owner.execute("VACUUM ANALYZE draft")
        with session.snapshot():
            payers = [each.payer for each in drafts[::10]]
            assert len([*session.hold_drafts(payers)]) == 500
            read = rows_read(session, "draft")
        assert 500 <= read <= 1500


def test_who_marks_a_payer_that_is_being_rated_waits_and_the_mark_stays(servers: Servers) -> None:
    with ExitStack() as held:
        real = held.enter_context(_postgres(servers))
        session = held.enter_context(real.session("contract"))
        watcher = held.enter_context(real.session("contract watcher", owner=True))
        booking = held.enter_context(closing(real.connect(name="contract")))
        pool = held.enter_context(ThreadPoolExecutor(1))
        first, second = marking({"acme"}, {"acme"})
        books = PostgresBooks(booking)
        books.save([first])
        with session.flowing():
            assert session.take_dirty([0], 10) == [("acme", 0)]
            saved = pool.submit(books.save, [second])
            _await_held_up(watcher, 1)
        saved.result(20)

        assert session.take_dirty([0], 10) == [("acme", 0)]


def test_who_books_another_partition_does_not_wait_for_a_rating(servers: Servers) -> None:
    elsewhere = Flush(Cursor(1), Cursor(1, 0, 0), ANCHOR, Booked(marked={"globex"}))
    with ExitStack() as held:
        real = held.enter_context(_postgres(servers))
        session = held.enter_context(real.session("contract"))
        booking = held.enter_context(closing(real.connect(name="contract")))
        books = PostgresBooks(booking)
        books.save(marking({"acme"}))
        with session.flowing():
            assert session.take_dirty([0], 10) == [("acme", 0)]
            books.save([elsewhere])
        assert session.take_dirty([0, 1], 10) == [("globex", 1)]


def test_a_rating_that_does_not_see_what_marked_its_payer_is_overtaken(servers: Servers) -> None:
    with ExitStack() as held:
        real = held.enter_context(_postgres(servers))
        session = held.enter_context(real.session("contract"))
        watcher = held.enter_context(real.session("contract watcher", owner=True))
        booking = held.enter_context(closing(real.connect(name="contract")))
        pool = held.enter_context(ThreadPoolExecutor(1))
        first, second = marking({"acme"}, {"acme"})
        books = PostgresBooks(booking)
        books.save([first])

        def rate() -> list[tuple[str, int]]:
            with session.flowing():
                return session.take_dirty([0], 10)

        with booking.transaction():  # saved within it, so not committed yet
            books.save([second])
            rated = pool.submit(rate)
            _await_held_up(watcher, 1)

        assert isinstance(rated.exception(20), Overtaken)
        assert rate() == [("acme", 0)]


def draft(offset: int, *, instant: Instant = T0, name: str = "d1", payer: str = "acme") -> Draft:
    """A draft at a position."""
    position = DraftPosition(0, offset, T0)
    return Draft.of(payer, "EUR", instant, position, {"id": name, "at": offset, "lines": []})


def test_who_issues_waits_for_who_rates_and_they_never_wait_in_a_ring(servers: Servers) -> None:
    """One took drafts in the order of cuts, the other in that of ids: a deadlock ended either."""
    with ExitStack() as held:
        real = held.enter_context(_postgres(servers))
        rating = held.enter_context(real.session("contract rating"))
        watcher = held.enter_context(real.session("contract watcher", owner=True))
        issuing = held.enter_context(real.session("contract"))
        pool = held.enter_context(ThreadPoolExecutor(1))
        later, sooner = draft(1, instant=T0 + 1, name="d1"), draft(1, name="d2")
        rating.store_drafts([later, sooner])
        cuts = [Cut("acme", "EUR", each.instant, 1) for each in (sooner, later)]

        with rating.flowing():
            rating.drop_drafts(rating.hold_drafts(["acme"]), [later, sooner])
            issued = pool.submit(preparing.drop_cut_drafts, issuing, cuts)
            _await_held_up(watcher, 1)
            rating.store_drafts([draft(2, instant=T0 + 1, name="d1"), draft(2, name="d2")])
        issued.result(20)

        assert _drafts(rating) == []


def test_nothing_stays_of_what_flows_and_fails(servers: Servers) -> None:
    """Whether the failure is the worker's, or that of a statement nobody waited for, at the end."""
    with ExitStack() as held:
        real = held.enter_context(_postgres(servers))
        session = held.enter_context(real.session("contract"))
        booking = held.enter_context(closing(real.connect(name="contract")))
        PostgresBooks(booking).save(marking({"acme"}))
        with suppress(LookupError), session.flowing():
            assert session.take_dirty([0], 10) == [("acme", 0)]
            session.store_drafts([draft(1)])
            raise LookupError

        def write_into_nothing() -> None:
            with session.flowing():
                session.store_drafts([draft(1)])
                session.execute("DELETE FROM no_such_table")
                session.store_drafts([draft(2)])

        with pytest.raises(UndefinedTable):
            write_into_nothing()
        assert _drafts(session) == []

        with session.flowing():
            assert session.take_dirty([0], 10) == [("acme", 0)]
            session.store_drafts([draft(3)])
        assert [each.position.offset for each in _drafts(session)] == [3]
        assert session.take_dirty([0], 10) == []


def test_an_older_draft_never_takes_the_place_of_a_newer_one(side: Side) -> None:
    session = side.session()
    session.store_drafts([draft(5)])
    session.store_drafts([draft(4), draft(3, name="d2")])

    assert {each.id: each.position.offset for each in _drafts(session)} == {"d1": 5, "d2": 3}
    session.drop_drafts(session.hold_drafts(["acme"]), [draft(5)])
    assert [each.id for each in _drafts(session)] == ["d1"]


def test_a_draft_keeps_what_is_wrong_with_it_until_it_is_mended(side: Side) -> None:
    session = side.session()
    wrong: dict[str, Json] = {"code": "beyond_last_tier", "severity": "critical"}
    session.store_drafts([draft(5)._replace(issues=[wrong])])
    assert [[*each.issues] for each in _drafts(session)] == [[wrong]]

    session.store_drafts([draft(5)])
    assert [[*each.issues] for each in _drafts(session)] == [[]]


def test_what_drafts_with_issues_await_is_told_once(side: Side) -> None:
    session, wrong = side.session(), [{"code": "tax_awaited", "severity": "critical"}]
    body: dict[str, Json] = {"lines": [], "tax": {"awaited": [{"day": "2026-04-01"}]}}
    for name, issues in (("d1", wrong), ("d2", wrong), ("d3", [])):
        told: dict[str, Json] = {**body, "id": name}
        if name == "d3":
            told["tax"] = {"awaited": [{"day": "2026-05-01"}]}
        made = Draft.of("acme", "EUR", T0, DraftPosition(0, 1, T0), told, issues)
        session.store_drafts([made])

    assert session.awaited_taxes(9) == [{"day": "2026-04-01"}]
    assert session.awaited_taxes(0) == []


def test_a_draft_that_is_cut_stays_until_the_finalizer_has_made_of_it_what_there_is(
    side: Side,
) -> None:
    session = cuts_saved(side)
    session.store_drafts([draft(0, instant=T0 + 1), draft(0, instant=T0 + 9, name="open")])

    session.drop_drafts(session.hold_drafts(["acme"]), [])
    assert [each.id for each in _drafts(session)] == ["d1"]
    with session.transaction():
        found = session.take_cuts([], 1)
        session.save_prepared([PreparedCut(found[0][0], [], {})])
    assert _drafts(session) == []


def test_nobody_takes_cuts_from_who_holds_all_and_nobody_does_while_another_has_some(
    servers: Servers,
) -> None:
    with ExitStack() as held:
        side = _opened("Postgres", servers, held)
        first, second = cuts_saved(side), side.session()
        assert isinstance(first, Session)
        assert isinstance(second, Session)
        with first.transaction():
            assert len(first.take_cuts([], 1)) == 1
            assert not second.hold_all_cuts()
        assert second.hold_all_cuts()
        with first.transaction():
            assert first.take_cuts([], 9) == []
        with second.transaction():
            assert len(second.take_cuts([], 9)) == 2
        second.release_all_cuts()
        with first.transaction():
            assert len(first.take_cuts([], 9)) == 2
        assert first.cuts_prepared() == (0, 3)


def _drafts(session: Store) -> list[Draft]:
    from pipeline.stores.postgres.drafts import read_drafts

    if isinstance(session, WorkerSession):
        return sorted(session.tables.drafts.values(), key=lambda each: each.id)
    assert isinstance(session, Session)
    return read_drafts(session)


def cuts_saved(side: Side) -> Store:
    """A session on books with three cuts, the last one of another payer."""
    session, books = side.with_facts(), side.books()
    for second in range(3):
        session.write_tick(T0 + second, 1)
    cuts = [
        Cut("acme", "EUR", T0 + 2, 2),
        Cut("acme", "EUR", T0 + 1, 2),
        Cut("globex", "EUR", T0, 3),
    ]
    cursor = Cursor(0, 0, 0)
    books.save([Flush(Cursor(0), cursor, ANCHOR, Booked(cuts=cuts))])
    return session


def prepared(cut: Cut) -> Prepared:
    """A document of a cut."""
    body: dict[str, Json] = {
        "id": f"{cut.payer}-{cut.instant}",
        "kind": "invoice",
        "currency": cut.currency,
        "totals": {"total_minor": 100},
        "lines": [{"rate_card": None}, {"rate_card": {"plan": cut.payer, "id": "calls"}}],
    }
    content = canonical(body)
    place = (cut.payer, cut.currency, cut.instant, "invoice", 0, "talea")
    return Prepared(*place, cut.serial, content, {})


def record(settlement: Json = None) -> bytes:
    """The issue record of a document."""
    return canonical({"issued_at": "2026-04-01T00:00:00Z", "settlement": settlement})


def composed(cut: Cut, reached: Carried) -> PreparedCut:
    """What a document of a cut is kept as."""
    return PreparedCut(cut, [prepared(cut)], reached)


SealOne = Callable[[Prepared, int, str], tuple[str, bytes, bytes]]


def numbered(_each: Prepared, place: int, _previous: str) -> tuple[str, bytes, bytes]:
    return f"T-{place}", record(), bytes([place]) * 32


def each_by(seal: SealOne) -> Registrar:
    """Seal one after the other."""

    def seal_all(waiting: Sequence[Prepared], place: int, previous: str) -> list[Sealed]:
        found = []
        for each in waiting:
            place += 1
            number, record, sealed = seal(each, place, previous)
            found.append(Sealed(place, number, each.content, record, sealed))
            previous = sealed.hex()
        return found

    return seal_all


def reach(until: Instant) -> Reach:
    """All up to an instant, and a fee of the minute behind it."""
    discount: dict[str, Json] = {"type": "percentage", "percent": "10", "amount_minor": 50}
    card: dict[str, Json] = {"plan": "p", "price": {"type": "flat", "amount": "5"}}
    fee = Fee(until, until + MINUTE, "Fee", "1", "5", 500, (discount,), card)
    return Reach(until, until, (fee,))


def test_cuts_are_taken_in_order_and_once(side: Side) -> None:
    session = cuts_saved(side)
    taken = []
    while True:
        with session.transaction():
            found = session.take_cuts([], 1)
            if not found:
                break
            taken.append((found[0][0].payer, found[0][0].instant))
            reached = {("s", "fee"): reach(found[0][0].instant)}
            session.save_prepared([composed(found[0][0], reached)])

    assert taken == [("acme", T0 + 1), ("acme", T0 + 2), ("globex", T0)]
    assert session.carried_by(["acme"]) == {("acme", "EUR"): {("s", "fee"): reach(T0 + 2)}}
    assert session.read_cuts(["acme", "globex"], T0).unprepared == {}


def test_usage_of_closed_periods_is_told_to_the_next_cut_alone(side: Side) -> None:
    session, books = side.with_facts(), side.books()
    for second in range(4):
        session.write_tick(T0 + second, 1)
    cuts = [Cut("acme", "EUR", T0 + 1, 2), Cut("acme", "USD", T0 + 1, 2), Cut("acme", "EUR", T0, 4)]
    decided = replace(cuts[2], fact=7)
    late = {("acme", 2): LateUsage(T0 + 5, T0 + 3), ("bob", 2): LateUsage(T0, T0)}
    earlier = Booked(cuts=cuts[:2], late=late)
    later = Booked(cuts=[decided], late={("acme", 2): LateUsage(T0 + 4, T0 + 9)})
    books.save([Flush(Cursor(0), Cursor(0, 0, 0), ANCHOR, earlier)])
    books.save([Flush(Cursor(0, 0, 0), Cursor(0, 1, 1), ANCHOR, later)])

    assert session.late_usage("acme", "EUR", 2) == []
    assert session.late_usage("acme", "EUR", 4) == [(2, T0 + 4)]
    assert session.late_usage("acme", "EUR", 9) == []  # cut 4 corrected it
    assert session.late_usage("acme", "EUR", 9, carried=True) == [(2, T0 + 4)]
    assert session.late_usage("acme", "USD", 9) == [(2, T0 + 4)]
    assert decided in session.load_cuts(0)
    assert session.read_cuts(["acme"], T0).unprepared.keys() == {("acme", "EUR"), ("acme", "USD")}
    assert session.read_cuts(["acme"], T0 + 9).unprepared["acme", "EUR"] == [
        (T0 + 1, session.fact_position(2))
    ]
    assert session.late_uncorrected(T0 + 4) == [("acme", "USD")]
    assert session.cuts_of_facts([7, 8]) == {7}


def test_a_decision_s_cut_marks_its_payer_once_it_is_prepared(side: Side) -> None:
    """What it bills early is no longer left on drafts of the periods that run on."""
    session, books = side.with_facts(), side.books()
    session.write_tick(T0, 1)
    cut = Cut("acme", "EUR", T0, 1, 3)
    books.save([Flush(Cursor(0), Cursor(0, 0, 0), ANCHOR, Booked(cuts=[cut]))])
    with session.transaction():
        assert session.take_dirty([0], 9) == []
    assert session.read_cuts(["acme", "globex"], T0).to_come == {"acme": {3}}
    with session.transaction():
        assert session.take_cuts([], 9) == [(cut, 0)]
        session.save_prepared([PreparedCut(cut, [], {})])

    assert session.read_cuts(["acme"], T0).to_come == {}
    with session.transaction():
        assert session.take_dirty([0], 9) == [("acme", 0)]


def test_a_cut_whose_preparing_failed_is_taken_again(side: Side) -> None:
    session = cuts_saved(side)
    with suppress(LookupError), session.transaction():
        found = session.take_cuts([], 1)
        session.save_prepared([composed(found[0][0], {("s", "fee"): reach(T0)})])
        raise LookupError

    assert session.issuers_waiting() == []
    assert session.carried_by(["acme"]) == {}
    head = len(FACTS_WRITTEN)
    assert session.read_cuts(["acme"], T0).unprepared == {
        ("acme", "EUR"): [(T0 + 1, head), (T0 + 2, head)]
    }
    closed = session.read_cuts(["acme", "globex"], T0 + 1).closed
    assert {payer: set(own) for payer, own in closed.items()} == {"acme": {("EUR", T0 + 2)}}


def test_numbers_have_no_gap_and_a_draft_goes_with_its_document(side: Side) -> None:
    session = cuts_saved(side)
    session.store_drafts([draft(5, instant=T0 + 1), draft(5, instant=T0 + 9, name="d9")])
    for _ in range(2):
        with session.transaction():
            found = session.take_cuts([], 1)
            session.save_prepared([composed(found[0][0], {})])

    seen: list[tuple[int, str]] = []

    def seal(each: Prepared, place: int, previous: str) -> tuple[str, bytes, bytes]:
        seen.append((place, previous))
        return f"T-{place}", record(), bytes([place]) * 32

    assert session.issuers_waiting() == ["talea"]
    assert session.register("talea", each_by(seal), 1) == 1
    assert session.register("talea", each_by(seal), 9) == 1
    assert session.register("talea", each_by(seal), 9) == 0
    assert seen == [(1, "0" * 64), (2, "01" * 32)]
    issued = [(d.sealed.number, d.instant) for d in session.read_documents()]
    assert issued == [("T-1", T0 + 1), ("T-2", T0 + 2)]
    assert session.read_documents("globex") == []
    assert [each.id for each in _drafts(session)] == ["d9"]


def test_contents_go_once_a_fact_and_a_checkpoint_say_so_and_are_owed_no_more(side: Side) -> None:
    session, owner = cuts_saved(side), side.owner()
    while found := session.take_cuts([], 1):
        with session.transaction():
            session.save_prepared([composed(found[0][0], {})])
    session.register("talea", each_by(numbered), 9)
    kept = {1: '{"lines": []}', 2: '{"lines": [1]}'}
    removed = NewFact(FactKind.RETENTION, "talea", {"place": 2})

    def remove(*told: NewFact) -> None:
        with owner.transaction():
            owner.append_facts(lambda _: told, ADA, T0)
            owner.remove_contents("talea", kept)

    for told in ((), (removed,)):
        with pytest.raises((BrokenInvariant, RestrictViolation)):
            remove(*told)
    owner.write_checkpoint(Checkpoint(Head("talea", 2, bytes([2]) * 32, T0), b"key", b"signature"))
    remove(removed)

    documents = session.read_documents()
    assert [each.kept for each in documents] == [*kept.values(), None]
    assert [each.sealed.is_removed for each in documents] == [True, True, False]
    assert [each.content.get("lines") for each in documents[:2]] == [[], [1]]
    assert [each.place for each in session.read_owed(9).documents] == [3]
    with pytest.raises((BrokenInvariant, RestrictViolation)):
        remove(removed)


def test_payers_that_are_held_keep_waiting_and_what_was_invoiced_is_known(side: Side) -> None:
    session = cuts_saved(side)
    with session.transaction():
        made = [composed(cut, {}) for cut, _ in session.take_cuts([], 9)]
        session.save_prepared(made)
    while (rest := session.take_cuts([], 9)) != []:
        session.save_prepared([composed(cut, {}) for cut, _ in rest])

    assert session.earlier_totals(["acme", "globex"], 9) == {}
    for held in (
        Holds(everything=True),
        Holds(prices=frozenset({"calls"})),
        Holds(customers=frozenset({"globex"}), prices=frozenset({"acme/calls"})),
    ):
        assert session.register("talea", each_by(numbered), 9, partial(replace, held)) == 0
    acme = Holds(customers=frozenset({"acme"}), prices=frozenset({"other", "acme/other"}))
    assert session.register("talea", each_by(numbered), 9, partial(replace, acme)) == 1
    assert [each.payer for each in session.read_documents()] == ["globex"]
    assert session.register("talea", each_by(numbered), 9) == 2
    found = session.earlier_totals(["acme", "globex", "who"], 9)
    assert found == {("acme", "EUR"): [100, 100], ("globex", "EUR"): [100]}
    assert session.earlier_totals(["acme"], 1) == {("acme", "EUR"): [100]}


def test_what_a_document_takes_of_a_credit_is_known_to_the_next(side: Side) -> None:
    session = cuts_saved(side)
    for _ in range(3):
        with session.transaction():
            found = session.take_cuts([], 1)
            session.save_prepared([composed(found[0][0], {})])
    seen: list[tuple[str, Mapping[str, int]]] = []

    def seal(each: Prepared, place: int, _previous: str) -> tuple[str, bytes, bytes]:
        seen.append((each.payer, session.credits_used([each.payer]).get(each.payer, {})))
        paid: list[Json] = [
            {"credit": "c1", "amount_minor": place},
            {"credit": "c2", "amount_minor": 7},
        ]
        settlement: Json = None if each.payer == "globex" else {"credits": paid}
        return f"T-{place}", record(settlement), bytes([place]) * 32

    for _ in range(3):
        session.register("talea", each_by(seal), 1)
    assert seen == [("globex", {}), ("acme", {}), ("acme", {"c1": 2, "c2": 7})]
    assert session.credits_used(["acme", "globex"]) == {"acme": {"c1": 5, "c2": 14}}


def noted(corrects: str, cause: str | None, cut: Cut) -> Prepared:
    """A note over 30 that is made at a cut."""
    told: dict[str, Json] = {
        "id": f"note-{cut.instant}",
        "kind": "credit_note",
        "currency": cut.currency,
        "totals": {"total_minor": -30},
        "lines": [],
        "corrects": corrects,
        "cause": cause,
        "reason_code": "goodwill",
        "voids": False,
    }
    return replace(prepared(cut), kind="credit_note", content=canonical(told))


def issued(session: Store, make: Callable[[Cut], Prepared]) -> Document:
    """Issue what is made of the next cut."""
    with session.transaction():
        ((cut, _),) = session.take_cuts([], 1)
        session.save_prepared([PreparedCut(cut, [make(cut)], {})])
    session.register("talea", each_by(numbered), 1)
    return session.read_documents()[-1]


def test_what_happens_to_a_document_is_kept_once_and_in_order(side: Side) -> None:
    session = cuts_saved(side)
    document = issued(session, prepared)
    name = document.id

    def happens(kind: EventKind, minor: int, reference: str) -> int:
        event = InvoiceEvent(kind, "ada", "a test", T0, minor, reference)
        return session.record_event(name, document.before_issue, event).left_minor

    assert session.states() == {name: "finalized"}
    assert [happens(EventKind.PAID, 60, "tx-1") for _ in range(2)] == [40, 40]
    with pytest.raises(ValueError, match="another amount"):
        happens(EventKind.PAID, 61, "tx-1")
    with pytest.raises(ValueError, match=r"0\.40 EUR is left to pay"):
        happens(EventKind.PAID, 41, "tx-2")
    assert session.states("acme") == {name: "partially_paid"}
    assert session.states("globex") == {}
    with suppress(LookupError), session.transaction():
        assert happens(EventKind.REFUNDED, 60, "tx-1") == 100
        raise LookupError

    told = [(each.kind, each.amount_minor, each.reference) for each in session.read_events(name)]
    assert told == [(EventKind.FINALIZED, 0, None), (EventKind.PAID, 60, "tx-1")]
    found = session.find_document("T-1"), session.document_of(name)
    assert [each and each.id for each in found] == [name, name]
    assert (session.find_document("T-2"), session.document_of("other")) == (None, None)


def test_a_note_happens_to_what_it_corrects_by_whoever_decided_it(side: Side) -> None:
    session = cuts_saved(side)
    fact = session.read_facts(0)[0]
    name = issued(session, prepared).id
    notes = [issued(session, partial(noted, name, by)).id for by in (fact.id, None)]

    told = [
        (each.kind, each.actor, each.reason, each.amount_minor, each.reference)
        for each in session.read_events(name)
    ]
    assert told == [
        (EventKind.FINALIZED, "finalizer", "period closed", 0, None),
        (EventKind.CREDITED, fact.actor, fact.reason, 30, notes[0]),
        (EventKind.CREDITED, "finalizer", "goodwill", 30, notes[1]),
    ]
    assert session.states() == dict.fromkeys(notes, "finalized") | {name: "partially_credited"}


def test_a_note_gets_its_number_behind_what_it_corrects(side: Side) -> None:
    """Also where that is held, or its period ended later than the cut that made the note."""
    session = cuts_saved(side)
    made: list[Callable[[Cut], Prepared]] = [prepared]
    for _ in range(3):
        with session.transaction():
            ((cut, _),) = session.take_cuts([], 1)
            document = made[-1](cut)
            session.save_prepared([PreparedCut(cut, [document], {})])
        made.append(partial(noted, f"acme-{T0 + 1}", None))
    held = Holds(prices=frozenset({"acme/calls"}))

    assert session.register("talea", each_by(numbered), 9, partial(replace, held)) == 0
    while session.register("talea", each_by(numbered), 9):
        pass
    issued = [(each.kind, each.instant - T0) for each in session.read_documents()]
    assert issued == [("invoice", 1), ("credit_note", 0), ("credit_note", 2)]


def test_a_failed_seal_leaves_all_that_waits(side: Side) -> None:
    session = cuts_saved(side)
    with session.transaction():
        found = session.take_cuts([], 1)
        session.save_prepared([composed(found[0][0], {})])

    def seal(_each: Prepared, _place: int, _previous: str) -> tuple[str, bytes, bytes]:
        raise LookupError

    with pytest.raises(LookupError):
        session.register("talea", each_by(seal), 9)
    assert session.issuers_waiting() == ["talea"]
    assert session.read_documents() == []


def test_the_third_death_at_one_message_pauses_its_partition(side: Side) -> None:
    session = side.session()

    assert [session.record_death(1, 7, "why") for _ in range(2)] == [1, 2]
    assert session.record_death(1, 8, "why") == 1
    assert session.read_pauses() == []
    assert session.record_death(1, 7, "why") == 3
    session.pause(1, 9, "rejects", "more")
    assert [(p.partition, p.offset, p.reason) for p in session.read_pauses()] == [(1, 7, "poison")]


def test_what_changed_is_owed_until_it_is_settled(side: Side) -> None:
    session, drafts = side.session(), [draft(1), draft(2, name="d2")]
    assert session.lead_publishing()
    assert session.publication_identity() is None
    assert not session.read_owed(10)
    session.store_drafts(drafts)

    owed = session.read_owed(10)
    assert [(each.id, each.payer, each.standing) for each in owed.changes] == [
        ("d1", "acme", None),
        ("d2", "acme", None),
    ]
    assert [each.draft and each.draft.position for each in owed.changes] == [
        each.position for each in drafts
    ]
    session.note_keys(owed.changes)
    assert [each.standing for each in session.read_owed(10).changes] == [frozenset()] * 2
    session.drop_drafts(
        session.hold_drafts(["acme"]), keep=drafts[:1]
    )  # between the look and the ack
    session.settle(owed)
    again = session.read_owed(10)
    assert [(each.id, each.standing, each.draft) for each in again.changes] == [
        ("d2", frozenset(), None)
    ]
    session.settle(again)
    assert not session.read_owed(10)


def test_a_draft_that_was_rated_several_times_is_owed_once(side: Side) -> None:
    session = side.session()
    for offset in range(1, 4):
        session.store_drafts([draft(offset), draft(offset, name="d2")])

    owed = session.read_owed(2)
    assert [(each.id, len(each.marks)) for each in owed.changes] == [("d1", 3), ("d2", 3)]
    session.settle(owed)
    assert not session.read_owed(2)


SHARED = Hollow.of(
    '{"id":%1$s,"lines":[{"id":%2$s,"name":"100%% of \\"%3$s\\"","total":%4$s}],"total":%4$s}'
)


@pytest.mark.parametrize("line", ["line_1", "line_2"])
def test_a_draft_is_read_and_owed_alike_whether_its_text_is_shared_or_its_own(
    side: Side, line: str
) -> None:
    session = side.session()
    filled = Filled(SHARED, ['"d1"', f'"{line}"', "7", "12"])
    own = draft(5)._replace(told=filled.text)

    for told in (filled, filled.text, filled):
        session.store_drafts([own._replace(told=told)])
        (found,) = _drafts(session)
        told = f'[{{"id":"{line}","name":"100% of \\"7\\"","total":12}}]'
        assert found.text == f'{{"id":"d1","lines":{told},"total":12}}'
        (owed,) = session.read_owed(10).changes
        assert owed.draft == DraftText.kept(own.position, own.text, NO_ISSUES)
        assert owed.draft.lines.keys() == {line}


def test_publishing_to_other_topics_owes_everything_anew(side: Side) -> None:
    session = side.session()
    session.store_drafts([draft(1)])
    session.settle(session.read_owed(10))

    session.begin_publication("other", {"gone": ("globex", frozenset({"line"}))}, {"talea": 3})

    assert session.publication_identity() == "other"
    assert [(each.id, each.standing) for each in session.read_owed(10).changes] == [
        ("d1", None),
        ("gone", frozenset({"line"})),
    ]
    assert session.sealed_at("talea", 1) is None


def test_documents_are_owed_in_the_order_of_their_chain(side: Side) -> None:
    session = cuts_saved(side)
    while found := session.take_cuts([], 1):
        with session.transaction():
            session.save_prepared([composed(found[0][0], {})])
    session.register("talea", each_by(numbered), 9)

    owed = session.read_owed(10)
    assert [each.place for each in owed.documents] == [1, 2, 3]
    assert [each.place for each in session.read_owed(1).documents] == [1]
    assert session.sealed_at("talea", 2) == bytes([2]) * 32
    session.settle(owed)
    assert session.read_owed(10).documents == []


def test_whoever_ends_a_pause_forgets_its_deaths(side: Side) -> None:
    session = side.session()
    for _ in range(3):
        session.record_death(1, 7, "why")

    assert session.end_pause(1)
    assert not session.end_pause(1)
    assert session.read_pauses() == []
    assert session.record_death(1, 7, "why") == 1


def test_deaths_of_messages_that_are_booked_are_forgotten(side: Side) -> None:
    session = side.session()
    assert session.lock_cursor(0) == -1
    for _ in range(2):
        session.record_death(0, 0, "why")
    side.books().save(flushes())

    assert session.lock_cursor(0) == session.load_cursors()[0][0].offset
    session.record_death(0, 99, "why")
    assert session.record_death(0, 0, "why") == 1


def test_reversals_wait_are_matched_and_take_off(side: Side) -> None:
    """Of two reversals one meets its original, one another than it says; a third waits on."""
    event = usage(id="r", meter="level", value="3", time=T0)
    wrong, lost = replace(event, value=event.value + 1), replace(event, id="lost")
    body: dict[str, Json] = {"partition": 0, "matches": "2:0=1:0*0 2:1!1:0*0"}
    log = fact_log(*DECISIONS, (FactKind.MATCH, "0/2:0", body))
    line, books = Line(log), Books(log)
    line.tick(Tick(1, T0, log.head - 1))
    line.send(keyed(event))
    line.send(keyed(*(replace(each, reversed_at=T0) for each in (event, wrong, lost))))
    line.tick(Tick(2, T0 + 1, log.head))
    session, keeper = side.session(), side.books()
    states, counts = [], []
    for piece in ([0, 1, 2], [3]):
        before = books.partition.cursor
        booked = books.book([line.slices[at] for at in piece])
        keeper.save([Flush(before, books.partition.cursor, ANCHOR, booked)])
        assert session.load_waiting(0) == books.partition.reversals.waiting
        keys = {minus.key for minus in books.partition.reversals.waiting.values()}
        keys |= {key for key, _ in books.partition.reversals.known}
        states.append(sorted(session.reversed_already(0, keys).values()))
        assert session.reversed_already(1, keys) == {}
        counts.append(session.waiting_counts())
    assert counts == [{0: 3}, {0: 1}]
    assert states == [["waiting"] * 3, ["conflict", "matched", "waiting"]]
    used = [
        UsageRequest("acme", "level", T0, T0 + 1, grain) for grain in (Grain.TOTALS, Grain.POINTS)
    ]
    assert session.read_usage(used) == {}
    assert session.load_cursors()[0][0].counts == Counts(4, fresh=3, conflict=1)
