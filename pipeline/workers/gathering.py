"""Gathering: slices on their way into the books.

Owns: how long they gather, keeping those whose turn is not yet.
Does not own: reading (stores/kafka.py), whose turn it is (turns.py).
Law: of each partition slices leave in the order they came in; no more are held than may be.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from pipeline.workers.seams import Follower

Record = tuple[int, int, bytes]
"""(partition, offset, value)."""

_BEHIND_FLUSHES = 3
"""While the books are behind, slices gather so many times as long: a flush writes a series once."""
_LOOKS_A_FLUSH = 3
"""How often it is looked meanwhile whether any still come."""


class Gathering:
    """Reads ahead of the books, by little."""

    def __init__(
        self, reader: Follower, flush_s: float, count_max: int, monotonic: Callable[[], float]
    ) -> None:
        """Gather for `flush_s`, and hold up to `count_max` records."""
        self._reader, self._flush_s, self._count_max = reader, flush_s, count_max
        self._monotonic = monotonic
        self._held: defaultdict[int, list[Record]] = defaultdict(list)
        self._gathered_s = monotonic()

    @property
    def full(self) -> bool:
        """Whether no more may be held."""
        return self._may_come() == 0

    def _may_come(self) -> int:
        return self._count_max - sum(map(len, self._held.values()))

    def gather(self, share: float = 1.0, *, behind: bool) -> None:
        """Hold what came; wait for more until it gathered for long enough, at work or not.

        Before a turn of some partitions that is a `share` of the time. Who is behind gathers for
        longer, but not for longer than some come: a backlog has an end.
        """
        since_s = self._monotonic() - self._gathered_s
        waits_s = [max(0.0, self._flush_s * share - since_s)]
        if behind:
            waits_s = [self._flush_s / _LOOKS_A_FLUSH] * (_LOOKS_A_FLUSH * _BEHIND_FLUSHES)
        for wait_s in waits_s:
            came = self._reader.read(self._may_come(), wait_s)
            for record in came:
                self._held[record[0]].append(record)
            if self.full or (self._held and not came):
                break
        self._gathered_s = self._monotonic()

    def take(self, partitions: Iterable[int]) -> list[Record]:
        """Return what is held of partitions, and hold it no longer."""
        return [record for number in partitions for record in self._held.pop(number, ())]
