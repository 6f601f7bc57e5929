"""Currencies, promotion codes and price books on real servers: from drafts to proven invoices."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.running import BILLING, RunningStack
from integration.traffic import Traffic, check_books
from oracle import Oracle
from pipeline.core.calendar import DAY, SECOND, Instant, instant_text
from pipeline.stores.clock import wall_clock

pytestmark = pytest.mark.servers

WHO = ("--actor", "ann-admin")
CUSTOMERS = ("ann", "bob", "cleo")


def catalog(start: Instant, end: Instant | None) -> str:
    """Ann pays in dollars, at 1.25 for a euro; ten hours are a cycle."""
    text = shop.catalog(CUSTOMERS, start, end, "PT10H")
    text = text.replace("id: ann, profile", "id: ann, currency: USD, profile")
    return f"""{text}
fx_rates:
  - {{from: EUR, to: USD, date: {instant_text(start - DAY)[:10]}, rate: "1.25", source: ECB}}
promotions:
  - {{id: HALF, discount: {{type: percentage, percent: "50"}}, prices: [base], redemptions_max: 1}}
price_books:
  - id: cheap
    name: Cheaper
    plans:
      - id: shop
        prices:
          - {{id: gigabytes, name: Traffic, meter: gigabytes,
             price: {{type: unit, unit_amount: "0.01"}}}}
"""


@pytest.fixture(scope="module")
def start() -> Instant:
    return (wall_clock() // SECOND - 60) * SECOND


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker, start: Instant) -> RunningStack:
    """A stack that drafts for three customers who used 100 GB each: 10.00 and 12.75 euros."""
    stack = make_shared_stack()
    stack.apply(catalog(start, None))
    stack.start(*BILLING)
    traffic = Traffic(stack, Oracle(shop.METERS))
    for name in CUSTOMERS:
        traffic.sequenced(0, usage(name, "100", meter="gigabytes", time=start + 1), producer=name)
    traffic.flush()
    stack.await_booked()
    check_books(stack, traffic.oracle)
    return stack


def drafted(stack: RunningStack) -> dict[str, tuple[str, int]]:
    """What each draft comes to."""
    found: dict[str, tuple[str, int]] = {}
    for draft in stack.drafts():
        content: Any = draft.content
        found[draft.payer] = (content["currency"], content["totals"]["total_minor"])
    return found


def decided(stack: RunningStack, *arguments: str) -> Any:
    ran = talea(stack, *arguments, *WHO, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def await_drafts(stack: RunningStack, holds: Callable[[dict[str, tuple[str, int]]], bool]) -> None:
    stack.until(lambda: holds(drafted(stack)), f"drafts as decided, not {drafted(stack)}")


def test_all_of_it_from_draft_to_invoice(stack: RunningStack, start: Instant) -> None:
    euros, dollars = ("EUR", 2275), ("USD", 2844)  # 12.50 and 15.9375 -> 15.94
    await_drafts(stack, lambda found: found == {"ann": dollars, "bob": euros, "cleo": euros})

    on = decided(stack, "catalog", "book", "on", "cheap", "--share", "100", "--message", "try")
    assert (on["changed"], on["customers"]) == (True, 3)
    cheap = ("EUR", 1100)
    await_drafts(stack, lambda found: found == {"ann": ("USD", 1375), "bob": cheap, "cleo": cheap})
    off = decided(stack, "catalog", "book", "off", "cheap", "--message", "no")
    assert (off["changed"], off["customers"]) == (True, 0)
    assert decided(stack, "catalog", "book", "off", "cheap", "--message", "no")["changed"] is False
    await_drafts(stack, lambda found: found == {"ann": dollars, "bob": euros, "cleo": euros})

    at = ("--at", instant_text(start), "--reason", "asked")
    assert decided(stack, "promotion", "redeem", "HALF", "s-bob", *at)["facts"]
    refused = talea(stack, "promotion", "redeem", "HALF", "s-cleo", *at, *WHO)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.splitlines()[-1] == (
        "talea: HALF was redeemed 1 times, and that is all: make another code"
    )
    await_drafts(stack, lambda found: found["bob"] == ("EUR", 1775))

    stack.apply(catalog(start, start + 10 * SECOND))  # served for a thousandth of a cycle or so
    stack.await_documents(3)
    stack.close_the_books()
    contents: dict[str, Any] = {d.payer: d.content for d in stack.documents()}
    share = {name: content["lines"][0]["total_minor"] for name, content in contents.items()}
    traffic = {name: content["lines"][1]["total_minor"] for name, content in contents.items()}
    assert share == {"ann": 0, "bob": 0, "cleo": 0}
    assert traffic == {"ann": 1594, "bob": 1275, "cleo": 1275}
    (fx,) = {json.dumps(line["fx"]) for line in contents["ann"]["lines"][1:2]}
    assert json.loads(fx)["from_amount_minor"] == 1275
    assert stack.verify().faults == {}


def test_codes_and_books_are_listed(stack: RunningStack) -> None:
    books = json.loads(talea(stack, "catalog", "book", "list", "--json").stdout)
    codes = json.loads(talea(stack, "promotion", "list", "--json").stdout)

    assert [(each["id"], each["share"]) for each in books] == [("cheap", None)]
    assert [(each["id"], each["redeemed"]) for each in codes] == [("HALF", 1)]
    for command in (("catalog", "book", "list"), ("promotion", "list")):
        assert talea(stack, *command).returncode == 0
