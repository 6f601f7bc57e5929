"""Audit: the conservation equation, partition by partition.

Owns: which count comes from where.  Does not own: counting (workers/auditing.py).
Law: offered = billed + duplicate + conflict + late + rejected + pending. `offered` and the part
of `pending` beyond the cursor come from the log's headers by an independent reader, billed and
uncovered from the usage rows, the rest from the cursor: no term is the remainder of the others.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pipeline.core.identity import Json


@dataclass(frozen=True, slots=True)
class Conservation:
    """The seven counts of one partition, in events."""

    partition: int
    offered: int
    billed: int
    duplicate: int
    conflict: int
    late: int
    rejected: int
    pending: int

    @property
    def missing(self) -> int:
        """Offered events without an outcome (negative: outcomes without an event)."""
        told = self.billed + self.duplicate + self.conflict + self.late + self.rejected
        return self.offered - told - self.pending

    def since(self, before: "Conservation") -> "Conservation":
        """Return what was counted after `before`."""
        mine, theirs = asdict(self), asdict(before)
        return Conservation(
            self.partition,
            **{name: mine[name] - theirs[name] for name in mine if name != "partition"},
        )

    def json(self) -> dict[str, Json]:
        """Return the counts by name."""
        return dict(asdict(self))


def total(partitions: Mapping[int, Conservation]) -> dict[str, int]:
    """Return the counts of all partitions together, without the partition."""
    names = [name for name in Conservation.__slots__ if name != "partition"]
    return {name: sum(getattr(p, name) for p in partitions.values()) for name in names}
