"""Dead letters on real servers: mended, they come home and count once; or they are let go."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from struct import pack
from typing import Any

import pytest

from builders import keyed, sequenced, usage
from fixtures_stack import StackMaker
from integration import commands, shop
from integration.running import COLLECTOR, METERING, RunningStack
from integration.traffic import customers_everywhere
from pipeline.collect.batch import UsageBatch
from pipeline.collect.event import UsageEvent
from pipeline.collect.gate import Gate
from pipeline.core.calendar import DAY, SECOND, Instant, instant_text
from pipeline.core.errors import BadInput, Code
from pipeline.core.identity import partition_of
from pipeline.dedupe.claims import Delivery, Judged
from pipeline.meter.slices import Counts
from pipeline.replay.letters import LetterId, Selection, State
from pipeline.stores.claims import RedisClaims
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.postgres.books import load_cursors
from pipeline.stores.postgres.facts import Author, read_facts
from pipeline.stores.postgres.pauses import DEATHS_MAX, record_death
from pipeline.topology import USAGE_RAW
from pipeline.workers.pausing import skip
from pipeline.workers.readmission import readmission
from pipeline.workers.redriving import Listed, Redriven, Tell, listed, redrive, select, waive

pytestmark = pytest.mark.servers

ADA = Author("ada", "test")
GOLD = """
meters: [{{id: gold, aggregation: sum, unit: g, window: PT1S}}]
plans:
  - id: gold
    name: Gold
    issuer: shop
    currency: EUR
    cycle: P20D
    prices: [{{id: gold, name: Gold, meter: gold, price: {{type: unit, unit_amount: "2"}}}}]
subscriptions: [{{id: g-{customer}, customer: {customer}, plan: gold, start: {start}, end: null}}]
"""


def quiet(_done: int, _of: int) -> None:
    """Show no progress."""


@pytest.fixture(scope="module")
def now() -> Instant:
    return wall_clock() // SECOND * SECOND


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker, now: Instant) -> RunningStack:
    """A shop open for 30 days, that issued its invoices of the first 20."""
    stack = make_shared_stack()
    stack.start()
    customers = customers_everywhere(stack.around.partitions)
    stack.apply(shop.catalog(customers, now - 30 * DAY, None, "P20D"))
    stack.await_documents(len(customers))
    return stack


@pytest.fixture
def customer(stack: RunningStack) -> str:
    return customers_everywhere(stack.around.partitions)[0]


def gigabytes(customer: str, name: str, time: Instant, value: str = "1.5") -> UsageEvent:
    return usage(customer, value, meter="gigabytes", time=time, id=name)


def send(stack: RunningStack, batch: UsageBatch, partition: int | None = None) -> LetterId:
    """Write a batch, to its customer's own partition unless told; return the id of its letter."""
    if partition is None:
        partition = partition_of(batch.customers[0], stack.around.partitions)
    offset = stack.write(partition, encode_batch(batch), batch.event_count)
    stack.until(lambda: stack.offsets()[partition] >= offset, f"offset {offset} is booked")
    return LetterId("usage", partition, offset)


def done_with(
    stack: RunningStack,
    *letters: LetterId,
    tell: Tell = quiet,
    states: tuple[State, ...] = (State.OPEN,),
) -> tuple[Redriven, Counts]:
    """Redrive letters; return what was done, and what the books hold more since."""
    before = stack.counts()
    await_letters(stack, *letters)
    done = redrive(stack.around, Selection(frozenset(letters)), ADA, tell, states=states)
    stack.await_booked()
    after = stack.counts()
    return done, Counts(*(getattr(after, n) - getattr(before, n) for n in Counts.__slots__))


def await_letters(stack: RunningStack, *letters: LetterId) -> None:
    """Return once the letters are there: books may be quicker, for acks wait for both."""
    wanted = Selection(frozenset(letters))

    def there() -> bool:
        found = listed(stack.around, read_facts(stack.connection, 0), wanted, quiet)
        return {each.rejected.id.message for each in found} == set(letters)

    stack.until(there, f"letters {letters}")


