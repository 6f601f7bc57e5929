"""Prepaid credits on real servers: granted by a command, burnt down on drafts, settled at issue."""

import json
import re
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.running import BILLING, RunningStack
from integration.traffic import Traffic, check_books
from oracle import Oracle
from pipeline.core.calendar import SECOND, instant_text
from pipeline.stores.clock import wall_clock

pytestmark = pytest.mark.servers

DECIDED = ("--actor", "ann-admin", "--reason", "paid beforehand")
SELLER = """
issuers: [{id: shop, name: The Shop, number_prefix: S-}]
customers: [{id: ann, profile: {name: Ms ann}}]
"""
CYCLE_S = 20
CYCLES = 2


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    """A stack that issued two documents to ann, for 10 GB and a fee each.

    Credits are granted and usage is booked before there is a subscription: no cut can come first.
    """
    stack = make_shared_stack()
    start = (wall_clock() // SECOND - 60) * SECOND
    end = start + CYCLES * CYCLE_S * SECOND
    stack.apply(f"{shop.meters()}{SELLER}")
    for name, amount, *terms in (
        ("traffic", "1.00", "--meter", "gigabytes"),
        ("first", "9.00", "--expires", instant_text(end)),
        ("rest", "25.00", "--priority", "1"),
        ("void", "100.00"),
    ):
        since = ("--starts", instant_text(start))
        ran = talea(
            stack, "credit", "grant", "ann", amount, "EUR", "--id", name, *terms, *since, *DECIDED
        )
        assert (ran.returncode, ran.stderr) == (0, "")
    assert talea(stack, "credit", "void", "void", *DECIDED).returncode == 0
    stack.start(*BILLING)
    traffic = Traffic(stack, Oracle(shop.METERS))
    for cycle in range(CYCLES):
        time = start + cycle * CYCLE_S * SECOND + 1
        traffic.sequenced(0, usage("ann", "10", meter="gigabytes", time=time), producer=f"p{cycle}")
    traffic.flush()
    stack.await_booked()
    stack.apply(shop.catalog(["ann", "bob"], start, end, f"PT{CYCLE_S}S"))
    stack.await_documents(2 * CYCLES)
    stack.close_the_books()
    check_books(stack, traffic.oracle)
    return stack


def told(stack: RunningStack, *arguments: str) -> Any:
    ran = talea(stack, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_documents_are_settled_in_issue_order(stack: RunningStack) -> None:
    first, second = stack.documents("ann")

    # 11.28 each: 10 GB are 1.275 -> 1.28, the fee 10.00
    assert [d.content["totals"]["total_minor"] for d in (first, second)] == [1128, 1128]  # type: ignore[call-overload,index]
    assert [d.record["settlement"] for d in (first, second)] == [
        {
            "credits": [
                {"credit": "first", "amount_minor": 900},
                {"credit": "traffic", "amount_minor": 100},
                {"credit": "rest", "amount_minor": 128},
            ],
            "due_minor": 0,
        },
        {"credits": [{"credit": "rest", "amount_minor": 1128}], "due_minor": 0},
    ]
    assert [d.record["settlement"] for d in stack.documents("bob")] == [None, None]


def test_the_balance_is_what_is_left(stack: RunningStack) -> None:
    found = {each["id"]: each for each in told(stack, "credit", "balance", "ann")}

    assert {name: (each["used_minor"], each["left_minor"]) for name, each in found.items()} == {
        "first": (900, 0),
        "traffic": (100, 0),
        "rest": (1256, 1244),
        "void": (0, 0),
    }
    assert found["void"]["state"] == "voided"
    assert len(told(stack, "credit", "list")) == 4


def test_the_same_grant_again_is_no_other(stack: RunningStack) -> None:
    rest = ("ann", "25.00", "EUR", "--id", "rest", "--priority", "1")
    ran = talea(stack, "credit", "grant", *rest, *DECIDED, "--json")

    assert (ran.returncode, json.loads(ran.stdout)) == (0, {"facts": []})


def test_an_invoice_tells_what_credits_paid(stack: RunningStack) -> None:
    number = stack.documents("ann")[1].sealed.number

    shown = talea(stack, "invoices", "show", number).stdout
    assert re.search(r"Credit rest +-11\.28\nTo pay EUR +0\.00\n", shown)


def test_settlements_are_proven_from_the_log(stack: RunningStack) -> None:
    assert stack.verify().faults == {}


def test_a_settlement_that_was_changed_is_found(stack: RunningStack) -> None:
    """By the chain where the seal stays, by its credits where everything was sealed anew."""
    with stack.around.database.session("superuser", owner=True) as connection:
        connection.execute("SET session_replication_role = replica")
        (number, record, seal) = connection.execute(
            "SELECT number, record, seal FROM document WHERE payer = 'ann' ORDER BY place LIMIT 1"
        ).fetchall()[0]
        forged = bytes(record).replace(b'"amount_minor":128', b'"amount_minor":127')
        change = "UPDATE document SET record = %s, seal = %s WHERE number = %s"
        connection.execute(
            "UPDATE document SET record = %s, seal = sha256(%s) WHERE number = %s",
            [forged, forged, number],
        )
        found = stack.verify().faults
        connection.execute(change, [record, seal, number])

    assert found[number] == "its settlement is not what the credits come to"


def test_what_cannot_be_granted_is_told_in_a_line(stack: RunningStack) -> None:
    ran = talea(stack, "credit", "grant", "zoe", "1", "EUR", *DECIDED)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines()[-1] == (
        "talea: no customer zoe is in force: `talea catalog show customer` lists all"
    )
