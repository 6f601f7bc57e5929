"""Refusing: how much usage of each customer was refused, known to the finalizer as it looks.

Owns: following the dead letters, and what people made of them since.
Does not own: what a letter says (replay/letters.py), what is said of it (invoice/validation.py).
Law: an event counts while it is open: once it was sent again, or waived, nothing is said of it.
"""

from collections import Counter
from collections.abc import Sequence
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


@dataclass(slots=True)
class Refusals:
    """Every refused event whose customer and time are known. Calls come from several threads."""

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
        new = [fact for fact in facts if fact.kind in (FactKind.REDRIVE, FactKind.WAIVER)]
        if new:
            self._facts += new
            states = States.after(self._facts)
            with self._lock:
                self._states = states

    def of(self, customers: Sequence[str], start: Instant, end: Instant) -> dict[str, int]:
        """Return how many events of customers in [start, end) are refused and open, by code."""
        found: Counter[str] = Counter()
        with self._lock:
            own = (self._events.get(customer, {}).items() for customer in customers)
            for each, (at, code, count) in chain.from_iterable(own):
                if start <= at < end and self._states.of(each) is State.OPEN:
                    found[code] += count
        return dict(found)


def watch_refusals(around: Surroundings, refusals: Refusals, stop: Event) -> None:
    """Follow the dead letters and the facts about them until stopped."""
    log, reader = KafkaLog(around.kafka), LetterReader(around)
    read: dict[int, int] = {}
    facts = 0
    while not stop.wait(_LOOK_S):
        try:
            with around.database.session("refusals") as connection:
                new = connection.read_facts(facts)
            facts = new[-1].serial if new else facts
            refusals.decide(new)
            for letter in letters_since(around, log, read):
                if is_unread(letter):
                    _log.warning("skipped among dead letters", **_position(letter))
                for rejected in reader.events(letter):
                    refusals.note(rejected)
        except (TaleaError, BrokenInvariant, *Unreachable) as error:
            _log.error("refused usage is not known", why=str(error))


def _position(letter: DeadLetter) -> dict[str, object]:
    why = letter.refusals[0].rejection.message
    return {"partition": letter.partition, "offset": letter.offset, "why": why}
