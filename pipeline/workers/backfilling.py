"""Backfilling: a unit of old usage is staged, looked at, committed, taken back.

Owns: the order (look at the log, send by passes that name the unit, await the books, write the
fact), whose event is whose.
Does not own: what a unit is (replay/backfill.py), the passes (readmission.py), reversals (book).
Law: effects before memory: whoever dies half-way commits, or takes back, again, and no total
differs. What a unit did not send it does not take back.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.catalog.catalog import FactLog
from pipeline.catalog.facts import Fact
from pipeline.collect.batch import UsageBatch
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.keyed import KeyedEvent, events_at, pack_again
from pipeline.core.errors import BadInput, BrokenInvariant, ServerFailed
from pipeline.core.identity import partition_of
from pipeline.dedupe.standing import Outcome, Wanted
from pipeline.meter.sift import Sifted
from pipeline.replay.amending import taken_back
from pipeline.replay.backfill import (
    Stage,
    Unit,
    Units,
    come_again,
    committed_fact,
    reverted_fact,
    unit_digest,
    why_not,
)
from pipeline.replay.foretold import Foretold
from pipeline.replay.usage_ahead import UsageAhead
from pipeline.stores.codec import encode_batch
from pipeline.stores.postgres.backfills import Staged
from pipeline.stores.postgres.facts import Author
from pipeline.stores.records import open_message
from pipeline.workers.amending import OPEN_STATES, SENT, await_matches, reversal_states
from pipeline.workers.foretelling import Books, foretell
from pipeline.workers.readmission import Moment, Progress, Readmission, readmission
from pipeline.workers.surroundings import Surroundings

_POLL_S = 0.1
_NOT_SENT: Mapping[Outcome, str] = {
    Outcome.CONFLICT: "its key stands in the log with other content: give it an id of its own",
    Outcome.UNPROVEN: "it is so old that the log may have lost its first delivery",
}


class Shelf(Protocol):
    """Units as they were staged."""

    def stage_unit(self, unit: Staged, batches: Iterable[tuple[int, bytes]]) -> Staged | None: ...

    def staged_unit(self, name: str) -> Staged | None: ...

    def staged_batches(self, name: str) -> list[tuple[int, bytes]]: ...

    def forget_batches(self, name: str) -> None: ...

    def drop_unit(self, name: str) -> None: ...


class ShelfBesideBooks(Shelf, Books, Protocol):
    """Staged units, and all that drafts and notes rest on."""


@dataclass(slots=True)
class Checked:
    """What may become of a unit's events; `own`: it sent them already; `standing`: others did."""

    coming: list[KeyedEvent] = field(default_factory=list)
    own: int = 0
    standing: int = 0
    refused: list[tuple[KeyedEvent, str]] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How many are this unit's, stand in the log anyway, cannot come."""
        return {
            "sent": len(self.coming) + self.own,
            "standing": self.standing,
            "refused": len(self.refused),
        }


@dataclass(frozen=True, slots=True)
class Done:
    """A unit after a command, and whether there was nothing left for it to do."""

    unit: Unit
    already: bool


@dataclass(frozen=True, slots=True)
class Previewed:
    """What a unit would do: event by event, and in money."""

    unit: Unit
    checked: Checked
    foretold: Foretold


def stage(
    shelf: Shelf, name: str, events: Sequence[KeyedEvent], source: str, partitions: int
) -> Staged | None:
    """Stage events under a name; return what stands under it already.

    Raises:
        BadInput: something else stands there.

    """
    homes: dict[int, list[KeyedEvent]] = {}
    for event in events:
        homes.setdefault(partition_of(event.customer, partitions), []).append(event)
    wanted = Staged(name, unit_digest(events), len(events), source)
    batches = ((p, encode_batch(batch)) for p, own in homes.items() for batch in pack_again(own))
    known = shelf.stage_unit(wanted, batches)
    if known is not None and known.digest != wanted.digest:
        raise BadInput(f"backfill {name} is another already (of {known.source}): take another name")
    return known


def preview(around: Surroundings, name: str, tell: Progress) -> Previewed:
    """Return what a staged unit would do, were it committed now.

    Raises:
        BadInput: there is none of that name, or it is committed.

    """
    with readmission(around) as job, around.database.session("backfill") as session:
        return previewed(job, session, name, tell)


