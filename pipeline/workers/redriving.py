"""Redriving and waiving: what is selected among the dead letters, done and written down.

Owns: the order (read letters and states, send, write the facts).
Does not own: what may be sent (replay/letters.py), sending (workers/readmission.py).
Law: effects before memory: a job that dies between the two is done again, and counts once.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.catalog.facts import Fact, FactKind
from pipeline.collect.letters import DeadLetter
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.dedupe.standing import Outcome
from pipeline.replay.letters import (
    LetterId,
    Now,
    RejectedEvent,
    Selection,
    State,
    States,
    letter_facts,
    why_not,
)
from pipeline.stores.kafka import KafkaLog
from pipeline.stores.postgres.facts import Author
from pipeline.workers.letters import LetterReader, read_letters
from pipeline.workers.readmission import Readmission, readmission
from pipeline.workers.seams import Log
from pipeline.workers.surroundings import Surroundings

Tell = Callable[[int, int], None]
"""Progress: called with (records read, records to read)."""

_NOT_SENT: Mapping[Outcome, str] = {
    Outcome.CONFLICT: "its key stands in the log with other content: waive it, or send it under an"
    " id of its own",
    Outcome.UNPROVEN: "it is so old that the log may have lost its first delivery: bill it by hand",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """A rejected event, what became of it, and the letter that tells it."""

    rejected: RejectedEvent
    state: State
    letter: DeadLetter


@dataclass(slots=True)
class Redriven:
    """What became of a selection. `refused` holds why, by event; the rest are in `skipped`."""

    sent: list[LetterId] = field(default_factory=list)
    standing: list[LetterId] = field(default_factory=list)
    refused: list[tuple[LetterId, str]] = field(default_factory=list)
    skipped: Counter[State] = field(default_factory=Counter)
    gate_passes: Sequence[str] = ()


def listed(
    around: Surroundings,
    known: Sequence[Fact],
    selection: Selection,
    tell: Tell,
    log: Log | None = None,
) -> Iterator[Listed]:
    """Yield the selected rejected events with their states, as their letters lie in the topic.

    `known` are all facts.
    """
    states = States.after(known)
    reader = LetterReader(around)
    for letter in read_letters(around, log or KafkaLog(around.kafka), tell):
        for each in reader.events(letter):
            if selection.takes(each):
                yield Listed(each, states.of(each.id), letter)


def select(
    around: Surroundings,
    known: Sequence[Fact],
    selection: Selection,
    tell: Tell,
    log: Log | None = None,
) -> list[Listed]:
    """Return the selected rejected events by id.

    Raises:
        BadInput: an id that is named is none of them.

    """
    found = listed(around, known, selection, tell, log)
    chosen = sorted(found, key=lambda each: each.rejected.id)
    met = {one for each in chosen for one in (each.rejected.id, each.rejected.id.message)}
    if missing := sorted(selection.ids - met):
        raise BadInput(f"no rejected event {missing[0]}: `talea rejected list` shows all")
    return chosen


def redrive(
    around: Surroundings,
    selection: Selection,
    author: Author,
    tell: Tell,
    *,
    states: Collection[State] = (State.OPEN,),
    dry_run: bool = False,
) -> Redriven:
    """Send selected events again, those in one of `states`; the rest is told.

    Raises:
        BadInput: an id that is named is unknown, or another such job runs.

    """
    with readmission(around) as job:
        return redriven(job, selection, author, tell, states=states, dry_run=dry_run)


def redriven(
    job: Readmission,
    selection: Selection,
    author: Author,
    tell: Tell,
    *,
    states: Collection[State] = (State.OPEN,),
    dry_run: bool = False,
) -> Redriven:
    """Do so as a job that was begun."""
    chosen = select(job.around, job.store.read_facts(0), selection, tell, job.log)
    done, coming = _planned(chosen, _now(job), states)
    if dry_run:
        done.sent = [each.id for each in coming]
    elif coming:
        _send(job, coming, done, author, tell)
    return done


def _now(job: Readmission) -> Now:
    tick = job.last_tick()
    catalog = job.catalog(tick)
    return Now(catalog.meters, tick.time + catalog.parameters.gate.tolerance)


def _planned(
    chosen: Sequence[Listed], now: Now, states: Collection[State]
) -> tuple[Redriven, list[RejectedEvent]]:
    done, coming = Redriven(), list[RejectedEvent]()
    for each in chosen:
        if each.state not in states:
            done.skipped[each.state] += 1
        elif why := why_not(each.rejected, now):
            done.refused.append((each.rejected.id, why))
        else:
            coming.append(each.rejected)
    return done, coming


def _send(
    job: Readmission, coming: Sequence[RejectedEvent], done: Redriven, author: Author, tell: Tell
) -> None:
    events = [each.event for each in coming if each.event is not None]
    readmitted = job.readmit(events, author, tell)
    done.gate_passes = readmitted.gate_passes
    for each, outcome in zip(coming, readmitted.outcomes, strict=True):
        match outcome:
            case Outcome.SENT:
                done.sent.append(each.id)
            case Outcome.STANDING:
                done.standing.append(each.id)
            case _:
                done.refused.append((each.id, _NOT_SENT[outcome]))
    body: dict[str, Json] = {"gate_passes": list(done.gate_passes)}
    told = [
        *letter_facts(FactKind.REDRIVE, done.sent, {**body, "outcome": "sent"}),
        *letter_facts(FactKind.REDRIVE, done.standing, {"outcome": "standing"}),
    ]
    job.write(told, author)


def waive(
    around: Surroundings, selection: Selection, author: Author, tell: Tell
) -> tuple[list[LetterId], Counter[State]]:
    """Write that selected open events will not be billed; return them, and the rest by state.

    Raises:
        BadInput: an id that is named is unknown, or events are being sent again right now.

    """
    with readmission(around) as job:
        return waived(job, selection, author, tell)


def waived(
    job: Readmission, selection: Selection, author: Author, tell: Tell
) -> tuple[list[LetterId], Counter[State]]:
    """Do so as a job that was begun."""
    chosen = select(job.around, job.store.read_facts(0), selection, tell, job.log)
    found = [each.rejected.id for each in chosen if each.state is State.OPEN]
    skipped = Counter[State](each.state for each in chosen if each.state is not State.OPEN)
    job.write([*letter_facts(FactKind.WAIVER, found, {})], author)
    return found, skipped
