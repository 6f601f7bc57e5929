"""Backfills on real servers: foretold, billed once, corrected by notes, taken back whole."""

import json
from pathlib import Path
from typing import Any

import pytest

from builders import keyed, named, usage
from fixtures_stack import StackMaker
from integration import shop
from integration.commands import talea
from integration.running import METERING, RunningStack, wipe_claims
from pipeline.catalog.catalog import FactLog
from pipeline.collect.keyed import KeyedEvent
from pipeline.core.calendar import DAY, SECOND, Instant, instant_text
from pipeline.core.errors import Code, ServerFailed
from pipeline.core.identity import partition_of
from pipeline.replay.backfill import Stage
from pipeline.replay.letters import Selection
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.facts import Author
from pipeline.workers.backfilling import Done, Previewed, commit, preview, revert, stage
from pipeline.workers.correcting import notes_ahead
from pipeline.workers.redriving import redrive

pytestmark = pytest.mark.servers

ADA = Author("ada", "a host was off line")
PAGES = """
meters: [{{id: pages, aggregation: sum, unit: page, window: PT1S}}]
plans:
  - id: pages
    name: Pages
    issuer: shop
    currency: EUR
    cycle: P20D
    prices: [{{id: pages, name: Pages, meter: pages, price: {{type: unit, unit_amount: "2"}}}}]
subscriptions: [{{id: p-ann, customer: ann, plan: pages, start: {start}, end: null}}]
"""


@pytest.fixture(scope="module")
def now() -> Instant:
    return wall_clock() // SECOND * SECOND


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker, now: Instant) -> RunningStack:
    """A shop that issued the invoices of 20 days: ann stays, bob's subscription ended with them."""
    stack = make_shared_stack()
    stack.start()
    for customer, end in (("ann", None), ("bob", now - 2 * DAY)):
        stack.apply(shop.catalog([customer], now - 22 * DAY, end, "P20D"))
    stack.await_documents(2)
    return stack


def event(
    number: int, customer: str, value: str, time: Instant, meter: str = "gigabytes"
) -> KeyedEvent:
    return named(usage(customer, value, meter=meter, time=time, id=f"old-{number}"))


def staged(stack: RunningStack, name: str, *events: KeyedEvent) -> Previewed:
    """Stage a unit and look at it."""
    with stack.around.database.session("test") as session:
        stage(session, name, events, "a test", stack.around.partitions)
    return previewed(stack, name)


def previewed(stack: RunningStack, name: str) -> Previewed:
    return preview(stack.around, name, quiet)


def committed(stack: RunningStack, name: str) -> Done:
    done = commit(stack.around, name, ADA, quiet)
    stack.await_drained()
    return done


def counts(done: Done) -> object:
    assert done.unit.committed is not None
    return done.unit.committed.body["counts"]


def owed(stack: RunningStack, customer: str) -> dict[str, int]:
    """What drafts and notes to come say, by the document that a note corrects."""
    facts = FactLog()
    with stack.around.database.session("test") as session:
        facts.append(session.read_facts(0))
        home = partition_of(customer, stack.around.partitions)
        drafts = [*stack.drafts(customer), *notes_ahead(session, facts.at, customer, home)]
    contents: list[Any] = [draft.content for draft in drafts]
    return {each.get("corrects", ""): each["totals"]["total_minor"] for each in contents}


def total(document: Document) -> int:
    content: Any = document.content
    return int(content["totals"]["total_minor"])


def invoiced(stack: RunningStack, customer: str) -> int:
    return sum(total(each) for each in stack.documents(customer))


def old_usage(now: Instant) -> list[KeyedEvent]:
    """Of closed periods, late all of it; the last one in time."""
    return [
        event(1, "ann", "100", now - 10 * DAY),
        event(2, "ann", "40.5", now - 3 * DAY - 2 * 3600 * SECOND),
        event(3, "bob", "1000", now - 9 * DAY),
        event(4, "ann", "8", now - 60 * SECOND),
    ]


def test_it_is_foretold_billed_once_and_taken_back_whole(stack: RunningStack, now: Instant) -> None:
    ann_before, bob_before = owed(stack, "ann"), invoiced(stack, "bob")
    (invoice,), (bobs,) = stack.documents("ann"), stack.documents("bob")

    shown = staged(stack, "march", *old_usage(now))
    assert shown.checked.counts == {"sent": 4, "standing": 0, "refused": 0}
    # in cents, at 0.1275: 140.5 of a closed period, 8 of the open one, 1000 of one long over
    moved = {(e.customer, e.corrects): e.difference_minor for e in shown.foretold.moved}
    assert moved == {("ann", invoice.id): 1791, ("ann", ""): 102, ("bob", bobs.id): 12750}
    assert owed(stack, "ann") == ann_before  # nothing is billed of it yet
    offered = stack.counts().offered

    done = committed(stack, "march")
    assert (done.already, counts(done)) == (False, {"sent": 4, "standing": 0, "refused": 0})
    assert done.unit.took_ms
    assert (stack.counts().offered - offered, stack.counts().late) == (4, 0)
    after = owed(stack, "ann")
    assert after == {"": ann_before[""] + 102, invoice.id: 1791}
    stack.until(lambda: invoiced(stack, "bob") == bob_before + 12750, "bob's note")

    assert committed(stack, "march").already
    again = staged(stack, "march-again", *old_usage(now))
    assert again.checked.counts == {"sent": 0, "standing": 4, "refused": 0}

    back = revert(stack.around, "march", ADA, quiet)
    assert back.unit.reverted is not None
    assert back.unit.reverted.body["reversals"] == {"matched": 4}
    stack.await_drained()
    assert owed(stack, "ann") == ann_before
    stack.until(lambda: invoiced(stack, "bob") == bob_before, "bob's second note")
    assert revert(stack.around, "march", ADA, quiet).already

    mended = staged(stack, "mended", event(1, "ann", "10", now - 10 * DAY))
    assert mended.foretold.totals == {"EUR": 128}
    committed(stack, "mended")
    assert owed(stack, "ann")[invoice.id] == 128


