"""A replay in memory and in Postgres: both plant and compare the same."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from json import loads
from secrets import token_hex
from typing import Protocol

import pytest
from psycopg import sql

from builders import MINUTE, T0
from contract.test_sessions import (
    ANCHOR,
    FACTS_WRITTEN,
    Store,
    each_by,
    flushes,
    numbered,
    prepared,
)
from pipeline.book.booking import Booked, Cursor, Cut, TickPassed
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.identity import Json, canonical
from pipeline.embedded import Servers
from pipeline.meter.slices import Counts
from pipeline.meter.ticks import Tick
from pipeline.replay.bounds import LogPlace
from pipeline.replay.diff import Moved, Pair, UsedIn
from pipeline.simulate.database import MemoryDatabase
from pipeline.simulate.papers_session import WorkerSession
from pipeline.simulate.world import Chances, World
from pipeline.stores.postgres.books import Books, Flush
from pipeline.stores.postgres.database import Database
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.pauses import ENDS
from pipeline.stores.postgres.preparing import Prepared, PreparedCut
from pipeline.stores.postgres.shadows import Revise, plant
from pipeline.workers.applying import Beside
from pipeline.workers.pricing import BookKeeper

pytestmark = pytest.mark.servers

ADA = Author("ada", "a test")
LAST = len(FACTS_WRITTEN)


class Replayed(Store, Beside, Protocol):
    """What a replay asks of a session, and the stack that it shadows."""

    def notes_by_document(self, ids: Sequence[str]) -> Mapping[str, Sequence[str]]: ...

    def documents_known(self, live: str) -> int: ...


@dataclass(frozen=True, slots=True)
class Sides:
    """A stack and a shadow of it: a session each, what saves books, and what plants."""

    live: Replayed
    ours: Replayed
    books: tuple[BookKeeper, BookKeeper]
    plant: Callable[[Revise | None], None]
    name: str


@pytest.fixture(params=["memory", "Postgres"])
def sides(request: pytest.FixtureRequest) -> Iterator[Sides]:
    if request.param == "memory":
        world = World(0, Chances().scaled(0))
        live = MemoryDatabase(world)
        shadow = MemoryDatabase(world, beside={"live": live})
        one, other = (WorkerSession(of, world.start("test")) for of in (live, shadow))
        yield Sides(one, other, (one, other), lambda revise: other.plant("live", revise), "live")
        return
    servers: Servers = request.getfixturevalue("servers")
    name = f"c{token_hex(4)}"
    databases = [Database(servers.postgres, each) for each in (name, f"{name}_again")]
    with ExitStack() as held:
        for database in databases:
            database.migrate()
        found = [held.enter_context(each.session("contract", owner=True)) for each in databases]
        books = [each.connect(name="contract") for each in databases]
        for connection in books:
            held.callback(connection.close)
        saving = (Books(books[0]), Books(books[1]))
        ours = found[1]
        yield Sides(found[0], ours, saving, lambda revise: plant(ours, name, {}, revise), name)
        for database in databases:
            schema = sql.Identifier(database.schema)
            found[0].execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))


def with_facts(session: Replayed, *more: NewFact) -> None:
    """Write and mirror the facts of the story, and some more; then two ticks."""
    news = [*(NewFact(f.kind, f.subject, f.body) for f in FACTS_WRITTEN), *more]
    session.append_facts(lambda _: news, ADA, T0)
    session.mark_mirrored(len(news))
    for second in range(3):
        session.write_tick(T0 + second, 1)


def issued(session: Replayed, *made: Prepared) -> None:
    """Prepare and issue documents, each of a cut of its own."""
    for each in made:
        with session.transaction():
            taken = {(cut.payer, cut.instant): cut for cut, _ in session.take_cuts([], 9)}
            session.save_prepared([PreparedCut(taken[each.payer, each.instant], [each], {})])
        assert session.register("talea", each_by(numbered), 9) == 1


def of(cut: Cut, **told: Json) -> Prepared:
    """A document of a cut that says something."""
    plain = prepared(cut)
    return replace(plain, content=canonical({**loads(plain.content), **told}))


def note_of(document: str) -> dict[str, Json]:
    """What a note says of the document that it corrects."""
    told: dict[str, Json] = {"id": "note", "kind": "credit_note", "corrects": document}
    more: dict[str, Json] = {"reason_code": "usage_changed", "refund_due_minor": None}
    return {**told, **more, "cause": None, "voids": False}


FIRST, SECOND, THIRD = (Cut("acme", "EUR", T0 + at, 2) for at in (1, 2, 3))
OTHER = Cut("globex", "EUR", T0, 2)
PASSED = [TickPassed(Tick(n, T0 + n - 1, LAST), 4 * n, Counts()) for n in (1, 2)]
FLUSH = Flush(
    Cursor(0),
    Cursor(0, 9, 0),
    ANCHOR,
    Booked(cuts=[FIRST, SECOND, THIRD, OTHER], ticks=PASSED),
)


def test_what_is_planted_says_what_was_said_but_for_what_is_asked(sides: Sides) -> None:
    held = NewFact(FactKind.HOLD, "all", {"scope": "all", "name": None, "on": True})
    with_facts(sides.live, held)
    sides.books[0].save([FLUSH])

    def revise(facts: Sequence[Fact]) -> dict[int, Mapping[str, Json]]:
        assert len(facts) == LAST + 1
        return {2: {"grace_s": 7}}

    sides.plant(revise)

    before, after = sides.live.read_facts(0), sides.ours.read_facts(0)
    assert [replace(f, body={}) for f in after] == [replace(f, body={}) for f in before]
    other = {f.serial: f.body for f, was in zip(after, before, strict=True) if f.body != was.body}
    assert other == {2: {"grace_s": 7}, LAST + 1: {**held.body, "on": False}}
    assert sides.ours.fact_head() == (LAST + 1, LAST + 1)
    assert sides.ours.unacked_ticks() == []
    assert sides.ours.ticks_from(1, 9) == sides.live.ticks_from(1, 9)
    (pause,) = sides.ours.read_pauses()
    assert (pause.partition, pause.offset, pause.reason) == (0, 9, ENDS)


def test_documents_stand_beside_those_that_were_issued_when_it_was_planted(sides: Sides) -> None:
    with_facts(sides.live)
    sides.books[0].save([FLUSH])
    issued(sides.live, of(FIRST, says="this"), of(OTHER, says="the same"))
    sides.plant(None)
    sides.books[1].save([FLUSH])
    issued(sides.live, of(SECOND, says="later"))
    first = f"acme-{FIRST.instant}"
    note = replace(of(THIRD, **note_of(first)), kind="credit_note")
    changed = of(FIRST, says="that"), of(OTHER, says="the same"), of(SECOND, says="here"), note
    issued(sides.ours, *changed)

    def told(pair: Pair) -> tuple[object, ...]:
        says = [None if e is None else e.get("says", "nothing") for e in (pair.before, pair.after)]
        return (pair.number, pair.customer, pair.instant, pair.cut_serial, pair.same, *says)

    pairs = sides.ours.documents_beside(sides.name)
    assert [told(each) for each in pairs] == [
        ("T-1", "acme", T0 + 1, 2, False, "this", "that"),
        ("T-2", "globex", T0, 2, True, None, None),
    ]
    assert {pair.place for pair in pairs} == {LogPlace(0, 8)}
    whole = sides.ours.documents_beside(sides.name, whole=True)
    assert [told(each)[5:] for each in whole] == [("this", "that"), ("the same", "the same")]

    with sides.live.transaction():  # done with there, and nothing came of it
        ((cut, _),) = sides.live.take_cuts([], 9)
        sides.live.save_prepared([PreparedCut(cut, [], {})])
    (_, _, only) = sides.ours.documents_beside(sides.name)
    assert told(only) == (None, "acme", T0 + 3, 2, False, None, "nothing")
    assert sides.ours.notes_by_document([first, "globex"]) == {first: ["note"]}
    assert sides.live.notes_by_document([first]) == {}


def test_a_note_that_waits_for_its_number_is_known(sides: Sides) -> None:
    with_facts(sides.live)
    sides.books[0].save([FLUSH])
    note = replace(of(OTHER, **note_of("globex-1")), kind="credit_note")
    with sides.live.transaction():
        taken = {cut.payer: cut for cut, _ in sides.live.take_cuts([], 9)}
        sides.live.save_prepared([PreparedCut(taken["globex"], [note], {})])

    assert sides.live.notes_by_document(["globex-1"]) == {"globex-1": ["note"]}


def test_usage_that_one_side_has_more_of_is_counted(sides: Sides) -> None:
    with_facts(sides.live)
    sides.plant(None)
    first, *rest = flushes(2)
    sides.books[0].save([first])
    sides.books[1].save([first])
    used = UsedIn("acme", "size", T0 - 60 * MINUTE, T0 + 60 * MINUTE, 1 << 40)

    assert sides.ours.moved_usage(sides.name, used) == Moved(0, 0)
    sides.books[1].save(rest)
    assert sides.ours.moved_usage(sides.name, used) == Moved(2, 0)
    assert sides.ours.moved_usage(sides.name, used._replace(meter="level")) == Moved(1, 0)
    assert sides.ours.moved_usage(sides.name, used._replace(below_cut=0)) == Moved(0, 0)


def test_what_waits_in_a_replay_is_not_taken_for_left_out(sides: Sides) -> None:
    """What was issued there would be taken off whole, because of a gap or a rate that lacks."""
    with_facts(sides.live)
    sides.books[0].save([FLUSH])
    issued(sides.live, of(FIRST), of(SECOND), of(OTHER))
    sides.plant(None)
    sides.books[1].save([FLUSH])

    assert sides.ours.documents_beside(sides.name) == []
    assert sides.ours.documents_known(sides.name) == 3
    for made in ([], [of(OTHER)]):  # acme's first cut comes to nothing, the other has no number
        with sides.ours.transaction():
            (taken, _), *_ = sides.ours.take_cuts(["acme"] if made else ["globex"], 9)
            sides.ours.save_prepared([PreparedCut(taken, made, {})])
    (pair,) = sides.ours.documents_beside(sides.name)
    assert (pair.instant, pair.same, pair.after) == (T0 + 1, False, None)
