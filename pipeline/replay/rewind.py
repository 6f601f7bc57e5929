"""Rewind: where a consumer group may be set back to, and what proves that nothing moved.

Owns: which offsets are allowed, the proof.
Does not own: stopping, setting and waiting (workers/rewinding.py).
Law: what the books hold is never booked again, so a rewind to any offset moves no total; it never
goes ahead of the books, since that would step over usage.
"""

from dataclasses import dataclass, fields

from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.meter.slices import Counts


@dataclass(frozen=True, slots=True)
class Target:
    """Where a partition is read on from; `behind` of the messages read again are booked."""

    partition: int
    offset: int
    booked: int

    @property
    def behind(self) -> int:
        """How many messages are read again without effect."""
        return self.booked + 1 - self.offset


def target(partition: int, wanted: int, first: int, booked: int) -> Target:
    """Return the target for an offset; the log begins at `first`, the books stand at `booked`.

    Raises:
        BadInput: the offset is no longer in the log, or ahead of the books.

    """
    if wanted > booked + 1:
        raise BadInput(
            f"partition {partition}: {wanted} lies ahead of the books, which stand at {booked}:"
            f" a rewind goes back, to {booked + 1} at most"
        )
    if wanted < first:
        raise BadInput(f"partition {partition}: the log begins at {first}, {wanted} is gone")
    return Target(partition, wanted, booked)


@dataclass(frozen=True, slots=True)
class Rewound:
    """One partition: the books' counts before and after, and what the log got in between.

    `arrived` counts the events of the records booked meanwhile, by their headers.
    """

    target: Target
    before: Counts
    after: Counts
    arrived: int

    @property
    def unmoved(self) -> bool:
        """Whether the counts grew by what arrived, outcome by outcome, and by nothing else."""
        before = dict(_items(self.before))
        grown = {name: value - before[name] for name, value in _items(self.after)}
        outcomes = sum(value for name, value in grown.items() if name != "offered")
        return grown["offered"] == self.arrived == outcomes and min(grown.values()) >= 0

    def json(self) -> dict[str, Json]:
        """Return it by name."""
        return {
            "partition": self.target.partition,
            "to": self.target.offset,
            "booked": self.target.booked,
            "before": dict(_items(self.before)),
            "after": dict(_items(self.after)),
            "arrived": self.arrived,
            "unmoved": self.unmoved,
        }


def _items(counts: Counts) -> list[tuple[str, int]]:
    return [(field.name, int(getattr(counts, field.name))) for field in fields(counts)]
