"""Rounds: how far raw usage is collected for good.

Owns: where each raw partition stands, what of each round the broker still lacks.
Does not own: reading, packing, sending, the row it is kept in (workers/collector.py).
Law: a stand moves over a message only once the broker has all that was sent up to and with its
round. Rounds settle in order, so what a crash repeats is what no stand had moved over.

    pass_messages .. sent .. acked ..  mark  -> settled: [(before, after), ...]
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stand:
    """Where one raw partition stands: everything up to `offset` is collected or rejected.

    `skipped` counts offsets without a message: marks of transactions, and what they took back.
    """

    partition: int
    offset: int = -1
    collected: int = 0
    rejected: int = 0
    skipped: int = 0


@dataclass(slots=True)
class Round:
    """What was sent between two marks: `unacked` of it the broker lacks."""

    unacked: int = 0
    stands: Sequence[Stand] = ()

    def sent(self) -> None:
        """Count one message that was sent."""
        self.unacked += 1

    def acked(self) -> None:
        """Count one that the broker has."""
        self.unacked -= 1


@dataclass(slots=True)
class _Place:
    """A stand that moves."""

    offset: int
    collected: int
    rejected: int
    skipped: int


class Rounds:
    """The rounds of the partitions that one collector reads."""

    def __init__(self, stands: Iterable[Stand]) -> None:
        """Go on from what was saved."""
        self._saved = {stand.partition: stand for stand in stands}
        self._places = {
            number: _Place(stand.offset, stand.collected, stand.rejected, stand.skipped)
            for number, stand in self._saved.items()
        }
        self._moved: set[int] = set()
        self._waiting: deque[Round] = deque()
        self.open = Round()

    @property
    def waiting(self) -> int:
        """How many marked rounds are not settled."""
        return len(self._waiting)

    def pass_messages(self, partition: int, offset: int, collected: int, rejected: int) -> None:
        """Step over messages up to `offset`; what was sent of them: the open round, or a later."""
        place = self._places[partition]
        place.skipped += offset - place.offset - collected - rejected
        place.offset = offset
        place.collected += collected
        place.rejected += rejected
        self._moved.add(partition)

    def reached(self) -> list[Stand]:
        """Return how far each partition moved in the open round, settled or not."""
        return [
            Stand(number, place.offset, place.collected, place.rejected, place.skipped)
            for number, place in sorted(self._places.items())
            if number in self._moved
        ]

    def mark(self) -> None:
        """End the open round: all that it stepped over was sent."""
        self.open.stands = self.reached()
        self._waiting.append(self.open)
        self._moved.clear()
        self.open = Round()

    def settled(self) -> list[tuple[Stand, Stand]]:
        """Return (before, after) of each partition that may move, in their order; once."""
        after: dict[int, Stand] = {}
        while self._waiting and self._waiting[0].unacked == 0:
            after.update({stand.partition: stand for stand in self._waiting.popleft().stands})
        moves = [(self._saved[number], stand) for number, stand in sorted(after.items())]
        self._saved.update(after)
        return moves
