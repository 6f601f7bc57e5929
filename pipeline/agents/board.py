"""The board: what a Recorder's threads tell each other, under one lock.

Owns: the lock, the condition, why nothing more may be taken, how the way to the broker is.
Does not own: what each of them does about it (recorder.py, writing.py, sending.py).
"""

from math import inf
from threading import Condition, Lock
from time import monotonic

from pipeline.agents.failures import NotRecording, SpoolFailed
from pipeline.core.errors import TaleaError


class Board:
    """Read and written under `lock`; whoever writes something others wait for calls `tell`."""

    __slots__ = (
        "_changed",
        "closed",
        "failure",
        "in_contact",
        "lock",
        "moves",
        "refusal",
        "tight",
        "trouble",
    )

    def __init__(self) -> None:
        """Start with nothing wrong, and nothing known of the broker."""
        self.lock = Lock()
        self._changed = Condition(self.lock)
        self.tight = False
        """Whether `record` must look before it takes more."""
        self.closed: NotRecording | None = None
        """Why nothing is taken any more."""
        self.failure: SpoolFailed | None = None
        """Why the spool cannot be written now."""
        self.refusal: TaleaError | None = None
        """Why nothing will ever be sent."""
        self.in_contact = False
        """Whether the broker has answered and the topic is the right one."""
        self.trouble = ""
        """What is wrong on the way to the broker now, in words."""
        self.moves = 0
        """Counts what the sender finished."""

    def tell(self) -> None:
        """Wake all who wait."""
        self._changed.notify_all()

    def wait(self, deadline_s: float) -> bool:
        """Wait for a change; False once the deadline (of `monotonic`) has passed."""
        left_s = deadline_s - monotonic()
        if left_s > 0:
            self._changed.wait(None if left_s == inf else left_s)
        return left_s > 0

    def raise_refusal(self) -> None:
        """Raise what makes all sending useless, if there is such a thing."""
        _raise(self.refusal)

    def raise_failure(self) -> None:
        """Raise why the spool cannot be written now, if it cannot."""
        _raise(self.failure)

    def raise_closed(self) -> None:
        """Raise why nothing is taken any more, if so."""
        _raise(self.closed)

    def forked(self) -> None:
        """Begin anew in a child: its parent's threads may have held the lock."""
        self.lock = Lock()
        self._changed = Condition(self.lock)
        self.closed = NotRecording(
            "the Recorder was opened before a fork: open one in each child, on its own spool"
        )
        self.tight = True


def _raise(error: TaleaError | None) -> None:
    if error is not None:
        # Raised again and again, it would grow by a traceback each time.
        raise error.with_traceback(None)
