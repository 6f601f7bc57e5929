"""Notes on real servers: late usage makes one, people decide others, every byte is proved."""

import json
from typing import Any

import pytest

from builders import keyed, usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.running import RunningStack
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import DAY, SECOND, Instant
from pipeline.core.identity import partition_of
from pipeline.replay.letters import LetterId, Selection
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.facts import Author, read_facts
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
    stack.apply(shop.catalog(["ann"], now - 22 * DAY, None, "P20D"))
    stack.apply(shop.catalog(["bob"], now - 22 * DAY, now - 2 * DAY, "P20D"))
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

    told(stack, "correct", "ann", *DECIDED)
    stack.until(lambda: len(notes(stack, "ann")) == 1, "the note of redriven usage")
    assert [total(each) for each in notes(stack, "ann")] == [255]


def test_people_credit_refund_and_void(stack: RunningStack) -> None:
    """Of 10.00 + 2.55: 1.00 off, a part of a line back, the rest void and issued anew."""
    (invoice,) = [each for each in stack.documents("ann") if each.kind == "invoice"]
    number = invoice.sealed.number
    lines = {line["name"]: line["id"] for line in told(stack, "show", number)["lines"]}

    sla = ("credit", number, "--amount", "1.00", "--code", "sla", "--incident", "INC-7", *DECIDED)
    assert told(stack, *sla)["documents"][0]["total_minor"] == -100
    assert told(stack, *sla) == {"facts": [], "documents": []}
    base = ("--line", lines["Base fee"])
    assert "is left of line" in refused(stack, "credit", number, *base, "--amount", "10.01")
    assert "--line" in refused(stack, "refund", number)
    back = told(stack, "refund", number, *base, "--amount", "4.00", *DECIDED)["documents"][0]
    assert told(stack, "show", back["number"])["refund_due_minor"] == 400
    assert told(stack, "show", number)["state"] == "partially_credited"

    made = told(stack, "void", number, "--reissue", *DECIDED)["documents"]
    assert "is void" in refused(stack, "credit", number)
    assert told(stack, "show", number)["state"] == "voided"
    assert {each["kind"]: each["total_minor"] for each in made} == {
        "credit_note": -755,  # 10.00 + 2.55 - 1.00 - 4.00
        "invoice": 1255,
    }


def test_every_note_is_proved_from_the_log(stack: RunningStack) -> None:
    verified = stack.verify()

    assert (verified.checked, dict(verified.faults)) == (8, {})
    assert stack.invoiced() == {"ann": 1255, "bob": 1128}


def quiet(_done: int, _of: int) -> None:
    """Show no progress."""
