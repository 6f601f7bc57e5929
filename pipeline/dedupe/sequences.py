"""Dedupe by sequence: a producer's batches are told apart by their place, without keys.

Owns: fresh | duplicate | conflict for sequenced batches, open gaps.
Does not own: where the state is kept (stores/postgres, in the booking transaction).
Law: whatever is resent, in whatever order, each place of a sequence is booked once.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline.core.calendar import Instant
from pipeline.dedupe.claims import Verdict

RECENT_MAX = 64
"""Batches whose range and digest are remembered, per (producer, epoch, partition)."""


@dataclass(frozen=True, slots=True)
class SequenceRange:
    """What one sequenced batch covers: [first, first + count) of (producer, epoch).

    A count of 0 is a heartbeat; `end` says that the epoch is over.
    """

    producer: str
    epoch: str
    first: int
    count: int
    digest: bytes
    end: bool = False


class Remembered(NamedTuple):
    """A batch that was booked: its range and digest, the offset it came at (-1: not known)."""

    first: int
    event_count: int
    digest: bytes
    offset: int = -1

    def holds(self, place: int) -> bool:
        """Return whether a place is one of its own."""
        return self.first <= place < self.first + self.event_count


@dataclass(frozen=True, slots=True)
class SequenceState:
    """Where a sequence stands: next place, open gaps [from, to), the last batches booked.

    `since[i]` is the log time at which `gaps[i]` first showed (0: not known).
    """

    next: int = 0
    gaps: tuple[tuple[int, int], ...] = ()
    recent: tuple[Remembered, ...] = ()
    ended: bool = False
    since: tuple[Instant, ...] = ()

    @property
    def over(self) -> bool:
        """Whether all that was ever to come has come: only repeats can follow."""
        return self.ended and not self.gaps


def judge_range(
    state: SequenceState, seen: SequenceRange, log_time: Instant = 0, offset: int = -1
) -> tuple[Verdict, SequenceState]:
    """Return the verdict over a batch that came at `log_time` and `offset`, and the state after it.

    A known range and digest is a duplicate; a known or overlapping range with another digest
    a conflict; one wholly older a duplicate; a jump opens the exact missing range; a batch
    inside that range fills it.
    """
    first, end = seen.first, seen.first + seen.count
    if seen.count == 0:
        return Verdict.FRESH, replace(_reach(state, first, log_time), ended=state.ended or seen.end)
    for known_first, known_count, digest, _ in state.recent:
        if known_first == first and known_count == seen.count:
            return (Verdict.DUPLICATE if digest == seen.digest else Verdict.CONFLICT), state
    if first >= state.next:
        after = replace(_reach(state, first, log_time), next=end)
    else:
        filled = _fill(state, first, end)
        if filled is None:
            overlaps = end > state.next or any(lo < end and first < hi for lo, hi in state.gaps)
            return (Verdict.CONFLICT if overlaps else Verdict.DUPLICATE), state
        after = filled
    recent = (*after.recent, Remembered(first, seen.count, seen.digest, offset))[-RECENT_MAX:]
    return Verdict.FRESH, replace(after, recent=recent)


def _reach(state: SequenceState, first: int, log_time: Instant) -> SequenceState:
    """Open the gap up to `first`, if there is one."""
    if first <= state.next:
        return state
    gaps = (*state.gaps, (state.next, first))
    return replace(state, next=first, gaps=gaps, since=(*state.since, log_time))


def _fill(state: SequenceState, first: int, end: int) -> SequenceState | None:
    """Return the state without [first, end) in its gaps, or None where no gap holds all of it."""
    gaps, since = state.gaps, state.since
    for place, (low, high) in enumerate(gaps):
        if low <= first and end <= high:
            rest = tuple(part for part in ((low, first), (end, high)) if part[0] < part[1])
            return replace(
                state,
                gaps=gaps[:place] + rest + gaps[place + 1 :],
                since=since[:place] + since[place : place + 1] * len(rest) + since[place + 1 :],
            )
    return None
