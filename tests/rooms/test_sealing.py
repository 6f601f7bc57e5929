"""Sealing many documents at once: each behind the one before it, paid by what that one left."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest

from builders import (
    credit_of,
    customer_of,
    facts,
    flat,
    instant,
    issuer_of,
    log_of,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
)
from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import Instant
from pipeline.core.identity import Json
from pipeline.invoice.compose import compose
from pipeline.invoice.fees import Reach
from pipeline.invoice.planned import planned_lines, with_lines
from pipeline.ledger.seal import FIRST_SEAL, content_bytes
from pipeline.meter.ticks import Tick
from pipeline.stores.postgres.preparing import Prepared
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.sealing import Sealer

ENDS = [instant("2026-02-01T00:00:00Z"), instant("2026-03-01T00:00:00Z")]
FACTS = facts(
    log_of(),
    rules_of(),
    issuer_of(),
    plan_of("basic", price_of("fee", flat("10"))),
    customer_of("acme"),
    subscription_of("s", "acme", "basic", "2026-01-01T00:00:00Z"),
    credit_of("c", "acme", "17"),
)


@dataclass(frozen=True)
class Issued:
    """The facts, and what credits paid before."""

    used: Mapping[str, Mapping[str, int]]

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        return list(FACTS[after:until])

    def ticks_from(self, serial: int, count: int) -> list[Tick]:
        return []

    def credits_used(self, payers: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        return self.used

    def notes_issued(self, issuer: str) -> int:
        return 0

    def settlement_of(self, document: str) -> Mapping[str, Json] | None:
        return None

    def fact_position(self, tick_serial: int) -> int:
        return len(FACTS)


def clock() -> Instant:
    return ENDS[1]


def two_months() -> list[Prepared]:
    """January's and February's document of acme, 10.00 EUR each."""
    catalog, carried = extend(Catalog(), FACTS), dict[tuple[str, str], Reach]()
    found = []
    for serial, end in enumerate(ENDS, 7):
        lines = planned_lines(catalog, "acme", "EUR", end, carried)
        carried = dict(with_lines(carried, lines))
        (made,) = compose(catalog, "acme", "EUR", end, lines, {})
        text = content_bytes(made.content)
        found.append(Prepared("acme", "EUR", end, "invoice", 0, "talea", serial, text, {}))
    return found


def test_a_credit_pays_the_second_what_the_first_left_of_it() -> None:
    issued = Issued({"acme": {"c": 200}})
    sealed = Sealer(issued, Knowledge(issued), clock).seal(two_months(), 4, FIRST_SEAL)

    records = [json.loads(each.record) for each in sealed]
    assert [each["settlement"] for each in records] == [
        {"credits": [{"credit": "c", "amount_minor": 1000}], "due_minor": 0},
        {"credits": [{"credit": "c", "amount_minor": 500}], "due_minor": 500},
    ]
    assert [each.place for each in sealed] == [5, 6]
    assert [each["previous_seal"] for each in records] == [FIRST_SEAL, sealed[0].seal.hex()]
    assert issued.used == {"acme": {"c": 200}}


@pytest.mark.parametrize(
    ("told", "due_at"),
    [
        ({}, "2026-03-15T00:00:00Z"),  # the plan's 14 days
        ({"payment_days": 45}, "2026-04-15T00:00:00Z"),
        ({"payment_days": 0}, "2026-03-01T00:00:00Z"),
    ],
)
def test_a_document_is_due_as_its_draft_was_told(told: dict[str, Json], due_at: str) -> None:
    first, _ = two_months()
    prepared = replace(first, content=content_bytes({**json.loads(first.content), **told}))
    issued = Issued({})
    (sealed,) = Sealer(issued, Knowledge(issued), clock).seal([prepared], 0, FIRST_SEAL)

    assert json.loads(sealed.record)["due_at"] == due_at
