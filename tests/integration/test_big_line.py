"""A line of very many events: its proof stays small, and its first raw event comes at once.

`make line` does it with ten million.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from time import monotonic
from typing import Any

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.running import RunningStack
from pipeline.collect.batch import Mode, pack_events
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.identity import canonical, partition_of
from pipeline.ledger.proof import Record
from pipeline.replay.explain import MetEvent
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.kafka import KafkaLog
from pipeline.workers.explaining import Explained, events_of, explained

EVENTS = int(os.environ.get("TALEA_LINE_EVENTS", "200000"))
BATCH, MINUTES = 2_000, 50
PROOF_BYTES_MAX, FIRST_S_MAX = 4096, 1.0
PATIENCE_S = 60.0 + EVENTS / 20_000

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120 + EVENTS // 10_000)]


def test_a_line_of_very_many_events_has_a_small_proof_and_a_first_event_at_once(
    make_stack: StackMaker,
) -> None:
    stack = make_stack()
    stack.start()
    stack.apply(shop.meters())
    start = (wall_clock() // SECOND - 7200) * SECOND
    began = monotonic()
    for message in batches(start):
        stack.producer.send(stack.log, home(stack), message, event_count=BATCH)
    stack.producer.flush()
    stack.await_booked(PATIENCE_S)
    booked_s = monotonic() - began
    stack.apply(shop.catalog(["ann"], start, start + 3600 * SECOND))
    (document,) = stack.await_documents(1)
    lines: Any = document.content["lines"]
    line = next(each for each in lines if each["meter"] == "requests")
    assert line["quantity"] == str(EVENTS)

    told, met, first_s = min(
        (first_event(stack, line["id"]) for _ in range(3)), key=lambda found: found[2]
    )

    proof = told.usage
    assert proof is not None
    size = len(canonical(dict(proof)))
    print(
        f"a line of {EVENTS:,} events, booked in {booked_s:.0f} s: proof {size} bytes,"
        f" first event after {first_s:.3f} s"
    )
    assert [each[1] for each in parts(proof)] == [EVENTS]
    assert (met.outcome, size < PROOF_BYTES_MAX) == ("billed", True)
    assert first_s < FIRST_S_MAX


def home(stack: RunningStack) -> int:
    return partition_of("ann", stack.around.partitions)


def batches(start: Instant) -> Iterator[bytes]:
    """Sequenced batches of one producer, minute by minute and over again."""
    packed = [
        pack_events(
            [usage("ann", meter="requests", time=start + (n * 60 + 1) * SECOND)] * BATCH,
            Mode.SEQUENCED,
            "counter",
            "e1",
            0,
        )
        for n in range(MINUTES)
    ]
    for first, batch in zip(range(0, EVENTS, BATCH), cycle(packed), strict=False):
        yield encode_batch(replace(batch, first_sequence=first))


def first_event(stack: RunningStack, line: str) -> tuple[Explained, MetEvent, float]:
    """Explain a line up to its first raw event, as `talea explain` does; and in how long."""
    around, began = stack.around, monotonic()
    with around.database.session("explain") as session:
        told = explained(around, session, line)
        met = next(events_of(around, KafkaLog(around.kafka), session, told))
    return told, met, monotonic() - began


def parts(proof: Record) -> Any:
    """What usage comes to, by scale."""
    return proof["parts"]
