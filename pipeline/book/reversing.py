"""Reversing: which reversals of a partition wait, and what a match makes of them.

Owns: once for ever, waiting -> matched | conflict.
Does not own: matching (replay/matching.py), rows (meter/minus.py), where they are kept (stores).
Law: of one original and payload one reversal is booked, whatever came again after however long;
what a match does hangs on facts and the reversal alone, so a second match of it does nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pipeline.catalog.matches import EventPlace, Match
from pipeline.core.errors import BrokenInvariant
from pipeline.meter.slices import Minus

Reversed = tuple[bytes, bytes]
"""Key and payload print of an original."""


class ReversalState(StrEnum):
    """What became of a reversal that was booked."""

    WAITING = "waiting"
    MATCHED = "matched"
    CONFLICT = "conflict"
    """Its original has another payload."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a reversal, by which match."""

    place: EventPlace
    match: Match

    @property
    def state(self) -> ReversalState:
        """What it is now."""
        return ReversalState.CONFLICT if self.match.conflict else ReversalState.MATCHED


@dataclass(slots=True)
class Reversals:
    """The reversals of one partition that wait, and the originals known to be reversed.

    Whoever books slices adds to `known` what the books have of their keys (`standing`).
    """

    waiting: dict[EventPlace, Minus] = field(default_factory=dict)
    known: set[Reversed] = field(default_factory=set)

    @classmethod
    def of(cls, waiting: Mapping[EventPlace, Minus]) -> "Reversals":
        """Go on with what waits."""
        found = cls(dict(waiting))
        found.known = {(minus.key, minus.payload_print) for minus in waiting.values()}
        return found

    def come(self, offset: int, minuses: Iterable[Minus]) -> dict[EventPlace, Minus]:
        """Let reversals of a message wait; return those whose originals had none before."""
        found = {}
        for minus in minuses:
            original = (minus.key, minus.payload_print)
            if original not in self.known:
                self.known.add(original)
                found[EventPlace(offset, minus.index)] = minus
        self.waiting |= found
        return found

    def settle(self, matches: Iterable[Match]) -> tuple[list[Settled], list[Minus]]:
        """Take what matches name off the waiting; return it, and what is to be taken off."""
        settled, minuses = [], []
        for match in matches:
            minus = self.waiting.pop(match.reversal, None)
            if minus is None:
                continue
            settled.append(Settled(match.reversal, match))
            if not match.conflict:
                minuses.append(at_scale(minus, match.scale))
        return settled, minuses


def at_scale(minus: Minus, scale: int) -> Minus:
    """Return a minus at the scale of its original: rows are kept apart by it.

    Raises:
        BrokenInvariant: its value has no place there, so it is not its original's.

    """
    mantissa, step = minus.mantissa, scale - minus.scale
    if step < 0:
        mantissa, rest = divmod(mantissa, 10**-step)
        if rest:
            raise BrokenInvariant(f"a match names scale {scale} for a finer value")
    else:
        mantissa *= 10**step
    return replace(minus, scale=scale, mantissa=mantissa)
