"""Conflicts of sequences: a batch whose places another batch took before, with other content.

Owns: what its dead letter says of each event.
Does not own: the verdict (dedupe/sequences.py), fetching the message (workers/quarantine.py).
Law: told from the log and the state before it alone, so told again it is the same letter.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.collect.letters import SEQUENCE_PATH, Refusal
from pipeline.core.calendar import Instant
from pipeline.core.errors import Code, Rejection
from pipeline.dedupe.sequences import Remembered, SequenceRange
from pipeline.meter.ticks import Tick

_OVERLAP = "its batch reaches over places of its sequence that others took before"
_TAKEN = "its place was first used at offset {}, by a batch of other content"
_TAKEN_AT = re.compile(_TAKEN.format(r"(\d{1,18})"))


@dataclass(frozen=True, slots=True)
class SequenceConflict:
    """A batch in conflict: where it stands, the tick and log time before it, its range.

    `recent` are the batches of its sequence that were remembered then.
    """

    offset: int
    tick: Tick
    log_time: Instant
    seen: SequenceRange
    recent: Sequence[Remembered]

    def refusals(self, indexes: Sequence[int]) -> list[Refusal]:
        """Return what is said of the events at these places of the batch, in their order."""
        told: dict[str, list[int]] = {}
        for index in indexes:
            told.setdefault(self._text(self.seen.first + index), []).append(index)
        return [
            Refusal(Rejection(Code.CONFLICT, SEQUENCE_PATH, text), len(own), own)
            for text, own in told.items()
        ]

    def _text(self, place: int) -> str:
        for known in self.recent:
            if known.holds(place) and known.offset >= 0:
                return _TAKEN.format(known.offset)
        return _OVERLAP


def taken_at(text: str) -> int | None:
    """Return the offset of the batch that took an event's place first, if a letter names it."""
    found = _TAKEN_AT.fullmatch(text)
    return int(found[1]) if found else None
