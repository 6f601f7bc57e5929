"""Backlog: whether raw usage that came some seconds ago is still being collected.

Owns: the question, asked as seldom as will do.
Does not own: collecting (collector.py), what waits while there is one (pricing.py).
"""

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from pipeline.collect.rounds import Stand

_LOOK_S = 1.0


class RawBacklog:
    """Holds stands against where the topic ended before."""

    def __init__(
        self,
        ends: Callable[[], Sequence[int]],
        stands: Callable[[], Sequence[Stand]],
        patience_s: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Call it behind what came `patience_s` ago; `ends` are next offsets, by partition."""
        self._ends, self._stands, self._clock = ends, stands, clock
        self._patience_s = patience_s
        self._seen: deque[tuple[float, Sequence[int], dict[int, int]]] = deque()
        self._looked_s = float("-inf")
        self._behind = False

    def is_behind(self) -> bool:
        """Tell whether something that old lies where somebody collects: who rests is not helped."""
        now = self._clock()
        if now - self._looked_s >= _LOOK_S:
            self._looked_s = now
            self._behind = self._look(now)
        return self._behind

    def _look(self, now: float) -> bool:
        ends = self._ends()
        stands = {each.partition: each.offset for each in self._stands()} if any(ends) else {}
        self._seen.append((now, ends, stands))
        while len(self._seen) > 1 and now - self._seen[1][0] >= self._patience_s:
            self._seen.popleft()
        since, ended, stood = self._seen[0]
        return now - since >= self._patience_s and any(
            stood.get(number, -1) < stands.get(number, -1) < end - 1
            for number, end in enumerate(ended)
        )
