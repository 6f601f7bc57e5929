"""Holding: one partition stands still; what a death is blamed on; what a person is told."""

from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from aiokafka.errors import KafkaConnectionError
from redis.exceptions import ConnectionError as RedisGone

from builders import T0
from pipeline.core.errors import BrokenInvariant, ServerFailed
from pipeline.meter.slices import Counts
from pipeline.settings import Settings
from pipeline.stores.postgres.pauses import POISON, RAW, REJECTS, Pause
from pipeline.stores.sending import RecordTooLarge
from pipeline.workers.holding import Holding, Resumed
from pipeline.workers.pausing import news, told

_TOO_LARGE = "RecordTooLarge: 5 MB"
BAD = Counts(offered=6, rejected=6)


@dataclass
class Table:
    """The rows of pauses, and deaths as they are told."""

    rows: dict[int, Pause] = field(default_factory=dict)
    deaths: list[tuple[int, int, str]] = field(default_factory=list)
    gone: bool = False

    def read_pauses(self) -> list[Pause]:
        return list(self.rows.values())

    def pause(self, partition: int, offset: int, reason: str, cause: str) -> None:
        self.rows.setdefault(partition, Pause(partition, offset, reason, cause, T0))

    def record_death(self, partition: int, offset: int, cause: str) -> int:
        if self.gone:
            raise psycopg.OperationalError("the connection is closed")
        self.deaths.append((partition, offset, cause))
        return len(self.deaths)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def holding(table: Table) -> Holding:
    settings = Settings(home=Path("nowhere"), reject_window_events=10)
    return Holding(table, settings)


def test_a_paused_partition_is_held_from_its_offset_on(table: Table, holding: Holding) -> None:
    table.pause(1, 17, POISON, "why")
    assert not holding.holds(1, 17)  # nobody looked yet
    holding.poll()

    assert [holding.holds(1, offset) for offset in (15, 16, 17, 18)] == [False, False, True, True]
    assert not holding.holds(2, 99)


def test_once_held_all_of_a_partition_waits_until_the_process_ends(
    table: Table, holding: Holding
) -> None:
    """Else the message behind those let go of would be acked, and they lost."""
    table.pause(1, 17, POISON, "why")
    holding.poll()
    assert holding.holds(1, 17)
    del table.rows[1]

    with pytest.raises(Resumed, match="partition 1 goes on"):
        holding.poll()
    assert holding.holds(1, 18)
    assert holding.holds(1, 16)


def test_a_pause_that_held_nothing_ends_without_a_restart(table: Table, holding: Holding) -> None:
    table.pause(1, 17, POISON, "why")
    holding.poll()
    assert not holding.holds(1, 16)
    del table.rows[1]
    holding.poll()

    assert not holding.holds(1, 17)


@pytest.mark.parametrize(
    "error",
    [
        ServerFailed("tick 9 is 400 s ahead of this machine's clock: set the clocks right"),
        RedisGone("reset by peer"),
        psycopg.OperationalError("the server closed the connection"),
        KafkaConnectionError("no broker"),
        ConnectionResetError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_server_that_failed_is_no_messages_fault(
    table: Table, holding: Holding, error: Exception
) -> None:
    holding.blame(1, 17, error)

    assert table.deaths == []


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ZeroDivisionError("oh\nno"), "ZeroDivisionError: oh"),
        (BrokenInvariant("x" * 500), f"BrokenInvariant: {'x' * 500}"[:200]),
        (RecordTooLarge("5 MB"), _TOO_LARGE),
        (KeyError(), "KeyError: "),
    ],
)
def test_whatever_else_a_worker_dies_of_is_noted(
    table: Table, holding: Holding, error: Exception, cause: str
) -> None:
    holding.blame(1, 17, error)

    assert table.deaths == [(1, 17, cause)]


def test_a_death_that_cannot_be_noted_hides_no_error(table: Table, holding: Holding) -> None:
    table.gone = True
    holding.blame(1, 17, ZeroDivisionError())


def test_a_partition_of_rejects_pauses_behind_them(table: Table, holding: Holding) -> None:
    assert not holding.exceeded_by(1, BAD)
    assert not holding.exceeded_by(2, BAD)  # each partition has a window of its own
    assert holding.exceeded_by(1, BAD)
    holding.stop(1, 30)

    assert table.rows == {1: Pause(1, 30, REJECTS, "12 of the last 12 events were rejected", T0)}
    assert [holding.holds(1, offset) for offset in (29, 30)] == [False, True]
    assert not holding.exceeded_by(1, BAD)  # counted anew


@pytest.mark.parametrize(
    ("pause", "line"),
    [
        (
            Pause(3, 17, POISON, "KeyError: 'x'", T0),
            "partition 3 is paused at offset 17 (poison: KeyError: 'x'): `talea resume --partition"
            " 3` once the cause is mended, or `talea skip --partition 3 --offset 17 --actor WHO"
            " --reason WHY` to go on without the message",
        ),
        (
            Pause(3, 17, REJECTS, "9 of the last 10 events were rejected", T0),
            "partition 3 is paused at offset 17 (rejects: 9 of the last 10 events were rejected):"
            " `talea resume --partition 3` once the cause is mended",
        ),
        (
            Pause(3, 17, REJECTS, "9 of the last 10 events were rejected", T0, RAW),
            "partition 3 of raw usage is paused at offset 17 (rejects: 9 of the last 10 events were"
            " rejected): `talea resume --partition 3 --raw` once the cause is mended",
        ),
    ],
)
def test_a_person_is_told_where_why_and_what_to_do(pause: Pause, line: str) -> None:
    assert told(pause) == line


def test_who_watches_is_told_what_is_new() -> None:
    one, two = (Pause(n, 17, POISON, "why", T0) for n in (1, 2))
    again = Pause(1, 18, POISON, "why", T0)

    assert news(frozenset(), frozenset({two, one})) == [told(one), told(two)]
    assert news(frozenset({one, two}), frozenset({one, two})) == []
    assert news(frozenset({one, two}), frozenset({again})) == [told(again), "partition 2 goes on"]
