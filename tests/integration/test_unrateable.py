"""What cannot be rated is said where people look: on the draft, by the doctor; nobody else waits.

A catalog with such a price is refused at the door; these facts are of an older release.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration.commands import talea
from integration.running import RunningStack
from integration.traffic import Traffic, customers_everywhere
from oracle import Oracle
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.calendar import SECOND, Instant, instant_text
from pipeline.core.identity import Json
from pipeline.stores.clock import wall_clock
from pipeline.stores.postgres.facts import Author, append_facts

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]

PERIOD_S = 20


@dataclass
class Shop:
    stack: RunningStack
    traffic: Traffic
    heavy: str
    light: str
    start: Instant

    def catalog(self) -> str:
        plans = "".join(
            f"""
  - id: {plan}
    name: {plan}
    issuer: shop
    currency: EUR
    cycle: {cycle}
    prices:
      - {{id: fee, name: Fee, meter: null, price: {{type: flat, amount: "3.00"}}}}
      - id: calls
        name: Calls
        meter: calls
        price: {{type: volume, tiers: [{{up_to: null, unit_amount: "1"}}]}}"""
            for plan, cycle in (("long", "P1D"), ("short", f"PT{PERIOD_S}S"))
        )
        end = instant_text(self.start + PERIOD_S * SECOND)
        start = instant_text(self.start)
        subscriptions = "".join(
            f"""
  - {{id: {name}-long, customer: {name}, plan: long, start: {start}, end: null}}
  - {{id: {name}-short, customer: {name}, plan: short, start: {start}, end: {end}}}"""
            for name in (self.heavy, self.light)
        )
        return f"""
rules: {{grace: PT1S}}
issuers: [{{id: shop, name: The Shop, number_prefix: U-}}]
meters: [{{id: calls, aggregation: count, unit: call, window: PT1S}}]
plans:{plans}
customers: [{{id: {self.heavy}}}, {{id: {self.light}}}]
subscriptions:{subscriptions}
"""

    def bound(self, *plans: str) -> None:
        """Let the last tier of plans end at 10."""

        def bounded(known: Sequence[Fact]) -> list[NewFact]:
            found = []
            for plan in plans:
                (body, *_) = [
                    dict(fact.body)
                    for fact in reversed(known)
                    if (fact.kind, fact.subject) == (FactKind.PLAN, plan)
                ]
                text = json.dumps(body).replace('"up_to": null', '"up_to": "10"')
                found.append(NewFact(FactKind.PLAN, plan, cast(dict[str, Json], json.loads(text))))
            return found

        append_facts(self.stack.connection, bounded, Author("ada", "old"), wall_clock())

    def told(self, *arguments: str) -> Any:
        ran = talea(self.stack, *arguments, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def faulty(self) -> list[tuple[str, bool]]:
        """Whose documents the doctor names, and which of them are held up."""
        return [(each["customer"], each["held_up"]) for each in self.told("doctor")["unrateable"]]


@pytest.fixture
def shop(make_stack: StackMaker) -> Shop:
    stack = make_stack()
    stack.start()
    light, heavy = customers_everywhere(stack.around.partitions)[:2]
    start = wall_clock() // SECOND * SECOND
    shop = Shop(stack, Traffic(stack, Oracle({"calls": "count"})), heavy, light, start)
    stack.apply(shop.catalog())
    return shop


def test_what_cannot_be_rated_stays_in_sight_until_it_is_mended(shop: Shop) -> None:
    stack = shop.stack
    shop.bound("long", "short")
    for name, count in ((shop.heavy, 11), (shop.light, 10)):
        shop.traffic.keyed(
            *(usage(name, meter="calls", time=shop.start, id=f"{n}") for n in range(count))
        )
    shop.traffic.flush()
    stack.until(lambda: (shop.heavy, True) in shop.faulty(), "the cut document is held up")
    stack.until(lambda: len(stack.documents(shop.light)) == 1, "the other payer is billed")
    assert {name for name, _ in shop.faulty()} == {shop.heavy}

    drafts = {draft["cut_instant"]: draft for draft in shop.told("draft", shop.heavy)}
    cut = instant_text(shop.start + PERIOD_S * SECOND)
    (held,) = drafts.pop(cut)["validation_issues"]
    assert held["mend"].startswith("its period is cut")
    (open_one,) = [draft for draft in drafts.values() if draft["validation_issues"]]
    (issue,) = open_one["validation_issues"]
    assert (issue["code"], issue["severity"]) == ("beyond_last_tier", "critical")
    assert issue["component"].startswith(f"{shop.heavy}-long/calls from ")
    assert [line["name"] for line in open_one["lines"]] == ["Fee"]
    assert "CRITICAL" in talea(stack, "draft", shop.heavy).stdout
    assert "is held up, cut at" in talea(stack, "doctor").stdout

    stack.apply(shop.catalog())
    stack.until(lambda: shop.faulty() == [(shop.heavy, True)], "the open draft is mended")
    drafts = {draft["cut_instant"]: draft for draft in shop.told("draft", shop.heavy)}
    assert len(drafts[open_one["cut_instant"]]["lines"]) == 2
    assert stack.documents(shop.heavy) == []
    assert stack.verify().faults == {}
