"""Notes on real servers: late usage makes one, people decide others, every byte is proved."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builders import keyed, usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.running import RunningStack
from pipeline.cli.invoices import whole
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import DAY, SECOND, Instant
from pipeline.core.identity import partition_of
from pipeline.invoice.lifecycle import Standing, State
from pipeline.invoice.lifecycle import stands as invoice_stands
from pipeline.invoice.shown import contract_faults
from pipeline.replay.letters import LetterId, Selection
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.facts import Author, read_facts
from pipeline.stores.postgres.figures import MonthOfIssue, months_of_issue
from pipeline.stores.postgres.life import read_events
from pipeline.workers.redriving import listed, redrive

pytestmark = pytest.mark.servers

ADA = Author("ada", "a host was off line")
DECIDED = ("--actor", "ada", "--reason", "because")
"""What `talea` needs to write a fact."""


@pytest.fixture(scope="module")
def now() -> Instant:
    return wall_clock() // SECOND * SECOND


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker, now: Instant) -> RunningStack:
    """A shop that issued the invoices of 20 days: ann stays, bob's subscription ended with them."""
    stack = make_shared_stack()
    stack.start()
    for customer, end in (("ann", None), ("bob", now - 2 * DAY)):
        catalog = shop.catalog([customer], now - 22 * DAY, end, "P20D")
        stack.apply(catalog.replace("number_prefix: S-", "number_prefix: S-, note_prefix: CN-"))
    stack.await_documents(2)
    return stack


def gigabytes(customer: str, value: str, time: Instant) -> UsageEvent:
    return usage(customer, value, meter="gigabytes", time=time, id=f"late {value}")


def send(stack: RunningStack, event: UsageEvent) -> LetterId:
    home = partition_of(event.customer, stack.around.partitions)
    batch = keyed(event)
    offset = stack.write(home, encode_batch(batch), batch.event_count)
    stack.await_booked()
    return LetterId("usage", home, offset)


