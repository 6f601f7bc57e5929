"""Refusing: how much usage of each customer was refused, known to the finalizer as it looks.

Owns: following the dead letters, and what people made of them since.
Does not own: what a letter says (replay/letters.py), what is said of it (invoice/validation.py).
Law: an event counts while it is open: once it was sent again, or waived, nothing is said of it.
What metering refused before a cut is known as its documents are prepared: a dead letter is acked
before the slice of its message is sent, so it is there once the cut is booked.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from threading import Event, Lock

import structlog

from pipeline.catalog.facts import Fact, FactKind
from pipeline.collect.letters import DeadLetter
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant, TaleaError
from pipeline.replay.letters import LetterId, RejectedEvent, State, States
from pipeline.stores.kafka import KafkaLog
from pipeline.stores.postgres.connection import Unreachable
from pipeline.workers.letters import LetterReader, is_unread, letters_since
from pipeline.workers.surroundings import Surroundings

_log = structlog.get_logger()

_LOOK_S = 4.0
_DECIDING = frozenset((FactKind.REDRIVE, FactKind.WAIVER))


@dataclass(slots=True)
class Refusals:
    """Every refused event whose customer and time are known. Calls come from several threads.

    `look` notes what came since it was called last.
    """

    look: "Callable[[Refusals], None]" = lambda _: None
    _events: dict[str, dict[LetterId, tuple[Instant, str, int]]] = field(default_factory=dict)
    _facts: list[Fact] = field(default_factory=list)
    _states: States = field(default_factory=States)
    _lock: Lock = field(default_factory=Lock)

    def note(self, rejected: RejectedEvent) -> None:
        """Note one; twice is once. Where its own time is not known, the log's counts."""
        at = rejected.event.time if rejected.event else rejected.log_time
        told = (at, rejected.rejection.code.value, rejected.event_count)
        with self._lock:
            self._events.setdefault(rejected.customer, {})[rejected.id] = told

    def decide(self, facts: list[Fact]) -> None:
        """Note what people made of some."""
        new = [fact for fact in facts if fact.kind in _DECIDING]
        if new:
            self._facts += new
            states = States.after(self._facts)
            with self._lock:
                self._states = states

    def catch_up(self) -> None:
        """Return once all is known that was written before.

        Raises:
            ServerFailed: a server does not answer.

        """
        self.look(self)

    def of(self, customers: Sequence[str], start: Instant, end: Instant) -> dict[str, int]:
        """Return how many events of customers in [start, end) are refused and open, by code."""
        found: Counter[str] = Counter()
        with self._lock:
            own = (self._events.get(customer, {}).items() for customer in customers)
            for each, (at, code, count) in chain.from_iterable(own):
                if start <= at < end and self._states.of(each) is State.OPEN:
                    found[code] += count
        return dict(found)


class Letters:
    """The dead letters of a stack and the facts about them, read on. Calls come from threads."""

    def __init__(self, around: Surroundings) -> None:
        """Begin with the oldest that is kept."""
        self._around, self._log = around, KafkaLog(around.kafka)
        self._reader, self._lock = LetterReader(around), Lock()
        self._read: dict[int, int] = {}
        self._facts = 0

    def __call__(self, refusals: Refusals) -> None:
        """Note everything that came since the last time."""
        with self._lock:
            with self._around.database.session("refusals") as connection:
                head, _ = connection.fact_head()
                new = connection.read_facts(self._facts, head, _DECIDING)
            self._facts = head
            refusals.decide(new)
            for letter in letters_since(self._around, self._log, self._read):
                if is_unread(letter):
                    _log.warning("skipped among dead letters", **_position(letter))
                for rejected in self._reader.events(letter):
                    refusals.note(rejected)


def watch_refusals(refusals: Refusals, stop: Event) -> None:
    """Keep up until stopped, so that little is left to read at a cut."""
    while not stop.wait(_LOOK_S):
        try:
            refusals.catch_up()
        except (TaleaError, BrokenInvariant, *Unreachable) as error:
            _log.error("refused usage is not known", why=str(error))


def _position(letter: DeadLetter) -> dict[str, object]:
    why = letter.refusals[0].rejection.message
    return {"partition": letter.partition, "offset": letter.offset, "why": why}
