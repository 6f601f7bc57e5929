"""Sub-accounts on real servers: a parent's invoice with their lines, its note, its proof."""

import json
from pathlib import Path
from typing import Any

import pytest

from builders import keyed, usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.running import RunningStack
from pipeline.cli.invoices import whole
from pipeline.core.calendar import DAY, SECOND, Instant
from pipeline.core.identity import partition_of
from pipeline.invoice.shown import contract_faults
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch

pytestmark = pytest.mark.servers

SOLD = '{type: unit, unit_amount: "0.1275"}'
SELLER = '{id: disks-inc, commission: "15"}'


@pytest.fixture(scope="module")
def now() -> Instant:
    return wall_clock() // SECOND * SECOND


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker, now: Instant) -> RunningStack:
    """A shop whose customer pam pays for a laboratory of 20 GB; the period of both is over."""
    stack = make_shared_stack()
    stack.start()
    lab = lab_of(stack)
    stack.apply(shop.meters())
    send(stack, "20", now)
    text = shop.catalog(["pam", lab], now - 22 * DAY, now - 2 * DAY, "P20D")
    child = f"{{id: {lab}, profile: {{name: Ms {lab}}}"
    text = text.replace(child, f"{child}, parent: pam, payer: parent")
    stack.apply(text.replace(SOLD, f"{SOLD}, seller: {SELLER}"))
    stack.await_documents(1)
    return stack


def lab_of(stack: RunningStack) -> str:
    """An id in the partition of pam."""
    partitions = stack.around.partitions
    home = partition_of("pam", partitions)
    return next(f"lab{n}" for n in range(999) if partition_of(f"lab{n}", partitions) == home)


def send(stack: RunningStack, gigabytes: str, now: Instant) -> None:
    """Send usage of the laboratory, of the last second of its period."""
    used = usage(lab_of(stack), gigabytes, meter="gigabytes", time=now - 2 * DAY - 1, id=gigabytes)
    batch = keyed(used)
    home = partition_of("pam", stack.around.partitions)
    stack.write(home, encode_batch(batch), batch.event_count)
    stack.await_booked()


def told(stack: RunningStack, *arguments: str) -> Any:
    ran = talea(stack, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_parent_is_invoiced_for_both(stack: RunningStack) -> None:
    (document,) = stack.documents()

    shown = told(stack, "invoices", "show", document.sealed.number)
    assert (shown["customer"], shown["totals"]["total_minor"]) == ("pam", 2255)
    accounts = [line["sub_account"] for line in shown["lines"]]
    assert accounts == [None] * 4 + [lab_of(stack)] * 4


def test_late_usage_of_a_sub_account_is_a_note_to_its_payer(
    stack: RunningStack, now: Instant
) -> None:
    """10 GB for 0.1275 each come to 1.28, of which the shop keeps 0.19."""
    send(stack, "10", now)
    stack.await_documents(2)

    invoice, note = stack.documents("pam")
    content: Any = note.content
    assert (note.kind, content["corrects"]) == ("debit_note", invoice.id)
    assert [(line["sub_account"], line["total_minor"]) for line in content["lines"]] == [
        (lab_of(stack), 128)
    ]
    (paid,) = told(stack, "invoices", "payouts", note.sealed.number, "--seller", "disks-inc")
    figures = (paid["gross_minor"], paid["commission_minor"], paid["payout_minor"])
    assert figures == (128, 19, 109)
    rows = told(stack, "invoices", "revenue", "--by", "customer")
    assert {row["group"]: row["total_minor"] for row in rows} == {"pam": 1000, lab_of(stack): 1383}


def test_nobody_asks_in_vain_for_what_is_another_s(stack: RunningStack) -> None:
    """A replay of a sub-account alone compared nothing; a draft of nobody was none."""
    lab = lab_of(stack)
    alone = talea(stack, "replay", "run", "alone", "--customers", lab)
    assert (alone.returncode, alone.stdout) == (2, "")
    assert f"--customers: {lab} is paid by pam: name pam, too" in alone.stderr
    nobody = talea(stack, "draft", "nobody")
    assert (nobody.returncode, nobody.stdout) == (2, "")
    assert "no customer nobody: `talea catalog show customer` lists all" in nobody.stderr


def test_all_of_it_is_proved_and_keeps_its_contract(stack: RunningStack, tmp_path: Path) -> None:
    documents = stack.documents()
    invoice: Any = documents[0].content
    line = next(each for each in invoice["lines"] if each["total_minor"] == 255)

    explained = talea(stack, "explain", line["id"], "--json")
    assert explained.returncode == 0, explained.stderr
    _, event, counted = map(json.loads, explained.stdout.splitlines())
    assert (event["value"], event["outcome"]) == ("20", "billed")
    assert counted == {"events": {"billed": 1}}
    number = documents[0].sealed.number
    exported = talea(stack, "invoices", "export", number, "--to", str(tmp_path))
    assert exported.returncode == 0, exported.stderr
    proof = json.loads((tmp_path / f"{number}.proof.json").read_text("utf-8"))
    told = {(each["customer"], each["meter"]): each["parts"] for each in proof["usage"]}
    assert len(told) == 6
    assert told[lab_of(stack), "gigabytes"] == [[0, 1, 20, 20, 20]]
    assert told["pam", "gigabytes"] == []
    assert [f for each in documents for f in contract_faults(whole(stack.connection, each))] == []
    verified = stack.verify()
    assert (verified.checked, dict(verified.faults)) == (2, {})
