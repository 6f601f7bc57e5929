"""Holding: one partition stands still, the others go on.

Owns: which messages are held, of the usage log or of raw usage, what a death is blamed on, when
so much is rejected that a partition stops.
Does not own: what is a server's failure (failing.py), the rule of three deaths
(stores/postgres/pauses.py), the share (meter/limit.py), what a person does about it (pausing.py).
Law: what is held is neither looked at nor acked, so the committed offset waits in front of it;
once held, a partition stays so until the process ends, and the next one begins there. What others
had the books take meanwhile is acked as ever: the books have all before it, held or not.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from pipeline.meter.limit import RejectWindow
from pipeline.meter.slices import Counts
from pipeline.settings import Settings
from pipeline.stores.postgres.connection import Unreachable
from pipeline.stores.postgres.pauses import ENDS, REJECTS, Pause
from pipeline.workers.failing import PASSING
from pipeline.workers.pausing import remedy

_log = structlog.get_logger()

_CAUSE_CHARS = 200


class Resumed(Exception):
    """A held partition may go on: the process ends, the next one begins where it stopped."""


class Pauses(Protocol):
    """What is paused of one topic."""

    def read_pauses(self) -> list[Pause]: ...

    def pause(self, partition: int, offset: int, reason: str, cause: str) -> None: ...


class PauseStore(Pauses, Protocol):
    """What is paused, and what workers died of: a session of its own, in autocommit."""

    def record_death(self, partition: int, offset: int, cause: str) -> int: ...


@dataclass(slots=True)
class Stops:
    """What one worker holds of its topic. `poll` and `stop` block."""

    store: Pauses
    settings: Settings
    _pauses: dict[int, Pause] = field(default_factory=dict)
    _held: set[int] = field(default_factory=set)
    _windows: dict[int, RejectWindow] = field(default_factory=dict)

    def poll(self) -> None:
        """Read what is paused; say what is so newly.

        Raises:
            Resumed: a partition that is held here is not paused any more.

        """
        found = {pause.partition: pause for pause in self.store.read_pauses()}
        for partition, pause in found.items():
            if self._pauses.get(partition) != pause and pause.reason != ENDS:
                _tell(pause)
        gone = self._held - found.keys()
        self._pauses = found
        if gone:
            raise Resumed(f"partition {min(gone)} goes on: this worker begins anew")

    def holds(self, partition: int, offset: int) -> bool:
        """Return whether a message must wait; whatever comes behind it then waits too."""
        if partition in self._held:
            return True
        pause = self._pauses.get(partition)
        if pause is None or offset < pause.offset:
            return False
        self._held.add(partition)
        return True

    @property
    def partitions(self) -> set[int]:
        """The partitions that are paused, or held until this process ends."""
        return self._held | self._pauses.keys()

    def exceeded_by(self, partition: int, counts: Counts) -> bool:
        """Count a message; return whether too much of its partition is rejected."""
        window = self._windows.get(partition)
        if window is None:
            events, share = self.settings.reject_window_events, self.settings.reject_share_max
            window = self._windows[partition] = RejectWindow(share, events)
        return window.exceeded_by(counts)

    def stop(self, partition: int, offset: int) -> None:
        """Pause a partition because of what is rejected, from `offset` on."""
        window = self._windows.pop(partition)
        cause = f"{window.rejected} of the last {window.offered} events were rejected"
        self.store.pause(partition, offset, REJECTS, cause)
        with suppress(Resumed):
            self.poll()


@dataclass(slots=True)
class Holding(Stops):
    """What one metering worker holds, and which messages it dies of. `blame` blocks."""

    store: PauseStore

    def blame(self, partition: int, offset: int, error: Exception) -> None:
        """Note which message this process dies of, unless a server failed it."""
        if isinstance(error, PASSING):
            return
        cause = f"{type(error).__name__}: {error}".splitlines()[0][:_CAUSE_CHARS]
        with suppress(*Unreachable):
            deaths = self.store.record_death(partition, offset, cause)
            _log.error(
                "died of a message", partition=partition, offset=offset, cause=cause, deaths=deaths
            )


def _tell(pause: Pause) -> None:
    _log.error(
        "partition paused",
        partition=pause.partition,
        offset=pause.offset,
        reason=pause.reason,
        cause=pause.cause,
        remedy=remedy(pause),
    )