def booked(stack: RunningStack, customer: str, meter: str = "gigabytes") -> int:
    row = stack.used().get((customer, meter))
    return row.count if row else 0


def state(stack: RunningStack, letter: LetterId) -> set[State]:
    chosen = select(
        stack.around, read_facts(stack.connection, 0), Selection(frozenset([letter])), quiet
    )
    return {each.state for each in chosen}


def test_an_unknown_meter_is_billed_once_when_it_is_in_force(
    stack: RunningStack, customer: str, now: Instant
) -> None:
    gold = usage(customer, "3", meter="gold", time=now, id="g-1")
    two = sequenced(0, gigabytes(customer, "", now), replace(gold, id=""), producer="gold-digger")
    letters = [send(stack, keyed(gold)), send(stack, two)]
    offered = stack.counts().offered

    refused, _ = done_with(stack, *letters)
    assert [why for _, why in refused.refused] == [
        "no meter 'gold' is in force: put the meter in force (talea catalog apply), then redrive it"
    ] * 2
    assert (refused.sent, stack.counts().offered) == ([], offered)

    stack.apply(GOLD.format(customer=customer, start=instant_text(now - DAY)))
    done, more = done_with(stack, *letters)
    assert done.sent == [letters[0]._replace(number=0), letters[1]._replace(number=1)]
    assert more == Counts(offered=2, fresh=2)
    assert done_with(stack, *letters)[0].skipped == {State.REDRIVEN: 2}
    again, more = done_with(stack, *letters, states=(State.REDRIVEN,))
    assert (again.sent, again.standing) == ([done.sent[0]], [done.sent[1]])
    assert more == Counts(offered=1, duplicate=1)

    send(stack, two)  # its agent never heard the ack
    assert booked(stack, customer, "gold") == 2


def test_late_usage_comes_through_the_gate_once_and_issued_documents_stay(
    stack: RunningStack, customer: str, now: Instant
) -> None:
    before, count = stack.documents(), booked(stack, customer)
    old = now - 15 * DAY  # in the period that was invoiced
    batch = keyed(gigabytes(customer, "l-1", old), gigabytes(customer, "l-2", now - 5 * DAY))
    first, second = send(stack, batch), send(stack, batch)

    done, more = done_with(stack, first, second)
    assert [each.message for each in done.sent] == [first, first]
    assert [each.message for each in done.standing] == [second, second]
    assert more == Counts(offered=2, fresh=2)
    (fact,) = [f for f in read_facts(stack.connection, 0) if f.id in done.gate_passes]
    assert (fact.kind, fact.actor, fact.body["events"]) == ("gate_pass", "ada", 2)

    third = send(stack, batch)
    done, more = done_with(stack, third)
    assert (len(done.standing), done.sent, more) == (2, [], Counts())
    assert booked(stack, customer) == count + 2
    assert stack.documents() == before
    cut = stack.connection.execute("SELECT cut FROM usage WHERE window_us = %s", [old]).fetchone()
    (document,) = [d for d in before if d.payer == customer]
    assert cut == (document.cut_serial,)


def test_late_events_of_a_sequence_are_known_by_their_places(
    stack: RunningStack, customer: str, now: Instant
) -> None:
    late = [gigabytes(customer, "", now - 4 * DAY, value) for value in ("1", "2")]
    in_time = gigabytes(customer, "", now)
    batch = sequenced(0, in_time, *late, producer="slow")
    letters = [send(stack, batch), send(stack, batch)]

    done, more = done_with(stack, *letters)

    assert [str(each) for each in done.sent] == [f"{letters[0]}:1", f"{letters[0]}:2"]
    assert [str(each) for each in done.standing] == [f"{letters[1]}:1", f"{letters[1]}:2"]
    assert more == Counts(offered=2, fresh=2)


