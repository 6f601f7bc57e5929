"""Bad input on the log: kept with its bytes, its reason and its place; the line goes on."""

from collections.abc import Callable
from dataclasses import replace
from struct import pack
from typing import Any

import pytest

from builders import keyed, usage
from fixtures_stack import StackMaker
from integration import shop
from integration.running import RunningStack
from integration.traffic import customers_everywhere
from pipeline.collect.batch import MeterScale, UsageBatch, WideValue
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import Code
from pipeline.core.identity import partition_of
from pipeline.meter.ticks import Tick
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import decode, encode_batch
from pipeline.stores.kafka import log_ends, read_range
from pipeline.stores.records import encode_slices, encode_tick
from pipeline.topology import USAGE_REJECTED

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
