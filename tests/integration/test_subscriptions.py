"""A subscription's life on real servers: seats, a change of plan and an end in mid cycle.

Each is told today of an instant of yesterday or before; what was billed ahead comes back, and every
document is proven from the logs.
"""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration.commands import talea
from integration.running import RunningStack
from integration.traffic import Traffic, customers_everywhere
from oracle import Oracle
from pipeline.core.calendar import DAY, SECOND, Instant, instant_text
from pipeline.core.errors import BadInput
from pipeline.stores.clock import wall_clock

pytestmark = pytest.mark.servers

CATALOG = """
rules: {{grace: PT0S}}
issuers: [{{id: shop, name: The Shop, number_prefix: S-}}]
meters: [{{id: calls, aggregation: sum, unit: call, window: PT1S}}]
plans:
  - id: basic
    name: Basic
    issuer: shop
    currency: EUR
    cycle: P10D
    prices:
      - {{id: seats, name: Seats, price: {{type: flat, amount: "10"}}, payment_term: in_advance}}
      - {{id: calls, name: Calls, meter: calls, price: {{type: unit, unit_amount: "1"}}}}
  - id: pro
    name: Pro
    issuer: shop
    currency: EUR
    cycle: P10D
    prices:
      - {{id: seats, name: Seats, price: {{type: flat, amount: "30"}}, payment_term: in_advance}}
      - {{id: calls, name: Calls, meter: calls, price: {{type: unit, unit_amount: "0.5"}}}}
customers: [{{id: {customer}}}]
subscriptions:
  - {{id: s, customer: {customer}, plan: basic, start: {start}, end: {end}, changes: [{changes}]}}
"""

ORDER = """
orders:
  - id: checkout-{name}
    customer: {customer}
    issuer: shop
    currency: EUR
    at: {at}
    lines: [{{id: setup, name: Set-up, price: {{type: flat, amount: "250"}}, quantity: "2"}}]
"""


class Life:
    """One subscription; days are told from its start, 25 days ago."""

    def __init__(self, stack: RunningStack) -> None:
        """Nothing is agreed yet."""
        self.stack = stack
        self.start = wall_clock() // SECOND * SECOND - 25 * DAY
        self.customer = customers_everywhere(stack.around.partitions)[0]
        self.changes: list[str] = []
        self.end = "null"

    def day(self, number: int) -> Instant:
        return self.start + number * DAY

    def agree(self) -> None:
        """Put what is agreed by now in force."""
        told = {"start": instant_text(self.start), "end": self.end}
        text = CATALOG.format(customer=self.customer, changes=", ".join(self.changes), **told)
        self.stack.apply(text)

    def change(self, day: int, what: str) -> None:
        self.changes.append(f"{{at: {instant_text(self.day(day))}, {what}}}")
        self.agree()

    def document(self, instant: Instant) -> Any:
        """The content of the document cut at an instant."""
        found = [d for d in self.stack.documents(self.customer) if d.instant == instant]
        return found[0].content if found else None

    def lines(self, day: int) -> list[tuple[str, str, int]]:
        """What the document of a day bills: of what, how many, for how much."""
        return self.lines_at(self.day(day))

    def lines_at(self, instant: Instant) -> list[tuple[str, str, int]]:
        """What a document bills."""
        lines = self.document(instant)["lines"]
        return [(line["rate_card"]["id"], line["quantity"], line["total_minor"]) for line in lines]


