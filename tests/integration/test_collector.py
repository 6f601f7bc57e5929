"""Raw usage, one event a message by any client: collected once, refused by name, never lost."""

import json
from dataclasses import replace
from random import Random
from time import monotonic
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import console, raw, shop
from integration.commands import talea
from integration.running import COLLECTOR, METERING, PRICING, TICKER, RunningStack
from integration.traffic import check_books, customers_everywhere
from oracle import Oracle
from pipeline.collect.event import UsageEvent
from pipeline.collect.letters import DeadLetter
from pipeline.core.calendar import SECOND
from pipeline.core.errors import Code
from pipeline.core.identity import partition_of
from pipeline.stores.clock import wall_clock
from pipeline.stores.kafka import log_ends, read_range
from pipeline.stores.records import letter_of
from pipeline.topology import USAGE_REJECTED
from pipeline.workers.collected import RawAudit
from pipeline.workers.pausing import paused
from pipeline.workers.supervisor import WorkerKind

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

_MINUTE = 60 * SECOND


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle(shop.METERS)


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    """A stack with a collector, that sells to customers of every partition."""
    stack = make_shared_stack()
    stack.start(TICKER, COLLECTOR, METERING, PRICING)
    start = wall_clock() // SECOND * SECOND - 10 * _MINUTE
    stack.apply(shop.catalog(customers(stack), start, None))
    return stack


def customers(stack: RunningStack) -> list[str]:
    return customers_everywhere(stack.around.partitions, each=2)


def events(stack: RunningStack, count: int, name: str) -> list[UsageEvent]:
    """Events of everybody, of the last minute."""
    chance, names, now = Random(name), customers(stack), wall_clock()
    return [
        usage(
            chance.choice(names),
            str(chance.choice(["1", "0.25", "12345678901234567890.5", "7"])),
            meter=chance.choice(sorted(shop.METERS)),
            time=now - chance.randrange(_MINUTE),
            id=f"{name}-{number}",
            source=f"source {number % 3}",
        )
        for number in range(count)
    ]


def letters(stack: RunningStack) -> list[DeadLetter]:
    """Every dead letter."""
    kafka, name = stack.around.kafka, stack.around.stack.topic(USAGE_REJECTED)
    return [
        letter_of(record.value)
        for partition, (first, end) in enumerate(log_ends(kafka, name, stack.around.partitions))
        for record in read_range(kafka, name, partition, first, end)
    ]


def quiet(_read: int, _of: int) -> None:
    """Count without telling."""


def test_every_form_becomes_usage(stack: RunningStack, oracle: Oracle) -> None:
    sent = events(stack, 400, "forms")
    raw.send_all(stack, sent)
    oracle.hears(sent)

    raw.await_collected(stack)
    stack.await_drained()

    check_books(stack, oracle)


def test_a_java_client_is_understood(stack: RunningStack, oracle: Oracle) -> None:
    sent = events(stack, 40, "java")
    console.produce(
        stack.around.kafka,
        raw.topic(stack),
        [
            ([("content-type", "application/cloudevents+json")], raw.structured(event).decode())
            if number % 2
            else (
                [(f"ce_{name}", text) for name, text in raw.attributes_of(event).items()],
                json.dumps(raw.data_of(event)),
            )
            for number, event in enumerate(sent)
        ],
    )
    oracle.hears(sent)

    raw.await_collected(stack)
    stack.await_drained()

    check_books(stack, oracle)


def test_what_is_refused_is_kept_with_its_headers_and_its_place(
    stack: RunningStack, oracle: Oracle
) -> None:
    (good,) = events(stack, 1, "spoiled")
    value, headers = raw.binary(good)
    spoiled: list[tuple[bytes | None, raw.Headers, Code, str, str]] = [
        (None, [], Code.UNREADABLE, "", ""),
        (b"\xff\xfe", [], Code.UNREADABLE, "", ""),
        (b"x" * 900_000, [], Code.TOO_LARGE, "", ""),
        (raw.avro(good)[:-3], [], Code.UNREADABLE, "", ""),
        (value, headers[1:], Code.BAD_FIELD, "ce_specversion", good.customer),
        (
            raw.structured(good).replace(b'"meter"', b'"metre"'),
            raw.STRUCTURED,
            Code.MISSING_FIELD,
            "data.meter",
            good.customer,
        ),
    ]
    before, known = raw.closed(stack)["rejected"], len(letters(stack))
    client = raw.Client(stack)
    for number, (message, given, *_) in enumerate(spoiled):
        client.send(message, given, partition=number % stack.around.partitions)
    client.send(raw.structured(good))
    client.flush()
    oracle.hears([good])

    assert raw.await_collected(stack)["rejected"] == before + len(spoiled)
    found = {letter.message: letter for letter in letters(stack) if letter.topic == "usage.raw.v1"}
    assert len(letters(stack)) == known + len(spoiled)
    for number, (message, given, code, path, customer) in enumerate(spoiled):
        letter = found[message or b""]
        (refusal,) = letter.refusals
        assert (refusal.rejection.code, refusal.rejection.path) == (code, path)
        assert letter.partition == number % stack.around.partitions
        assert (list(letter.headers), letter.customer) == (list(given), customer)
    stack.await_drained()
    check_books(stack, oracle)


