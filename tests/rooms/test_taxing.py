"""Asking an outside engine: once, with a fallback; its answers let held documents go."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import pytest

from builders import T0, facts
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import Fact, NewFact
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
        new = decide(self.written)
        told = facts(*((each.kind, each.subject, dict(each.body)) for each in new))
        self.written += told
        return told

    @property
    def catalog(self) -> Catalog:
        numbered = zip(count(1), self.written, strict=False)
        return extend(
            Catalog(),
            (
                Fact(n, f.id, f.kind, f.subject, f.body, f.actor, f.reason, f.recorded_at)
                for n, f in numbered
            ),
        )


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


def taxing(kept: Kept, engine: Scripted) -> Taxing:
    return Taxing(kept, engine, lambda: T0)


def test_each_question_is_asked_and_answered_once() -> None:
    kept = Kept([question("ann", HOLD), question("bob", HOLD)])
    engine = Scripted({"ann": SAID, "bob": SAID})
    job = taxing(kept, engine)

    assert [job.step(), job.step()] == [2, 0]
    assert sorted(engine.asked) == ["ann", "bob"]
    (answer,) = kept.catalog.deals.tax_answers["ann"].values()
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

    told = [
        answer.said_by for own in kept.catalog.deals.tax_answers.values() for answer in own.values()
    ]
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
