"""Taxing: an outside engine is asked what drafts await, and its answers become facts.

Owns: which questions are asked when, what is done while the engine is silent.
Does not own: the question and its answer (tax/asking.py), the wire (stores/tax_engine.py), what
an answer does (invoice/taxed.py).
Law: whoever asks twice writes nothing the second time, unless the answer is another. An engine that
is silent, or says no, harms nobody but who awaits it.

Drafts ask ahead of the day that their tax point falls on, and customers move: once that day has
come a question is asked again. What is known at the cut counts.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol, cast

import structlog

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.tax_answers import TaxAnswer
from pipeline.catalog.tax_terms import Fallback, issuer_tax
from pipeline.core.calendar import Instant, day_of
from pipeline.core.errors import BrokenInvariant, ServerFailed, TaleaError
from pipeline.core.identity import Json
from pipeline.stores.clock import wall_clock
from pipeline.stores.postgres.connection import Unreachable, lead
from pipeline.stores.postgres.facts import Author
from pipeline.stores.tax_engine import HttpTaxEngine, TaxEngineSaysNo
from pipeline.tax.asking import Asked, by_own_rules, own_answer, read_answer
from pipeline.tax.deciding import Unknown
from pipeline.workers.seams import FactWriter
from pipeline.workers.surroundings import Surroundings

_log = structlog.get_logger()

_LOCK = "talea taxing"
_AUTHOR = Author("talea", "taxes were asked for outside")
_POLL_S = 1.0
_AGAIN_S = 10.0
_IDLE_S = 120.0
_AT_ONCE = 8
"""Questions in flight."""
_QUESTIONS = 200
"""Questions of one round."""


class TaxEngine(Protocol):
    """Whoever knows what the rules here do not."""

    name: str

    def ask(self, question: Mapping[str, Json]) -> Mapping[str, object]:
        """Return what it says of a question, or raise as HttpTaxEngine does."""
        ...


class AwaitingDrafts(FactWriter, Protocol):
    """Drafts with open questions, and the fact log."""

    def awaited_taxes(self, count_max: int) -> Sequence[Mapping[str, Json]]:
        """Return questions that drafts await, each once."""
        ...

    def read_facts(self, after: int, until: int | None = None) -> list[Fact]: ...


def in_threads(
    answer: Callable[[Asked], TaxAnswer | None], asked: Sequence[Asked]
) -> Sequence[TaxAnswer | None]:
    """Return the answers to questions, some of them asked at once."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [*pool.map(answer, asked)]


@dataclass(slots=True)
class Taxing:
    """The job, over one session in autocommit."""

    store: AwaitingDrafts
    engine: TaxEngine
    clock: Callable[[], Instant] = wall_clock
    ask: Callable[
        [Callable[[Asked], TaxAnswer | None], Sequence[Asked]], Sequence[TaxAnswer | None]
    ] = in_threads
    """How questions are asked beside each other."""
    silent: bool = False
    """Whether the engine did not answer a question of the last step."""
    _read: int = 0
    _early: dict[str, Asked] = field(default_factory=dict)
    """What the engine answered before its day, by digest."""
    _done: set[str] = field(default_factory=set)
    """Digests answered, or refused by the engine: these are asked again after a restart."""

    def step(self) -> int:
        """Ask once what drafts await, and what has come to its day; return the answers written."""
        self.silent = False
        self._read_answers()
        today = _day(self.clock())
        again = [each for each in self._early.values() if str(each.body["day"]) <= today]
        awaited = [Asked(body) for body in self.store.awaited_taxes(_QUESTIONS)]
        new = [question for question in awaited if question.digest not in self._done]
        asked = [*new, *again[: max(0, _QUESTIONS - len(new))]]
        if not asked:
            return 0
        answers = self.ask(self._answer, asked)
        found = [
            NewFact(FactKind.TAX_ANSWER, answer.digest, answer.body(question.body))
            for question, answer in zip(asked, answers, strict=True)
            if answer is not None
        ]
        written = self._write(found)
        for fact in found:
            self._done.add(fact.subject)
            self._early.pop(fact.subject, None)
        return written

    def _read_answers(self) -> None:
        """Learn what was answered before its day, and what was answered since."""
        for fact in self.store.read_facts(self._read):
            self._read = fact.serial
            if fact.kind is not FactKind.TAX_ANSWER:
                continue
            self._done.add(fact.subject)
            self._early.pop(fact.subject, None)
            question = Asked(cast(Mapping[str, Json], fact.body["question"]))
            ahead = _day(fact.recorded_at) < str(question.body["day"])
            if ahead and fact.body["said_by"] == self.engine.name:
                self._early[fact.subject] = question

    def _answer(self, question: Asked) -> TaxAnswer | None:
        """Return an answer; None: it is asked again, or never."""
        try:
            told = self.engine.ask(question.body)
        except ServerFailed as error:
            self.silent = True
            return self._fallback(question, str(error))
        except TaxEngineSaysNo as error:
            answer: TaxAnswer | str = str(error)
        else:
            answer = read_answer(question.body, told, self.engine.name)
        if isinstance(answer, str):
            _log.error("no tax answer", customer=question.body["customer"], why=answer)
            self._done.add(question.digest)
            self._early.pop(question.digest, None)
            return None
        return answer

    def _fallback(self, question: Asked, why: str) -> TaxAnswer | None:
        seller = issuer_tax(question.body["issuer_tax"])
        own = by_own_rules(question.body)
        held = seller is None or seller.fallback is not Fallback.OWN
        if question.digest in self._early or held or isinstance(own, Unknown):
            _log.error("a tax is awaited", customer=question.body["customer"], why=why)
            return None
        return own_answer(question.body, own)

    def _write(self, found: Sequence[NewFact]) -> int:
        def decide(known: Sequence[Fact]) -> list[NewFact]:
            said = {f.subject: f.body for f in known if f.kind is FactKind.TAX_ANSWER}
            return [
                fact
                for fact in found
                if fact.subject not in said
                or (fact.subject in self._early and said[fact.subject] != fact.body)
            ]

        return len(self.store.append_facts(decide, _AUTHOR, self.clock())) if found else 0


def _day(instant: Instant) -> str:
    return day_of(instant, "UTC")


def run_taxing(around: Surroundings, stop: Event) -> None:
    """Ask the engine that settings name, until stopped; none named: nothing is asked."""
    settings = around.settings
    if not settings.tax_engine:
        return
    engine = HttpTaxEngine(settings.tax_engine, settings.tax_engine_s, settings.tax_engine_tries)
    rest_s = 0.0
    while not stop.wait(rest_s):
        try:
            _ask_while_leading(around, engine, stop)
            rest_s = _POLL_S
        except (TaleaError, BrokenInvariant, *Unreachable) as error:
            _log.error("no taxes are asked for", why=str(error))
            rest_s = _AGAIN_S


def _ask_while_leading(around: Surroundings, engine: TaxEngine, stop: Event) -> None:
    with around.database.session("taxing", idle_s=_IDLE_S) as connection:
        while not lead(connection, _LOCK):
            if stop.wait(_AGAIN_S):
                return
        taxing = Taxing(connection, engine, connection.clock())
        while not stop.wait(_AGAIN_S if taxing.silent else _POLL_S):
            taxing.step()
