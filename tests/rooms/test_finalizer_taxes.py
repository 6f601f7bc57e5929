"""The finalizer and answers of an outside tax engine: who awaits one is held up until it comes."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from builders import (
    customer_of,
    facts,
    flat,
    issuer_of,
    log_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
    taxed_in,
)
from pipeline.book.booking import Cut, TickPassed
from pipeline.catalog.by_hand import Holds, nothing_held
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import Fact, FactKind
from pipeline.catalog.tax_answers import TaxAnswer
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.planned import planned_lines
from pipeline.ledger.seal import FIRST_SEAL, Sealed, content_bytes
from pipeline.meter.slices import Counts
from pipeline.meter.ticks import Tick
from pipeline.stores.postgres.preparing import Registrar
from pipeline.tax.asking import read_answer
from pipeline.workers.finalizer import Finalizer
from pipeline.workers.knowledge import Knowledge
from rooms.test_finalizer import FEB, Archive, clock

BEGUN = (
    log_of(),
    rules_of(),
    taxed_in(issuer_of(), "DE", engine="outside"),
    plan_of("basic", price_of("seats", flat("100"))),
    *(taxed_in(customer_of(name), home) for name, home in (("abby", "DE"), ("bill", "DE"))),
    customer_of("carl"),
    *(
        subscription_of(f"s-{name}", name, "basic", "2026-01-01T00:00:00Z")
        for name in ("abby", "bill", "carl")
    ),
)


@dataclass
class Told:
    """A fact log that grows."""

    facts: list[Fact] = field(default_factory=lambda: facts(*BEGUN))

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        return self.facts[after:until]

    def ticks_from(self, serial: int, count: int) -> list[Tick]:
        return []


@dataclass
class Shelf(Archive):
    """Registers, too: what is sealed, in order."""

    sealed: list[Sealed] = field(default_factory=list)

    def tick_passed(self, partition: int, serial: int) -> TickPassed:
        return TickPassed(Tick(serial, FEB, len(BEGUN)), serial, Counts())

    def fact_position(self, tick_serial: int) -> int:
        return len(BEGUN)

    def issuers_waiting(self) -> list[str]:
        return ["talea"] if self.prepared else []

    def register(
        self,
        issuer: str,
        seal: Registrar,
        count_max: int,
        held: Callable[[], Holds] = nothing_held,
    ) -> int:
        waiting, self.prepared = self.prepared[:count_max], self.prepared[count_max:]
        previous = self.sealed[-1].seal.hex() if self.sealed else FIRST_SEAL
        self.sealed += seal(waiting, len(self.sealed), previous)
        return len(waiting)


def run(finalizer: Finalizer) -> None:
    while finalizer.prepare():
        pass
    finalizer.register()


def positions(sealed: Sequence[Sealed]) -> list[tuple[int, int]]:
    records = [json.loads(each.record) for each in sealed]
    return [(each["fact_position_cut"], each["fact_position_last"]) for each in records]


def test_a_document_waits_for_its_answer_alone_and_is_issued_once_it_is_there() -> None:
    told = Told()
    shelf = Shelf([Cut(payer, "EUR", FEB, 7) for payer in ("abby", "carl", "bill")], {})
    finalizer = Finalizer(shelf, Knowledge(told), clock)

    run(finalizer)
    run(finalizer)

    assert [json.loads(each.content)["customer"] for each in shelf.sealed] == ["abby", "bill"]
    (draft,) = shelf.drafts  # composed once, not over and over
    (issue,) = draft.issues
    assert (draft.payer, issue["code"]) == ("carl", "tax_awaited")
    assert "talea tax answer" in str(issue["mend"])

    tax = cast(Mapping[str, Json], draft.content["tax"])
    (question,) = cast(list[Mapping[str, Json]], tax["awaited"])
    said = {"category": "S", "jurisdiction": "DE", "rate_percent": "19"}
    answer = read_answer(question, said, "tax.example")
    assert isinstance(answer, TaxAnswer)
    decision = (FactKind.TAX_ANSWER, answer.digest, answer.body(question))
    told.facts = facts(*BEGUN, customer_of("dora"), decision)
    run(finalizer)

    last = json.loads(shelf.sealed[-1].content)
    assert (last["customer"], last["totals"]["total_minor"]) == ("carl", 11900)
    at_cut = len(BEGUN)
    assert positions(shelf.sealed) == [(at_cut, at_cut)] * 2 + [(at_cut, at_cut + 2)]

    then, later = extend(Catalog(), told.facts[:at_cut]), extend(Catalog(), told.facts)
    lines = planned_lines(then, "carl", "EUR", FEB)
    (again,) = compose(then.answered_by(later), "carl", "EUR", FEB, lines, {})
    assert content_bytes(again.content) == shelf.sealed[-1].content
