"""Replaying: a shadow of the stack folds the usage log once more, beside it, and is compared.

Owns: when a shadow is planted, run, through, dropped.
Does not own: what its workers do (they are the stack's own), its names (topology), its tables
(stores/postgres/shadows.py), what a difference means (replay/diff.py).
Law: a replay changes nothing of whom it shadows, and may be stopped and gone on with anywhere: it
is the same fold, and cursors say where it stands.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic, sleep

from pipeline.book.booking import Cursor
from pipeline.catalog.facts import Fact
from pipeline.collect.limits import BATCH_EVENTS_MAX
from pipeline.core.errors import BadInput, ServerFailed
from pipeline.core.identity import Json
from pipeline.replay.copying import check_homes, log_body
from pipeline.replay.diff import Diff, MovedUsage, Pair, Selection, diff
from pipeline.replay.what_if import WhatIf, what_if
from pipeline.stores.erasing import delete_group, delete_topics
from pipeline.stores.kafka import KafkaLog, create_topics, log_ends, usage_log
from pipeline.stores.kept_claims import forget_claims
from pipeline.stores.postgres.pauses import ENDS
from pipeline.stores.postgres.session import Session
from pipeline.stores.postgres.shadows import (
    Copying,
    Revise,
    Shadow,
    drop_schema,
    plant,
    shadows_with,
)
from pipeline.workers.copying import check_stop, copy_log
from pipeline.workers.rebilling import make_documents
from pipeline.workers.seams import Log
from pipeline.workers.shadowing import Pace, Tell, shadow_of, with_copy
from pipeline.workers.supervisor import Supervisor, WorkerKind
from pipeline.workers.surroundings import Surroundings

_POLL_S = 0.2
_PATIENCE_S = 120.0
_STOPS_S = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a replay is to be: as it is kept, and what its facts say instead of ours."""

    told: Mapping[str, Json]
    revise: Revise | None = None
    copying: Copying | None = None
    """That it is to be of a copy of the log, over other partitions or batches."""

    def of_copy(self, partitions: int, batch_events: int | None = None) -> "Asked":
        """Return the same, asked of a copy of the log."""
        told: dict[str, Json] = {**self.told, "partitions": partitions}
        if batch_events is not None:
            told["batch_events"] = batch_events

        def first_body(facts: Sequence[Fact]) -> Mapping[str, Json]:
            check_homes(facts, partitions)
            return log_body(facts[0].body, partitions)

        copying = Copying(partitions, batch_events or BATCH_EVENTS_MAX, first_body)
        return replace(self, told=told, copying=copying)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a replay: the documents compared, and the numbers of those that differ."""

    name: str
    events: int
    seconds: float
    documents: int
    differing: Sequence[str]
    revised: bool
    """Whether it was priced by another catalog: then differences are what it is about."""
    waiting: int = 0
    """How many issued documents wait in the replay, of all, and are not compared."""

    @property
    def identical(self) -> bool | None:
        """Whether every document compared has the same content; None by another catalog."""
        return None if self.revised else not self.differing

    @property
    def events_per_s(self) -> float:
        """Events a second, of all that was replayed."""
        return self.events / self.seconds if self.seconds else 0.0

    def json(self) -> dict[str, Json]:
        """Return it as the shadow keeps it."""
        return {
            "events": self.events,
            "documents": self.documents,
            "differing": list(self.differing),
            "waiting": self.waiting,
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """A replay in a list."""

    name: str
    shadow: Shadow
    done: int
    records: int
    running: bool


def run_replay(
    around: Surroundings,
    name: str,
    asked: Asked,
    workers: int,
    tell: Tell,
    log: Log | None = None,
) -> Outcome:
    """Replay what the books hold, or go on with that, and compare what was issued.

    `log` is what a copy is made of, where that is not the usage log as it stands.

    Raises:
        BadInput: it runs already, or something else was asked of that name before.
        CheckFailed: it was asked to stop.
        ServerFailed: a server does not answer, or nothing is booked any more.

    """
    shadow, began = shadow_of(around, name), monotonic()
    shadow.database.migrate()
    with _leading(shadow) as session:
        known = _planted(around, session, asked)
        if asked.told and asked.told != known.asked:
            raise BadInput(f"replay {name} was begun otherwise: `talea replay drop {name}` first")
        shadow = with_copy(shadow, known.copy)
        create_topics(
            shadow.kafka,
            shadow.stack,
            shadow.partitions,
            shadow.settings.replication,
            shadow.stack.shadow_topics,
        )
        try:
            if known.copy is not None and not known.copy.whole:
                source = log or KafkaLog(around.kafka)
                copy_log(around, source, shadow, session, known.copy, tell)
            events = _fold(shadow, session, workers, tell)
            make_documents(shadow, session, 2 * workers, tell)  # as many as folded
            selection = Selection.of_json(known.asked)
            pairs, found = _compared(around, session, selection)
        except BaseException:
            session.note_worked(_ms_since(began))
            raise
        finally:
            session.ask_to_stop(stop=False)
        worked_ms = _ms_since(began)
        seconds = (known.worked_ms + worked_ms) / 1000
        documents = sum(map(selection.holds, pairs))
        differing = [each.pair.number or str(each.told["id"]) for each in found.documents]
        is_revised = known.revised > 0
        outcome = Outcome(name, events, seconds, documents, differing, is_revised, found.waiting)
        session.note_worked(worked_ms, outcome.json())
    forget_claims(shadow.redis, shadow.stack, range(shadow.partitions))
    return outcome


def _planted(around: Surroundings, session: Session, asked: Asked) -> Shadow:
    """Return what is known of a replay, planting it first where it is new.

    Raises:
        BadInput: the log has lost its beginning.

    """
    known = session.read_shadow()
    if known is not None:
        return known
    log = usage_log(around.stack)
    for partition, (first, _) in enumerate(log_ends(around.kafka, log, around.partitions)):
        if first > 0:
            raise BadInput(
                f"{log}[{partition}] begins at {first}: what came before is gone, and a replay is"
                " of the log from its beginning on"
            )
    plant(session, around.database.schema, asked.told, asked.revise, asked.copying)
    return _planted(around, session, asked)


def _compared(
    around: Surroundings, session: Session, selection: Selection
) -> tuple[list[Pair], Diff]:
    live = around.database.schema
    pairs = session.documents_beside(live)
    found = diff(pairs, selection, moved_by(session, live))
    compared = sum(pair.number is not None for pair in pairs)
    return pairs, replace(found, waiting=session.documents_known(live) - compared)


def moved_by(session: Session, live: str) -> MovedUsage:
    """Return what asks how usage moved between a shadow and whom it shadows."""
    return partial(session.moved_usage, live)


def diff_replay(around: Surroundings, name: str) -> Diff:
    """Return how what was issued differs from a replay that is through.

    Raises:
        BadInput: there is none of that name, or it is not through.

    """
    with through(around, name) as (session, selection):
        _, found = _compared(around, session, selection)
    return found


def what_if_replay(around: Surroundings, name: str) -> WhatIf:
    """Return what customers and plans came to, and come to in a replay that is through.

    Raises:
        BadInput: there is none of that name, or it is not through.

    """
    with through(around, name) as (session, selection):
        pairs = session.documents_beside(around.database.schema, whole=True)
    return what_if(pairs, selection)


@contextmanager
def through(around: Surroundings, name: str) -> Iterator[tuple[Session, Selection]]:
    """Look at a replay that is through, and at what it was asked to be about."""
    shadow = _existing(around, name)
    with shadow.database.session("replay diff", owner=True) as session:
        known = session.read_shadow()
        if known is None or known.outcome is None:
            raise BadInput(f"replay {name} is not through: `talea replay run {name}` goes on")
        yield session, Selection.of_json(known.asked)


def _ms_since(began: float) -> int:
    return int(1000 * (monotonic() - began))


@contextmanager
def _leading(shadow: Surroundings) -> Iterator[Session]:
    """Have a replay for oneself, as the owner of its schema."""
    with shadow.database.session("replay", owner=True) as session:
        if not session.lead_replay():
            name = shadow.settings.replay
            raise BadInput(f"replay {name} runs already: `talea replay stop {name}` stops it")
        yield session


def _fold(shadow: Surroundings, session: Session, workers: int, tell: Tell) -> int:
    """Run the workers of a shadow until its books are at their end; return the events in them."""
    several = range(workers)
    kinds = [
        *(WorkerKind("metering", number, workers) for number in several),
        *(WorkerKind("pricing", number, workers) for number in several),
    ]
    ends, began = _ends(session), monotonic()
    pace = moved = _pace(session, ends)
    if pace.done == pace.records:
        return pace.events
    logs = shadow.settings.home / "logs"
    supervisor = Supervisor(shadow, kinds, logs)
    supervisor.start()
    try:
        while pace.done < pace.records:
            check_stop(shadow, session)
            sleep(_POLL_S)
            now = _pace(session, ends)
            pace = replace(now, begun_at=moved.begun_at, seconds=monotonic() - began)
            if pace.done > moved.done:
                moved = pace
            elif pace.seconds - moved.seconds > _PATIENCE_S:
                raise ServerFailed(f"nothing was booked for {_PATIENCE_S:.0f} s: see {logs}")
            tell(pace)
    finally:
        supervisor.stop(0)  # whatever they still do, nobody waits for
    return pace.events


def _ends(session: Session) -> Mapping[int, int]:
    """Return the offset that each partition of a replay ends before."""
    return {each.partition: each.offset for each in session.read_pauses() if each.reason == ENDS}


def _pace(session: Session, ends: Mapping[int, int]) -> Pace:
    loaded = session.load_cursors()
    cursors = [loaded[number][0] if number in loaded else Cursor(number) for number in ends]
    done = sum(min(cursor.offset + 1, ends[cursor.partition]) for cursor in cursors)
    events = sum(cursor.counts.offered for cursor in cursors)
    return Pace(done, sum(ends.values()), events, events, 0.0)


def list_replays(around: Surroundings) -> list[Standing]:
    """Return every replay of a stack."""
    with around.database.session("replays", owner=True) as session:
        names = shadows_with(session, around.stack.shadows)
    found = []
    for name in names:
        shadow = shadow_of(around, name)
        with shadow.database.session("replays", owner=True) as session:
            known = session.read_shadow()
            if known is not None:
                pace = _pace(session, _ends(session))
                running = session.is_led()
                found.append(Standing(name, known, pace.done, pace.records, running))
    return found


def stop_replay(around: Surroundings, name: str) -> bool:
    """Stop a replay; return whether it ran.

    Raises:
        BadInput: there is none of that name.
        ServerFailed: it does not stop.

    """
    shadow = _existing(around, name)
    with shadow.database.session("replay stop", owner=True) as session:
        if session.lead_replay():
            return False
        deadline = monotonic() + _STOPS_S
        while not session.lead_replay():
            if monotonic() > deadline:
                raise ServerFailed(f"replay {name} does not stop within {_STOPS_S:.0f} s")
            session.ask_to_stop(stop=True)  # again: it may not be planted yet
            sleep(_POLL_S)
        session.ask_to_stop(stop=False)
    return True


def drop_replay(around: Surroundings, name: str) -> None:
    """Take a replay off the servers, with all that it made.

    Raises:
        BadInput: there is none of that name, or it runs.

    """
    shadow = _existing(around, name)
    with _leading(shadow) as session:
        known = session.read_shadow()
        shadow = with_copy(shadow, None if known is None else known.copy)
        forget_claims(shadow.redis, shadow.stack, range(shadow.partitions))
        delete_group(shadow.kafka, shadow.stack.metering_group)
        delete_topics(shadow.kafka, map(shadow.stack.topic, shadow.stack.shadow_topics))
        drop_schema(session, shadow.database.schema)
    shutil.rmtree(shadow.settings.home, ignore_errors=True)


def _existing(around: Surroundings, name: str) -> Surroundings:
    shadow = shadow_of(around, name)
    with around.database.session("replays", owner=True) as session:
        if name not in shadows_with(session, around.stack.shadows):
            raise BadInput(f"there is no replay {name}: `talea replay list` shows all")
    return shadow
