"""Explaining: the first event of a line is told as it is read, however long the log."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from builders import MINUTE, T0, facts, keyed, log_of, meter_of, usage
from pipeline.catalog.facts import Fact, Skips
from pipeline.core.identity import Json
from pipeline.ledger.proof import line_usage
from pipeline.ledger.seal import Sealed
from pipeline.meter.meters import Aggregation, Meter
from pipeline.meter.ticks import NO_TICK, Tick
from pipeline.settings import Settings
from pipeline.stores.codec import encode_batch
from pipeline.stores.kafka import LogRecord
from pipeline.stores.postgres.database import Database
from pipeline.stores.postgres.documents import Document
from pipeline.stores.records import encode_tick
from pipeline.topology import Stack
from pipeline.workers.explaining import Explained, events_of
from pipeline.workers.seams import Follower
from pipeline.workers.surroundings import Surroundings

AROUND = Surroundings("", "", Database("", ""), Stack(), 1, Settings())
DOCUMENT = Document(
    "talea", "i1", "invoice", "acme", "EUR", T0, 0, 1, Sealed(1, "T-1", b"", b"", b"")
)
FACTS = facts(log_of(), meter_of("calls"))
FIRST = Tick(1, T0, len(FACTS))
LINE: dict[str, Json] = {
    "id": "line_" + "0" * 32,
    "description": "Calls",
    "quantity": "10000000",
    "total_minor": 100,
    "source_id": "subscription_1",
    "period_start": "2026-03-01T00:00:00Z",
    "period_end": "2026-03-08T00:00:00Z",
    "metered_quantity": "10000000",
    "pre_line_quantity": "0",
    "rate_card": {},
}
EVENTS, WINDOWS = 10_000_000, 10_000
EACH = EVENTS // WINDOWS


class Ticks:
    """A log with one tick, at its start."""

    def read_facts(self, after: int) -> list[Fact]:
        return FACTS[after:]

    def tick_before(self, partition: int, offset: int) -> tuple[Tick, int]:
        return NO_TICK, -1

    def ticks_from(self, serial: int, count_max: int) -> list[Tick]:
        return [FIRST] if serial <= 1 else []

    def read_skips(self) -> Skips:
        return frozenset()


@dataclass
class Endless:
    """A log of 200 events a record that is read as long as somebody asks."""

    read: int = 0

    def read_range(self, name: str, partition: int, start: int, end: int) -> Iterator[LogRecord]:
        yield LogRecord(0, encode_tick(FIRST, 1), 0)
        for offset in range(1, end):
            self.read += 1
            assert self.read < 10, "it reads on though nobody asks"
            events = (
                usage(id=f"{offset}/{n}", meter="calls", time=T0 + MINUTE) for n in range(200)
            )
            yield LogRecord(offset, encode_batch(keyed(*events)), 200)

    def topic_id(self, name: str) -> str:
        raise NotImplementedError

    def ends(self, name: str, partitions: int) -> list[tuple[int, int]]:
        raise NotImplementedError

    def follow(self, name: str, starts: Mapping[int, int]) -> Follower:
        raise NotImplementedError


def line_of_ten_million() -> Explained:
    meter = Meter("calls", Aggregation.COUNT, "call", MINUTE)
    windows: Iterator[list[Json]] = (
        ["acme", "calls", 0, "{}", T0 + n * MINUTE, EACH, EACH, 1, 1] for n in range(WINDOWS)
    )
    return Explained(DOCUMENT, LINE, line_usage(LINE, meter, "acme", windows), 0, 0, EVENTS // 200)


def test_what_a_line_of_ten_million_events_rests_on_is_told_in_4_kb() -> None:
    told = line_of_ten_million().json()

    assert told["usage"]["parts"] == [[0, EVENTS, EVENTS, 1, 1]]  # type: ignore[index,call-overload]
    assert len(json.dumps(told)) <= 4_096


def test_no_more_of_the_log_is_read_than_the_events_asked_for() -> None:
    log = Endless()
    events = events_of(AROUND, log, Ticks(), line_of_ten_million())

    first = next(events)

    assert (first.offset, first.index, first.outcome, log.read) == (1, 0, "billed", 1)
    assert [each.offset for each in islice(events, 200)] == [1] * 199 + [2]
    assert log.read == 2
