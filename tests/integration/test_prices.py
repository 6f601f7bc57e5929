"""Every price model and term on real servers: what the shop bills is what the oracle works out,
a draft is the invoice, and both are proven from the log.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from textwrap import indent
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration.commands import talea
from integration.running import FINALIZER, METERING, PRICING, TICKER, RunningStack
from integration.traffic import Traffic, check_books, customers_everywhere
from oracle import Oracle
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, Instant, instant_text
from pipeline.core.identity import Json
from pipeline.stores.clock import wall_clock
from price_oracle import CATALOG, PRICES, topped_up

pytestmark = pytest.mark.servers

CYCLE_S, PERIODS = 5, 2
METERS = {"calls": "sum", "money": "sum"}


def catalog(customers: Sequence[str], start: Instant, end: Instant) -> str:
    """One plan of every price."""
    subscriptions = "".join(
        f"\n  - {{id: s-{name}, customer: {name}, plan: all,"
        f" start: {instant_text(start)}, end: {instant_text(end)}}}"
        for name in customers
    )
    return f"""
rules: {{grace: PT1S}}
issuers: [{{id: shop, name: The Shop, number_prefix: P-}}]
meters:
  - {{id: calls, aggregation: sum, unit: call, window: PT1S, dimensions: [region]}}
  - {{id: money, aggregation: sum, unit: EUR, window: PT1S, points: true}}
plans:
  - id: all
    name: All
    issuer: shop
    currency: EUR
    cycle: PT{CYCLE_S}S
    prices:{indent(CATALOG, "    ")}
customers: [{", ".join(f"{{id: {name}}}" for name in customers)}]
subscriptions:{subscriptions}
"""


def events(start: Instant, end: Instant) -> list[UsageEvent]:
    """Usage of both meters, at no two equal times; every price has some beyond its bounds."""
    chance, found = Random(11), []
    for number, meter in enumerate(METERS):
        for n in range(40):
            time = start + (end - start) * n // 40 + 1 + number
            value = f"{chance.randrange(60)}.{chance.randrange(1000):03}"
            region = chance.choice(("eu", "us", "asia", ""))
            named = {"region": region} if region and meter == "calls" else {}
            found.append(usage("", value, meter=meter, time=time, id=f"{meter}-{n}", **named))
    return found


@dataclass
class Billed:
    """A stack in which every period of two customers is closed."""

    stack: RunningStack
    oracle: Oracle
    customers: list[str]
    start: Instant
    drafts: dict[tuple[str, Instant], dict[str, Json]]

    def edge(self, cycle: int) -> Instant:
        """The start of a cycle."""
        return self.start + cycle * CYCLE_S * SECOND

    def content(self, customer: str, edge: int) -> Any:
        """What was issued at the start of a cycle."""
        (document,) = [d for d in self.stack.documents(customer) if d.instant == self.edge(edge)]
        return document.content

    def owed(self, customer: str, price: str, cycle: int) -> int:
        """What the oracle works out."""
        meter, priced = PRICES[price]
        used = [
            event
            for event in self.oracle.booked.get((customer, meter or ""), [])
            if self.edge(cycle) <= event.time < self.edge(cycle + 1)
        ]
        return priced(used, cycle)


@pytest.fixture(scope="module")
def billed(make_shared_stack: StackMaker) -> Billed:
    """The first customer's usage is keyed and in order, the other's in sequence and mixed.

    It is sent and drafted while no tick comes, so that no cut can overtake the drafts.
    """
    stack = make_shared_stack()
    traffic = Traffic(stack, Oracle(METERS))
    customers = customers_everywhere(stack.around.partitions)[:2]
    keyed, mixed = customers
    start = wall_clock() // SECOND * SECOND
    end = start + PERIODS * CYCLE_S * SECOND
    stack.apply(catalog(customers, start, end))
    stack.start(METERING, PRICING)
    sent = events(start, end)
    traffic.keyed(*(replace(event, customer=keyed) for event in sent))
    Random(3).shuffle(sent)
    for at in reversed(range(0, len(sent), 30)):
        own = (replace(event, customer=mixed, id="") for event in sent[at : at + 30])
        traffic.sequenced(at, *own)
    traffic.again(*traffic.sent[:2])
    traffic.flush()
    stack.await_drained()
    drafts = {(draft.payer, draft.instant): draft.content for draft in stack.drafts()}
    stack.start(TICKER, FINALIZER)
    stack.await_documents(len(customers) * (PERIODS + 1))
    return Billed(stack, traffic.oracle, customers, start, drafts)


@pytest.mark.parametrize("edge", range(PERIODS + 1))
def test_every_price_comes_to_what_the_oracle_works_out(billed: Billed, edge: int) -> None:
    """Usage and fees of the cycle that ended; fees in advance of the one that starts."""
    for customer in billed.customers:
        expected = {
            price: billed.owed(customer, price, edge if price == "seats" else edge - 1)
            for price in PRICES
            if (edge < PERIODS if price == "seats" else edge > 0)
        }
        if edge:
            worth = {price: billed.owed(customer, price, edge - 1) for price in PRICES}
            expected |= topped_up(worth)
        found: dict[str, int] = defaultdict(int)
        content = billed.content(customer, edge)
        for line in content["lines"]:
            found[line["rate_card"]["id"]] += line["total_minor"]

        assert found == expected
        assert content["totals"]["total_minor"] == sum(expected.values())


def test_bounds_minima_and_discounts_were_all_met(billed: Billed) -> None:
    """Or the test above says less than it seems to."""
    lines = [
        line
        for customer in billed.customers
        for edge in range(PERIODS + 1)
        for line in billed.content(customer, edge)["lines"]
    ]
    children = [child for line in lines for child in line["children"]]
    tops = [line["total_minor"] for line in lines if line["category"] == "commitment"]
    taken = {each["type"] for node in [*lines, *children] for each in node["discounts"]}

    assert taken >= {"percentage", "fixed"}
    assert min(tops) == 0 < max(tops)
    assert {child["name"].split(": ")[1] for child in children} >= {"minimum", "usage", "flat"}
    assert {line["payment_term"] for line in lines} == {"in_advance", "in_arrears"}


def test_a_draft_before_its_cut_is_the_invoice(billed: Billed) -> None:
    issued = {(each.payer, each.instant): each.content for each in billed.stack.documents()}

    assert {customer for customer, _ in billed.drafts} == set(billed.customers)
    assert billed.drafts == {key: issued[key] for key in billed.drafts}


def test_a_commitment_is_explained_by_what_others_come_to(billed: Billed) -> None:
    content = billed.content(billed.customers[0], 1)
    (line,) = (each for each in content["lines"] if each["rate_card"]["id"] == "spend")
    said = talea(billed.stack, "explain", line["id"])

    assert (said.returncode, said.stderr) == (0, "")
    head, why = said.stdout.splitlines()
    assert head.startswith(f"Spend, at least 1500.00: {1500 - line['total_minor'] / 100:.2f} spent")
    assert why == f"it tops up what others come to: s-{billed.customers[0]}/spend"


def test_everything_is_billed_and_proven(billed: Billed) -> None:
    counts = billed.stack.close_the_books()
    check_books(billed.stack, billed.oracle)

    assert counts["pending"] == 0
    assert counts["duplicate"] == 80 + 20
