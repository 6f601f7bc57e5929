"""Dead letters read: which events were refused, what became of them since, what can be done.

Owns: the ids of rejected events, which of them may be sent again, their states out of facts.
Does not own: the record (collect/letters.py), scanning and sending (workers/).
Law: an id names one rejected event for ever; a key is sent again only where its own event
was never claimed and no other event may still take its place.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple, cast

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.collect.batch import Mode, UsageBatch
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.keyed import KeyedEvent, events_at
from pipeline.collect.letters import DeadLetter
from pipeline.core.calendar import Instant
from pipeline.core.errors import Code, Rejection
from pipeline.core.identity import Json
from pipeline.meter.meters import Meter
from pipeline.meter.place import Opened

USAGE, RAW, REJECTED = "usage", "raw", "rejected"
"""Where a rejected message lies: in the usage log, in the topic of single events, or among the
dead letters, being none itself."""
_WHOLE = -1


class LetterId(NamedTuple):
    """Names one rejected event by its number in its message, or (-1) a whole message."""

    origin: str
    partition: int
    offset: int
    number: int = _WHOLE

    def __str__(self) -> str:
        """Return the id as it is printed: usage:3:1041:7."""
        place = f"{self.origin}:{self.partition}:{self.offset}"
        return place if self.number == _WHOLE else f"{place}:{self.number}"

    @property
    def message(self) -> "LetterId":
        """The id of the whole message."""
        return self._replace(number=_WHOLE)


def parse_id(text: str) -> LetterId | None:
    """Return the id that a text prints, if it is one."""
    origin, *numbers = text.split(":")
    if origin not in (USAGE, RAW, REJECTED) or not 2 <= len(numbers) <= 3:
        return None
    if not all(n.isascii() and n.isdigit() and len(n) < 19 for n in numbers):
        return None
    return LetterId(origin, *map(int, numbers))


class State(StrEnum):
    """What became of a rejected event since."""

    OPEN = "open"
    REDRIVEN = "redriven"
    """It was sent again, or its key was found to stand in the log already."""
    WAIVED = "waived"


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """One refused event; `event` is None where the bytes do not tell it.

    `event_count` is above 1 only for a whole message that cannot be read. `place_open`: it came
    in a sequence whose message was refused whole, so its producer may still fill the place.
    """

    id: LetterId
    rejection: Rejection
    log_time: Instant
    customer: str
    event_count: int = 1
    event: KeyedEvent | None = None
    place_open: bool = False


def rejected_events(
    letter: DeadLetter, origin: str, opened: Opened | KeyedEvent
) -> list[RejectedEvent]:
    """Return what a letter refuses, event by event; `opened` is its message decoded.

    The message of a single event has one only where a later release can read what was refused.
    """
    whole = LetterId(origin, letter.partition, letter.offset)
    if isinstance(opened, KeyedEvent):
        (refusal,) = letter.refusals
        return [
            RejectedEvent(whole, refusal.rejection, letter.log_time, opened.customer, event=opened)
        ]
    if isinstance(opened, UsageBatch) and opened.event_count:
        columns = read_columns(opened)
        if isinstance(columns, Columns):
            return sorted(_told(letter, whole, opened, columns), key=lambda one: one.id)
    return [
        RejectedEvent(
            whole, refusal.rejection, letter.log_time, letter.customer, refusal.event_count
        )
        for refusal in letter.refusals
    ]


def _told(
    letter: DeadLetter, whole: LetterId, batch: UsageBatch, columns: Columns
) -> Iterator[RejectedEvent]:
    for refusal in letter.refusals:
        numbers = refusal.indexes or range(len(columns))
        unplaced = not refusal.indexes and batch.mode is Mode.SEQUENCED
        events = events_at(batch, columns, numbers, letter.partition)
        for number, event in zip(numbers, events, strict=True):
            yield RejectedEvent(
                whole._replace(number=number),
                refusal.rejection,
                letter.log_time,
                event.customer,
                event=event,
                place_open=unplaced,
            )


# ---- what can be done ------------------------------------------------------------------------

ADVICE: Mapping[Code, str] = {
    Code.UNREADABLE: "never billed: mend the producer, it must send a record of a known schema",
    Code.NO_TICK: "redrive it: the log has ticks now",
    Code.UNKNOWN_TICK: "nothing to bill: somebody forged a tick; see who may write to the log",
    Code.SKIPPED: "redrive it once a release is out that gets past it",
    Code.COUNT_MISMATCH: "mend the producer's header, then redrive what is keyed",
    Code.BAD_LENGTH: "never billed as it is: mend the encoder and send the usage again",
    Code.BAD_INDEX: "never billed as it is: mend the encoder and send the usage again",
    Code.BAD_BATCH: "never billed as it is: mend the encoder and send the usage again",
    Code.TOO_LARGE: "never billed as it is: send the usage again in smaller batches",
    Code.WRONG_PARTITION: "redrive it: it goes to its customer's own partition",
    Code.UNKNOWN_METER: "put the meter in force (talea catalog apply), then redrive it",
    Code.MISSING_FIELD: "never billed as it is: send the event again, whole",
    Code.BAD_FIELD: "never billed as it is: send the event again, mended",
    Code.BAD_VALUE: "never billed as it is: send the event again, with a plain decimal value",
    Code.BAD_TIME: "never billed as it is: send the event again with its true time",
    Code.FUTURE: "redrive it once its time has come, or mend the producer's clock",
    Code.LATE: "redrive it: it goes through the gate by a pass, if it is not in the log already",
    Code.UNKNOWN_PASS: "redrive it: the job gives it a new pass",
    Code.CONFLICT: "its key or place is another event's: send it again under an id of its own, or"
    " waive it",
    Code.NOT_REVERSIBLE: "never billed: the meter's columns cannot give it back; waive it",
    Code.NEGATIVE_VALUE: "never billed as it is: the meter takes no negative value",
}


@dataclass(frozen=True, slots=True)
class Now:
    """What stands when events are to be sent again: meters in force, the latest time taken."""

    meters: Mapping[str, Meter]
    latest: Instant


def why_not(rejected: RejectedEvent, now: Now) -> str | None:
    """Return why an event cannot be sent again, if it cannot."""
    code, event = rejected.rejection.code, rejected.event
    if event is None:
        return f"nobody can read it ({rejected.rejection.message}): {ADVICE[code]}"
    if code in _NEVER:
        return f"{rejected.rejection.message}: {ADVICE[code]}"
    if rejected.place_open:
        return "its place in the sequence is still open: let its producer send it again"
    if event.meter not in now.meters:
        return f"no meter {event.meter!r} is in force: {ADVICE[Code.UNKNOWN_METER]}"
    if event.gate_time > now.latest:
        return f"its time is still ahead: {ADVICE[Code.FUTURE]}"
    return None


_NEVER = (Code.CONFLICT, Code.BAD_TIME, Code.NOT_REVERSIBLE)


# ---- which ones ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Selection:
    """Rejected events by id, reason, customer, event time in [start, end); all that are given.

    An id of a message selects every event of it.
    """

    ids: frozenset[LetterId] = frozenset()
    code: Code | None = None
    customer: str | None = None
    start: Instant | None = None
    end: Instant | None = None

    def takes(self, rejected: RejectedEvent) -> bool:
        """Return whether an event is selected; one whose time nobody knows is in no stretch."""
        time = rejected.event.time if rejected.event else None
        return (
            (not self.ids or bool({rejected.id, rejected.id.message} & self.ids))
            and self.code in (None, rejected.rejection.code)
            and self.customer in (None, rejected.customer)
            and (self.start is None or (time is not None and time >= self.start))
            and (self.end is None or (time is not None and time < self.end))
        )


# ---- states are facts ------------------------------------------------------------------------

_FACT_CHARS_MAX = 4096
"""Characters of ids in one fact."""


def ids_text(ids: Iterable[LetterId]) -> Iterator[str]:
    """Yield ids in short: usage:3:1041:0-6, usage:3:1041:9."""
    for _, run in groupby(enumerate(sorted(set(ids))), lambda one: _stretch(*one)):
        first, *rest = [each for _, each in run]
        yield f"{first}-{rest[-1].number}" if rest else str(first)


def _stretch(count: int, each: LetterId) -> tuple[LetterId, int]:
    """What is equal for neighbours: the message, and how far its number leads the count."""
    return each.message, each.number - count


def _parse_stretch(text: str) -> tuple[LetterId, int]:
    """Return the first id of a stretch and the last number in it."""
    first, _, last = text.partition("-")
    found = parse_id(first)
    assert found is not None, text
    return found, int(last) if last else found.number


def letter_facts(
    kind: FactKind, ids: Iterable[LetterId], body: Mapping[str, Json]
) -> Iterator[NewFact]:
    """Yield the facts that say what became of events, each of a size that a fact may have."""
    few: list[Json] = []
    chars = 0
    for text in ids_text(ids):
        if chars + len(text) > _FACT_CHARS_MAX:
            yield NewFact(kind, str(few[0]), {**body, "events": few})
            few, chars = [], 0
        few.append(text)
        chars += len(text)
    if few:
        yield NewFact(kind, str(few[0]), {**body, "events": few})


_STATE_OF = {FactKind.REDRIVE: State.REDRIVEN, FactKind.WAIVER: State.WAIVED}


@dataclass(slots=True)
class States:
    """The state of every rejected event: the fold of the facts about dead letters."""

    _told: dict[LetterId, list[tuple[int, int, State]]] = field(default_factory=dict)

    @classmethod
    def after(cls, facts: Sequence[Fact]) -> "States":
        """Return the states after these facts."""
        states = cls()
        for fact in facts:
            state = _STATE_OF.get(fact.kind)
            for text in cast(list[str], fact.body["events"]) if state else ():
                first, last = _parse_stretch(text)
                told = states._told.setdefault(first.message, [])
                told.append((first.number, last, cast(State, state)))
        return states

    def of(self, each: LetterId) -> State:
        """Return the state of an event: what was said of it last."""
        for first, last, state in reversed(self._told.get(each.message, ())):
            if first <= each.number <= last:
                return state
        return State.OPEN
