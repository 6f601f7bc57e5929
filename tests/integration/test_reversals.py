"""Reversals on real servers: before and after the cut, first, twice, in conflict; all add up."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from builders import named, usage
from fixtures_stack import StackMaker
from integration import commands, shop
from integration.running import FINALIZER, METERING, PRICING, RunningStack
from integration.traffic import customers_everywhere
from pipeline.catalog.facts import FactKind
from pipeline.collect.batch import Mode, UsageBatch, pack_events
from pipeline.collect.event import UsageEvent
from pipeline.collect.keyed import pack_again
from pipeline.core.calendar import DAY, SECOND, Instant, instant_text
from pipeline.core.identity import partition_of, sequenced_key
from pipeline.replay.amending import Change, Chosen
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.postgres.facts import Author, read_facts
from pipeline.stores.postgres.reversals import waiting_counts
from pipeline.workers.amending import Amended, amend
from pipeline.workers.auditing import Audit
from pipeline.workers.recounting import recount
from pipeline.workers.rewinding import rewind, targets

pytestmark = pytest.mark.servers


def quiet(_done: int, _of: int) -> None:
    """Show no progress."""


OPEN_S = 10
CREST = """
meters: [{{id: crest, aggregation: max, unit: m, window: PT1S, points: true}}]
plans:
  - id: crest
    name: Crest
    issuer: shop
    currency: EUR
    cycle: P20D
    prices: [{{id: crest, name: Crest, meter: crest, price: {{type: unit, unit_amount: "1"}}}}]
subscriptions:
  - {{id: w-{customer}, customer: {customer}, plan: crest, start: {start}, end: {end}}}
"""


@pytest.fixture(scope="module")
def now() -> Instant:
    return wall_clock() // SECOND * SECOND


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker, now: Instant) -> RunningStack:
    """A shop open for 22 days, that issued its invoices of the first 20."""
    stack = make_shared_stack(session_s=6.0)
    stack.start()
    customers = customers_everywhere(stack.around.partitions)
    stack.apply(shop.catalog(customers, now - 22 * DAY, None, "P20D"))
    stack.await_documents(len(customers))
    ends = wall_clock() + OPEN_S * SECOND
    stack.apply(CREST.format(customer=customers[0], start=instant_text(now - DAY), end="null"))
    start, end = instant_text(now - DAY), instant_text(ends // SECOND * SECOND)
    stack.apply(CREST.format(customer=customers[1], start=start, end=end))
    return stack


@pytest.fixture
def customer(stack: RunningStack) -> str:
    return customers_everywhere(stack.around.partitions)[0]


def gigabytes(customer: str, name: str, time: Instant, value: str = "1.5") -> UsageEvent:
    return usage(customer, value, meter="gigabytes", time=time, id=name)


def send(stack: RunningStack, *batches: UsageBatch) -> None:
    """Write batches, and wait until they are booked."""
    for batch in batches:
        home = partition_of(batch.customers[0], stack.around.partitions)
        stack.write(home, encode_batch(batch), batch.event_count)
    stack.await_booked()


def keyed(*events: UsageEvent) -> UsageBatch:
    return pack_events(events, Mode.KEYED, "", "", 0)


def back(*events: UsageEvent, at: Instant) -> UsageBatch:
    """Take keyed events back."""
    return keyed(*(replace(event, reversed_at=at) for event in events))


def back_from_sequence(event: UsageEvent, key: bytes, at: Instant) -> UsageBatch:
    (batch,) = pack_again([replace(named(replace(event, reversed_at=at)), key=key)])
    return batch


def settled(stack: RunningStack, waiting: int = 0) -> None:
    """Wait until all but so many reversals are matched."""
    stack.until(
        lambda: sum(waiting_counts(stack.connection).values()) == waiting,
        f"all but {waiting} reversals are matched",
    )


def billed(stack: RunningStack, customer: str) -> tuple[int, str]:
    """How much of the customer's traffic is counted, net of reversals."""
    row = stack.used().get((customer, "gigabytes"))
    return (row.count, str(row.sum)) if row else (0, "0")


def total_minor(stack: RunningStack, customer: str) -> Sequence[int]:
    stack.await_drained()
    totals = [draft.content["totals"] for draft in stack.drafts(customer)]
    return [total["total_minor"] for total in totals if isinstance(total, dict)]  # type: ignore[misc]