def test_what_changes_in_mid_cycle_is_settled_and_proven(
    make_stack: StackMaker, tmp_path: Path
) -> None:
    stack = make_stack()
    stack.start()
    life = Life(stack)
    life.agree()
    stack.await_documents(3)

    assert [life.lines(day) for day in (0, 10, 20)] == [
        [("seats", "1", 1000)],
        [("calls", "0", 0), ("seats", "1", 1000)],
        [("calls", "0", 0), ("seats", "1", 1000)],
    ]

    traffic = Traffic(stack, Oracle({"calls": "sum"}))
    used = [(23, "3", "a"), (24, "5", "b")]
    traffic.keyed(*(usage(life.customer, v, time=life.day(d) + SECOND, id=i) for d, v, i in used))
    traffic.flush()
    stack.await_drained()
    life.change(22, "quantities: {seats: 3}")
    life.change(24, "plan: pro")
    stack.await_documents(4)

    # paid for 10 days, served for 2; then three seats for 2 days; then three of pro to the end
    assert life.lines(24) == [
        ("calls", "3", 300),
        ("seats", "-1", -800),
        ("seats", "3", 600),
        ("seats", "3", 5400),
    ]
    life.end = instant_text(life.day(25))
    life.agree()
    stack.await_documents(5)

    assert life.lines(25) == [("calls", "5", 250), ("seats", "-3", -4500)]
    seats = sum(
        total
        for day in (0, 10, 20, 24, 25)
        for name, _, total in life.lines(day)
        if name == "seats"
    )
    served = 22 * Fraction(10) + 2 * 3 * Fraction(10) + 1 * 3 * Fraction(30)
    assert seats == served * 100 / 10

    life.changes[0] = life.changes[0].replace("seats: 3", "seats: 4")
    with pytest.raises(BadInput, match="was billed up to"):
        life.agree()
    late = ORDER.format(name="late", customer=life.customer, at=instant_text(life.day(20)))
    order = ORDER.format(name="other", customer=life.customer, at=instant_text(life.day(22)))
    path = tmp_path / "late.yaml"
    path.write_text(late)
    foreseen: Any = json.loads(talea(stack, "catalog", "plan", str(path), "--json").stdout)
    for text in (order, order, late):  # the same twice, and one of an instant that was cut
        stack.apply(text)
    stack.await_documents(7)

    (told,) = foreseen["at_once"]
    assert told["cut_instant"] == instant_text(life.day(20) + 1)
    assert (told["customer"], told["total_minor"]) == (life.customer, 50000)
    assert life.lines(22) == life.lines_at(life.day(20) + 1) == [("setup", "2", 50000)]
    stack.await_drained()
    verified = stack.verify()
    assert (verified.faults, verified.checked) == ({}, 7)
    assert not any(part.missing for part in stack.conservation().values())
    assert stack.defects() == []


DECIDED = ("--actor", "ada", "--reason", "asked for it")


def test_it_is_agreed_anew_by_commands(make_stack: StackMaker) -> None:
    stack = make_stack()
    stack.start()
    life = Life(stack)
    life.agree()
    stack.await_documents(3)

    def subscription(*arguments: str) -> Any:
        return talea(stack, "subscription", *arguments)

    def told(*arguments: str) -> Any:
        ran = subscription(*arguments, "--json")
        assert (ran.returncode, ran.stderr) == (0, ""), arguments
        return json.loads(ran.stdout)

    def day(number: int) -> str:
        return instant_text(life.day(number))

    for decision in (
        ("change", "s", "--quantity", "seats=3", "--at", day(22)),
        ("pause", "s", "--at", day(26), "--until", day(28)),
        ("resume", "s", "--at", day(27)),
        ("change", "s", "--plan", "pro", "--at", day(28)),
        ("cancel", "s", "--at", day(29), "--at-period-end"),
    ):
        (fact,) = told(*decision, *DECIDED)["facts"]
        assert (fact["kind"], fact["subject"]) == ("subscription", "s")

    found = told("show", "s")
    assert [(leg["start"], leg["end"], leg["plan"]) for leg in found["legs"]] == [
        (day(0), day(26), "basic"),
        (day(27), day(28), "basic"),
        (day(28), day(30), "pro"),
    ]
    assert found["changes"][0] == {"at": day(22), "quantities": {"seats": "3"}}
    stack.await_drained()
    (draft,) = stack.drafts()
    content: Any = draft.content
    # eight days of a seat were paid and are not served as agreed; three seats serve for four
    assert [(line["rate_card"]["id"], line["total_minor"]) for line in content["lines"]] == [
        ("calls", 0),
        ("seats", -800),
        ("seats", 1200),
    ]
    for refused, why in (
        (("cancel", "nobody"), "no subscription nobody"),
        (("change", "s", "--quantity", "seats"), "write seats=5"),
        (("cancel", "s", "--at", day(5)), f"was billed up to {day(20)}"),
    ):
        ran = subscription(*refused, *DECIDED)
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
        assert why in ran.stderr
    assert stack.defects() == []
