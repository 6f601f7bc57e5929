"""Every aggregation on real servers: the same usage keyed and in sequence, in two orders and cuts,
is billed as the oracle counts it, period after period, and proven from the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration.running import FINALIZER, METERING, PRICING, TICKER, RunningStack
from integration.traffic import Traffic, check_books, customers_everywhere
from oracle import Oracle, minor
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, Instant, instant_text
from pipeline.core.identity import Json
from pipeline.core.quantity import quantity_text
from pipeline.stores.clock import wall_clock

pytestmark = pytest.mark.servers

CYCLE_S, PERIODS = 6, 2
PARAMETERS = {
    **{name: "" for name in ("sum", "count", "min", "max", "average", "latest", "time_weighted")},
    "unique_count": ", of: user",
    "percentile": ', percent: "62.5"',
    "window_percentile": ', percent: "60"',
    "level_minutes": ", per: PT1M",
}
METERS = {
    **{name: name for name in PARAMETERS},
    "unique_count": "unique_count user",
    "percentile": "percentile 62.5",
    "window_percentile": f"window_percentile 60 {SECOND}",
    "level_minutes": f"time_weighted {60 * SECOND}",
    "tokens": "sum",
}
LEVELS = ("time_weighted", "level_minutes")
MODELS = ("", "big", "small")


def catalog(customers: Sequence[str], start: Instant, end: Instant) -> str:
    """Every meter at 1 EUR a unit; tokens of two regions by model."""
    meters = "".join(
        f"\n  - {{id: {name}, unit: u, window: PT1S, dimensions: [region],"
        f" aggregation: {'time_weighted' if name == 'level_minutes' else name}{more}}}"
        for name, more in PARAMETERS.items()
    )
    prices = "".join(
        f"\n      - {{id: {name}, name: {name}, meter: {name},"
        " price: {type: unit, unit_amount: 1}}"
        for name in PARAMETERS
    )
    subscriptions = "".join(
        f"\n  - {{id: s-{name}, customer: {name}, plan: all,"
        f" start: {instant_text(start)}, end: {instant_text(end)}}}"
        for name in customers
    )
    return f"""
rules: {{grace: PT1S}}
issuers: [{{id: shop, name: The Shop, number_prefix: A-}}]
meters:{meters}
  - {{id: tokens, aggregation: sum, unit: u, window: PT1S, dimensions: [model, region]}}
plans:
  - id: all
    name: All
    issuer: shop
    currency: EUR
    cycle: PT{CYCLE_S}S
    prices:{prices}
      - {{id: tokens, name: Tokens, meter: tokens, filter: {{region: [eu, us]}},
         group_by: [model], price: {{type: unit, unit_amount: 1}}}}