@pytest.fixture
def closing(stack: RunningStack) -> str:
    """A customer whose subscription ends soon."""
    return customers_everywhere(stack.around.partitions)[1]


def test_before_the_cut_what_is_voided_is_not_invoiced(
    stack: RunningStack, closing: str, now: Instant
) -> None:
    """Whether it is: see the last test, which finds the invoice sealed, and proves it."""
    events = [usage(closing, v, meter="crest", time=now, id=f"v{v}") for v in ("3", "9", "12")]
    send(stack, back(events[2], at=now), keyed(*events), back(events[1], at=now))
    settled(stack)
    assert crest(stack, closing) == [300]


def test_voided_usage_leaves_the_draft_whichever_came_first(
    stack: RunningStack, customer: str, now: Instant
) -> None:
    before = total_minor(stack, customer)
    first = gigabytes(customer, "first", now, "100")
    send(stack, keyed(first))
    assert total_minor(stack, customer) != before
    send(stack, back(first, at=now))
    settled(stack)
    assert total_minor(stack, customer) == before

    second = gigabytes(customer, "second", now, "1000")
    send(stack, back(second, at=now), keyed(gigabytes(customer, "other", now, "0")))
    assert sum(waiting_counts(stack.connection).values()) == 1
    assert total_minor(stack, customer) == before
    send(stack, keyed(second))
    settled(stack)
    assert total_minor(stack, customer) == before
    assert billed(stack, customer) == (1, "0")


def test_twice_is_once_and_another_payload_is_a_conflict(
    stack: RunningStack, customer: str, now: Instant
) -> None:
    event, counts = gigabytes(customer, "twice", now), stack.counts()
    send(stack, keyed(event), back(event, at=now), back(event, at=now + SECOND))
    settled(stack)
    send(stack, back(event, at=now))
    more = stack.counts()
    assert (more.fresh - counts.fresh, more.duplicate - counts.duplicate) == (2, 2)

    wrong = replace(event, value=event.value + 1)
    send(stack, back(wrong, at=now))
    settled(stack)
    assert stack.counts().conflict - counts.conflict == 1
    row = stack.connection.execute(
        "SELECT source_offset, match_offset FROM reversal WHERE state = 'conflict'"
    ).fetchone()
    assert row is not None
    assert row[0] > row[1] >= 0


def test_an_event_of_a_sequence_is_taken_back_by_the_key_of_its_place(
    stack: RunningStack, customer: str, now: Instant
) -> None:
    home, before = partition_of(customer, stack.around.partitions), billed(stack, customer)
    event = gigabytes(customer, "", now, "7")
    send(stack, pack_events([event, event], Mode.SEQUENCED, "host", "e", 0))
    send(stack, back_from_sequence(event, sequenced_key("host", "e", home, 1), now))
    settled(stack)
    assert billed(stack, customer)[0] == before[0] + 1


def test_after_the_cut_an_issued_invoice_stays_and_the_books_give_back(
    stack: RunningStack, customer: str, now: Instant
) -> None:
    """Usage of two days ago is in the period that was invoiced; its reversal comes today."""
    documents, before = stack.documents(), billed(stack, customer)
    old = gigabytes(customer, "old", now - 2 * DAY - SECOND, "3")
    send(stack, keyed(old))
    assert billed(stack, customer)[0] == before[0] + 1
    send(stack, back(old, at=now))
    settled(stack)
    assert billed(stack, customer) == before
    assert stack.documents() == documents


def test_a_killed_stack_matches_once(stack: RunningStack, customer: str, now: Instant) -> None:
    before = billed(stack, customer)
    events = [gigabytes(customer, f"k{n}", now) for n in range(20)]
    home = partition_of(customer, stack.around.partitions)
    for number, event in enumerate(events):
        for batch in (keyed(event), back(event, at=now)):
            stack.write(home, encode_batch(batch), batch.event_count)
        if number == 10:
            for kind in (FINALIZER, PRICING, METERING):
                stack.kill(kind)
    stack.await_booked()
    settled(stack)
    assert billed(stack, customer) == before


def test_a_rewind_without_claims_changes_nothing(
    stack: RunningStack, customer: str, now: Instant
) -> None:
    before, counts = billed(stack, customer), stack.counts()
    home = partition_of(customer, stack.around.partitions)
    done = rewind(stack.around, targets(stack.around, [home], 0, None), unheard, claims=True)
    assert done.unmoved
    event = gigabytes(customer, "first", now, "100")  # voided before; Redis was emptied since
    send(stack, keyed(event), back(event, at=now))
    more = stack.counts()
    assert (billed(stack, customer), more.duplicate - counts.duplicate) == (before, 2)


