"""What the probes say of processes is what the processes did."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.bench.probes import MemoryWatch, cpu_seconds, thirds_mb
from pipeline.bench.stand import Stand

SPIN = "print(1, flush=True)\nwhile True: pass"


@pytest.fixture
def spinning() -> Iterator[int]:
    """The pid of a process that takes all the time it gets."""
    with subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.mark.parametrize(
    ("samples_mb", "thirds"),
    [
        ([10], (10, 10)),
        ([10, 20], (10, 20)),
        ([10, 15, 20], (10, 20)),
        ([10, 10, 10, 50, 50, 50, 90, 90, 90], (10, 90)),
        ([10, 99, 10, 10, 10, 10], (54, 10)),  # of two the median is their middle
    ],
)
def test_thirds_are_medians_of_the_first_and_the_last(
    samples_mb: list[int], thirds: tuple[int, int]
) -> None:
    assert thirds_mb([1024 * mb for mb in samples_mb]) == thirds


def test_memory_is_watched_while_it_is_entered(spinning: int) -> None:
    with MemoryWatch(lambda: {"metering-0": spinning, "gone-0": 1 << 30}) as watch:
        time.sleep(0.05)

    (first, last) = watch.thirds_mb().pop("metering-0")
    assert 1 <= first <= last
    assert not watch.thirds_mb().get("gone-0")


def test_workers_that_stand_still_take_no_time_and_go_on(spinning: int) -> None:
    stand = Standing(spinning)
    with stand.frozen("metering"):
        time.sleep(0.05)  # until the signal has come
        before = cpu_seconds(stand.worker_pids())["metering"]
        time.sleep(0.2)
        assert cpu_seconds(stand.worker_pids())["metering"] == before

    deadline = time.monotonic() + 20
    while cpu_seconds(stand.worker_pids())["metering"] == before:
        assert time.monotonic() < deadline


class Standing(Stand):
    """A stand of one process, without servers."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.logs = Path()

    def worker_pids(self) -> dict[str, int]:
        return {"metering-0": self.pid, "pricing-0": 1 << 30}
