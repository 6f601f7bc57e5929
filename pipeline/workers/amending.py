"""Amending: usage is found in the log, taken back, and other usage put in its place.

Owns: the order (find, send what is new, send reversals, write the fact, wait for the matches).
Does not own: what is chosen (replay/amending.py), gate passes (readmission.py), matches.
Law: what is amended is sent before its original is taken back, so a job that dies is done again
and neither loses nor doubles usage; whoever is reversed already is left alone.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.book.reversing import ReversalState
from pipeline.catalog.matches import EventPlace
from pipeline.collect.keyed import KeyedEvent, events_at
from pipeline.core.identity import partition_of
from pipeline.dedupe.standing import Outcome
from pipeline.meter.sift import Sifted
from pipeline.replay.amending import Change, Chosen, amendment_fact, taken_back
from pipeline.stores.postgres.facts import Author
from pipeline.workers.readmission import Readmission, readmission
from pipeline.workers.surroundings import Surroundings

Tell = Callable[[int, int], None]
"""Progress: called with (records read, records to read)."""

SENT = "sent"
"""Of a reversal that the books do not have yet."""
OPEN_STATES = frozenset({SENT, ReversalState.WAITING})
_POLL_S = 0.2
_TOLD_EVERY = 500


@dataclass(frozen=True, slots=True)
class Found:
    """A chosen event, where it stands in the log."""

    partition: int
    place: EventPlace
    event: KeyedEvent


@dataclass(slots=True)
class Amended:
    """What became of the chosen events; `states` those of the reversals that were sent.

    `alike`: they are already what they should have been. `not_found`: ids of no event in the log.
    """

    coming: list[Found] = field(default_factory=list)
    reversed_before: int = 0
    alike: int = 0
    not_found: Sequence[str] = ()
    refused: list[tuple[Found, str]] = field(default_factory=list)
    states: Mapping[str, int] = field(default_factory=dict)


def amend(
    around: Surroundings,
    chosen: Chosen,
    change: Change | None,
    author: Author,
    tell: Tell,
    *,
    dry_run: bool = False,
    patience_s: float = 30.0,
) -> Amended:
    """Take chosen usage back; with a change, put other usage in its place.

    Raises:
        BadInput: another job is sending usage again.
        ServerFailed: a server does not answer; what was sent by then counts, once.

    """
    with readmission(around) as job:
        return amended(job, chosen, change, author, tell, dry_run=dry_run, patience_s=patience_s)


def amended(
    job: Readmission,
    chosen: Chosen,
    change: Change | None,
    author: Author,
    tell: Tell,
    *,
    dry_run: bool = False,
    patience_s: float = 30.0,
) -> Amended:
    """Do so as a job that was begun."""
    tick = job.last_tick()
    done = _planned(job, chosen, change, tell)
    if dry_run or not done.coming:
        return done
    if change is not None:
        _replace(job, change, done, author, tell)
    events = [found.event for found in done.coming]
    job.send(taken_back(event, tick.time) for event in events)
    if events:
        job.write([amendment_fact(chosen, change, events)], author)
    done.states = await_matches(job, [found.event for found in done.coming], patience_s)
    return done


def _planned(job: Readmission, chosen: Chosen, change: Change | None, tell: Tell) -> Amended:
    meters = job.catalog(job.last_tick()).meters
    done = Amended()
    by_partition: dict[int, list[Found]] = {}
    named = dict(chosen.keys)
    for found in _found(job, chosen, tell):
        by_partition.setdefault(found.partition, []).append(found)
        named.pop(found.event.key, None)
    done.not_found = [*named.values()]
    for partition, own in by_partition.items():
        standing = job.store.reversed_already(partition, [f.event.key for f in own])
        for found in own:
            event = found.event
            if (event.key, event.payload_print) in standing:
                done.reversed_before += 1
            elif change is not None and change.leaves(event):
                done.alike += 1
            elif not meters[event.meter].reversible:
                done.refused.append((found, f"meter {event.meter} is not reversible"))
            else:
                done.coming.append(found)
    return done


def _found(job: Readmission, chosen: Chosen, tell: Tell) -> Iterator[Found]:
    """Yield chosen usage, the first of each key; whether it counts the match will say."""
    partitions = range(job.around.partitions)
    if chosen.customer is not None:
        home = partition_of(chosen.customer, job.around.partitions)
        partitions = range(home, home + 1)
    keys, met = chosen.keys, set[bytes]()
    places = [(partition, *job.stretch(partition, chosen.start)) for partition in partitions]
    read, total = 0, sum(end - place.offset for _, place, end in places)
    for partition, place, end in places:
        for arrival, looked in job.walk(partition, place, end):
            read += 1
            if read % _TOLD_EVERY == 0:
                tell(read, total)
            if isinstance(looked, Sifted):
                for at, event in _usage_of(looked, partition):
                    if event.key not in met and chosen.takes(event, keys):
                        met.add(event.key)
                        yield Found(partition, EventPlace(arrival.offset, at), event)
    tell(total, total)


def _usage_of(sifted: Sifted, partition: int) -> Iterable[tuple[int, KeyedEvent]]:
    back = sifted.columns.reversed_at
    places = [at for at in sifted.claimable.nonzero()[0].tolist() if at not in back]
    return zip(places, events_at(sifted.batch, sifted.columns, places, partition), strict=True)


def _replace(job: Readmission, change: Change, done: Amended, author: Author, tell: Tell) -> None:
    """Send what is to stand instead; only whose successor stands is taken back."""
    new = [change.applied(found.event) for found in done.coming]
    outcomes = job.readmit(new, author, tell).outcomes
    coming = []
    for found, outcome in zip(done.coming, outcomes, strict=True):
        if outcome in (Outcome.SENT, Outcome.STANDING):
            coming.append(found)
        else:
            done.refused.append((found, "it is so old that nobody knows what the log lost"))
    done.coming = coming


def await_matches(
    job: Readmission, reversed_: Sequence[KeyedEvent], patience_s: float
) -> Mapping[str, int]:
    """Wait until the books have matched what was sent; return how many are in which state."""
    machine = job.machine
    deadline = machine.seconds() + patience_s
    while True:
        states = Counter(reversal_states(job, reversed_).values())
        if not states.keys() & OPEN_STATES or machine.seconds() > deadline:
            return states
        machine.pause(_POLL_S)


def reversal_states(job: Readmission, events: Sequence[KeyedEvent]) -> dict[bytes, str]:
    """Return the state of each event's reversal, by key; SENT where the books have none."""
    by_partition: dict[int, list[KeyedEvent]] = {}
    for event in events:
        home = partition_of(event.customer, job.around.partitions)
        by_partition.setdefault(home, []).append(event)
    states: dict[bytes, str] = {}
    for partition, own in by_partition.items():
        booked = job.store.reversed_already(partition, [event.key for event in own])
        for event in own:
            states[event.key] = booked.get((event.key, event.payload_print), SENT)
    return states
