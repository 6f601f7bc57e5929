"""Liveness: what is a stall, what is a reason to stand still; what a death by a server is told."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import aiokafka.errors
import confluent_kafka
import psycopg
import pytest
import redis.exceptions

from pipeline.bootstrap import surroundings
from pipeline.core.errors import BrokenInvariant, ServerFailed
from pipeline.settings import Settings
from pipeline.workers.failing import servers_told
from pipeline.workers.liveness import Stillness, watch
from pipeline.workers.surroundings import Surroundings

PATIENCE_S = 10.0

STANDS = [
    # what is waiting at each second looked at, and what is stalled then
    ("nothing waits", [(0, {}), (99, {})], []),
    ("it stands", [(0, {1: 5}), (9, {1: 5}), (10, {1: 5})], [1]),
    ("not long enough", [(0, {1: 5}), (9, {1: 5})], []),
    ("it moved", [(0, {1: 5}), (9, {1: 6}), (18, {1: 6})], []),
    ("it never committed", [(0, {1: -1}), (10, {1: -1})], [1]),
    ("nothing waited meanwhile", [(0, {1: 5}), (5, {}), (9, {1: 5}), (18, {1: 5})], []),
    ("others move", [(0, {1: 5, 2: 5}), (6, {1: 5, 2: 6}), (12, {1: 5, 2: 7})], [1]),
    ("set back and stuck", [(0, {1: 5}), (5, {1: 2}), (15, {1: 2})], [1]),
]


@pytest.mark.parametrize(
    ("looks", "stalled"), [row[1:] for row in STANDS], ids=[r[0] for r in STANDS]
)
def test_a_partition_that_stands_still_while_records_wait_is_stalled(
    looks: list[tuple[float, dict[int, int]]], stalled: list[int]
) -> None:
    stillness = Stillness(PATIENCE_S)

    found = [stillness.stalled(waiting, now_s) for now_s, waiting in looks]

    assert found[-1] == stalled
    assert not any(found[:-1])


@dataclass
class Worker:
    """A worker with two partitions."""

    held: set[int] = field(default_factory=set)
    death: str | None = None

    def partitions(self) -> set[int]:
        return {1, 2}

    def excused(self) -> set[int]:
        return self.held

    def fetcher_death(self) -> str | None:
        return self.death


@dataclass
class Broker:
    """Records wait everywhere, for ever; after so many looks it is time to stop."""

    stop: Event
    looks: int
    answers: bool = True

    def __call__(self, _around: Surroundings, partitions: Collection[int]) -> Mapping[int, int]:
        self.looks -= 1
        if self.looks < 0:
            self.stop.set()
        if not self.answers:
            raise ServerFailed("Kafka does not answer")
        return dict.fromkeys(partitions, 7)


def around(stall_s: float) -> Surroundings:
    settings = Settings(home=Path("nowhere"), stall_s=stall_s)
    return surroundings(
        settings, "127.0.0.1:1", "redis://127.0.0.1:1", "postgresql://127.0.0.1:1/x"
    )


def watched(worker: Worker, *, stall_s: float = 0.04, answers: bool = True) -> None:
    stop = Event()
    watch(around(stall_s), worker, stop, Broker(stop, 20, answers))


def test_a_stalled_worker_ends_and_names_its_partitions() -> None:
    with pytest.raises(ServerFailed, match=r"records wait in partitions \[1, 2\], and nothing"):
        watched(Worker())


def test_a_partition_that_is_excused_ends_nobody() -> None:
    with pytest.raises(ServerFailed, match=r"partitions \[2\]"):
        watched(Worker(held={1}))
    watched(Worker(held={1, 2}))


def test_a_broker_that_does_not_answer_ends_nobody() -> None:
    watched(Worker(), answers=False)


@pytest.mark.parametrize("stall_s", [0, 0.04, 60])
def test_a_dead_fetcher_ends_the_worker_at_once_whatever_the_patience(stall_s: float) -> None:
    with pytest.raises(ServerFailed, match=r"not.* fetched from Kafka any more: KeyError\('x'\)"):
        watched(Worker(death="KeyError('x')"), stall_s=stall_s)


FAILURES = [
    (psycopg.OperationalError("server closed\n\tmore"), "Postgres .*OperationalError: server clo"),
    (psycopg.InterfaceError("the connection is closed"), "Postgres failed this worker"),
    (redis.exceptions.ConnectionError("gone"), "Redis failed this worker"),
    (aiokafka.errors.KafkaConnectionError("gone"), "Kafka failed this worker"),
    (confluent_kafka.KafkaException("gone"), "Kafka failed this worker"),
    (OSError(28, "No space left on device"), "the system failed this worker .*No space left"),
    (ServerFailed("told already"), "^told already$"),
]


@pytest.mark.parametrize(("error", "line"), FAILURES)
def test_a_server_that_fails_a_worker_is_told_in_one_line(error: Exception, line: str) -> None:
    with pytest.raises(ServerFailed, match=line) as caught, servers_told():
        raise error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [BrokenInvariant("x"), KeyError("x"), psycopg.DataError("x")])
def test_what_nobody_had_thought_of_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)), servers_told():
        raise error
