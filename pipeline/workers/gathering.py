"""Gathering: slices on their way into the books.

Owns: how long they gather, keeping those whose turn is not yet.
Does not own: reading (stores/kafka.py), whose turn it is (turns.py).
Law: of each partition slices leave in the order they came in; no more are held than may be, by
count, nor by bytes many more than that once records of their length came.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from pipeline.workers.seams import Follower

Record = tuple[int, int, bytes]
"""(partition, offset, value)."""

_BEHIND_FLUSHES = 3
"""While the books are behind, slices gather so many times as long: a flush writes a series once."""
_LOOKS_A_FLUSH = 3
"""How often it is looked meanwhile whether any still come."""
_BYTES_MAX = 8 << 20
"""Beyond so many a flush is over: until it is saved it takes some five times as much."""


class Gathering:
    """Reads ahead of the books, by little."""

    def __init__(
        self,
        reader: Follower,
        flush_s: float,
        count_max: int,
        monotonic: Callable[[], float],
        bytes_max: int = _BYTES_MAX,
    ) -> None:
        """Gather for `flush_s`, and hold up to `count_max` records, of about `bytes_max` bytes."""
        self._reader, self._flush_s, self._count_max = reader, flush_s, count_max
        self._monotonic = monotonic
        self._held: defaultdict[int, list[Record]] = defaultdict(list)
        self._bytes_max, self._bytes = bytes_max, 0
        self._record_bytes = 1
        """How long the last records were."""
        self._gathered_s = monotonic()

    @property
    def full(self) -> bool:
        """Whether no more may be held."""
        return self._may_come() == 0

    def _may_come(self) -> int:
        """Return how many more records may be held, if they are as long as the last ones."""
        count = self._count_max - sum(map(len, self._held.values()))
        return max(0, min(count, -(-(self._bytes_max - self._bytes) // self._record_bytes)))

    def _hold(self, came: Sequence[Record]) -> None:
        for record in came:
            self._held[record[0]].append(record)
        size = sum(len(value) for _, _, value in came)
        self._bytes += size
        if came:
            self._record_bytes = max(size // len(came), self._record_bytes // 2, 1)

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
            self._hold(came)
            if self.full or (self._held and not came):
                break
        self._gathered_s = self._monotonic()

    def take(self, partitions: Iterable[int]) -> list[Record]:
        """Return what is held of partitions, and hold it no longer."""
        taken = [record for number in partitions for record in self._held.pop(number, ())]
        self._bytes -= sum(len(value) for _, _, value in taken)
        return taken
