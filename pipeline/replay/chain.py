"""Chain: the slices of a partition follow one another, offset by offset, or a gap is named.

Owns: what is missing between the books and what came.
Does not own: reading (workers/healing.py), booking (book/booking.py).
Law: slices behind a gap come again once the gap is mended, so only what never came is missing.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from pipeline.core.identity import Json
from pipeline.meter.slices import Slice


@dataclass(frozen=True, slots=True, order=True)
class ChainGap:
    """Offsets [first, last] of the usage log that the books wait for.

    `lost` says that the log itself has them no longer: nobody can mend that.
    """

    partition: int
    first: int
    last: int
    lost: bool = False

    def overlaps(self, other: "ChainGap") -> bool:
        """Whether some offset is missing in both."""
        same = self.partition == other.partition
        return same and self.first <= other.last and other.first <= self.last

    def json(self) -> dict[str, Json]:
        """Return the gap, both ends inclusive."""
        return {"partition": self.partition, "from": self.first, "to": self.last, "lost": self.lost}


def offsets_of(pieces: Iterable[Slice], skipped: Collection[int]) -> Iterator[int]:
    """Yield the offsets of slices, without those of skipped messages by who did not know that."""
    for piece in pieces:
        if piece.offset not in skipped or piece.refused_whole:
            yield piece.offset


def chain_gap(partition: int, expected: int, offsets: Iterable[int]) -> ChainGap | None:
    """Return the first gap, where the books stand before `expected` and `offsets` came since."""
    beyond: set[int] = set()
    for offset in offsets:
        if offset == expected:
            expected += 1
        elif offset > expected:
            beyond.add(offset)
    later = [offset for offset in beyond if offset >= expected]
    if not later or min(later) == expected:
        return None
    return ChainGap(partition, expected, min(later) - 1)


def log_gap(partition: int, booked: int, first: int, end: int) -> ChainGap | None:
    """Return what the log lost: it begins behind what the books need, or ends before them.

    The books hold everything up to `booked`; the log holds first <= offset < end.
    """
    if end <= booked:
        return ChainGap(partition, end, booked, lost=True)
    if first > booked + 1:
        return ChainGap(partition, booked + 1, first - 1, lost=True)
    return None
