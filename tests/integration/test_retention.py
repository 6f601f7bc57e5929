"""What is older than it must be kept goes, by one way that tells of itself; the rest is proved."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, LiteralString

import psycopg
import pytest

from builders import keyed, usage
from fixtures_stack import StackMaker
from integration import shop
from integration.backups import Backup
from integration.commands import talea
from integration.running import RunningStack
from pipeline.core.calendar import DAY, SECOND, Instant, parse_instant
from pipeline.core.identity import partition_of
from pipeline.ledger.checkpoint import Head
from pipeline.ledger.retention import oldest_kept
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.postgres.facts import Author
from pipeline.stores.signing import signed, signing_key
from pipeline.workers.checkpointing import Signing, sign_days
from pipeline.workers.restoring import restore_lost
from pipeline.workers.retaining import remove, to_remove
from pipeline.workers.verifying import Depth

pytestmark = pytest.mark.servers

ADA = Author("ada", "kept for seven years")
DECIDED = ("--actor", "ada", "--reason", "because")
ISSUED, SIGNED = 6, (2, 4)


@pytest.fixture(scope="module")
def now() -> Instant:
    return wall_clock() // SECOND * SECOND


@pytest.fixture(scope="module")
def old(make_shared_stack: StackMaker, now: Instant) -> tuple[RunningStack, Backup]:
    """Two customers with three invoices each; the second and the fourth of six are signed.

    The base fee is due ahead, so each invoice builds on the one before. Eight years later the
    contents of the first two went, a day after of the next two. Then came usage of the last period.
    The backup is of the moment before the second two went.
    """
    stack = make_shared_stack()
    stack.start()
    ahead = ("{id: base, name: Base fee,", "{id: base, name: Base fee, payment_term: in_advance,")
    stack.apply(shop.catalog(["ann", "bob"], now - 42 * DAY, None, "P20D").replace(*ahead))
    sealed = [each.sealed for each in stack.await_documents(ISSUED)]
    with stack.around.database.session("retention", owner=True) as connection:
        for place in SIGNED:
            head = Head("shop", place, sealed[place - 1].seal, wall_clock())
            connection.write_checkpoint(signed(head, signing_key(stack.around.settings)))
            before = oldest_kept(wall_clock() + 8 * 366 * DAY, 7)
            (going,) = to_remove(connection, before)
            backup = Backup.of(stack.around)
            assert len(remove(connection, going, ADA, wall_clock())) == 1
            assert remove(connection, going, ADA, wall_clock()) == []
            assert to_remove(connection, before) == []
    late = keyed(usage("ann", "10", meter="gigabytes", time=now - 2 * DAY - 3600 * SECOND))
    stack.write(partition_of("ann", stack.around.partitions), encode_batch(late), late.event_count)
    stack.await_booked()
    corrected = talea(stack, "invoices", "correct", "ann", *DECIDED)
    assert corrected.returncode == 0, corrected.stderr
    stack.await_documents(ISSUED + 1)
    return stack, backup


@pytest.fixture(scope="module")
def stack(old: tuple[RunningStack, Backup]) -> RunningStack:
    return old[0]


def told(stack: RunningStack, *arguments: str) -> Any:
    ran = talea(stack, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_what_stays_is_proved_from_books_and_log(stack: RunningStack) -> None:
    documents = stack.documents()
    assert [each.sealed.is_removed for each in documents] == [True] * 4 + [False] * 3
    assert "Ms ann" not in str([each.kept for each in documents])
    found = [stack.verify(depth) for depth in Depth]
    assert [(each.checked, dict(each.faults), each.beyond) for each in found] == [(7, {}, 4)] * 2


def test_numbers_and_totals_stay_and_who_removed_the_rest_is_told(stack: RunningStack) -> None:
    rows = told(stack, "invoices", "list")
    assert [row["number"] for row in rows] == [f"S-{n:06d}" for n in range(1, 8)]
    assert [row["total_minor"] for row in rows] == [1000] * 6 + [128]
    shown = told(stack, "invoices", "show", "S-000003")
    assert (shown["totals"]["total_minor"], shown["lines"]) == (1000, [])
    assert [(each["number"], each["actor"]) for each in told(stack, "retention", "list")] == [
        ("S-000002", "ada"),
        ("S-000004", "ada"),
    ]
    verified = told(stack, "verify", "--all")
    assert (verified["matched"], verified["beyond_retention"]) == (7, 4)
    assert "up to S-000004 removed" in verified["removals"][1]


def test_nothing_goes_before_its_time(stack: RunningStack) -> None:
    assert told(stack, "retention", "plan")["removals"] == []
    assert told(stack, "retention", "apply", *DECIDED)["removals"] == []


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (("invoices", "credit", "S-000001", *DECIDED), "beyond retention"),
        (("invoices", "dispute", "S-000001", *DECIDED), "beyond retention"),
        (("invoices", "export", "S-000001"), "its record and seal are all that is left"),
    ],
)
def test_nothing_is_made_of_what_is_gone(
    stack: RunningStack, asked: tuple[str, ...], why: str
) -> None:
    ran = talea(stack, *asked)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert why in ran.stderr


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE document SET content = '', kept = '{}' WHERE place = 5",
        "UPDATE document SET kept = '{}' WHERE place = 1",
        "UPDATE document SET content = 'x', kept = NULL WHERE place = 1",
        "DELETE FROM document WHERE place = 1",
    ],
)
def test_triggers_let_nothing_else_through(stack: RunningStack, change: LiteralString) -> None:
    with (
        stack.around.database.session("vandal", owner=True) as connection,
        pytest.raises(psycopg.errors.RestrictViolation),
    ):
        connection.execute(change)


@contextmanager
def tampered(stack: RunningStack, change: LiteralString) -> Iterator[None]:
    """Change rows as a superuser who switches the triggers off, and undo it in the end."""
    with stack.around.database.session("superuser", owner=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("CREATE TEMPORARY TABLE before AS SELECT * FROM document")
        connection.execute(change)
        yield
        connection.execute("DELETE FROM document")
        connection.execute("INSERT INTO document SELECT * FROM before")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE document SET record = record || '\\x20' WHERE place = 1", {"S-000001"}),
        ("UPDATE document SET kept = replace(kept, '1000', '1001') WHERE place = 3", {"S-000004"}),
        ("UPDATE document SET content = '', kept = '{}' WHERE place = 5", {"S-000005"}),
        ("UPDATE document SET kept = '{}' WHERE place = 6", {"S-000006"}),
        ("DELETE FROM document WHERE place = 1", {"S-000002"}),
        ("DELETE FROM document WHERE place <= 4", {"S-000002", "S-000004", "S-000005"}),
        ("UPDATE document SET content = content || '\\x20' WHERE place = 6", {"S-000006"}),
    ],
    ids=[
        "the record of what went",
        "what is kept of it",
        "a content that nobody told of",
        "beside a content",
        "the first",
        "all that went",
        "what stays",
    ],
)
def test_a_change_is_located_also_once_contents_went(
    stack: RunningStack, change: LiteralString, found: set[str]
) -> None:
    with tampered(stack, change):
        assert found <= stack.verify(Depth.BOOKS).faults.keys()
    assert dict(stack.verify(Depth.BOOKS).faults) == {}


def test_what_a_day_issued_is_signed_once_it_is_over(stack: RunningStack) -> None:
    """By a clock that comes to midnight; the day's first document that nobody signed counts."""
    record: Any = next(each for each in stack.documents() if each.sealed.place == 5).record
    midnight = (parse_instant(record["issued_at"]) // DAY + 1) * DAY
    key, places = signing_key(stack.around.settings), []
    with stack.around.database.session("checkpoint") as connection:
        for at in (midnight - 1, midnight, midnight + 1, midnight + DAY):
            sign_days(connection, Signing(key, partial(int, at)))
            places.append([each.head.place for each in connection.read_checkpoints("shop")])
    assert places == [[2, 4], *[[2, 4, 7]] * 3]
    assert dict(stack.verify(Depth.BOOKS).faults) == {}


def test_contents_that_are_back_out_of_a_backup_go_again(
    old: tuple[RunningStack, Backup],
) -> None:
    """The last document was not published, so it is lost; nothing says that it was."""
    stack, backup = old
    before = stack.documents()
    stack.stop()
    backup.restore(stack.around)
    assert [each.sealed.is_removed for each in stack.documents()] == [True] * 2 + [False] * 4

    said: list[str] = []
    assert restore_lost(stack.around, said.append)

    assert not any("not brought back: the removal" in line for line in said)
    assert stack.documents() == before[:ISSUED]
    assert dict(stack.verify(Depth.BOOKS).faults) == {}
