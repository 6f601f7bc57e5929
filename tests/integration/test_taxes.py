"""Taxes on real servers: known, asked of an outside engine, answered by hand; and proven."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from contract.engines import serving
from fixtures_stack import StackMaker
from integration.commands import talea
from integration.running import BILLING, RunningStack
from pipeline.core.calendar import SECOND, instant_text
from pipeline.stores.clock import wall_clock

pytestmark = pytest.mark.servers

CATALOG = """
rules: {{grace: PT1S}}
issuers:
  - id: shop
    name: The Shop
    number_prefix: S-
    tax: {{country: DE, vat_id: DE136695976, engine: outside}}
plans:
  - id: desk
    name: Desk
    issuer: shop
    currency: EUR
    cycle: PT20S
    prices: [{{id: fee, name: Fee, price: {{type: flat, amount: "100"}}}}]
  - id: books
    name: Books
    issuer: shop
    currency: EUR
    cycle: PT20S
    tax_code: second_reduced
    prices: [{{id: fee, name: Fee, price: {{type: flat, amount: "100"}}}}]
customers:
  - {{id: ann, tax: {{country: DE}}}}
  - {{id: bob, tax: {{country: FR, vat_id: FR40303265045}}}}
  - {{id: cyd, tax: {{country: DE}}}}
  - {{id: dan}}
subscriptions:
  - {{id: s-ann, customer: ann, plan: desk, start: "{start}", end: "{end}"}}
  - {{id: s-bob, customer: bob, plan: desk, start: "{start}", end: "{end}"}}
  - {{id: s-cyd, customer: cyd, plan: books, start: "{start}", end: "{end}"}}
  - {{id: s-dan, customer: dan, plan: desk, start: "{start}", end: "{end}"}}
"""


def reply(body: bytes, _headers: Mapping[str, str]) -> tuple[int, str]:
    """An engine that knows a rate of books, and not where dan is."""
    if json.loads(body)["customer"] == "dan":
        return 422, "who is dan?"
    said = {"category": "S", "jurisdiction": "DE", "rate_percent": "5"}
    return 200, json.dumps(said)


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> Iterator[RunningStack]:
    """A stack whose period is over: three of four customers are billed."""
    with serving(reply) as url:
        stack = make_shared_stack(tax_engine=url)
        start = (wall_clock() // SECOND - 30) * SECOND
        times = {"start": instant_text(start), "end": instant_text(start + 20 * SECOND)}
        stack.apply(CATALOG.format(**times))
        stack.start(*BILLING)
        stack.await_documents(3)
        yield stack


def totals(stack: RunningStack) -> dict[str, tuple[int, str]]:
    """Total and tax code of each customer's document."""
    told: dict[str, tuple[int, str]] = {}
    for document in stack.documents():
        content: dict[str, Any] = document.content
        (row,) = content["taxes"]
        told[document.payer] = content["totals"]["total_minor"], row["tax_code"]
    return told


def test_who_awaits_an_answer_waits_alone_and_all_is_proven_then(
    stack: RunningStack,
) -> None:
    billed = {"ann": (11900, "S-19"), "bob": (10000, "AE"), "cyd": (10500, "S-5")}
    assert totals(stack) == billed

    ran = talea(stack, "tax", "awaited", "--json")
    assert ran.returncode == 0, ran.stderr
    (question,) = json.loads(ran.stdout)
    assert question["question"]["customer"] == "dan"
    ran = talea(stack, "draft", "dan")
    assert "nothing is known of where dan is taxed" in ran.stdout + ran.stderr

    by_hand = ("--category", "S", "--jurisdiction", "AT", "--rate", "20")
    decided = ("--actor", "ann-admin", "--reason", "dan lives in Vienna")
    ran = talea(stack, "tax", "answer", question["digest"][:12], *by_hand, *decided)
    assert (ran.returncode, ran.stderr) == (0, "")

    stack.await_documents(4)
    assert totals(stack) == {**billed, "dan": (12000, "S-20")}
    assert json.loads(talea(stack, "tax", "awaited", "--json").stdout) == []
    ran = talea(stack, "tax", "answer", question["digest"][:12], *by_hand, *decided)
    assert ran.returncode == 2
    assert "no question that a document awaits" in ran.stderr

    verified = stack.verify()

    assert (verified.checked, dict(verified.faults)) == (4, {})
    late = {d.payer: d.record["fact_position_last"] for d in stack.documents()}
    at_cut = {d.payer: d.record["fact_position_cut"] for d in stack.documents()}
    assert late["dan"] > at_cut["dan"]  # type: ignore[operator]
    assert late["ann"] == at_cut["ann"]
    assert stack.defects() == []
