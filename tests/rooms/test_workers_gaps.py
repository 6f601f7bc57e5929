"""The keeper of gaps: each is said once, mended when due, and not in a storm."""

from collections.abc import Iterable
from threading import Event

from structlog.testing import capture_logs

from pipeline.book.booking import Gap
from pipeline.core.errors import ServerFailed
from pipeline.workers.healing import GapKeeper

PATIENCE_S = 10.0


class Mending:
    """Takes note of what it is asked to mend."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[list[int]] = []
        self.done, self._error = Event(), error

    def __call__(self, partitions: Iterable[int]) -> None:
        self.asked.append(list(partitions))
        self.done.set()
        if self._error:
            raise self._error


def test_a_gap_is_said_once_and_its_end_too() -> None:
    keeper = GapKeeper(Mending(), after_s=0)
    with capture_logs() as said:
        for got in (8, 9, 10):
            keeper.met(Gap(3, 5, got))
        keeper.reached(3, 6)
        keeper.reached(3, 7)
        keeper.reached(3, 8)

    assert [entry["event"] for entry in said] == [
        "slices are missing: this partition waits, the others go on",
        "the gap is closed",
    ]
    assert said[0]["mend"] == "talea heal --partition 3"
    assert said[0]["offsets"] == [5, 7]


def test_what_is_due_is_mended_once() -> None:
    mending = Mending()
    keeper = GapKeeper(mending, after_s=1e-9)
    keeper.met(Gap(3, 5, 8))
    for _ in range(3):
        keeper.look()

    assert mending.done.wait(PATIENCE_S)
    assert mending.asked == [[3]]


def test_nothing_is_mended_unless_asked_for() -> None:
    mending = Mending()
    keeper = GapKeeper(mending, after_s=0)
    keeper.met(Gap(3, 5, 8))
    keeper.look()

    assert mending.asked == []


def test_mending_that_fails_is_said() -> None:
    mending = Mending(ServerFailed("no broker"))
    keeper = GapKeeper(mending, after_s=1e-9)
    with capture_logs() as said:
        keeper.met(Gap(3, 5, 8))
        keeper.look()
        assert mending.done.wait(PATIENCE_S)
        keeper.join()

    assert said[-1]["why"] == "no broker"
