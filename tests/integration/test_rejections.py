"""Bad input on the log: kept with its bytes, its reason and its place; the line goes on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from confluent_kafka import Producer

import batches
from builders import keyed, sequenced, usage
from fixtures_stack import StackMaker
from integration import shop
from integration.nursery import Nursery
from integration.running import TICKER, RunningStack, bare
from integration.traffic import customers_everywhere
from pipeline.bootstrap import set_up
from pipeline.collect.batch import UsageBatch
from pipeline.collect.letters import DeadLetter
from pipeline.collect.limits import READ_BYTES_MAX
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import Code
from pipeline.core.identity import partition_of
from pipeline.embedded import Servers
from pipeline.meter.ticks import Tick
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import decode, encode_batch
from pipeline.stores.kafka import SureProducer, create_topics, log_ends, read_range
from pipeline.stores.postgres.database import one
from pipeline.stores.records import encode_tick, letter_of
from pipeline.topology import EVENT_COUNT_HEADER, USAGE_BYTES_MAX, USAGE_EVENTS, USAGE_REJECTED
from spoiled import SPOILED, longest_dimensions

pytestmark = pytest.mark.servers

HOUR = 3600 * SECOND
LONGEST_METER = "traffic." + "x" * 120
TRAFFIC = f"""
meters:
  - {{id: {LONGEST_METER}, aggregation: sum, unit: GB, window: PT1S, dimensions: [region, zone]}}
