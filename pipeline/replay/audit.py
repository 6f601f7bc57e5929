"""Audit: the conservation equation, partition by partition.

Owns: which count comes from where.  Does not own: counting (workers/auditing.py).
Law: offered = billed + duplicate + conflict + late + rejected + pending. `offered` and the part
of `pending` beyond the cursor come from the log's headers by an independent reader, billed and
uncovered from the usage rows, the rest from the cursor: no term is the remainder of the others.
The collector's own law, of raw usage: offered = collected + rejected + pending; `offered` and
`pending` are messages that the reader saw, the rest is the collector's count.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pipeline.collect.rounds import Stand
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


@dataclass(frozen=True, slots=True)
class Collection:
    """The four counts of one partition of raw usage, in messages: an event each, or none."""

    partition: int
    offered: int
    collected: int
    rejected: int
    pending: int

    @property
    def missing(self) -> int:
        """Offered messages without an outcome (negative: outcomes without a message)."""
        return self.offered - self.collected - self.rejected - self.pending

    def json(self) -> dict[str, Json]:
        """Return the counts by name."""
        return dict(asdict(self))


def collection_of(stand: Stand, first: int, below: int, beyond: int) -> Collection:
    """Return the counts of a partition whose log is kept from offset `first` on.

    `below` and `beyond` are the messages a reader saw up to the stand and after it. What
    retention has deleted nobody can see any more: each of its offsets was a message, but for
    those that the collector skipped and the reader does not find to be empty among the kept.
    """
    empty_kept = max(0, stand.offset + 1 - first) - below
    deleted = first - min(first, max(0, stand.skipped - empty_kept))
    return Collection(
        stand.partition, deleted + below + beyond, stand.collected, stand.rejected, beyond
    )


def total(partitions: Mapping[int, Conservation] | Mapping[int, Collection]) -> dict[str, int]:
    """Return the counts of all partitions together, without the partition."""
    found: dict[str, int] = {}
    for counts in partitions.values():
        for name, count in asdict(counts).items():
            found[name] = found.get(name, 0) + count
    found.pop("partition", None)
    return found