def test_the_commands(stack: RunningStack, customer: str, now: Instant) -> None:
    """Usage by key and in a sequence is put right, then voided; twice is once."""
    crests = [usage(customer, v, meter="crest", time=now, id=f"c{v}") for v in ("3", "9")]
    unnamed = usage(customer, "4", meter="crest", time=now)
    send(stack, keyed(*crests), pack_events([unnamed], Mode.SEQUENCED, "host", "crests", 0))
    assert crest(stack, customer) == [900]

    nine = Chosen(customer, "shop", ("c9",))
    by_id = ("--customer", customer, "--source", "shop", "--id", "c9", "--value", "5")
    plan = talea(stack, "amend", *by_id, *AUTHOR, "--dry-run")
    assert [(each["value"], each["meter"]) for each in plan["events"]] == [("9", "crest")]
    assert crest(stack, customer) == [900]
    assert did(stack, nine, FIVE).states == {"matched": 1}
    assert crest(stack, customer) == [500]

    all_of_it = Chosen(customer, meter="crest", start=now)
    some = did(stack, all_of_it, FIVE)
    assert (len(some.coming), some.reversed_before, some.alike) == (2, 1, 1)
    facts = read_facts(stack.connection, 0)
    again = did(stack, all_of_it, FIVE)
    assert (again.coming, again.reversed_before, again.alike) == ([], 3, 3)
    assert read_facts(stack.connection, facts[-1].serial) == []

    named = ("--customer", customer, "--source", "s", "--id", "nobody")
    assert talea(stack, "void", *named, *AUTHOR)["not_found"] == ["nobody"]

    voided = talea(stack, "void", "--meter", "crest", "--customer", customer, *AUTHOR)
    assert (voided["states"], voided["reversed_before"]) == ({"matched": 3}, 3)
    assert crest(stack, customer) == [0]
    new = read_facts(stack.connection, facts[-1].serial)
    assert [(f.actor, f.reason) for f in new if f.kind is FactKind.AMENDMENT] == [("ada", "test")]
    listed = talea(stack, "list", "--customer", customer, "--state", "matched")
    assert {each["original"] != "" for each in listed["reversals"]} == {True}


AUTHOR = ("--actor", "ada", "--reason", "test")
FIVE = Change((5, 0))


def did(stack: RunningStack, chosen: Chosen, change: Change) -> Amended:
    return amend(stack.around, chosen, change, Author("ada", "test"), quiet)


def crest(stack: RunningStack, customer: str) -> list[int]:
    """What the drafts say of the greatest value."""
    stack.await_drained()
    lines: list[Any] = [each for draft in stack.drafts(customer) for each in draft.content["lines"]]  # type: ignore[union-attr]
    return [line["total_minor"] for line in lines if line["meter"] == "crest"]


def unheard(_text: str, _fraction: float | None) -> None:
    """Tell nobody."""


def talea(stack: RunningStack, *arguments: str) -> Any:
    ran = commands.talea(stack, "usage", *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_what_cannot_be_given_back_is_refused_and_the_rest_waits(
    stack: RunningStack, customer: str, now: Instant
) -> None:
    seat = usage(customer, "5", meter="seats", time=now, id="seat")
    counts = stack.counts()
    late = gigabytes(customer, "too late", now - 10 * DAY)
    send(stack, keyed(seat), back(seat, at=now), keyed(late), back(late, at=now))
    more = stack.counts()
    assert (more.rejected - counts.rejected, more.late - counts.late) == (1, 1)
    settled(stack, waiting=1)


def test_in_the_end_both_accounts_close(stack: RunningStack, closing: str) -> None:
    documents: list[Any] = [each.content for each in stack.documents(closing)]
    lines = [line for document in documents for line in document["lines"]]
    assert [line["total_minor"] for line in lines if line["meter"] == "crest"] == [300]
    counted = stack.close_the_books()
    assert (counted["pending"], counted["conflict"]) == (1, 1)
    audit = Audit(stack.around)
    books = audit.look(quiet)
    twice = recount(stack.around, audit, books, quiet)
    audit.close()
    assert [one.differences for one in twice if one.differences] == []