def test_what_a_transaction_takes_back_was_never_there(stack: RunningStack, oracle: Oracle) -> None:
    kept, *taken_back = events(stack, 5, "transactions")
    client = raw.Client(stack, transactional_id=f"{stack.around.stack.prefix}test")
    client.producer.init_transactions(30)
    for commits, part in ((False, taken_back), (True, [kept])):
        client.producer.begin_transaction()
        for event in part:
            client.send(raw.structured(event), partition=0)
        if commits:
            client.producer.commit_transaction(30)
        else:
            client.flush()
            client.producer.abort_transaction(30)
    after = usage(kept.customer, meter="seats", time=kept.time, id="after-all", source="s")
    client = raw.Client(stack)
    client.send(raw.structured(after), partition=0)
    client.flush()
    oracle.hears([kept, after])

    raw.await_collected(stack)
    stack.await_drained()

    check_books(stack, oracle)


def test_few_events_do_not_wait_for_many(stack: RunningStack, oracle: Oracle) -> None:
    linger_s, waits = stack.around.settings.collector_linger_s, []
    for number in range(5):
        (event,) = events(stack, 1, f"alone-{number}")
        home = partition_of(event.customer, stack.around.partitions)
        written = _batches(stack, home)
        client = raw.Client(stack)
        began_s = monotonic()
        client.send(raw.structured(event))
        client.flush()
        stack.until(lambda home=home, seen=written: _batches(stack, home) > seen, "its batch")  # type: ignore[misc]
        waits.append(monotonic() - began_s)
        oracle.hears([event])

    assert min(waits) < 2 * linger_s + 0.3
    stack.await_drained()
    check_books(stack, oracle)


def _batches(stack: RunningStack, partition: int) -> int:
    """How many batches of the collector a partition of the usage log holds."""
    end = stack.ends()[partition]
    records = read_range(stack.around.kafka, stack.log, partition, max(0, end - 20), end)
    last = [record.offset for record in records if record.event_count]
    return last[-1] if last else -1


def test_in_the_end_both_equations_close(stack: RunningStack, oracle: Oracle) -> None:
    counts = raw.await_collected(stack)

    assert counts["offered"] == counts["collected"] + counts["rejected"]
    assert counts["pending"] == 0
    assert counts["collected"] == oracle.offered == stack.close_the_books()["offered"]


def test_sigkill_under_load_and_two_collectors(make_stack: StackMaker) -> None:
    """Events come again as duplicates, by their keys; each message is counted once."""
    stack = make_stack()
    two = [WorkerKind("collector", number, 2) for number in range(2)]
    stack.start(TICKER, METERING, PRICING)
    stack.apply(shop.meters())
    oracle, client, watching = Oracle(shop.METERS), raw.Client(stack), RawAudit(stack.around)
    sent = events(stack, 30_000, "load")
    stack.start(COLLECTOR)
    for number, event in enumerate(sent):
        client.send(raw.structured(event))
        if number in (8_000, 16_000):
            stack.kill(COLLECTOR)
        if number == 20_000:
            stack.stop(COLLECTOR)
            stack.start(*two)
        if number == 25_000:
            stack.kill(two[0])
        if number % 6_000 == 0:
            assert not any(counts.missing for counts in watching.look(quiet).values())
    client.flush()
    oracle.hears(sent)

    counts = raw.await_collected(stack)
    stack.await_drained()

    assert counts == {"offered": 30_000, "collected": 30_000, "rejected": 0, "pending": 0}
    assert watching.look(quiet) == stack.collection()
    booked: Any = stack.counts()
    assert (booked.fresh, booked.conflict, booked.late, booked.rejected) == (30_000, 0, 0, 0)
    assert {k: (u.count, u.sum, u.maximum) for k, u in stack.used().items()} == oracle.used()
    assert stack.close_the_books()["duplicate"] == booked.duplicate


def test_raw_usage_that_is_mostly_rejected_pauses_its_partition_alone(
    make_stack: StackMaker,
) -> None:
    stack = make_stack(reject_window_events=100)
    stack.start(TICKER, COLLECTOR, METERING, PRICING)
    stack.apply(shop.meters())
    sick, client = 2, raw.Client(stack)
    for _ in range(150):
        client.send(b"rubbish", partition=sick)
    client.flush()
    stack.until(lambda: bool(paused(stack.around)), "the partition of raw usage pauses")
    (pause,) = paused(stack.around)
    assert (pause.origin, pause.partition, pause.reason) == ("raw", sick, "rejects")

    sent = events(stack, 200, "beside")
    for number, event in enumerate(sent):
        client.send(raw.structured(event), partition=number % 2)
        client.send(raw.structured(replace(event, id=f"held {number}")), partition=sick)
    client.flush()
    stack.until(lambda: stack.counts().fresh == len(sent), "what came beside it is booked")
    audit = talea(stack, "audit", "--json")
    assert [p["origin"] for p in json.loads(audit.stdout)["paused"]] == ["raw"]
    assert raw.closed(stack)["pending"] >= len(sent)

    resumed = talea(stack, "resume", "--partition", str(sick), "--raw", "--json")
    assert json.loads(resumed.stdout) == {"resumed": [sick]}
    counts = raw.await_collected(stack)
    assert (counts["rejected"], counts["pending"]) == (150, 0)
    assert stack.close_the_books()["offered"] == 2 * len(sent)
    assert stack.counts().fresh == 2 * len(sent)
