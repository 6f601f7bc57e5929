"""Usage in, sealed invoice out: every way of counting, every price, on real servers."""

import json
import re
import subprocess
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import commands, published, shop
from integration.running import FINALIZER, METERING, PRICING, PUBLISHER, TICKER, RunningStack
from integration.traffic import Traffic, check_books, customers_everywhere
from oracle import Oracle
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.identity import Json
from pipeline.invoice.shown import contract_faults
from pipeline.stores.clock import wall_clock
from pipeline.stores.schemas import schema_folder

pytestmark = pytest.mark.servers

CYCLE_S = 10


@dataclass
class Spine:
    """A stack through whose workers one period of usage went, up to its sealed invoices."""

    stack: RunningStack
    oracle: Oracle
    customers: list[str]
    start: Instant
    end: Instant
    drafts: dict[str, dict[str, Json]]


@pytest.fixture(scope="module")
def spine(make_shared_stack: StackMaker) -> Spine:
    """Usage is sent and drafted while no tick comes, so that no cut can overtake the drafts."""
    stack = make_shared_stack()
    traffic = Traffic(stack, Oracle(shop.METERS))
    customers = customers_everywhere(stack.around.partitions, each=2)
    start = (wall_clock() // SECOND - 1) * SECOND
    end = start + CYCLE_S * SECOND
    stack.apply(shop.catalog(customers, start, end, f"PT{CYCLE_S}S"))
    stack.start(METERING, PRICING, PUBLISHER)
    send_everything(traffic, customers, start, end)
    stack.await_drained()
    published.await_published(stack)
    published.check_published(stack)
    drafts = {draft.payer: draft.content for draft in stack.drafts()}
    stack.start(TICKER, FINALIZER)
    stack.await_documents(len(customers))
    return Spine(stack, traffic.oracle, customers, start, end, drafts)


def send_everything(traffic: Traffic, customers: list[str], start: Instant, end: Instant) -> None:
    """Keyed and in sequence, plain and wide, in every meter, from the first instant to the last."""
    for number, name in enumerate(customers):
        moments = [start + (end - start) * part // 40 for part in range(40)] + [end - 1]
        calls = [
            usage(name, meter="requests", time=moment, id=f"r{place}-{n}")
            for place, moment in enumerate(moments)
            for n in range(1 + number * 7)
        ]
        traffic.keyed(*calls)
        traffic.sequenced(
            0,
            *(
                usage(name, f"0.{place}5", meter="gigabytes", time=moment)
                for place, moment in enumerate(moments)
            ),
            usage(name, "9007199254740993.125", meter="gigabytes", time=start),
            usage(name, "123456789012345678901.5", meter="gigabytes", time=start),
            producer=name,
        )
        seats = [
            usage(name, str(n * 3 % 11), meter="seats", time=moments[n], id=f"s{n}")
            for n in range(9)
        ]
        traffic.keyed(*seats)
    traffic.flush()


def test_every_invoice_is_what_the_oracle_bills_to_the_cent(spine: Spine) -> None:
    expected = shop.bills(spine.oracle, spine.customers, spine.start, spine.end, CYCLE_S)

    assert spine.stack.invoiced() == expected
    assert len(set(expected.values())) == len(expected)


def test_every_event_is_booked_as_the_oracle_counts_it(spine: Spine) -> None:
    check_books(spine.stack, spine.oracle)


def test_the_draft_before_the_cut_is_the_invoice(spine: Spine) -> None:
    issued = {document.payer: document.content for document in spine.stack.documents()}

    assert spine.drafts == issued
    assert spine.stack.drafts() == []


def test_topics_tell_of_every_draft_and_in_the_end_of_invoices_alone(spine: Spine) -> None:
    published.await_published(spine.stack)
    published.check_published(spine.stack)
    records = published.told(spine.stack, published.DRAFTS)
    last = {record.key: record.value for record in records}

    assert set(last.values()) == {None}
    assert last.keys() == {document.id for document in spine.stack.documents()}
    for document in spine.stack.documents():
        *_, before, _gone = [r.value for r in records if r.key == document.id]
        assert before["content"] == document.content


def test_evidence_names_the_stretch_of_log_an_invoice_rests_on(spine: Spine) -> None:
    ends = spine.stack.ends()
    for document in spine.stack.documents():
        record: Any = document.record
        (part,) = record["evidence"]["partitions"]
        counts = part["counts"]

        assert -1 <= part["from_offset"] < part["to_offset"] < ends[part["partition"]]
        assert part["cut_tick"] == document.cut_serial
        assert counts["offered"] == counts["fresh"] > 0


def test_numbers_have_no_gap_and_every_seal_holds(spine: Spine) -> None:
    numbers = [document.sealed.number for document in spine.stack.documents()]

    assert numbers == [f"S-{place:06d}" for place in range(1, len(spine.customers) + 1)]
    assert spine.stack.close_the_books()["billed"] == spine.oracle.offered


def test_what_is_carried_is_what_the_documents_carry(spine: Spine) -> None:
    """The migration works it out of the documents; the finalizer keeps it as it goes."""
    migration = (schema_folder() / "sql" / "0011_carried.sql").read_text()
    (worked_out,) = re.findall(r"INSERT INTO carried\n(SELECT.*?);", migration, re.DOTALL)
    connection = spine.stack.connection

    columns = "payer, currency, subscription, price, until_us"  # those of that migration
    kept = connection.execute(f"SELECT {columns} FROM carried ORDER BY 1, 2, 3, 4").fetchall()

    query = f"SELECT * FROM ({worked_out}) AS c ORDER BY 1, 2, 3, 4"
    assert connection.execute(query.encode()).fetchall() == kept
    assert len(kept) == 4 * len(spine.customers)


def talea(spine: Spine, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command over this stack, as a person does who names the servers."""
    return commands.talea(spine.stack, *arguments)


def told(spine: Spine, *arguments: str, status: int = 0) -> Any:
    """Return the one JSON document of a command."""
    ran = talea(spine, *arguments, "--json")
    assert ran.returncode == status, ran.stderr
    assert "Traceback" not in ran.stderr
    return json.loads(ran.stdout)


def test_talea_lists_the_invoices(spine: Spine) -> None:
    rows = told(spine, "invoices", "list")

    assert {row["customer"]: row["total_minor"] for row in rows} == spine.stack.invoiced()
    for row, document in zip(rows, spine.stack.documents(), strict=True):
        assert row == {
            "number": document.sealed.number,
            "kind": "invoice",
            "state": "finalized",
            "customer": document.payer,
            "currency": "EUR",
            "total_minor": row["total_minor"],
            "lines": 4,
            "seal": document.sealed.seal.hex(),
        }
    (one,) = told(spine, "invoices", "list", "--customer", rows[3]["customer"])
    assert one == rows[3]


def test_talea_shows_an_invoice_with_lines_record_and_seal(spine: Spine) -> None:
    document = spine.stack.documents()[0]

    shown = told(spine, "invoices", "show", document.sealed.number)

    assert shown["number"] == document.sealed.number
    assert shown["state"] == "finalized"
    assert [event["event"] for event in shown["events"]] == ["finalized"]
    assert (shown["left_minor"], shown["paid_minor"]) == (shown["totals"]["total_minor"], 0)
    assert not shown["overdue"]
    assert [*contract_faults(shown)] == []
    assert shown["seal"] == document.sealed.seal.hex()
    assert shown["issue_record"] == document.record
    assert shown["totals"] == document.content["totals"]
    assert datetime.fromisoformat(shown["due_at"]) > datetime.fromisoformat(shown["issued_at"])
    amounts = [line["total_minor"] for line in shown["lines"]]
    assert sum(amounts) == shown["totals"]["total_minor"]
    assert "INVOICE" in talea(spine, "invoices", "show", document.sealed.number).stdout


def test_talea_verifies_all_and_one(spine: Spine) -> None:
    count = len(spine.customers)
    every = {"checked": count, "matched": count, "mismatched": [], "depth": "log"}

    assert told(spine, "verify", "--all").items() >= {**every, "depth": "books"}.items()
    assert told(spine, "verify", "--all", "--log").items() >= every.items()
    one = told(spine, "verify", "S-000002", "--log")
    assert one.items() >= {**every, "checked": 1, "matched": 1}.items()


def test_talea_audits_every_partition(spine: Spine) -> None:
    audited = told(spine, "audit")

    assert audited["closed"] is True
    names = {"offered", "billed", "duplicate", "conflict", "late", "rejected", "pending"}
    assert [part.keys() for part in audited["partitions"]] == [{"partition", *names}] * 4
    assert sum(part["offered"] for part in audited["partitions"]) == spine.oracle.offered


def test_talea_drafts_are_a_list(spine: Spine) -> None:
    assert told(spine, "draft", spine.customers[0]) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("invoices", "show", "S-999999"),
        ("verify", "S-000001", "--all"),
        ("draft",),
    ],
)
def test_bad_usage_is_told_in_words_with_status_2(spine: Spine, arguments: tuple[str, ...]) -> None:
    ran = talea(spine, *arguments)

    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.strip()
    assert "Traceback" not in ran.stderr
