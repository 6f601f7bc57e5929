"""Postgres comes back older than its topics: they tell what is lost, and billing goes on."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, LiteralString

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg import sql

from builders import keyed, sequenced, usage
from fixtures_stack import StackMaker
from integration import published, shop
from integration.backups import Backup
from integration.running import BILLING, PUBLISHER, RunningStack, Used, connected
from pipeline.bootstrap import set_up
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.cli.app import run
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import DAY, SECOND, Instant
from pipeline.core.errors import CheckFailed
from pipeline.core.identity import partition_of
from pipeline.invoice.published import DraftPosition, Issued
from pipeline.ledger.restoring import Lost
from pipeline.meter.slices import Counts
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.kafka import log_ends
from pipeline.stores.postgres.database import one
from pipeline.stores.postgres.drafts import Draft, store_drafts
from pipeline.stores.postgres.facts import Author, append_facts, fact_head, read_facts, ticks_from
from pipeline.stores.postgres.life import read_events, states
from pipeline.topology import USAGE_METERED
from pipeline.workers.deciding import open_draft
from pipeline.workers.restoring import restore_lost
from pipeline.workers.supervisor import worker_environment

pytestmark = pytest.mark.servers

DECIDED = ("--actor", "ada", "--reason", "because")
PAID = ("--amount", "4.00", "--reference", "tx-1")
NOW = wall_clock() // SECOND * SECOND


@dataclass(frozen=True)
class Known:
    """All that there is to lose."""

    seals: dict[str, bytes]
    facts: list[Fact]
    states: dict[str, str]
    events: list[tuple[object, ...]]
    used: dict[tuple[str, str], Used]
    counts: Counts
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
            stack.counts(),
            {each.id: each.content for each in stack.drafts()},
        )


def sent(stack: RunningStack, *events: UsageEvent) -> None:
    for event in events:
        batch = keyed(event)
        home = partition_of(event.customer, stack.around.partitions)
        stack.write(home, encode_batch(batch), batch.event_count)


def gigabytes(customer: str, value: str, time: Instant) -> UsageEvent:
    return usage(customer, value, meter="gigabytes", time=time, id=f"{customer}-{value}")


def sold(stack: RunningStack, customer: str, end: Instant | None = None) -> None:
    stack.apply(shop.catalog([customer], NOW - 22 * DAY, end, "P20D"))


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


def bill_more(stack: RunningStack) -> Known:
    """Documents of two customers, notes of late usage and by hand, money, a dispute, a void."""
    sent(stack, *(gigabytes(name, "7", NOW - 2 * DAY - 9000 * SECOND) for name in ("cat", "dan")))
    stack.await_booked()
    for name in ("cat", "dan"):
        sold(stack, name)
    sent(stack, gigabytes("bob", "10", NOW - 2 * DAY - 3600 * SECOND))
    sent(stack, *(gigabytes("ann", value, NOW - DAY) for value in ("3", "4", "5", "3")))
    batch = sequenced(0, *(usage("ann", each, meter="gigabytes", time=NOW - DAY) for each in "68"))
    home = partition_of("ann", stack.around.partitions)
    stack.write(home, encode_batch(batch), batch.event_count)
    done(stack, "invoices", "pay", "S-000001", *PAID, *DECIDED)
    done(stack, "invoices", "dispute", "S-000001", *DECIDED)
    down = ("--amount", "1.00", "--code", "sla", "--incident", "INC-7")
    done(stack, "invoices", "credit", "S-000001", *down, *DECIDED)
    wrong = ("--customer", "ann", "--source", "shop", "--id", "ann-4")
    done(stack, "usage", "void", *wrong, *DECIDED)
    matched = "SELECT count(*) FROM reversal WHERE state = 'matched'"
    stack.until(lambda: count(stack, matched) == 1, "what was voided is matched")
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


@dataclass(frozen=True)
class World:
    """A stack that stands still, a backup of an earlier time, and what was known then and since."""

    stack: RunningStack
    backup: Backup
    before: Known
    after: Known


@pytest.fixture(scope="module")
def world(make_shared_stack: StackMaker) -> World:
    stack = make_shared_stack()
    stack.start(*BILLING, PUBLISHER)
    sold(stack, "ann")
    sold(stack, "bob", NOW - 2 * DAY)
    sent(stack, gigabytes("ann", "2", NOW - DAY))
    before = settled(stack, 2)
    backup = Backup.of(stack.around)
    after = bill_more(stack)
    assert len(after.seals) == len(before.seals) + 4
    stack.stop()
    return World(stack, backup, before, after)


def test_where_a_topic_contradicts_nothing_is_taken_and_nothing_goes_on(world: World) -> None:
    """A fact of one's own stands in the place of one that is lost."""
    stack, known = world.stack, len(world.before.facts)
    world.backup.restore(stack.around)
    assert Known.of(stack) == world.before
    waiver = NewFact(FactKind.ISSUE_WAIVER, "none", {"issue": "none"})
    append_facts(stack.connection, lambda _: [waiver], Author("eve", "by herself"), NOW)

    with pytest.raises(CheckFailed, match=f"fact {known + 1} is another in its mirror, by ada"):
        set_up(stack.around)
    assert fact_head(stack.connection)[0] == known + 1