def previewed(job: Readmission, store: ShelfBesideBooks, name: str, tell: Progress) -> Previewed:
    """Do so as a job that was begun."""
    staged, events = _staged(store, name)
    now, partitions = job.moment(), job.around.partitions
    facts = job.store.read_facts(0)
    unit = _units(facts, now).of(staged.name)
    if unit.stage in (Stage.COMMITTED, Stage.REVERTED):
        raise BadInput(f"backfill {name} is {unit.stage}: `talea backfill show {name}`")
    checked = check_unit(job, _units(facts, now), name, events, now, tell)
    known = FactLog()
    known.append(facts)
    ahead = UsageAhead.of(checked.coming, partitions, now.tick, known.at)
    return Previewed(unit, checked, foretell(store, known, ahead, partitions))


def commit(
    around: Surroundings, name: str, author: Author, tell: Progress, patience_s: float = 120.0
) -> Done:
    """Send what of a unit does not stand in the log; return once the books have it.

    Raises:
        BadInput: there is none of that name, it was taken back, or another such job runs.
        ServerFailed: a server does not answer; what was sent by then counts, once.

    """
    with readmission(around) as job, around.database.session("backfill") as session:
        return committed(job, session, name, author, tell, patience_s)


def committed(
    job: Readmission, shelf: Shelf, name: str, author: Author, tell: Progress, patience_s: float
) -> Done:
    """Do so as a job that was begun."""
    staged = _known(shelf, name)
    now, started = job.moment(), job.machine.clock()
    units = _units(job.store.read_facts(0), now)
    unit = units.of(name)
    if unit.stage is Stage.REVERTED:
        raise BadInput(f"backfill {name} was taken back: stage its usage under another name")
    if unit.stage is not Stage.COMMITTED:
        _, events = _staged(shelf, name)
        checked = check_unit(job, units, name, events, now, tell)
        job.readmit_unit(checked.coming, now, author, name)
        homes = {partition_of(event.customer, job.around.partitions) for event in events}
        _await_booked(job, name, homes, patience_s)
        took_ms = (job.machine.clock() - (unit.began or started)) // 1000
        told = committed_fact(name, staged.digest, checked.counts, took_ms)
        job.write([told], author)
    shelf.forget_batches(name)
    found = _units(job.store.read_facts(0), now).of(name)
    return Done(found, unit.stage is Stage.COMMITTED)


def revert(
    around: Surroundings, name: str, author: Author, tell: Progress, patience_s: float = 60.0
) -> Done:
    """Take back what a unit sent; return once every reversal is matched.

    Raises:
        BadInput: nothing of such a unit was sent, or another such job runs.
        ServerFailed: a server does not answer, or matches are still to come: do it again.

    """
    with readmission(around) as job, around.database.session("backfill") as session:
        return reverted(job, session, name, author, tell, patience_s)


def reverted(
    job: Readmission, shelf: Shelf, name: str, author: Author, tell: Progress, patience_s: float
) -> Done:
    """Do so as a job that was begun."""
    _known(shelf, name)
    now = job.moment()
    unit = _units(job.store.read_facts(0), now).of(name)
    if unit.stage is Stage.STAGED:
        raise BadInput(f"nothing of backfill {name} was sent: talea backfill drop {name}")
    if unit.stage is not Stage.REVERTED:
        own = [*sent_by(job, unit, tell)]
        before = reversal_states(job, own)
        coming = [event for event in own if before[event.key] == SENT]
        job.send(taken_back(event, now.tick.time) for event in coming)
        states = await_matches(job, own, patience_s)
        if waiting := sum(states.get(each, 0) for each in OPEN_STATES):
            told = f"{waiting} reversals of backfill {name} are not matched yet"
            raise ServerFailed(f"{told}: do it again once the workers run")
        job.write([reverted_fact(name, states)], author)
        shelf.forget_batches(name)
    found = _units(job.store.read_facts(0), now).of(name)
    return Done(found, unit.stage is Stage.REVERTED)


def drop(around: Surroundings, name: str) -> None:
    """Forget a unit that is only staged.

    Raises:
        BadInput: there is none of that name, or something of it was sent.

    """
    with readmission(around) as job, around.database.session("backfill") as session:
        dropped(job, session, name)


