"""Postgres comes back older than its topics: they tell what is lost, and billing goes on."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, LiteralString

import pytest

from builders import keyed, usage
from fixtures_stack import StackMaker
from integration import published, shop
from integration.backups import Backup
from integration.running import BILLING, PUBLISHER, RunningStack, Used
from pipeline.bootstrap import set_up
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.cli.app import run
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import DAY, SECOND, Instant
from pipeline.core.errors import CheckFailed
from pipeline.core.identity import partition_of
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.postgres.database import one
from pipeline.stores.postgres.facts import Author, append_facts, fact_head, read_facts
from pipeline.stores.postgres.life import read_events, states
from pipeline.workers.restoring import restore_lost
from pipeline.workers.supervisor import worker_environment

pytestmark = pytest.mark.servers

DECIDED = ("--actor", "ada", "--reason", "because")


@dataclass(frozen=True)
class Known:
    """All that there is to lose."""

    seals: dict[str, bytes]
    facts: list[Any]
    states: dict[str, str]
    events: list[tuple[object, ...]]
    used: dict[tuple[str, str], Used]
    offered: int
    drafts: dict[str, Any]

    @classmethod
    def of(cls, stack: RunningStack) -> "Known":
        documents = stack.documents()
        return cls(
            {each.sealed.number: each.sealed.seal for each in documents},
            [*read_facts(stack.connection, 0)],
            states(stack.connection),
            [
                (each.id, event.kind, event.actor, event.amount_minor, event.reference)
                for each in documents
                for event in read_events(stack.connection, each.id)
            ],
            stack.used(),
            stack.counts().offered,
            {each.id: each.content for each in stack.drafts()},
        )


def sent(stack: RunningStack, *events: UsageEvent) -> None:
    for event in events:
        batch = keyed(event)
        home = partition_of(event.customer, stack.around.partitions)
        stack.write(home, encode_batch(batch), batch.event_count)


def gigabytes(customer: str, value: str, time: Instant) -> UsageEvent:
    return usage(customer, value, meter="gigabytes", time=time, id=f"{customer} {value} {time}")


def sold(stack: RunningStack, customer: str, now: Instant, end: Instant | None = None) -> None:
    stack.apply(shop.catalog([customer], now - 22 * DAY, end, "P20D"))


def done(stack: RunningStack, *arguments: str) -> None:
    """Call `talea` in this process: it is not the command that is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in worker_environment(stack.around).items():
            patch.setenv(name, value)
        assert run([*arguments]) == 0


def settled(stack: RunningStack, documents: int) -> Known:
    """All that is known once everything is booked, issued and published."""
    stack.await_documents(documents)
    stack.await_drained()
    published.await_published(stack)
    return Known.of(stack)


def bill_more(stack: RunningStack, now: Instant) -> Known:
    """Documents of two more customers, a note of late usage and one by hand, money, a dispute."""
    sent(stack, *(gigabytes(name, "7", now - 2 * DAY - 9000 * SECOND) for name in ("cat", "dan")))
    stack.await_booked()
    for name in ("cat", "dan"):
        sold(stack, name, now)
    sent(stack, gigabytes("bob", "10", now - 2 * DAY - 3600 * SECOND))
    sent(stack, *(gigabytes("ann", value, now - DAY) for value in ("3", "4", "5")))
    paid = ("--amount", "4.00", "--reference", "tx-1")
    done(stack, "invoices", "pay", "S-000001", *paid, *DECIDED)
    done(stack, "invoices", "dispute", "S-000001", *DECIDED)
    down = ("--amount", "1.00", "--code", "sla", "--incident", "INC-7")
    done(stack, "invoices", "credit", "S-000001", *down, *DECIDED)
    stack.until(lambda: any(d.kind == "debit_note" for d in stack.documents()), "bob's note")
    return settled(stack, 6)


def killed_half_way(stack: RunningStack) -> None:
    """Kill the import once it has written facts and ticks, as it waits to write documents."""
    environment = {**os.environ, **worker_environment(stack.around)}
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'document'::regclass"
    others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'talea restoring'"
    command = [sys.executable, "-m", "pipeline", "set-up"]
    database = stack.around.database
    with database.session("in the way", owner=True) as held, held.transaction():
        held.execute("LOCK TABLE document IN SHARE MODE")
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
            stack.until(lambda: count(stack, waits) > 0, "the import waits for the lock")
            process.send_signal(signal.SIGKILL)
    stack.until(lambda: count(stack, others) == 0, "Postgres notices")


def count(stack: RunningStack, query: LiteralString) -> int:
    return int(one(stack.connection, query)[0])


def test_what_a_backup_lacks_comes_from_the_topics_before_anything_is_issued(
    make_stack: StackMaker,
) -> None:
    now = wall_clock() // SECOND * SECOND
    stack = make_stack()
    stack.start(*BILLING, PUBLISHER)
    sold(stack, "ann", now)
    sold(stack, "bob", now, now - 2 * DAY)
    sent(stack, gigabytes("ann", "2", now - DAY))
    before = settled(stack, 2)
    backup = Backup.of(stack.around)
    after = bill_more(stack, now)
    assert len(after.seals) == len(before.seals) + 4
    stack.stop()

    # A fact of one's own in the place of one that is lost: nothing is taken, nothing may go on.
    backup.restore(stack.around)
    assert Known.of(stack) == before
    waiver = NewFact(FactKind.ISSUE_WAIVER, "none", {"issue": "none"})
    append_facts(stack.connection, lambda _: [waiver], Author("eve", "by herself"), now)
    with pytest.raises(CheckFailed, match=f"fact {len(before.facts) + 1} is another in its mirror"):
        set_up(stack.around)
    assert fact_head(stack.connection)[0] == len(before.facts) + 1

    # Half of it is none of it.
    backup.restore(stack.around)
    killed_half_way(stack)
    assert Known.of(stack) == before

    told: list[str] = []
    assert restore_lost(stack.around, told.append)
    assert f"brought back {len(after.facts) - len(before.facts)} facts" in told[1]
    assert "4 issued documents" in told[1]
    assert "not brought back: personal values of cat, dan;" in told[2]
    assert not restore_lost(stack.around, told.append)
    back = Known.of(stack)
    assert (back.seals, back.facts, back.states) == (after.seals, after.facts, after.states)
    assert back.events == after.events

    stack.start(*BILLING, PUBLISHER)
    again = settled(stack, 6)
    assert (again.seals, again.facts, again.states) == (after.seals, after.facts, after.states)
    assert (again.used, again.offered, again.drafts) == (after.used, after.offered, after.drafts)
    paid = ("--amount", "4.00", "--reference", "tx-1")
    done(stack, "invoices", "pay", "S-000001", *paid, *DECIDED)
    assert read_facts(stack.connection, 0) == after.facts

    sold(stack, "eve", now)
    last = settled(stack, 7)
    assert [*last.seals] == [f"S-{place:06d}" for place in range(1, 8)]
    assert {number: seal for number, seal in last.seals.items() if number in after.seals} == (
        after.seals
    )
    published.check_published(stack)
    stack.close_the_books()