def test_half_of_an_import_is_none_of_it(world: World) -> None:
    world.backup.restore(world.stack.around)
    killed_half_way(world.stack)
    assert Known.of(world.stack) == world.before


def goes_on(world: World) -> None:
    """Bill on from what the topics told: as if nothing had been lost."""
    stack, after = world.stack, world.after
    back = Known.of(stack)
    assert (back.seals, back.facts, back.states) == (after.seals, after.facts, after.states)
    assert back.events == after.events
    stack.start(*BILLING, PUBLISHER)
    again = settled(stack, len(after.seals))
    assert (again.seals, again.facts, again.states) == (after.seals, after.facts, after.states)
    assert (again.used, again.counts, again.drafts) == (after.used, after.counts, after.drafts)
    published.check_published(stack)
    stack.close_the_books()


def test_what_a_backup_lacks_comes_from_the_topics_before_anything_is_issued(world: World) -> None:
    stack, before, after = world.stack, world.before, world.after
    world.backup.restore(stack.around)
    told: list[str] = []
    assert restore_lost(stack.around, told.append)
    assert f"brought back {len(after.facts) - len(before.facts)} facts" in told[1]
    assert "4 issued documents" in told[1]
    assert "not brought back: personal values of cat, dan;" in told[2]
    assert not restore_lost(stack.around, told.append)

    draft = Draft.of("cat", "EUR", NOW, DraftPosition(0, 0, 0), stack.documents("cat")[0].content)
    store_drafts(stack.connection, [draft])  # as the books rate it again
    with (
        stack.around.database.session("decision") as connection,
        pytest.raises(ValueError, match="issued already"),
    ):
        open_draft(connection, Catalog(), draft.id)

    goes_on(world)
    done(stack, "invoices", "pay", "S-000001", *PAID, *DECIDED)  # once more
    assert read_facts(stack.connection, 0) == after.facts
    sold(stack, "eve")
    last = settled(stack, 7)
    stack.stop()
    assert [*last.seals] == [f"S-{place:06d}" for place in range(1, 8)]
    assert last.seals.items() > after.seals.items()


def lose(stack: RunningStack) -> None:
    """Lose every table."""
    schema = sql.Identifier(stack.around.database.schema)
    with stack.around.database.session("loss", owner=True) as connection:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))


def check_ordinals(stack: RunningStack, facts: list[Fact]) -> None:
    """Lose all; take documents that were published before they told their ordinals."""
    ticks = ticks_from(stack.connection, 1, 1_000_000)
    documents = stack.documents()
    issued = [
        Issued(d.issuer, s.place, s.number, d.id, d.payer, s.content, s.record, s.seal)
        for d in documents
        for s in [d.sealed]
    ]
    lose(stack)
    stack.around.database.migrate()
    with stack.around.database.session("by hand", owner=True) as connection:
        lost = Lost(facts, ticks, issued)
        assert connection.write_lost(lost, 0, stack.around.partitions) == []
    assert stack.documents() == documents


def test_without_any_backup_nor_slices_the_log_tells_everything(world: World) -> None:
    """Claims of long ago were dropped by then: they are made again, and a repeat is still one."""
    stack, known = world.stack, Known.of(world.stack)
    check_ordinals(stack, known.facts)
    lose(stack)
    metered = stack.around.stack.topic(USAGE_METERED)
    ends = log_ends(stack.around.kafka, metered, stack.around.partitions)
    places = [TopicPartition(metered, number, end) for number, (_, end) in enumerate(ends)]
    client = AdminClient({"bootstrap.servers": stack.around.kafka, "log_level": 2})
    for deleted in client.delete_records(places).values():
        deleted.result(20)
    with connected(stack.around) as claims:
        claims.delete(*claims.scan_iter(match=f"{stack.around.stack.prefix}*:claims:*"))

    set_up(stack.around)

    goes_on(World(stack, world.backup, world.before, known))
