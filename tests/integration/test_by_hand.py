"""Decisions by hand on real servers: what is held waits, is edited, goes on, and is paid."""

import json
from typing import Any

import pytest

from builders import flat, hand_line_of, keyed, usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.running import RunningStack
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.cli.deciding import decided
from pipeline.core.calendar import DAY, SECOND, parse_instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import partition_of
from pipeline.invoice.shown import contract_faults
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.postgres.drafts import read_drafts
from pipeline.stores.postgres.facts import Author, personal_values, read_facts
from pipeline.workers.supervisor import worker_environment

pytestmark = pytest.mark.servers

DECIDED = ("--actor", "ada", "--reason", "because")


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    """A shop that holds everything while the period of dan is cut."""
    now = wall_clock() // SECOND * SECOND
    stack = make_shared_stack()
    stack.start()
    stack.apply(shop.catalog([], now - 22 * DAY, None, "P20D"))
    told(stack, "hold", "--all", *DECIDED)
    stack.apply(shop.catalog(["dan"], now - 22 * DAY, now - 2 * DAY, "P20D"))
    return stack


def told(stack: RunningStack, *arguments: str) -> Any:
    ran = talea(stack, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def refused(stack: RunningStack, *arguments: str) -> str:
    ran = talea(stack, *arguments, *DECIDED)
    assert (ran.returncode, ran.stdout) == (2, ""), ran.stdout
    return ran.stderr


def test_what_is_held_is_edited_and_goes_on(stack: RunningStack) -> None:
    """10.00 of base fee, edited to 8.00; two hours at 25.00 and 5.00 off come after the cut."""

    def held() -> bool:
        drafts = read_drafts(stack.connection, "dan")
        return any(issue["code"] == "held" for draft in drafts for issue in draft.issues)

    stack.until(held, "the draft that is held")
    late = keyed(usage("dan", "1", meter="gigabytes", time=wall_clock() - 10 * DAY))
    stack.write(partition_of("dan", stack.around.partitions), encode_batch(late), late.event_count)
    (draft,) = told(stack, "draft", "dan")
    name, lines = draft["id"], {line["name"]: line["id"] for line in draft["lines"]}

    hours = ("--name", "Hours", "--unit-amount", "25.00", "--quantity", "2", "--id", "hours")
    assert len(told(stack, "invoices", "add-line", name, *hours, *DECIDED)["facts"]) == 1
    assert told(stack, "invoices", "add-line", name, *hours, *DECIDED)["facts"] == []
    sorry = ("--name", "Sorry", "--type", "credit")
    assert "below zero" in refused(
        stack, "invoices", "add-line", name, *sorry, "--unit-amount", "5"
    )
    told(stack, "invoices", "add-line", name, *sorry, "--unit-amount=-5.00", *DECIDED)
    base = ("--line", lines["Base fee"], "--amount", "8.00")
    told(stack, "invoices", "edit", name, *base, *DECIDED)
    assert "no line" in refused(stack, "invoices", "edit", name, "--line", "x", "--amount", "1")
    pairs = ("name=Mx Dan", "purchase_order=PO-7", "memo=Thank you", "payment_days=60")
    said = [word for pair in pairs for word in ("--set", pair)]
    told(stack, "invoices", "edit", name, *said, *DECIDED)
    assert told(stack, "invoices", "edit", name, *said, *DECIDED)["facts"] == []
    assert stack.documents() == []

    told(stack, "hold", "--all", "--release", *DECIDED)
    (document,) = stack.await_documents(1)
    shown = told(stack, "invoices", "show", document.sealed.number)
    assert shown["totals"]["total_minor"] == 5300
    amounts = {line["name"]: line["total_minor"] for line in shown["lines"] if line["total_minor"]}
    assert amounts == {"Base fee": 800, "Hours": 5000, "Sorry": -500}
    assert [*contract_faults(shown)] == []
    (issue,) = shown["validation_issues"]
    assert (issue["code"], issue["severity"]) == ("refused_usage", "warning")
    assert "1 events of dan in its period were refused (1 late)" in issue["message"]
    sold = {line["name"]: line["provenance"]["fact"]["kind"] for line in shown["lines"]}
    assert (sold["Hours"], sold["Base fee"]) == ("hand_line", "subscription")
    assert (shown["purchase_order"], shown["memo"]) == ("PO-7", "Thank you")
    issued, due = (parse_instant(shown[name]) for name in ("issued_at", "due_at"))
    assert due == issued + 60 * DAY
    assert personal_values(stack.connection, shown["billing_profile"].values()) == {
        shown["billing_profile"]["name"]: "Mx Dan"
    }
    record = shown["issue_record"]
    assert record["fact_position_last"] > record["fact_position_cut"]
    assert "no draft" in refused(stack, "invoices", "approve", name)


def test_an_invoice_is_paid_in_parts_and_paid_back(stack: RunningStack) -> None:
    number = stack.documents()[0].sealed.number

    def pay(amount: str, reference: str, command: str = "pay") -> Any:
        what = ("--amount", amount, "--reference", reference)
        return told(stack, "invoices", command, number, *what, *DECIDED)["facts"]

    assert len(pay("20.00", "tx-1")) == 1
    assert pay("20.00", "tx-1") == []
    shown = told(stack, "invoices", "show", number)
    assert (shown["state"], shown["paid_minor"], shown["left_minor"]) == (
        "partially_paid",
        2000,
        3300,
    )
    too_much = ("--amount", "33.01", "--reference", "tx-2")
    assert "33.00 EUR is left to pay" in refused(stack, "invoices", "pay", number, *too_much)
    other = ("--amount", "1.00", "--reference", "tx-1")
    assert "stands for another amount" in refused(stack, "invoices", "pay", number, *other)
    pay("33.00", "tx-2")
    assert [row["state"] for row in told(stack, "invoices", "list")] == ["paid"]
    pay("3.00", "back-1", "pay-back")
    shown = told(stack, "invoices", "show", number)
    assert (shown["state"], shown["left_minor"]) == ("partially_paid", 300)
    assert [(event["event"], event["reference"]) for event in shown["events"]] == [
        ("finalized", None),
        ("paid", "tx-1"),
        ("paid", "tx-2"),
        ("refunded", "back-1"),
    ]


def test_what_will_not_be_paid_is_written_off_once_and_may_be_paid_after_all(
    stack: RunningStack,
) -> None:
    number = stack.documents()[0].sealed.number

    assert len(told(stack, "invoices", "write-off", number, *DECIDED)["facts"]) == 1
    assert told(stack, "invoices", "write-off", number, *DECIDED)["facts"] == []
    assert told(stack, "invoices", "show", number)["state"] == "uncollectible"
    last = ("--amount", "3.00", "--reference", "tx-3")
    told(stack, "invoices", "pay", number, *last, *DECIDED)
    assert told(stack, "invoices", "show", number)["state"] == "paid"


def test_revenue_sums_to_what_was_invoiced_and_all_is_proved(stack: RunningStack) -> None:
    for by in ("source", "product", "subscription", "customer"):
        rows = told(stack, "invoices", "revenue", "--by", by)
        assert sum(row["total_minor"] for row in rows) == sum(stack.invoiced().values())
    sources = {
        row["group"]: row["net_minor"]
        for row in told(stack, "invoices", "revenue", "--by", "source")
    }
    assert sources == {"adjustment": 4500, "subscription_item": 800}
    verified = stack.verify()
    assert (verified.checked, dict(verified.faults)) == (1, {})


def test_what_is_issued_anew_keeps_what_was_done_by_hand(stack: RunningStack) -> None:
    """Or not: once more, without."""
    totals = []
    for options in ((), ("--drop-edits",)):
        last = next(d for d in reversed(stack.documents()) if d.kind == "invoice")
        told(stack, "invoices", "void", last.sealed.number, "--reissue", *options, *DECIDED)
        found = [d for d in stack.documents() if d.content.get("replaces") == last.id]
        content: Any = found[0].content
        totals.append(content["totals"]["total_minor"])
    assert totals == [5300, 1000]
    verified = stack.verify()
    assert (verified.checked, dict(verified.faults)) == (5, {})


def test_a_fact_that_could_not_be_read_again_is_not_written(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stop every worker, and no fact is ever taken back."""
    for name, value in worker_environment(stack.around).items():
        monkeypatch.setenv(name, value)
    _, subject, body = hand_line_of("none", "dan", "2027-01-01T00:00:00Z", flat("1"), quantity="0")
    before = len(read_facts(stack.connection, 0))
    with pytest.raises(BrokenInvariant, match="not above zero"):
        decided(lambda _: [NewFact(FactKind.HAND_LINE, subject, body)], Author("ada", "because"))
    assert len(read_facts(stack.connection, 0)) == before
