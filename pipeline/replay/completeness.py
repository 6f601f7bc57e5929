"""Completeness: which places of its sequence a producer never delivered, and since when.

Owns: what is said of it.  Does not own: finding gaps (dedupe/sequences.py, at booking).
Law: a range is missing from the moment something behind it came, until it comes itself. What a
producer wrote after its last word cannot be known: a spool therefore says where it ends.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.book.booking import SequenceKey
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.identity import Json
from pipeline.dedupe.sequences import SequenceState

_TOLD_MAX = 5


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A producer's sequence in one partition, and the ranges [first, last] it misses.

    `since` is the log time at which the first of them showed (0: not known); `ended` says that
    the producer closed this epoch, so that the rest lies in a spool or nowhere.
    """

    partition: int
    producer: str
    epoch: str
    missing: tuple[tuple[int, int], ...]
    since: Instant
    ended: bool

    @property
    def event_count(self) -> int:
        """How many events are missing."""
        return sum(last - first + 1 for first, last in self.missing)

    def json(self) -> dict[str, Json]:
        """Return it by name; both ends of a range are inclusive."""
        return {
            "producer": self.producer,
            "epoch": self.epoch,
            "partition": self.partition,
            "missing": [[first, last] for first, last in self.missing],
            "events": self.event_count,
            "since": instant_text(self.since) if self.since else None,
            "ended": self.ended,
        }

    def __str__(self) -> str:
        """Return it as a clause."""
        ranges = [f"{a}" if a == b else f"{a} to {b}" for a, b in self.missing]
        if len(ranges) > _TOLD_MAX:
            ranges[_TOLD_MAX:] = [f"and {len(ranges) - _TOLD_MAX} ranges more"]
        since = f" since {instant_text(self.since)}" if self.since else ""
        ended = "; it closed this epoch" if self.ended else ""
        return (
            f"producer {self.producer} (epoch {self.epoch}) misses {self.event_count:,}"
            f" event{'' if self.event_count == 1 else 's'} of partition"
            f" {self.partition}{since}: {', '.join(ranges)}{ended}"
        )


def incomplete(
    sequences: Mapping[tuple[int, SequenceKey], SequenceState],
) -> Iterator[Incomplete]:
    """Yield what is missing, sequence by sequence."""
    for (partition, (producer, epoch)), state in sequences.items():
        if state.gaps:
            missing = tuple((low, high - 1) for low, high in state.gaps)
            since = min(state.since, default=0)
            yield Incomplete(partition, producer, epoch, missing, since, state.ended)
