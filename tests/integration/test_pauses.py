"""A partition that pauses alone: poison, skips, resuming, and too much that is rejected."""

import json
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from builders import keyed, sequenced, usage
from fixtures_stack import StackMaker
from integration import commands, shop
from integration.poisoned import KILLER, MARKER
from integration.running import FINALIZER, METERING, PRICING, TICKER, WORKER_WAIT_S, RunningStack
from integration.traffic import customers_everywhere
from pipeline.core.calendar import SECOND
from pipeline.core.errors import BadInput, Code
from pipeline.core.identity import partition_of
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import decode, encode_batch
from pipeline.stores.kafka import log_ends, read_range
from pipeline.stores.postgres.facts import Author
from pipeline.stores.postgres.pauses import DEATHS_MAX, POISON, REJECTS, Pause, record_death
from pipeline.topology import USAGE_REJECTED
from pipeline.workers.pausing import paused, resume, skip

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

POISONED = (sys.executable, str(Path(__file__).with_name("poisoned.py")))
ADA = Author("ada", "broken beyond repair")
WINDOW = 100


@pytest.fixture(scope="module")
def stack(make_shared_stack: StackMaker) -> RunningStack:
    """A running stack whose metering worker cannot get past a pill."""
    stack = make_shared_stack(session_s=6.0, reject_window_events=WINDOW)
    start = (wall_clock() // SECOND - 60) * SECOND
    stack.start(TICKER, PRICING, FINALIZER)
    stack.start(METERING, program=POISONED)
    stack.apply(shop.catalog(customers_everywhere(stack.around.partitions), start, None))
    return stack


def customer_of(stack: RunningStack, partition: int) -> str:
    names = customers_everywhere(stack.around.partitions)
    return next(n for n in names if partition_of(n, stack.around.partitions) == partition)


def batch(customer: str, count: int = 3, meter: str = "gigabytes") -> bytes:
    time = wall_clock()
    return encode_batch(
        keyed(*(usage(customer, meter=meter, time=time, id=f"{time}-{n}") for n in range(count)))
    )


def pill(customer: str, kind: bytes = MARKER) -> bytes:
    """Three good events, but the worker under test cannot open their message."""
    events = [usage(customer, meter="gigabytes", time=wall_clock()) for _ in range(3)]
    return encode_batch(sequenced(0, *events, producer=kind.decode(), epoch=str(wall_clock())))


def write(stack: RunningStack, partition: int, message: bytes, count: int = 3) -> int:
    return stack.write(partition, message, count)


def booked(stack: RunningStack, partition: int, offset: int) -> None:
    stack.until(lambda: stack.offsets()[partition] >= offset, f"{offset} is booked")


def pause_of(stack: RunningStack, partition: int) -> Pause:
    def found() -> list[Pause]:
        return [pause for pause in paused(stack.around) if pause.partition == partition]

    stack.until(lambda: bool(found()), f"partition {partition} pauses")
    return found()[0]


def talea(stack: RunningStack, *arguments: str) -> Any:
    ran = commands.talea(stack, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_a_poison_message_pauses_its_partition_alone_and_is_skipped(stack: RunningStack) -> None:
    sick, well = 1, 2
    patient, neighbour = customer_of(stack, sick), customer_of(stack, well)
    before = write(stack, sick, batch(patient))
    poison = pill(patient)
    at = write(stack, sick, poison)
    behind = write(stack, sick, batch(patient))

    pause = pause_of(stack, sick)
    beside = write(stack, well, batch(neighbour))
    booked(stack, well, beside)
    booked(stack, sick, before)
    counts = stack.counts()

    assert (pause.offset, pause.reason) == (at, POISON)
    assert pause.cause == "ZeroDivisionError: this message is poison"
    assert [p["partition"] for p in talea(stack, "audit")["paused"]] == [sick]
    assert _deaths(stack, sick, at) == DEATHS_MAX
    assert stack.offsets()[sick] == at - 1  # what lies before it is booked, nothing else
    remedy = f"talea skip --partition {sick} --offset {at}"
    stack.until(lambda: remedy in stack.said(METERING), "the worker says what to do")
    _refused(stack, sick, at + 1, f"is paused at offset {at}")
    _refused(stack, well, beside, "is not paused")

    place = ("--partition", str(sick), "--offset", str(at))
    fact = talea(stack, "skip", *place, "--actor", "ada", "--reason", "broken beyond repair")

    booked(stack, sick, behind)
    assert fact["fact"]["kind"] == "skip"
    assert stack.counts().rejected == counts.rejected + 3
    assert stack.counts().fresh == counts.fresh + 3
    assert _letter(stack, sick, poison)["code"] == Code.SKIPPED
    assert paused(stack.around) == []
    _refused(stack, sick, at, "is not paused")
    stack.close_the_books()


def test_a_paused_partition_outlives_its_worker_and_resumes_once_mended(
    stack: RunningStack,
) -> None:
    sick = 3
    patient = customer_of(stack, sick)
    fresh = stack.counts().fresh
    stack.stop(METERING)
    at = write(stack, sick, pill(patient))
    for _ in range(DEATHS_MAX - 1):
        record_death(stack.connection, sick, at, "as before")
    stack.start(METERING, program=POISONED)
    assert pause_of(stack, sick).offset == at
    behind = [write(stack, sick, batch(patient)) for _ in range(5)]
    stack.until(lambda: stack.members() == 1, "the worker is back")

    began = monotonic()
    stack.stop(METERING)
    assert monotonic() - began < WORKER_WAIT_S  # it does not wait for what it holds
    stack.start(METERING)
    beside = write(stack, 0, batch(customer_of(stack, 0)))
    booked(stack, 0, beside)
    assert stack.offsets()[sick] == at - 1

    assert talea(stack, "resume", "--all") == {"resumed": [sick]}
    booked(stack, sick, behind[-1])

    assert stack.counts().fresh == fresh + 3 * 7
    with pytest.raises(BadInput, match="is not paused"):
        resume(stack.around, sick)
    stack.close_the_books()


def test_too_many_rejects_pause_their_partition_and_resuming_counts_anew(
    stack: RunningStack,
) -> None:
    sick = 2
    patient = customer_of(stack, sick)
    for _ in range(WINDOW // 25):
        write(stack, sick, batch(patient, 25, "no_such_meter"), 25)

    pause = pause_of(stack, sick)
    held = write(stack, sick, batch(patient))
    beside = write(stack, 0, batch(customer_of(stack, 0)))
    booked(stack, 0, beside)
    assert pause.reason == REJECTS
    assert "events were rejected" in pause.cause
    assert stack.offsets()[sick] < held
    stack.until(lambda: f"resume --partition {sick}" in stack.said(METERING), "it says so")

    resume(stack.around, sick)
    booked(stack, sick, held)

    bad = write(stack, sick, batch(patient, 25, "no_such_meter"), 25)
    booked(stack, sick, bad)
    assert paused(stack.around) == []
    stack.close_the_books()


def test_a_worker_that_is_killed_is_no_reason_to_pause(stack: RunningStack) -> None:
    stack.stop(METERING)
    stack.start(METERING, program=POISONED)
    partition = 0
    fresh = stack.counts().fresh
    at = write(stack, partition, pill(customer_of(stack, partition), KILLER))
    supervisor = stack.supervisor(METERING)

    stack.until(lambda: supervisor.restarts >= 2, "it is killed, and killed again")

    assert paused(stack.around) == []
    assert _deaths(stack, partition, at) == 0
    stack.stop(METERING)
    stack.start(METERING)
    booked(stack, partition, at)
    assert stack.counts().fresh == fresh + 3
    stack.close_the_books()


def test_a_tick_cannot_be_skipped(stack: RunningStack) -> None:
    with pytest.raises(BadInput, match="is a tick, which every partition must have"):
        skip(stack.around, 0, 0, ADA)
    with pytest.raises(BadInput, match="holds offsets 0 to"):
        skip(stack.around, 0, 1 << 40, ADA)
    with pytest.raises(BadInput, match="there is no partition 99"):
        skip(stack.around, 99, 0, ADA)


def _refused(stack: RunningStack, partition: int, offset: int, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        skip(stack.around, partition, offset, ADA)


def _deaths(stack: RunningStack, partition: int, offset: int) -> int:
    row = stack.connection.execute(
        "SELECT deaths FROM death WHERE partition_no = %s AND source_offset = %s",
        [partition, offset],
    ).fetchone()
    return int(row[0]) if row else 0


def _letter(stack: RunningStack, partition: int, message: bytes) -> dict[str, Any]:
    """Return the one reason of the one dead letter that holds this message, to the byte."""
    topic = stack.around.stack.topic(USAGE_REJECTED)
    kafka, partitions = stack.around.kafka, stack.around.partitions
    first, end = log_ends(kafka, topic, partitions)[partition]
    letters: list[Any] = [
        decode(r.value)[1] for r in read_range(kafka, topic, partition, first, end)
    ]
    (letter,) = [letter for letter in letters if letter["message"] == message]
    (reason,) = letter["reasons"]
    found: dict[str, Any] = reason
    return found