def test_whoever_dies_half_way_commits_again_and_nothing_counts_twice(
    stack: RunningStack, now: Instant
) -> None:
    """The batches are sent and not booked: the command gives up; Redis forgets all meanwhile."""
    staged(stack, "half", *(event(n, "ann", "1", now - 8 * DAY) for n in range(100, 160)))
    before = stack.used()["ann", "gigabytes"].count
    stack.stop(METERING)
    with pytest.raises(ServerFailed, match="commit it again once the workers run"):
        commit(stack.around, "half", ADA, quiet, patience_s=1.0)
    assert previewed(stack, "half").unit.stage is Stage.BEGUN
    wipe_claims(stack.around)
    stack.start(METERING)

    done = committed(stack, "half")

    assert counts(done) == {"sent": 60, "standing": 0, "refused": 0}
    assert stack.used()["ann", "gigabytes"].count - before == 60


def test_a_meter_that_is_new_bills_what_was_used_before_it(
    stack: RunningStack, now: Instant
) -> None:
    """Live the events were refused, for nobody knew the meter; backfilled they come home."""
    live = keyed(usage("ann", "3", meter="pages", time=now - DAY, id="old-500"))
    home = partition_of("ann", stack.around.partitions)
    stack.write(home, encode_batch(live), live.event_count)
    stack.await_drained()
    old = [event(500 + n, "ann", str(3 + n), now - DAY, "pages") for n in range(2)]
    unknown = staged(stack, "pages", *old).checked.refused
    assert [why[:30] for _, why in unknown] == ["no meter 'pages' is in force: "] * 2

    stack.apply(PAGES.format(start=instant_text(now - 2 * DAY)))
    assert previewed(stack, "pages").foretold.totals == {"EUR": 1400}
    committed(stack, "pages")

    redriven = redrive(stack.around, Selection(code=Code.UNKNOWN_METER), ADA, quiet)
    stack.await_drained()
    assert len(redriven.sent) == 1  # in time: claims know that it is a repeat
    found = stack.used()["ann", "pages"]
    assert found.count == 2
    assert found.sum == 7


def test_a_file_is_staged_looked_at_and_forgotten_by_name(
    stack: RunningStack, now: Instant, tmp_path: Path
) -> None:
    """By commands, as a person would: bad lines are named, what nobody pays for is told."""
    file = tmp_path / "old.jsonl"
    long_ago = line(600, "gigabytes", now - 300 * DAY)
    file.write_text("\n".join([long_ago, "{", line(601, "seats", now - 9 * DAY), long_ago]))

    ran = talea(stack, "send", str(file), "--backfill", "long-ago", "--json")

    assert ran.returncode == 2
    assert "1 of 4 lines refused, the first on line 2" in ran.stderr
    shown = json.loads(ran.stdout)
    assert (shown["already"], shown["events"], shown["repeats"]) == (False, 2, 1)
    assert shown["counts"] == {"sent": 1, "standing": 0, "refused": 1}
    assert shown["refused"][0]["why"].startswith("meter seats is not reversible")
    assert (shown["events_nobody_pays"], shown["total_difference_minor"]) == (1, {})
    listed = json.loads(talea(stack, "backfill", "list", "--json").stdout)
    assert {each["name"]: each["stage"] for each in listed["backfills"]} == {
        "march": "reverted",
        "march-again": "staged",
        "mended": "committed",
        "half": "committed",
        "pages": "committed",
        "long-ago": "staged",
    }
    assert listed["median_ms"] > 0
    assert talea(stack, "backfill", "drop", "long-ago").returncode == 0
    gone = talea(stack, "backfill", "commit", "long-ago", "--actor", "ada", "--reason", "test")
    assert (gone.returncode, "no backfill is called 'long-ago'" in gone.stderr) == (2, True)


def line(number: int, meter: str, time: Instant) -> str:
    told = {
        "specversion": "1.0",
        "type": "usage",
        "id": f"old-{number}",
        "source": "host-7",
        "time": instant_text(time),
        "data": {"customer": "ann", "meter": meter, "value": "5"},
    }
    return json.dumps(told)


def test_in_the_end_every_event_has_one_outcome_and_every_document_verifies(
    stack: RunningStack,
) -> None:
    stack.close_the_books()


def quiet(_done: int, _of: int) -> None:
    """Show no progress."""
