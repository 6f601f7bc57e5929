"""Bad input on the log: kept with its bytes, its reason and its place; the line goes on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from confluent_kafka import Producer

from builders import keyed, usage
from fixtures_stack import StackMaker
from integration import shop
from integration.running import TICKER, RunningStack, bare
from integration.traffic import customers_everywhere
from pipeline.bootstrap import set_up
from pipeline.collect.batch import MeterScale, Mode, Reversal, UsageBatch, WideValue
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
from pipeline.stores.records import encode_slices, encode_tick
from pipeline.topology import EVENT_COUNT_HEADER, USAGE_EVENTS, USAGE_REJECTED

pytestmark = pytest.mark.servers

HOUR = 3600 * SECOND


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    """A running stack that sells to one customer of every partition."""
    stack = make_shared_stack()
    start = (wall_clock() // SECOND - 60) * SECOND
    stack.start()
    customers = customers_everywhere(stack.around.partitions)
    stack.apply(shop.catalog(customers, start, None))
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


Spoil = Callable[[UsageBatch], bytes]
SPOILED: dict[str, tuple[Spoil, Code, str]] = {
    "no schema": (lambda b: b"usage: 3", Code.UNREADABLE, ""),
    "nothing": (lambda b: b"", Code.UNREADABLE, ""),
    "another fingerprint": (
        lambda b: b"\xc3\x01" + bytes(8) + encode_batch(b)[10:],
        Code.UNREADABLE,
        "",
    ),
    "truncated": (lambda b: encode_batch(b)[:-7], Code.UNREADABLE, ""),
    "bytes left over": (lambda b: encode_batch(b) + b"\0", Code.UNREADABLE, ""),
    "a record of another topic": (lambda b: encode_slices([]), Code.UNREADABLE, ""),
    "a short column": (
        lambda b: encode_batch(replace(b, time=b.time[8:])),
        Code.BAD_LENGTH,
        "time",
    ),
    "a long column": (
        lambda b: encode_batch(replace(b, meter_index=b.meter_index + b"\0\0")),
        Code.BAD_LENGTH,
        "meter_index",
    ),
    "short keys": (lambda b: encode_batch(replace(b, key=b.key[1:])), Code.BAD_LENGTH, "key"),
    "a wild index": (
        lambda b: encode_batch(replace(b, customer_index=pack("<3H", 0, 9, 0))),
        Code.BAD_INDEX,
        "customer_index",
    ),
    "another count": (
        lambda b: encode_batch(replace(b, event_count=2)),
        Code.BAD_LENGTH,
        "customer_index",
    ),
    "a mantissa too wide": (
        lambda b: encode_batch(replace(b, mantissa=pack("<3q", 1, 1 << 52, 1))),
        Code.BAD_VALUE,
        "mantissa",
    ),
    "a wide value that is none": (
        lambda b: encode_batch(replace(b, wide=[WideValue(0, "NaN")])),
        Code.BAD_BATCH,
        "wide",
    ),
    "a scale too fine": (
        lambda b: encode_batch(replace(b, meters=[MeterScale("gigabytes", 40)])),
        Code.BAD_VALUE,
        "meters",
    ),
    "too many events": (
        lambda b: encode_batch(replace(b, event_count=2001)),
        Code.TOO_LARGE,
        "event_count",
    ),
    "a heartbeat with keys": (
        lambda b: encode_batch(replace(b, event_count=0)),
        Code.BAD_BATCH,
        "event_count",
    ),
    "a reversal": (
        lambda b: encode_batch(replace(b, reversals=[Reversal(0, 1)])),
        Code.BAD_BATCH,
        "reversals",
    ),
    "a sequence of nobody": (
        lambda b: encode_batch(replace(b, mode=Mode.SEQUENCED, key=b"", fingerprint=b"")),
        Code.MISSING_FIELD,
        "producer",
    ),
    "a pass of nobody": (
        lambda b: encode_batch(replace(b, gate_pass="mine")),
        Code.UNKNOWN_PASS,
        "gate_pass",
    ),
    "a control character": (
        lambda b: encode_batch(replace(b, customers=["ac\0me"])),
        Code.BAD_FIELD,
        "customers[0]",
    ),
    "a name too long": (
        lambda b: encode_batch(replace(b, customers=["x" * 5000])),
        Code.TOO_LARGE,
        "customers[0]",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_message_that_lies_is_kept_whole(stack: RunningStack, customer: str, case: str) -> None:
    spoil, code, path = SPOILED[case]
    message = spoil(batch(customer))
    before = stack.counts()

    reason = refused(stack, 0, message, 3)

    assert (reason["code"], reason["path"], reason["event_count"]) == (code, path, 3)
    assert stack.counts().rejected == before.rejected + 3
    goes_on(stack, customer)


EVENTS: dict[str, tuple[Callable[[RunningStack, str], UsageBatch], Code]] = {
    "unknown meter": (
        lambda s, c: keyed(usage(c, meter="gold", time=wall_clock(), id="g")),
        Code.UNKNOWN_METER,
    ),
    "wrong partition": (lambda s, c: batch(stranger(s, c), 1), Code.WRONG_PARTITION),
    "late": (lambda s, c: batch(c, 1, wall_clock() - 100 * HOUR), Code.LATE),
    "future": (lambda s, c: batch(c, 1, wall_clock() + 100 * HOUR), Code.FUTURE),
    "before our time": (lambda s, c: batch(c, 1, SECOND), Code.BAD_TIME),
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
    monster = bytes(3 << 20)
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
    servers: Servers, tmp_path: Path
) -> None:
    around = bare(servers, tmp_path, {})
    create_topics(around.kafka, around.stack, around.partitions)
    early, client = encode_batch(batch("acme")), SureProducer(around.kafka)
    client.send(around.stack.topic(USAGE_EVENTS), 1, early, event_count=3)
    client.flush()
    with RunningStack.over(set_up(around)) as stack:
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