"""


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    """A running stack that sells to one customer of every partition."""
    stack = make_shared_stack()
    start = (wall_clock() // SECOND - 60) * SECOND
    stack.start()
    customers = customers_everywhere(stack.around.partitions)
    stack.apply(shop.catalog(customers, start, None))
    stack.apply(TRAFFIC)
    return stack


@pytest.fixture
def customer(stack: RunningStack) -> str:
    return customers_everywhere(stack.around.partitions)[0]


def batch(customer: str, count: int = 3, at: Instant | None = None) -> UsageBatch:
    """Return a good batch."""
    time = wall_clock() if at is None else at
    name = f"{customer}-{wall_clock()}"
    return keyed(
        *(
            usage(customer, "1.5", meter="gigabytes", time=time, id=f"{name}-{n}")
            for n in range(count)
        )
    )


def stranger(stack: RunningStack, home: str) -> str:
    """Return a customer of another partition."""
    partitions = stack.around.partitions
    own = partition_of(home, partitions)
    return next(c for c in map(str, range(99)) if partition_of(c, partitions) != own)


def test_messages_that_lie_are_kept_whole_and_the_line_goes_on(
    stack: RunningStack, customer: str
) -> None:
    """Every kind at once, all in one partition; each by code, path, place and bytes."""
    home = partition_of(customer, stack.around.partitions)
    before, start = stack.counts(), stack.ends()[home]
    sent = {}
    for case, (spoil, code, path) in SPOILED.items():
        message = spoil(batch(customer))
        if len(message) > USAGE_BYTES_MAX:  # no producer sends it: see the monster below
            continue
        stack.write(home, message, 3)
        sent[message] = case, code, path
    stack.write(home, encode_batch(batch(customer)), 3)
    stack.await_booked()

    assert stack.counts().rejected == before.rejected + 3 * len(sent)
    assert stack.counts().fresh == before.fresh + 3
    log = read_range(stack.around.kafka, stack.log, home, start, stack.ends()[home])
    places = {record.value: record.offset for record in log}
    stack.until(
        lambda: sent.keys() <= {letter.message for letter in all_letters(stack, home)},
        "a letter for each",
    )
    told = {letter.message: letter for letter in all_letters(stack, home)}
    for message, (case, code, path) in sent.items():
        (refusal,) = told[message].refusals
        assert (refusal.rejection.code, refusal.rejection.path) == (code, path), case
        assert (told[message].offset, refusal.event_count) == (places[message], 3), case
    assert len(sent) == len(SPOILED) - 1 > 35


def test_the_longest_series_that_is_let_in_is_booked(stack: RunningStack) -> None:
    """One byte more is refused at the door: it would not fit the index of `series`."""
    longest = customer_at(0, stack.around.partitions)
    event = usage(
        longest, "1", meter=LONGEST_METER, time=wall_clock(), id="x", **longest_dimensions()
    )
    before = stack.counts()

    stack.write(0, encode_batch(keyed(event)), 1)
    stack.await_booked()

    assert stack.counts().fresh == before.fresh + 1
    assert stack.used()[longest, LONGEST_METER].count == 1


def test_an_id_is_unique_by_customer_and_source(stack: RunningStack, customer: str) -> None:
    """Another customer's or source's event with the same id is another event."""
    partitions = stack.around.partitions
    other = customers_everywhere(partitions)[1]
    event = usage(customer, meter="gigabytes", time=wall_clock(), id="shared", source="a")
    before = stack.counts()

    stack.write(partition_of(customer, partitions), encode_batch(keyed(event)), 1)
    stack.write(
        partition_of(other, partitions), encode_batch(keyed(replace(event, customer=other))), 1
    )
    stack.write(
        partition_of(customer, partitions), encode_batch(keyed(replace(event, source="b"))), 1
    )
    stack.write(partition_of(customer, partitions), encode_batch(keyed(event)), 1)
    stack.await_booked()

    assert stack.counts().fresh == before.fresh + 3
    assert stack.counts().duplicate == before.duplicate + 1


def test_a_source_may_mix_keyed_and_sequenced(stack: RunningStack, customer: str) -> None:
    """Each by its own rule: the key of a keyed event is nothing to a sequence, nor the reverse."""
    home = partition_of(customer, stack.around.partitions)
    event = usage(customer, meter="gigabytes", time=wall_clock(), id="mixed", source="mixer")
    by_key = encode_batch(keyed(event))
    in_turn = encode_batch(sequenced(0, replace(event, id="", source=""), producer="mixer"))
    before = stack.counts()

    for message in (by_key, in_turn, by_key, in_turn):
        stack.write(home, message, 1)
    stack.await_booked()

    assert stack.counts().fresh == before.fresh + 2
    assert stack.counts().duplicate == before.duplicate + 2


EVENTS: dict[str, tuple[Callable[[RunningStack, str], UsageBatch], Code]] = {
    "unknown meter": (
        lambda s, c: keyed(usage(c, meter="gold", time=wall_clock(), id="g")),
        Code.UNKNOWN_METER,
    ),
    "wrong partition": (lambda s, c: batch(stranger(s, c), 1), Code.WRONG_PARTITION),
    "late": (lambda s, c: batch(c, 1, wall_clock() - 100 * HOUR), Code.LATE),
    "future": (lambda s, c: batch(c, 1, wall_clock() + 100 * HOUR), Code.FUTURE),
    "before our time": (lambda s, c: batch(c, 1, SECOND), Code.BAD_TIME),
    "taken back from a maximum": (
        lambda s, c: keyed(
            replace(usage(c, meter="seats", time=wall_clock(), id="r"), reversed_at=wall_clock())
        ),
        Code.NOT_REVERSIBLE,
    ),
}


@pytest.mark.parametrize("case", EVENTS)
def test_only_the_wrong_event_of_a_batch_is_refused(
    stack: RunningStack, customer: str, case: str
) -> None:
    make, code = EVENTS[case]
    home = partition_of(customer, stack.around.partitions)
    wrong = make(stack, customer)

    reason = refused(stack, home, encode_batch(wrong), 1)

    assert (reason["code"], reason["indexes"]) == (code, pack("<H", 0))
    goes_on(stack, customer)


@pytest.mark.parametrize("header", [None, 0, 2, 4])
def test_the_header_must_count_what_the_body_holds(
    stack: RunningStack, customer: str, header: int | None
) -> None:
    home = partition_of(customer, stack.around.partitions)
    before = stack.counts()

    reason = refused(stack, home, encode_batch(batch(customer)), header)

    assert reason["code"] == Code.COUNT_MISMATCH
    assert stack.counts().rejected == before.rejected + (1 if header is None else header)


def test_a_conflict_is_kept_and_names_the_first(stack: RunningStack, customer: str) -> None:
    home = partition_of(customer, stack.around.partitions)
    event = usage(customer, meter="gigabytes", time=wall_clock(), id="conflict")
    first = stack.write(home, encode_batch(keyed(event)), 1)

    reason = refused(stack, home, encode_batch(keyed(replace(event, meter="seats"))), 1)

    assert (reason["code"], reason["path"]) == (Code.CONFLICT, "id")
    assert f"offset {first}, event 0" in reason["message"]
    goes_on(stack, customer)


def test_a_message_without_a_value(stack: RunningStack, customer: str) -> None:
    client = Producer({"bootstrap.servers": stack.around.kafka})
    before = stack.counts().rejected

    client.produce(stack.log, value=None, partition=0, headers=[(EVENT_COUNT_HEADER, b"5")])
    assert client.flush(20) == 0
    stack.await_booked()

    assert stack.counts().rejected == before + 5
    goes_on(stack, customer)


def test_a_monster_that_came_in_small_is_kept_by_its_head(
    stack: RunningStack, customer: str
) -> None:
    monster = bytes(120 << 20)  # librdkafka would give up at 100 MB, unless told
    client = Producer(
        {
            "bootstrap.servers": stack.around.kafka,
            "compression.type": "zstd",
            "message.max.bytes": 2 * len(monster),
        }
    )
    client.produce(stack.log, monster, partition=0, headers=[(EVENT_COUNT_HEADER, b"7")])
    assert client.flush(20) == 0
    stack.await_booked()

    kept = monster[:READ_BYTES_MAX]
    stack.until(lambda: bool(_letters(stack, 0, kept)), "its dead letter")

    (reason,) = _letters(stack, 0, kept)[0]["reasons"]
    assert (reason["code"], reason["event_count"]) == (Code.TOO_LARGE, 7)
    goes_on(stack, customer)


def test_the_first_of_two_headers_counts_for_everybody(stack: RunningStack, customer: str) -> None:
    home = partition_of(customer, stack.around.partitions)
    client = Producer({"bootstrap.servers": stack.around.kafka})
    twice: list[tuple[str, str | bytes | None]] = [
        (EVENT_COUNT_HEADER, b"3"),
        (EVENT_COUNT_HEADER, b"9"),
    ]
    before = stack.counts()

    client.produce(stack.log, encode_batch(batch(customer)), partition=home, headers=twice)
    assert client.flush(20) == 0
    stack.await_booked()

    assert stack.counts().fresh == before.fresh + 3
    assert stack.close_the_books()["offered"] == stack.counts().offered


NAMED: dict[str, tuple[bytes, int, int]] = {
    "no text": (b"talea-\xff\xfeents", 0, 1),
    "one that ends at NUL": (b"talea-events\0xyz", 3, 0),
}


@pytest.mark.parametrize("case", NAMED)
def test_a_header_by_any_name_stops_nobody(stack: RunningStack, customer: str, case: str) -> None:
    """Worker and independent reader count it alike, though their libraries read it apart."""
    name, fresh, rejected = NAMED[case]
    home = partition_of(customer, stack.around.partitions)
    plain = batches.batch(0, [(None, encode_batch(batch(customer)), [("x" * len(name), b"3")])], 0)
    raw = batches.overwritten(plain, b"x" * len(name), name)
    before = stack.counts()

    offset = batches.produce(stack.around.kafka, stack.log, home, raw)
    stack.until(lambda: stack.offsets()[home] >= offset, "it is booked")

    after = stack.counts()
    assert (after.fresh, after.rejected) == (before.fresh + fresh, before.rejected + rejected)
    goes_on(stack, customer)


@pytest.mark.parametrize("stamp_ms", [1, 4_000_000_000_000], ids=["1970", "2096"])
def test_a_record_by_a_clock_that_is_off_is_stamped_by_the_broker(
    stack: RunningStack, customer: str, stamp_ms: int
) -> None:
    home = partition_of(customer, stack.around.partitions)
    client = Producer({"bootstrap.servers": stack.around.kafka})
    refused, before = list[object](), stack.counts()

    client.produce(
        stack.log,
        encode_batch(batch(customer)),
        partition=home,
        headers=[(EVENT_COUNT_HEADER, b"3")],
        timestamp=stamp_ms,
        on_delivery=lambda error, _: refused.append(error),
    )
    assert client.flush(20) == 0
    stack.await_booked()

    assert refused == [None]
    assert stack.counts().fresh == before.fresh + 3


def test_a_tick_offers_nothing(stack: RunningStack, customer: str) -> None:
    message = encode_tick(Tick(1, 1, 1), stack.around.partitions)

    assert refused(stack, 0, message, 1)["code"] == Code.COUNT_MISMATCH
    goes_on(stack, customer)


def test_a_tick_forged_before_its_time_does_not_shut_out_the_true_one(
    stack: RunningStack, customer: str
) -> None:
    stack.stop(TICKER)
    (last,) = one(stack.connection, "SELECT max(serial) FROM tick")
    stack.until(lambda: stack.tick(0) == last, "the last tick is booked")
    forged = Tick(last + 1, wall_clock(), 1)

    reason = refused(stack, 0, encode_tick(forged, stack.around.partitions), 0)
    assert reason["code"] == Code.UNKNOWN_TICK

    stack.start(TICKER)
    stack.until(lambda: stack.tick(0) > last, "time goes on")
    passed = stack.connection.execute(
        "SELECT count(*) FROM partition_tick WHERE serial = %s", [last + 1]
    ).fetchone()
    assert passed == (stack.around.partitions,)
    goes_on(stack, customer)


def test_usage_before_the_first_tick_of_its_log_is_refused(
    servers: Servers, nursery: Nursery, tmp_path: Path
) -> None:
    around = bare(servers, tmp_path, {})
    create_topics(around.kafka, around.stack, around.partitions)
    early, client = encode_batch(batch("acme")), SureProducer(around.kafka)
    client.send(around.stack.topic(USAGE_EVENTS), 1, early, event_count=3)
    client.flush()
    with RunningStack.over(set_up(around), nursery) as stack:
        stack.start()
        stack.await_booked()
        stack.until(lambda: bool(_letters(stack, 1, early)), "its dead letter")

        (reason,) = _letters(stack, 1, early)[0]["reasons"]
        assert (reason["code"], reason["event_count"]) == (Code.NO_TICK, 3)
        assert stack.close_the_books()["rejected"] == 3


def test_every_code_that_the_log_can_provoke_is_shown_here() -> None:
    shown = {code for _, code, _ in SPOILED.values()} | {code for _, code in EVENTS.values()}
    shown |= {Code.COUNT_MISMATCH, Code.CONFLICT, Code.UNKNOWN_TICK, Code.NO_TICK}

    assert shown == set(Code) - {Code.NEGATIVE_VALUE, Code.SKIPPED}  # skips: test_pauses


def test_a_forged_tick_moves_no_time(stack: RunningStack, customer: str) -> None:
    forged = Tick(1_000_000, wall_clock() + 100 * HOUR, 1)

    reason = refused(stack, 0, encode_tick(forged, stack.around.partitions), 0)

    assert reason["code"] == Code.UNKNOWN_TICK
    goes_on(stack, customer)


def test_in_the_end_every_event_has_one_outcome(stack: RunningStack, customer: str) -> None:
    goes_on(stack, customer)

    assert stack.close_the_books()["rejected"] > 50


def refused(
    stack: RunningStack, partition: int, message: bytes, header: int | None
) -> dict[str, Any]:
    """Write a message that must be refused; return its one reason, once its letter is there."""
    letters = len(_letters(stack, partition, message))
    offset = stack.write(partition, message, header)
    stack.until(lambda: stack.offsets()[partition] >= offset, f"offset {offset} is booked")
    stack.until(lambda: len(_letters(stack, partition, message)) > letters, "its dead letter")
    (reason,) = _letters(stack, partition, message)[-1]["reasons"]
    found: dict[str, Any] = reason
    return found


def customer_at(partition: int, partitions: int) -> str:
    """Return a customer of a partition with a name as long as one may be."""
    names = ("".join(chr(0x1F300 + n * 31 % 600) for n in range(k, k + 256)) for k in range(999))
    return next(name for name in names if partition_of(name, partitions) == partition)


def all_letters(stack: RunningStack, partition: int) -> list[DeadLetter]:
    """Return every dead letter of a partition."""
    topic = stack.around.stack.topic(USAGE_REJECTED)
    kafka, partitions = stack.around.kafka, stack.around.partitions
    first, end = log_ends(kafka, topic, partitions)[partition]
    return [letter_of(r.value) for r in read_range(kafka, topic, partition, first, end)]


def _letters(stack: RunningStack, partition: int, message: bytes) -> list[dict[str, Any]]:
    """Return the dead letters that hold this message, to the byte."""
    topic = stack.around.stack.topic(USAGE_REJECTED)
    kafka, partitions = stack.around.kafka, stack.around.partitions
    first, end = log_ends(kafka, topic, partitions)[partition]
    letters = [decode(r.value) for r in read_range(kafka, topic, partition, first, end)]
    return [letter for _, letter in letters if letter["message"] == message]


def goes_on(stack: RunningStack, customer: str) -> None:
    """Hold that good usage behind it is booked."""
    home = partition_of(customer, stack.around.partitions)
    before = stack.counts()
    offset = stack.write(home, encode_batch(batch(customer)), 3)
    stack.until(lambda: stack.offsets()[home] >= offset, "what comes behind is booked")
    assert stack.counts().fresh == before.fresh + 3