def test_what_comes_in_while_the_job_reads_is_not_counted_twice(
    stack: RunningStack, customer: str, now: Instant
) -> None:
    count = booked(stack, customer)
    letter = send(stack, keyed(gigabytes(customer, "meanwhile", now - 6 * DAY)))
    meanwhile = keyed(gigabytes(customer, "meanwhile", now))

    read_to_the_end: list[int] = []

    def tell(read: int, total: int) -> None:
        if read == total:
            read_to_the_end.append(total)
            if len(read_to_the_end) == 2:  # the letters, then the log
                send(stack, meanwhile)

    done, more = done_with(stack, letter, tell=tell)

    assert len(read_to_the_end) == 2
    assert len(done.sent) == 1
    assert more == Counts(offered=2, fresh=1, conflict=1)
    assert booked(stack, customer) == count + 1


def test_a_stray_event_gets_home(stack: RunningStack, customer: str, now: Instant) -> None:
    away = (partition_of(customer, stack.around.partitions) + 1) % stack.around.partitions
    count = booked(stack, customer)
    event, other = gigabytes(customer, "stray", now), gigabytes(customer, "", now, "9")
    letters = [
        send(stack, keyed(event), away),
        send(stack, sequenced(0, other, producer="astray"), away),
    ]

    _, more = done_with(stack, *letters)
    _, again = done_with(stack, *letters, states=(State.REDRIVEN,))

    assert (more, again) == (Counts(offered=2, fresh=2), Counts(offered=1, duplicate=1))
    assert booked(stack, customer) == count + 2


NEVER: list[tuple[Callable[[UsageBatch], bytes], str]] = [
    (lambda b: b"rubbish", "never billed: mend the producer"),
    (lambda b: encode_batch(replace(b, mantissa=b"\xff" * 7 + b"\x7f")), "a plain decimal value"),
    (lambda b: encode_batch(replace(b, time=pack("<q", SECOND))), "with its true time"),
]


@pytest.mark.parametrize(("spoil", "why"), NEVER)
def test_what_can_never_be_billed_says_so_and_can_be_waived(
    stack: RunningStack, customer: str, now: Instant, spoil: Callable[[UsageBatch], bytes], why: str
) -> None:
    home = partition_of(customer, stack.around.partitions)
    offset = stack.write(home, spoil(keyed(gigabytes(customer, "never", now))), 1)
    stack.await_booked()
    letter = LetterId("usage", home, offset)

    done, more = done_with(stack, letter)
    assert (len(done.refused), more) == (1, Counts())
    assert why in done.refused[0][1]

    waived, _ = waive(stack.around, Selection(frozenset([letter])), ADA, quiet)
    assert [each.message for each in waived] == [letter]
    assert state(stack, letter) == {State.WAIVED}
    assert done_with(stack, letter)[0].skipped == {State.WAIVED: 1}


def test_a_conflict_is_not_sent_again(stack: RunningStack, customer: str, now: Instant) -> None:
    send(stack, keyed(gigabytes(customer, "c", now)))
    letter = send(stack, keyed(gigabytes(customer, "c", now, "7")))

    done, more = done_with(stack, letter)

    assert "key or place is another event's" in done.refused[0][1]
    assert more == Counts()


def test_waived_usage_is_sent_only_if_asked_for(
    stack: RunningStack, customer: str, now: Instant
) -> None:
    letter = send(stack, keyed(gigabytes(customer, "w", now - 7 * DAY)))
    await_letters(stack, letter)
    waive(stack.around, Selection(frozenset([letter])), ADA, quiet)

    assert done_with(stack, letter)[0].sent == []
    done, more = done_with(stack, letter, states=(State.OPEN, State.WAIVED))

    assert (len(done.sent), more.fresh) == (1, 1)
    assert state(stack, letter) == {State.REDRIVEN}


