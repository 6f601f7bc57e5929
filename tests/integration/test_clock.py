"""A test clock on real servers: workers bill by it what they bill by the wall's, to the byte."""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.nursery import Nursery
from integration.running import (
    BILLING,
    FINALIZER,
    METERING,
    PARTITIONS,
    PRICING,
    RunningStack,
    bare,
)
from integration.story import open_shop
from integration.traffic import customers_everywhere
from pipeline.bootstrap import set_up
from pipeline.catalog.facts import Fact, NewFact
from pipeline.core.calendar import Instant, parse_instant
from pipeline.embedded import Servers
from pipeline.meter.ticks import Tick
from pipeline.stores.kafka import KafkaLog
from pipeline.stores.postgres.facts import Author, append_facts, read_facts, ticks_from
from pipeline.workers.timekeeping import Message, keeping, settle

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


def told(stack: RunningStack, *arguments: str) -> Any:
    ran = talea(stack, *arguments, "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


@contextmanager
def tenant(servers: Servers, nursery: Nursery, home: Path) -> Iterator[RunningStack]:
    """A tenant that nobody has set up yet."""
    with RunningStack.over(bare(servers, home, {}), nursery) as stack:
        yield stack


def contents(stack: RunningStack) -> dict[str, bytes]:
    return dict(stack.connection.execute("SELECT id, content FROM document").fetchall())


def test_what_the_wall_bills_a_test_clock_bills_to_the_byte(
    make_stack: StackMaker, servers: Servers, nursery: Nursery, tmp_path: Path
) -> None:
    live = make_stack()
    live.start()
    story = open_shop(live, seed=5, cycle_s=4, grace_s=1)
    with story.load:
        sleep(6)
    story.end()
    live.await_drained()
    live.stop()
    ticks = ticks_from(live.connection, 1, 1 << 20)
    messages, facts = told_between(live), read_facts(live.connection, 0)

    again = RunningStack.over(set_up(bare(servers, tmp_path, {}), ticks[0].time), nursery)
    with again:
        again.start(*BILLING)  # the ticker, too: it rests
        said_again(again, ticks, facts, messages)
        assert settle(again.around, lambda _booked, _of: None) == len(live.documents())
        assert contents(again) == contents(live)
        assert ticks_from(again.connection, 1, 1 << 20) == ticks
        again.close_the_books()


def told_between(stack: RunningStack) -> dict[int, list[Message]]:
    """The usage of a log by the tick before it."""
    rows = stack.connection.execute(
        "SELECT partition_no, source_offset, serial FROM partition_tick"
    )
    stands = {(partition, offset): serial for partition, offset, serial in rows}
    found = defaultdict(list)
    log = KafkaLog(stack.around.kafka)
    for partition, end in enumerate(stack.ends()):
        serial = 0
        for record in log.read_range(stack.log, partition, 0, end):
            if (partition, record.offset) in stands:
                serial = stands[partition, record.offset]
            else:
                assert record.event_count is not None
                found[serial].append(Message(partition, record.value, record.event_count))
    return found


def said_again(
    stack: RunningStack,
    ticks: list[Tick],
    facts: list[Fact],
    messages: dict[int, list[Message]],
) -> None:
    """Tell a stack what another was told, each at its tick; the first of them stands already."""
    with keeping(stack.around) as keeper:
        for before, tick in pairwise(ticks):
            for fact in facts[before.fact_position : tick.fact_position]:
                decided(stack, fact)
            usage, step = messages.get(before.serial, []), tick.time - before.time
            assert [*keeper.advance(tick.time, step, partial(at_once, usage))] == [tick]


def decided(stack: RunningStack, fact: Fact) -> None:
    """Write a fact as another stack has it."""
    new, author = NewFact(fact.kind, fact.subject, fact.body), Author(fact.actor, fact.reason)
    written = append_facts(stack.connection, lambda _: [new], author, fact.recorded_at)
    assert written == [fact]


def at_once(usage: list[Message], _start: Instant, _end: Instant) -> list[Message]:
    return usage


def test_time_is_moved_by_commands_and_decisions_are_of_then(
    servers: Servers, nursery: Nursery, tmp_path: Path
) -> None:
    began, customers = "2027-03-27T00:00:00Z", customers_everywhere(PARTITIONS)
    file = tmp_path / "catalog.yaml"
    file.write_text(shop.catalog(customers, parse_instant(began), None, "P1D", grace="PT1H"))
    with tenant(servers, nursery, tmp_path) as stack:
        stood = told(stack, "clock", "start", "--at", began)
        assert stood == {"now": began, "test_clock": began, "ticks": 1}
        stack.start(METERING, PRICING, FINALIZER)
        told(stack, "catalog", "apply", str(file))
        day = "2027-03-28T12:00:00Z"
        moved = told(stack, "clock", "advance", "--to", day, "--step", "PT6H")
        assert moved == {"now": day, "documents": len(customers)}
        asked = ("--actor", "ada", "--reason", "asked for it")
        told(stack, "subscription", "cancel", f"s-{customers[0]}", *asked)
        sold = told(stack, "subscription", "show", f"s-{customers[0]}")
        last = read_facts(stack.connection, 0)[-1]
        assert sold["end"][:19] == day[:19]
        assert last.recorded_at == parse_instant(sold["end"])
        moved = told(stack, "clock", "advance", "--by", "P2D", "--step", "P1D")
        assert moved["documents"] == 2 * len(customers) - 1
        records: list[Any] = [document.record for document in stack.documents()]
        issued = {record["issued_at"][:10] for record in records}
        assert issued <= {"2027-03-28", "2027-03-29", "2027-03-30"}
        for arguments, why in (
            (("advance", "--to", began), "it only goes forward"),
            (("start", "--at", day), f"a test clock from {began} on, for its life"),
            (("advance",), "say --to TIME or --by DURATION"),
        ):
            ran = talea(stack, "clock", *arguments)
            assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
            assert why in ran.stderr
        stack.close_the_books()


def test_a_stack_by_the_walls_clock_is_not_moved(make_stack: StackMaker) -> None:
    stack = make_stack()
    ran = talea(stack, "clock", "advance", "--by", "P1D")
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "lives by the wall's clock" in ran.stderr
    assert told(stack, "clock", "show")["test_clock"] is None


def test_some_months_of_every_cycle_are_billed_and_fold_again(
    servers: Servers, nursery: Nursery, tmp_path: Path
) -> None:
    with tenant(servers, nursery, tmp_path) as stack:
        asked = ("--customers", "40", "--months", "2", "--step", "P1D")
        billed = told(stack, "clock", "run", *asked, "--start", "2027-03-01T00:00:00Z")
        assert (billed["customers"], billed["mismatched"]) == (40, [])
        assert billed["checked"] == billed["matched"] == billed["documents"] > 150
        assert stack.counts().fresh == billed["events"]
        plans: Any = [document.content["lines"] for document in stack.documents()]
        cycles = {line["rate_card"]["plan"] for lines in plans for line in lines}
        assert cycles >= {"day", "hours", "week", "month", "quarter"}
