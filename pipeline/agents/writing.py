"""Writing: from `record` to the disk.

Owns: the writing thread, what is sealed but not yet on disk, room for more, heartbeats.
Does not own: packing rules (packing.py), the file (spool.py), the broker (sending.py).
Law: batches reach the spool in the order of their ids; one that could not be written stays
lined up, and while it does nothing more is taken.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from threading import Thread
from time import monotonic

from pipeline.agents.board import Board
from pipeline.agents.failures import NotRecording, SpoolFailed, SpoolFull
from pipeline.agents.packing import Packing, Sealed
from pipeline.agents.spool import BYTES_MAX, Spool
from pipeline.collect.batch import Entry

_LINED_MAX = 32
_RETRY_WAIT_S = 0.5
_LAST_TRY_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Habits:
    """What can be chosen without changing a result.

    `batch_events`, `linger_s`: a batch is full, or old. `heartbeat_s`: between marks of a quiet
    sequence. `spool_bytes_max`: above it `record` waits `full_wait_s` (None: for ever), then
    raises SpoolFull; what is being packed comes on top. `close_wait_s`: how long leaving the
    `with` block waits for the broker.
    """

    batch_events: int = 1000
    linger_s: float = 0.2
    heartbeat_s: float = 5.0
    spool_bytes_max: int = BYTES_MAX
    full_wait_s: float | None = 5.0
    close_wait_s: float = 10.0


class Writer:
    """The thread between the packers and one spool."""

    def __init__(
        self,
        spool: Spool,
        packing: Packing,
        board: Board,
        habits: Habits,
        spooled: Callable[[], None],
    ) -> None:
        """Take the packers over; `spooled` is called when the spool has more."""
        self._spool = spool
        self._packing = packing
        self._board = board
        self._habits = habits
        self._spooled = spooled
        self._spooled_to = packing.last_id
        self._lined: deque[Sealed] = deque()
        self._beat_s = monotonic() + habits.heartbeat_s
        self._giving_up = False
        self._thread = Thread(target=self._run, name="talea writer", daemon=True)

    def start(self) -> None:
        """Begin; the last words of crashed epochs come right behind what they left."""
        with self._board.lock:
            reaches = self._spool.unended()
            self._line_up([self._packing.mark(replace(each, ended=True)) for each in reaches])
        self._thread.start()

    def take(self, entry: Entry) -> None:
        """Pack one event (hot path).

        Raises:
            SpoolFull, SpoolFailed, WrongTopic, NotRecording: it was not taken.

        """
        board = self._board
        with board.lock:
            if board.tight:
                self._await_room()
            sealed, first = self._packing.place(entry)
            if sealed is not None:
                self._line_up([sealed])
            elif first:
                board.tell()

    def seal(self) -> int:
        """Line up every open batch; return the id that all of them reach up to."""
        with self._board.lock:
            self._board.raise_closed()
            self._line_up(self._packing.seal(inf))
            return self._packing.last_id

    def await_spooled(self, target: int, deadline_s: float) -> None:
        """Return when all up to an id is on disk.

        Raises:
            SpoolFailed: it is not; it stays lined up.

        """
        board = self._board
        with board.lock:
            while self._spooled_to < target:
                board.raise_failure()
                if not board.wait(deadline_s):
                    raise SpoolFailed(f"{self._spool.path} is not written yet: the disk is slow")

    def close(self, reason: NotRecording) -> int | None:
        """Take no more, line up the rest and the last words; return the last id, None if closed."""
        with self._board.lock:
            if self._board.closed:
                return None
            self._board.closed = reason
            self._line_up(self._packing.seal(inf))
            self._line_up(self._packing.heartbeats((), end=True))
            return self._packing.last_id

    def finish(self, deadline_s: float) -> None:
        """Wait until all is written; past the deadline, only for one last try.

        Raises:
            SpoolFailed: events that never were on disk are lost; says how many.

        """
        self._thread.join(max(0.0, deadline_s - monotonic()))
        if not self._thread.is_alive():
            return
        with self._board.lock:
            self._giving_up = True
            self._board.tell()
        self._thread.join(_LAST_TRY_WAIT_S)
        with self._board.lock:
            lost = sum(sealed.batch.event_count for sealed in self._lined)
        if lost:
            raise SpoolFailed(
                f"{lost} events that were never on disk are lost: {self._board.failure}"
            )

    # Under the lock -----------------------------------------------------------------------

    def _line_up(self, sealed: Sequence[Sealed]) -> None:
        self._lined.extend(sealed)
        self._board.tight = self._is_tight()
        self._board.tell()

    def _is_tight(self) -> bool:
        board = self._board
        return (
            board.closed is not None
            or board.failure is not None
            or board.refusal is not None
            or len(self._lined) >= _LINED_MAX
            or self._spool.bytes_held >= self._habits.spool_bytes_max
        )

    def _await_room(self) -> None:
        board, wait_s = self._board, self._habits.full_wait_s
        deadline_s = inf if wait_s is None else monotonic() + wait_s
        while self._is_tight():
            board.raise_closed()
            board.raise_refusal()
            board.raise_failure()
            if not board.wait(deadline_s):
                raise SpoolFull(
                    f"{self._spool.path} holds {self._spool.bytes_held} bytes of"
                    f" {self._habits.spool_bytes_max}: {board.trouble or 'the broker is too slow'}:"
                    " see to the broker, or raise spool_bytes_max"
                )
        board.tight = False

    # The thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._write_on()
        except Exception as error:
            fault = SpoolFailed(f"writing ended by a fault of its own: {error!r}")
            with self._board.lock:
                self._board.failure = fault
                self._board.tight = True
                self._board.tell()
            raise

    def _write_on(self) -> None:
        while self._await_work():
            self._mark_quiet()
            with self._board.lock:
                ripe = self._packing.seal(monotonic() - self._habits.linger_s)
                if ripe:
                    self._line_up(ripe)
                lined = list(self._lined)
            if lined and not self._write(lined) and self._giving_up:
                return

    def _await_work(self) -> bool:
        """Wait until a batch is lined up or something is due; False when it is time to end."""
        board = self._board
        with board.lock:
            while not self._lined:
                if board.closed:
                    return False
                due_s, oldest_s = self._beat_s, self._packing.oldest_s()
                if oldest_s is not None:
                    due_s = min(due_s, oldest_s + self._habits.linger_s)
                if not board.wait(due_s):
                    return True
            return True

    def _mark_quiet(self) -> None:
        """Line up heartbeats, if it is time, for partitions that wait for nothing."""
        if monotonic() < self._beat_s:
            return
        self._beat_s = monotonic() + self._habits.heartbeat_s
        try:
            busy = self._spool.waiting_partitions()
        except SpoolFailed:
            return
        with self._board.lock:
            if not self._board.closed:
                self._line_up(self._packing.heartbeats(busy, end=False))

    def _write(self, lined: Sequence[Sealed]) -> bool:
        """Put what is lined up on disk; False after the disk refused and a while has passed."""
        board = self._board
        try:
            self._spool.append([sealed.encoded() for sealed in lined])
        except SpoolFailed as error:
            with board.lock:
                board.failure = error
                board.tight = True
                board.tell()
                if not self._giving_up:
                    board.wait(monotonic() + _RETRY_WAIT_S)
            return False
        with board.lock:
            for _ in lined:
                self._lined.popleft()
            self._spooled_to = lined[-1].id
            board.failure = None
            board.tell()
        self._spooled()
        return True