def test_a_skipped_message_comes_home_though_a_dying_worker_had_claimed_it(
    stack: RunningStack, customer: str, now: Instant
) -> None:
    home, count = partition_of(customer, stack.around.partitions), booked(stack, customer)
    batch = keyed(gigabytes(customer, "poison", now))
    stack.stop(METERING)
    offset = stack.write(home, encode_batch(batch), 1)
    asyncio.run(claim_and_die(stack, home, offset, batch))
    for _ in range(DEATHS_MAX):
        record_death(stack.connection, home, offset, "of this test")
    skip(stack.around, home, offset, ADA)
    stack.start(METERING)
    stack.await_booked()

    done, more = done_with(stack, LetterId("usage", home, offset))

    assert (len(done.sent), more) == (1, Counts(offered=1, fresh=1))
    assert booked(stack, customer) == count + 1


async def claim_and_die(stack: RunningStack, home: int, offset: int, batch: UsageBatch) -> None:
    """Claim the keys of a message as its worker does, and do no more."""
    claims = RedisClaims(stack.around.redis, stack.around.stack)
    await claims.open()
    log_time = load_cursors(stack.connection)[home][0].log_time
    generation = Gate(3 * DAY, 300 * SECOND).generation(log_time)
    claim = Delivery(offset, 0, generation, [0], batch.key, batch.fingerprint)
    assert await claims.claim(home, claim) == Judged([])
    await claims.close()


def test_a_raw_message_is_listed_by_its_place_in_the_raw_topic(stack: RunningStack) -> None:
    stack.start(COLLECTOR)
    topic = stack.around.stack.topic(USAGE_RAW)
    stack.producer.send(topic, 1, b'{"specversion": "1.0"}')
    stack.producer.flush()

    def raw() -> list[Listed]:
        found = listed(
            stack.around, read_facts(stack.connection, 0), Selection(code=Code.MISSING_FIELD), quiet
        )
        return [each for each in found if each.rejected.id.origin == "raw"]

    stack.until(lambda: bool(raw()), "its dead letter")
    letter = raw()[0].rejected.id
    done, _ = done_with(stack, letter)

    assert (str(letter), done.sent) == ("raw:1:0", [])
    assert "send the event again, whole" in done.refused[0][1]


def test_one_job_at_a_time(stack: RunningStack) -> None:
    with readmission(stack.around), pytest.raises(BadInput, match="another job"):
        redrive(stack.around, Selection(), ADA, quiet)


def test_the_commands(stack: RunningStack, customer: str, now: Instant) -> None:
    letter = send(stack, keyed(gigabytes(customer, "cli", now - 8 * DAY)))

    await_letters(stack, letter)
    told = talea(stack, "list", "--reason", "late", "--customer", customer, "--json")
    assert f"{letter}:0" in {row["id"] for row in told["rejected"] if row["state"] == "open"}
    assert told["by_reason"] == {"late": told["events"]}
    shown = talea(stack, "show", f"{letter}:0", "--json")
    assert (shown["offset"], shown["events"][0]["value"]) == (letter.offset, "1.5")
    plan = redrive(stack.around, Selection(frozenset([letter])), ADA, quiet, dry_run=True)
    assert state(stack, letter) == {State.OPEN}
    done = talea(stack, "redrive", f"{letter}:0", "--actor", "ada", "--json")
    assert done["sent"] == [str(each) for each in plan.sent] == [f"{letter}:0"]


def talea(stack: RunningStack, *arguments: str) -> Any:
    ran = commands.talea(stack, "rejected", *arguments)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_in_the_end_every_event_has_one_outcome(stack: RunningStack) -> None:
    counted = stack.close_the_books()

    assert counted["late"] > 5
    assert {
        each.rejected.rejection.code
        for each in select(stack.around, read_facts(stack.connection, 0), Selection(), quiet)
    } >= {Code.LATE, Code.CONFLICT, Code.UNKNOWN_METER, Code.WRONG_PARTITION}
