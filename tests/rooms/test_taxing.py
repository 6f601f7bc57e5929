"""Asking an outside engine: once, with a fallback; its answers let held documents go."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import pytest

from builders import T0, instant
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.tax_answers import TaxAnswer
from pipeline.catalog.tax_terms import (
    NO_TAX_TERMS,
    CustomerTax,
    Engine,
    Fallback,
    IssuerTax,
)
from pipeline.core.calendar import Instant
from pipeline.core.errors import ServerFailed
from pipeline.core.identity import Json
from pipeline.stores.postgres.facts import Author
from pipeline.stores.tax_engine import TaxEngineSaysNo
from pipeline.tax.asking import Asked, asked
from pipeline.workers.taxing import Taxing

SAID = {"category": "S", "jurisdiction": "US-CA", "rate_percent": "7.25"}


def question(customer: str, seller: IssuerTax, country: str = "US") -> Asked:
    return asked("talea", seller, customer, CustomerTax(country), NO_TAX_TERMS, "2026-03-31")


HOLD = IssuerTax("DE", engine=Engine.OUTSIDE_ALWAYS)
OWN = IssuerTax("DE", engine=Engine.OUTSIDE_ALWAYS, fallback=Fallback.OWN)
LOST = IssuerTax("US", engine=Engine.OUTSIDE, fallback=Fallback.OWN)


@dataclass
class Kept:
    """Questions that drafts await, and the fact log."""

    awaited: list[Asked]
    written: list[Fact] = field(default_factory=list)

    def awaited_taxes(self, count_max: int) -> Sequence[Mapping[str, Json]]:
        return [each.body for each in self.awaited[:count_max]]

    def append_facts(
        self,
        decide: Callable[[Sequence[Fact]], Sequence[NewFact]],
        author: Author,
        now: Instant,
    ) -> list[Fact]:
        told = [
            Fact(
                len(self.written) + place,
                "",
                new.kind,
                new.subject,
                new.body,
                author.actor,
                author.reason,
                now,
            )
            for place, new in enumerate(decide(self.written), start=1)
        ]
        self.written += told
        return told

    def read_facts(self, after: int, until: int | None = None) -> list[Fact]:
        return self.written[after:until]

    def answers(self, customer: str) -> list[TaxAnswer]:
        return [*extend(Catalog(), self.written).deals.tax_answers.of(customer).values()]


@dataclass
class Scripted:
    """An engine that says what it was told to, to one customer each."""

    says: Mapping[str, object]
    name: str = "tax.example"
    asked: list[str] = field(default_factory=list)

    def ask(self, question: Mapping[str, Json]) -> Mapping[str, object]:
        customer = str(question["customer"])
        self.asked.append(customer)
        said = self.says[customer]
        if isinstance(said, Exception):
            raise said
        assert isinstance(said, dict)
        return said


@dataclass
class Clock:
    """What day it is."""

    now: Instant = T0

    def __call__(self) -> Instant:
        return self.now


BEFORE, ITS_DAY = Clock(), Clock(instant("2026-03-31T00:00:00Z"))


def taxing(kept: Kept, engine: Scripted, clock: Clock = BEFORE) -> Taxing:
    return Taxing(kept, engine, clock)


def test_each_question_is_asked_and_answered_once() -> None:
    kept = Kept([question("ann", HOLD), question("bob", HOLD)])
    engine = Scripted({"ann": SAID, "bob": SAID})
    job = taxing(kept, engine)

    assert [job.step(), job.step()] == [2, 0]
    assert sorted(engine.asked) == ["ann", "bob"]
    (answer,) = kept.answers("ann")
    assert (answer.category, answer.jurisdiction, answer.said_by) == ("S", "US-CA", "tax.example")

    again = taxing(kept, engine)  # another finalizer, before the drafts were rated anew
    assert again.step() == 0
    assert len(kept.written) == 2


@pytest.mark.parametrize(
    ("seller", "written"),
    [(HOLD, []), (OWN, ["own rules (DE standard 2021-01-01), for no engine answered"]), (LOST, [])],
)
def test_a_silent_engine_is_waited_for_or_done_without(
    seller: IssuerTax, written: list[str]
) -> None:
    kept = Kept([question("ann", seller, "DE")])
    job = taxing(kept, Scripted({"ann": ServerFailed("it is away")}))

    job.step()

    told = [answer.said_by for answer in kept.answers("ann")]
    assert told == written


def test_one_that_waits_is_asked_again_and_harms_nobody() -> None:
    kept = Kept([question("ann", HOLD), question("bob", HOLD)])
    says: dict[str, object] = {"ann": ServerFailed("it is away"), "bob": SAID}
    engine = Scripted(says)
    job = taxing(kept, engine)

    assert job.step() == 1
    says["ann"] = SAID
    assert job.step() == 1
    assert sorted(engine.asked) == ["ann", "ann", "bob"]


@pytest.mark.parametrize(
    "said", [TaxEngineSaysNo("it says 422"), {**SAID, "rate_percent": 7.25}, {}]
)
def test_a_no_and_what_is_no_answer_are_not_asked_for_again(said: object) -> None:
    kept = Kept([question("ann", OWN, "DE")])
    engine = Scripted({"ann": said})
    job = taxing(kept, engine)

    assert [job.step(), job.step()] == [0, 0]
    assert engine.asked == ["ann"]
    assert kept.written == []


VERMONT = {**SAID, "jurisdiction": "US-VT", "rate_percent": "6"}


@pytest.mark.parametrize(
    ("then", "counts", "written"),
    [
        (SAID, "US-CA", 1),  # as it said
        (VERMONT, "US-VT", 2),  # the customer moved
        (ServerFailed("it is away"), "US-CA", 1),  # what it said is better than nothing
        (TaxEngineSaysNo("it says 422"), "US-CA", 1),
    ],
)
def test_what_was_answered_ahead_is_asked_again_on_its_day(
    then: object, counts: str, written: int
) -> None:
    kept = Kept([question("ann", OWN)])
    says: dict[str, object] = {"ann": SAID}
    engine, clock = Scripted(says), Clock()
    job = taxing(kept, engine, clock)
    job.step()
    assert job.step() == 0
    kept.awaited, clock.now, says["ann"] = [], ITS_DAY.now, then

    for each in (job, taxing(kept, engine, clock)):  # another one knows it from the facts
        each.step()

    (answer,) = kept.answers("ann")
    assert (answer.jurisdiction, len(kept.written)) == (counts, written)


def test_what_was_answered_on_its_day_or_by_hand_is_not_asked_again() -> None:
    late, by_hand = question("ann", HOLD), question("bob", HOLD)
    kept = Kept([late])
    engine = Scripted({"ann": SAID, "bob": SAID})
    taxing(kept, engine, ITS_DAY).step()
    said = TaxAnswer(by_hand.digest, "bob", "O", "US", Fraction(0), "Resale", "ada")
    new = NewFact(FactKind.TAX_ANSWER, said.digest, said.body(by_hand.body))
    kept.append_facts(lambda _known: [new], Author("ada", "knows better"), T0)

    taxing(kept, engine, ITS_DAY).step()

    assert engine.asked == ["ann"]


def test_an_engine_that_is_silent_is_let_rest() -> None:
    says: dict[str, object] = {"ann": ServerFailed("it is away")}
    job = taxing(Kept([question("ann", HOLD)]), Scripted(says))

    job.step()
    assert job.silent
    says["ann"] = SAID
    job.step()
    assert not job.silent