def told(stack: RunningStack, *arguments: str) -> Any:
    ran = talea(stack, "invoices", *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def drafts(stack: RunningStack, customer: str) -> Any:
    return json.loads(talea(stack, "draft", customer, "--json").stdout)


def refused(stack: RunningStack, *arguments: str) -> str:
    ran = talea(stack, "invoices", *arguments, *DECIDED)
    assert ran.returncode == 2, ran.stdout
    return ran.stderr


def total(document: Document) -> int:
    content: Any = document.content
    return int(content["totals"]["total_minor"])


def notes(stack: RunningStack, customer: str) -> list[Document]:
    return [each for each in stack.documents(customer) if each.kind != "invoice"]


def test_late_usage_makes_a_note_where_no_invoice_follows(
    stack: RunningStack, now: Instant
) -> None:
    """Bob's last invoice was cut: nobody asks for the note, and it comes."""
    send(stack, gigabytes("bob", "10", now - 2 * DAY - 3600 * SECOND))

    stack.until(lambda: len(notes(stack, "bob")) == 1, "the note of late usage")
    (note,) = notes(stack, "bob")
    assert (note.kind, total(note)) == ("debit_note", 128)  # 10 x 0.1275 = 1.275
    invoice, _ = stack.documents("bob")
    assert note.content["corrects"] == invoice.id


def test_the_program_beside_an_export_recomputes_quantities_with_their_notes(
    stack: RunningStack, tmp_path: Path
) -> None:
    number = invoice_of(stack, "bob").sealed.number
    exported = talea(stack, "invoices", "export", number, "--to", str(tmp_path))
    assert exported.returncode == 0, exported.stderr

    checked = subprocess.run(
        [sys.executable, "-I", "-S", "verify_proof.py", f"{number}.proof.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert (checked.returncode, checked.stderr) == (0, "")
    assert "after 1 notes, 1 quantities with these recomputed" in checked.stdout


def test_redriven_usage_makes_a_note_as_soon_as_somebody_asks(
    stack: RunningStack, now: Instant
) -> None:
    """Far behind the horizon it is refused, sent again by a person, and billed by a note."""
    letter = send(stack, gigabytes("ann", "20", now - 10 * DAY))
    chosen = Selection(frozenset([letter]))

    def there() -> bool:
        return bool(listed(stack.around, read_facts(stack.connection, 0), chosen, quiet))

    stack.until(there, "the letter")
    redrive(stack.around, chosen, ADA, quiet)
    stack.await_booked()

    ahead = [each for each in drafts(stack, "ann") if each["kind"] == "debit_note"]

    told(stack, "correct", "ann", *DECIDED)
    stack.until(lambda: len(notes(stack, "ann")) == 1, "the note of redriven usage")
    (note,) = notes(stack, "ann")
    assert total(note) == 255
    for field in ("corrects", "totals", "reason_code"):
        assert [each[field] for each in ahead] == [note.content[field]]
    assert {each["kind"] for each in drafts(stack, "ann")} == {"invoice"}


def invoice_of(stack: RunningStack, customer: str) -> Document:
    """The one that came first."""
    return next(each for each in stack.documents(customer) if each.kind == "invoice")


def base_fee(invoice: Document) -> str:
    lines: Any = invoice.content["lines"]
    return str(next(line["id"] for line in lines if line["name"] == "Base fee"))


def stands(stack: RunningStack, invoice: Document) -> Standing:
    return invoice_stands(invoice.before_issue, read_events(stack.connection, invoice.id))


def test_service_level_credits_count_once_an_incident(stack: RunningStack) -> None:
    invoice = invoice_of(stack, "ann")
    plain = ("credit", invoice.sealed.number, "--amount", "1.00", *DECIDED)
    sla = (*plain, "--code", "sla", "--incident", "INC-7")

    assert told(stack, *sla)["documents"][0]["total_minor"] == -100
    assert told(stack, *sla) == {"facts": [], "documents": []}


def test_lines_are_refunded_and_no_more_than_is_left(stack: RunningStack) -> None:
    invoice = invoice_of(stack, "ann")
    number, base = invoice.sealed.number, ("--line", base_fee(invoice))

    assert "is left of line" in refused(stack, "credit", number, *base, "--amount", "10.01")
    (back,) = told(stack, "refund", number, *base, "--amount", "3.00", *DECIDED)["documents"]
    made = next(each for each in notes(stack, "ann") if each.sealed.number == back["number"])
    assert made.content["refund_due_minor"] == 300
    assert stands(stack, invoice).state is State.PARTIALLY_CREDITED


def test_a_dispute_that_is_accepted_makes_a_note(stack: RunningStack) -> None:
    invoice = invoice_of(stack, "ann")
    number, base = invoice.sealed.number, ("--line", base_fee(invoice))

    (opened,) = told(stack, "dispute", number, *base, *DECIDED)["facts"]
    assert stands(stack, invoice).disputed
    fact = read_facts(stack.connection, opened["serial"] - 1)[0]
    shown: Any = fact.body["evidence"]
    assert [line["total_minor"] for line in shown["lines"]] == [1000]
    assert shown["windows_digest"]
    accepted = ("dispute", number, "--accept", *base, "--amount", "1.00", *DECIDED)
    assert [each["total_minor"] for each in told(stack, *accepted)["documents"]] == [-100]
    assert not stands(stack, invoice).disputed


def test_a_void_brings_to_zero_and_issues_anew(stack: RunningStack) -> None:
    invoice = invoice_of(stack, "ann")
    number = invoice.sealed.number
    told(stack, "void", number, "--reissue", *DECIDED)

    assert "is void" in refused(stack, "credit", number)
    assert stands(stack, invoice).state is State.VOIDED
    *_, note = notes(stack, "ann")
    assert (note.kind, total(note)) == ("credit_note", -755)  # 10.00 + 2.55 less 5.00
    anew = [each for each in stack.documents("ann") if each.content.get("replaces")]
    assert [total(each) for each in anew] == [1255]


def test_every_note_is_proved_from_the_log(stack: RunningStack) -> None:
    verified = stack.verify()

    assert (verified.checked, dict(verified.faults)) == (9, {})
    assert stack.invoiced() == {"ann": 1255, "bob": 1128}
    told = [whole(stack.connection, each) for each in stack.documents()]
    assert [fault for each in told for fault in contract_faults(each)] == []


def test_invoices_and_notes_each_have_numbers_without_gaps(stack: RunningStack) -> None:
    numbers = [each.sealed.number for each in stack.documents()]

    invoices = [number for number in numbers if number.startswith("S-")]
    assert invoices == [f"S-{n:06d}" for n in range(1, 4)]
    assert [n for n in numbers if n not in invoices] == [f"CN-{n:06d}" for n in range(1, 7)]


def test_corrections_and_disputes_are_counted(stack: RunningStack) -> None:
    found = months_of_issue(stack.connection)

    assert [sum(column) for column in zip(*map(_counts, found), strict=True)] == [3, 2, 4, 1]


def _counts(month: MonthOfIssue) -> tuple[int, int, int, int]:
    return month.invoices, month.usage_notes, month.manual_corrections, month.disputes


def quiet(_done: int, _of: int) -> None:
    """Show no progress."""
