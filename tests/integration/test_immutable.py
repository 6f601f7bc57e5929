"""Issued documents never change; who changes one all the same is found, with its number."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.running import RunningStack
from integration.traffic import Traffic, check_books
from oracle import Oracle
from pipeline.core.calendar import SECOND, instant_text
from pipeline.stores.clock import wall_clock
from pipeline.stores.postgres.documents import FIND_LINE
from pipeline.stores.signing import signing_key
from pipeline.workers.checkpointing import Signing, checkpoint_behind
from pipeline.workers.verifying import Depth

pytestmark = pytest.mark.servers

CUSTOMERS = ["ann", "bob", "cleo", "dan", "eve"]
SELLER = """
issuers: [{id: shop, name: The Shop, number_prefix: S-}]
customers: [{id: ann, profile: {name: Ms ann}}]
"""


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    """A stack that issued five invoices: S-000001 to S-000005; a credit pays one of them.

    A checkpoint signs the last.
    Usage and credit come before the plan.
    """
    stack = make_shared_stack()
    start = (wall_clock() // SECOND - 20) * SECOND
    stack.start()
    stack.apply(f"{shop.meters()}{SELLER}")
    paid = ("--actor", "ada", "--reason", "paid beforehand", "--starts", instant_text(start))
    granted = talea(stack, "credit", "grant", CUSTOMERS[0], "5.00", "EUR", *paid)
    assert granted.returncode == 0, granted.stderr
    traffic = Traffic(stack, Oracle(shop.METERS))
    for place, name in enumerate(CUSTOMERS, 1):
        used = [usage(name, "2.5", meter=meter, time=start + place) for meter in shop.METERS]
        traffic.sequenced(0, *used, producer=name)
    traffic.flush()
    stack.await_booked()
    stack.apply(shop.catalog(CUSTOMERS, start, start + 10 * SECOND, "PT10S"))
    stack.await_documents(len(CUSTOMERS))
    stack.close_the_books()
    check_books(stack, traffic.oracle)
    signing = Signing(signing_key(stack.around.settings), wall_clock)
    with stack.around.database.session("checkpoint") as connection:
        assert checkpoint_behind(connection, "shop", 1, signing) is not None
    stack.stop()
    return stack


@pytest.mark.parametrize("owner", [False, True], ids=["the application", "the owner"])
@pytest.mark.parametrize("table", ["document", "invoice_event", "fact", "credit_use", "checkpoint"])
@pytest.mark.parametrize(
    "change",
    ["UPDATE {t} SET {c} = {c}", "DELETE FROM {t}", "TRUNCATE {t} CASCADE"],
    ids=["update", "delete", "truncate"],
)
def test_no_role_changes_what_is_issued(
    stack: RunningStack, table: str, change: str, owner: bool
) -> None:
    column = {
        "document": "number",
        "invoice_event": "reason",
        "fact": "actor",
        "credit_use": "credit",
        "checkpoint": "issuer",
    }[table]
    with (
        stack.around.database.session("vandal", owner=owner) as connection,
        pytest.raises((psycopg.errors.RestrictViolation, psycopg.errors.InsufficientPrivilege)),
    ):
        connection.execute(change.format(t=table, c=column).encode())


@contextmanager
def tampered(stack: RunningStack, *changes: LiteralString) -> Iterator[None]:
    """Change rows as a superuser who switches the triggers off, and undo it in the end."""
    with stack.around.database.session("superuser", owner=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM document")
        for change in changes:
            connection.execute(change)
        yield
        connection.execute("DELETE FROM document")
        connection.execute("INSERT INTO document SELECT * FROM kept")


ONE_BYTE = "set_byte(content, 40, get_byte(content, 40) # 1)"
CHEAPER = (
    "convert_to(replace(convert_from(content, 'UTF8'), '\"total_minor\":1000',"
    " '\"total_minor\":1001'), 'UTF8')"
)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE document SET content = " + CHEAPER + " WHERE place = 2", {"S-000002"}),
        ("UPDATE document SET content = " + ONE_BYTE + " WHERE place = 3", {"S-000003"}),
        ("UPDATE document SET record = record || '\\x20' WHERE place = 4", {"S-000004"}),
        ("UPDATE document SET seal = sha256(seal) WHERE place = 1", {"S-000001", "S-000002"}),
        ("UPDATE document SET number = 'S-000099' WHERE place = 5", {"S-000099"}),
        ("UPDATE document SET payer = 'zoe' WHERE place = 3", {"S-000003"}),
        ("UPDATE document SET instant_us = instant_us + 1 WHERE place = 2", {"S-000002"}),
        ("UPDATE document SET cut_serial = cut_serial + 1 WHERE place = 2", {"S-000002"}),
        ("UPDATE document SET ordinal = 1 WHERE place = 4", {"S-000004"}),
    ],
    ids=[
        "an amount",
        "a byte",
        "the record",
        "the seal",
        "the number",
        "the payer",
        "the instant",
        "the cut",
        "the ordinal",
    ],
)
def test_a_change_by_a_superuser_is_found(
    stack: RunningStack, change: LiteralString, found: set[str]
) -> None:
    with tampered(stack, change):
        assert [set(stack.verify(depth).faults) for depth in Depth] == [found, found]
    assert [dict(stack.verify(depth).faults) for depth in Depth] == [{}, {}]


SEALED_ANEW = (
    "UPDATE document SET record = convert_to(replace(convert_from(record, 'UTF8'),"
    " convert_from(record, 'UTF8')::json->>'content_digest',"
    " encode(sha256(content), 'hex')), 'UTF8')",
    "UPDATE document SET seal = sha256(record)",
)


def test_a_forger_who_seals_anew_is_found_by_the_log(stack: RunningStack) -> None:
    """The last of the chain, where no later seal tells."""
    with tampered(
        stack, "UPDATE document SET content = " + CHEAPER + " WHERE place = 5", *SEALED_ANEW
    ):
        faults = stack.verify().faults
    assert dict(faults) == {"S-000005": "its content is not what the log makes of it"}


def test_a_forger_who_seals_anew_breaks_the_chain_behind(stack: RunningStack) -> None:
    with tampered(
        stack, "UPDATE document SET content = " + CHEAPER + " WHERE place = 2", *SEALED_ANEW
    ):
        assert {"S-000002", "S-000003"} <= stack.verify().faults.keys()


def test_a_price_changed_in_the_fact_log_is_found(stack: RunningStack) -> None:
    def reprice(old: str, new: str) -> None:
        with stack.around.database.session("superuser", owner=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("UPDATE fact SET body = replace(body, %s, %s)", [old, new])

    reprice('"0.1275"', '"0.12750000001"')
    faults = stack.verify().faults
    reprice('"0.12750000001"', '"0.1275"')

    assert len(faults) == len(CUSTOMERS)
    assert dict(stack.verify().faults) == {}


def test_a_deleted_document_is_found_by_the_one_behind_it(stack: RunningStack) -> None:
    with tampered(stack, "DELETE FROM document WHERE place = 3"):
        assert "S-000004" in stack.verify().faults


def test_swapped_documents_are_found(stack: RunningStack) -> None:
    with tampered(
        stack,
        "UPDATE document SET place = 60 WHERE place = 2",
        "UPDATE document SET place = 2 WHERE place = 3",
        "UPDATE document SET place = 3 WHERE place = 60",
    ):
        assert {"S-000002", "S-000003"} <= stack.verify().faults.keys()


def test_an_invented_document_is_found(stack: RunningStack) -> None:
    invented = (
        "INSERT INTO document SELECT issuer, 6, 'S-000006', 'inv_x', kind, payer, currency,"
        " instant_us, 9, cut_serial, content, record, seal FROM document WHERE place = 5"
    )
    with tampered(stack, invented):
        assert "S-000006" in stack.verify().faults


def test_usage_changed_in_the_books_is_found_by_the_seal_and_not_believed_by_the_log(
    stack: RunningStack,
) -> None:
    def add(change: int) -> None:
        with stack.around.database.session("superuser", owner=True) as connection:
            connection.execute(
                "UPDATE usage SET sum = sum + %s FROM series WHERE series.id = series_id"
                " AND customer = 'cleo' AND meter = 'gigabytes'",
                [change],
            )

    add(1000)
    found = [dict(stack.verify(depth).faults) for depth in (Depth.BOOKS, Depth.LOG)]
    add(-1000)

    assert found == [{"S-000003": "its content is not what the book makes of it"}, {}]


SWAPPED: tuple[LiteralString, ...] = (
    "UPDATE document SET place = 60 WHERE place = 3",
    "UPDATE document SET place = 3 WHERE place = 4",
    "UPDATE document SET place = 4 WHERE place = 60",
)
INVENTED: tuple[LiteralString, ...] = (
    "UPDATE document SET place = place + 60 WHERE place >= 3",
    "INSERT INTO document SELECT issuer, 3, 'S-000006', 'inv_x', kind, payer, currency,"
    " instant_us, 9, cut_serial, content, record, seal FROM document WHERE place = 65",
    "UPDATE document SET place = place - 59 WHERE place > 60",
)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ((), ""),
        (
            ("UPDATE document SET content = " + CHEAPER + " WHERE place = 2",),
            "S-000002: its content is not the one that was sealed",
        ),
        (
            ("DELETE FROM document WHERE place = 3",),
            "S-000004: it does not follow S-000002",
        ),
        (SWAPPED, "S-000004: it does not follow S-000002"),
        (INVENTED, "S-000005: it does not follow S-000002"),
    ],
    ids=["nothing", "edited", "deleted", "reordered", "inserted"],
)
def test_the_program_beside_an_export_finds_what_a_superuser_did(
    stack: RunningStack, changes: tuple[LiteralString, ...], found: str, tmp_path: Path
) -> None:
    with tampered(stack, *changes):
        exported = talea(
            stack, "invoices", "export", "S-000002", "--windows", "--to", str(tmp_path)
        )
    assert exported.returncode == 0, exported.stderr
    checked = subprocess.run(
        [sys.executable, "-I", "-S", "verify_proof.py", "S-000002.proof.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert (checked.returncode, checked.stderr) == (1 if found else 0, "")
    assert found in checked.stdout


def test_a_line_is_explained_down_to_its_events(stack: RunningStack) -> None:
    (document,) = stack.documents("bob")
    lines: Any = document.content["lines"]
    line = next(each for each in lines if each["meter"] == "gigabytes")

    said = talea(stack, "explain", line["children"][0]["id"], "--json")

    assert said.returncode == 0, said.stderr
    told, event, counted = map(json.loads, said.stdout.splitlines())
    assert (told["line"], told["invoice"]) == (line["id"], "S-000002")
    assert told["usage"]["parts"] == [[1, 1, 25, 25, 25]]
    assert told["log"]["from"] <= event["offset"] <= told["log"]["to"]
    assert (event["value"], event["outcome"], event["kind"]) == ("2.5", "billed", "usage")
    assert counted == {"events": {"billed": 1}}
    with stack.around.database.session("plan") as connection:
        connection.execute("SET enable_seqscan = off")  # five documents are sooner read than sought
        plan = connection.execute("EXPLAIN " + FIND_LINE, [[line["id"]]]).fetchall()
    assert "document_by_line" in str(plan)
    refused = talea(stack, "explain", "line_nobody_has")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_a_chain_cut_off_is_found_by_the_checkpoint_that_a_proof_carries(
    stack: RunningStack, tmp_path: Path
) -> None:
    exported = talea(stack, "invoices", "export", "S-000004", "--to", str(tmp_path))
    assert exported.returncode == 0, exported.stderr
    proof = json.loads((tmp_path / "S-000004.proof.json").read_text())

    with tampered(stack, "DELETE FROM document WHERE place = 5"):
        cut_off = dict(stack.verify(Depth.BOOKS).faults)
    told = stack.verify(Depth.BOOKS)

    (fault,) = cut_off.items()
    assert fault[0] == "place 5 of shop"
    assert fault[1].startswith("it is not there any more; a checkpoint of")
    assert (dict(told.faults), dict(told.keys)) == ({}, {proof["checkpoint"]["key"]: 1})
    assert proof["head"]["place"] == 5