customers: [{", ".join(f"{{id: {name}}}" for name in customers)}]
subscriptions:{subscriptions}
"""


def events(start: Instant, end: Instant) -> list[UsageEvent]:
    """Usage of every meter, at no two equal times; levels begin before the first period."""
    chance, found = Random(7), []
    for number, meter in enumerate(METERS):
        first = start - 5 * SECOND if meter in LEVELS else start
        for n in range(40):
            time = first + (end - first) * n // 40 + 1 + number
            value = f"{chance.randrange(50)}.{chance.randrange(100)}"
            wide = "123456789012345.678" if n == 17 else value
            named = {"region": chance.choice(("eu", "us", "asia"))}
            if meter == "unique_count" and n % 5:
                named["user"] = f"u{chance.randrange(6)}"
            if meter == "tokens" and n % 4:
                named["model"] = chance.choice(MODELS[1:])
            found.append(usage("", wide, meter=meter, time=time, id=f"{meter}-{n}", **named))
    return found


@dataclass
class Billed:
    """A stack in which every period of two customers is closed."""

    stack: RunningStack
    oracle: Oracle
    customers: list[str]
    start: Instant
    drafts: dict[tuple[str, Instant], dict[str, Json]]

    def lines(self, customer: str, period: int) -> list[dict[str, Any]]:
        """The lines of a customer's invoice for one period."""
        end = self.start + (period + 1) * CYCLE_S * SECOND
        (document,) = [d for d in self.stack.documents(customer) if d.instant == end]
        content: Any = document.content
        lines: list[dict[str, Any]] = content["lines"]
        assert sum(line["total_minor"] for line in lines) == content["totals"]["total_minor"]
        return lines

    def owed(self, customer: str, period: int) -> dict[tuple[str, str | None], Fraction]:
        """What the oracle counts, by price and model."""
        start = self.start + period * CYCLE_S * SECOND
        end = start + CYCLE_S * SECOND

        def counted(meter: str, **where: str) -> Fraction:
            return self.oracle.quantity(customer, meter, start, end, **where)

        found: dict[tuple[str, str | None], Fraction] = {
            (meter, None): counted(meter) for meter in PARAMETERS
        }
        own = self.oracle.booked[customer, "tokens"]
        for event in own:
            if start <= event.time < end and event.dimensions["region"] != "asia":
                model = event.dimensions.get("model")
                key = ("tokens", model)
                found[key] = found.get(key, Fraction(0)) + Fraction(event.value)
        return found


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
    for at in range(0, len(sent), 150):
        traffic.keyed(*(replace(event, customer=keyed) for event in sent[at : at + 150]))
    traffic.again(traffic.sent[0])
    Random(3).shuffle(sent)
    for at in reversed(range(0, len(sent), 70)):
        own = (replace(event, customer=mixed, id="") for event in sent[at : at + 70])
        traffic.sequenced(at, *own)
    traffic.again(traffic.sent[-1])
    traffic.flush()
    stack.await_drained()
    drafts = {(draft.payer, draft.instant): draft.content for draft in stack.drafts()}
    stack.start(TICKER, FINALIZER)
    stack.await_documents(len(customers) * PERIODS)
    return Billed(stack, traffic.oracle, customers, start, drafts)


@pytest.mark.parametrize("period", range(PERIODS))
def test_every_line_has_the_quantity_that_the_oracle_counts(billed: Billed, period: int) -> None:
    for customer in billed.customers:
        lines = billed.lines(customer, period)
        found = {
            (line["rate_card"]["id"], line["rate_card"].get("group", {}).get("model")): line
            for line in lines
        }
        expected = billed.owed(customer, period)

        assert len(found) == len(lines)
        assert {key: line["quantity"] for key, line in found.items()} == {
            key: quantity_text(value) for key, value in expected.items()
        }
        assert {key: line["total_minor"] for key, line in found.items()} == {
            key: minor(value) for key, value in expected.items()
        }


def test_both_customers_used_the_same_and_every_aggregation_says_something_else(
    billed: Billed,
) -> None:
    one, other = billed.customers
    for period in range(PERIODS):
        assert billed.owed(one, period) == billed.owed(other, period)
        assert len(set(billed.owed(one, period).values())) == len(billed.owed(one, period))


def test_a_draft_before_its_cut_is_the_invoice(billed: Billed) -> None:
    issued = {(each.payer, each.instant): each.content for each in billed.stack.documents()}

    assert {customer for customer, _ in billed.drafts} == set(billed.customers)
    assert billed.drafts == {key: issued[key] for key in billed.drafts}


def test_what_no_price_asks_for_is_pending_and_everything_is_proven(billed: Billed) -> None:
    counts = billed.stack.close_the_books()
    check_books(billed.stack, billed.oracle)
    end = billed.start + PERIODS * CYCLE_S * SECOND
    unpaid = [
        event
        for used in billed.oracle.booked.values()
        for event in used
        if not billed.start <= event.time < end
        or (event.meter == "tokens" and event.dimensions["region"] == "asia")
    ]

    assert counts["pending"] == len(unpaid) > 0
    assert counts["duplicate"] == 150 + 70
