"""Turns: which partitions are booked and rated next.

Owns: whether all take their turn at once or one part after the other.
Does not own: booking and rating (pricing.py), when to do neither.
Law: every partition has its turn once a round.

A draft holds what was booked before it was rated. Where that takes long for all of them, booking
everybody's usage first lets most of it grow old until its payer is rated: so the partitions of
a part are booked when they are about to be rated, and the others' usage waits in the log for as
long as it would have waited for its draft.
"""

from collections import deque
from collections.abc import Sequence

PARTS = 4
"""More would be fresher still by an eighth of a round at most, and a transaction each."""


class Turns:
    """The round: all at once while that takes no longer than slices gather, else in parts."""

    def __init__(self, partitions: Sequence[int], gather_s: float) -> None:
        """Begin with all at once."""
        self._all, self._gather_s = partitions, gather_s
        size = max(1, -(-len(partitions) // PARTS))
        self._parts = [partitions[i : i + size] for i in range(0, len(partitions), size)]
        self._took_s: deque[float] | None = None
        """How long the turns of a round took, the last at the end; None: all at once."""

    def whose(self) -> Sequence[int]:
        """Return the partitions whose turn it is."""
        return self._all if self._took_s is None else self._parts[0]

    @property
    def share(self) -> float:
        """How much of the time that slices gather in is before each turn: all of it once a round.

        Else one turn that took long would have everybody wait for as many times as long as there
        are parts.
        """
        return 1.0 if self._took_s is None else 1 / len(self._parts)

    def over(self, took_s: float) -> None:
        """End a turn, which took so long."""
        if self._took_s is None:
            if took_s > self._gather_s and len(self._parts) > 1:
                self._took_s = deque([took_s], maxlen=len(self._parts))
            return
        self._parts = [*self._parts[1:], self._parts[0]]
        self._took_s.append(took_s)
        if sum(self._took_s) < self._gather_s:
            self._took_s = None
