"""Liveness: a metering worker that gets nowhere while records wait for it ends, loudly.

Owns: when standing still is a stall, noticing that the fetcher is dead.
Does not own: what excuses it (metering.py, holding.py), starting again (supervisor.py).
Law: what counts is what the broker says, committed offsets and ends, never what Faust believes of
itself; it looks from a thread of its own, so that a blocked loop is seen too. Ending is safe: what
was not acked comes again.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic
from typing import Protocol

from pipeline.core.errors import ServerFailed
from pipeline.stores.groups import group_offsets
from pipeline.stores.kafka import log_ends, usage_log
from pipeline.workers.surroundings import Surroundings

_FETCHER_S = 0.5
_LOOKS = 4
"""How often a worker is looked at within the patience it has."""


@dataclass(slots=True)
class Stillness:
    """How long each partition has stood at the offset where it stands."""

    patience_s: float
    _since: dict[int, tuple[int, float]] = field(default_factory=dict)

    def stalled(self, waiting: Mapping[int, int], now_s: float) -> list[int]:
        """Return the partitions that stood still too long.

        `waiting` has the committed offset of each partition in which records wait and nothing
        excuses that; a partition that is not in it begins anew when it is again.
        """
        since: dict[int, tuple[int, float]] = {}
        for partition, offset in waiting.items():
            known = self._since.get(partition)
            since[partition] = known if known and known[0] == offset else (offset, now_s)
        self._since = since
        return sorted(p for p, (_, then) in since.items() if now_s - then >= self.patience_s)


class Worker(Protocol):
    """What is asked of a worker, from another thread."""

    def partitions(self) -> Collection[int]:
        """Return the partitions that are its to read now."""
        ...

    def excused(self) -> Collection[int]:
        """Return those of them that stand still for a reason: paused, or waiting for others."""
        ...

    def fetcher_death(self) -> str | None:
        """Return what its fetcher died of, if it did."""
        ...


def waiting(around: Surroundings, partitions: Collection[int]) -> dict[int, int]:
    """Return the committed offset of each partition in which records wait.

    Raises:
        ServerFailed: the broker does not answer.

    """
    if not partitions:
        return {}
    log = usage_log(around.stack)
    kept = log_ends(around.kafka, log, around.partitions)
    stands = group_offsets(around.kafka, around.stack.metering_group, log, partitions)
    return {
        number: at for number, at in stands.items() if max(at, kept[number][0]) < kept[number][1]
    }


Look = Callable[[Surroundings, Collection[int]], Mapping[int, int]]


def watch(around: Surroundings, worker: Worker, stop: Event, look: Look = waiting) -> None:
    """Return once stopped.

    Raises:
        ServerFailed: the fetcher is dead, or a partition stands still.

    """
    patience_s = around.settings.stall_s
    stillness, due = Stillness(patience_s), monotonic()
    while not stop.wait(_every_s(patience_s)):
        if (why := worker.fetcher_death()) is not None:
            raise ServerFailed(f"nothing is fetched from Kafka any more: {why}")
        if patience_s and monotonic() >= due:
            due = monotonic() + patience_s / _LOOKS
            _hold(stillness, around, worker, look)


def _every_s(patience_s: float) -> float:
    return min(_FETCHER_S, patience_s / _LOOKS) if patience_s else _FETCHER_S


def _hold(stillness: Stillness, around: Surroundings, worker: Worker, look: Look) -> None:
    try:
        found = look(around, worker.partitions())
    except ServerFailed:  # a broker that does not answer is no worker's fault
        return
    excused = worker.excused()
    expected = {number: at for number, at in found.items() if number not in excused}
    if stalled := stillness.stalled(expected, monotonic()):
        raise ServerFailed(
            f"records wait in partitions {stalled}, and nothing was committed for"
            f" {stillness.patience_s:.0f} s: this worker begins anew"
        )


def start_watching(watching: Callable[[], None], die: Callable[[], None]) -> None:
    """Watch from a thread; its failure is the end of the process."""

    def watch_or_die() -> None:
        try:
            watching()
        except BaseException:
            die()

    Thread(target=watch_or_die, name="liveness", daemon=True).start()