def dropped(job: Readmission, shelf: Shelf, name: str) -> None:
    """Do so as a job that was begun."""
    _known(shelf, name)
    unit = _units(job.store.read_facts(0), job.moment()).of(name)
    if unit.stage is not Stage.STAGED:
        raise BadInput(f"backfill {name} is {unit.stage}: talea backfill revert {name}")
    shelf.drop_unit(name)


def _units(facts: Sequence[Fact], now: Moment) -> Units:
    return Units.after(facts, now.gate.generation_width)


def _known(shelf: Shelf, name: str) -> Staged:
    found = shelf.staged_unit(name)
    if found is None:
        raise BadInput(f"no backfill is called {name!r}: `talea backfill list` tells all")
    return found


def _staged(shelf: Shelf, name: str) -> tuple[Staged, list[KeyedEvent]]:
    staged, events = _known(shelf, name), list[KeyedEvent]()
    for partition, message in shelf.staged_batches(name):
        batch = open_message(message)
        columns = read_columns(batch) if isinstance(batch, UsageBatch) else batch
        if not isinstance(columns, Columns) or not isinstance(batch, UsageBatch):
            raise BrokenInvariant(f"a batch of backfill {name} cannot be read")
        events += events_at(batch, columns, range(len(columns)), partition)
    return staged, events


def check_unit(
    job: Readmission,
    units: Units,
    name: str,
    events: Sequence[KeyedEvent],
    now: Moment,
    tell: Callable[[int, int], None],
) -> Checked:
    """Look for every event in the log; what a unit sent that was taken back may come again."""
    meters, latest = job.catalog(now.tick).meters, now.tick.time + now.gate.tolerance
    found, asked = Checked(), list[KeyedEvent]()
    for event in events:
        why = why_not(event, meters, latest)
        if why is None:
            asked.append(event)
        else:
            found.refused.append((event, why))
    own, gone = units.of(name).passes, units.reverted_passes
    while asked:
        again = list[KeyedEvent]()
        for event, looked in zip(asked, job.look(asked, now, tell), strict=True):
            if looked.gate_pass in gone:
                again.append(come_again(event, gone[looked.gate_pass]))
            elif looked.gate_pass in own:
                found.own += 1
            elif looked.outcome is Outcome.SENT:
                found.coming.append(event)
            elif looked.outcome is Outcome.STANDING:
                found.standing += 1
            else:
                found.refused.append((event, _NOT_SENT[looked.outcome]))
        asked = again
    return found


def _await_booked(job: Readmission, name: str, homes: Collection[int], patience_s: float) -> None:
    """Return once the books have all that these partitions of the log hold now."""
    ends, machine = {p: end for p, (_, end) in enumerate(job.ends()) if p in homes}, job.machine
    deadline = machine.seconds() + patience_s
    while True:
        cursors = job.store.load_cursors()
        if all(p in cursors and cursors[p][0].offset + 1 >= end for p, end in ends.items()):
            return
        if machine.seconds() > deadline:
            told = f"backfill {name} is sent, but the books have not come to its end"
            raise ServerFailed(f"{told}: commit it again once the workers run (talea up)")
        machine.pause(_POLL_S)


def sent_by(job: Readmission, unit: Unit, tell: Callable[[int, int], None]) -> Iterator[KeyedEvent]:
    """Yield what stands in the log because of a unit.

    What others sent between its look at the log and its own batch is theirs: of each key it is
    the first in the log that counts, and nothing of a unit stood there when it looked.
    """
    for partition in range(job.around.partitions):
        tell(partition, job.around.partitions)
        sent, behind = list[KeyedEvent](), 0
        place, end = job.stretch(partition, unit.noted)
        for arrival, looked in job.walk(partition, place, end):
            if arrival.tick.time > unit.until:
                break
            behind = arrival.offset + 1
            if isinstance(looked, Sifted) and looked.batch.gate_pass in unit.passes:
                places = looked.claimable.nonzero()[0].tolist()
                sent += events_at(looked.batch, looked.columns, places, partition)
        if sent:
            place, _ = job.stretch(partition, unit.noted)
            met = job.first_met(partition, place, behind, Wanted.of(sent))
            one_each = {event.key: event for event in sent}
            yield from (e for key, e in one_each.items() if met[key].gate_pass in unit.passes)
    tell(job.around.partitions, job.around.partitions)
