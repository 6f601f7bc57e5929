"""Bounds: where a stretch of the log that a replay looks at begins, or ends.

Owns: how a bound is written, and whether a cut stands behind it.
Does not own: which documents a replay compares (diff.py), where cuts stand (stores/postgres).
Law: what is written is read back as the same bound; a cut stands either before a bound or behind
it, and one that is nowhere near it (another partition) on neither side.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from pipeline.catalog.fields import parse_moment
from pipeline.core.calendar import Instant, instant_text


class LogPlace(NamedTuple):
    """Where the tick of a cut stands in its payer's partition."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Offsets:
    """An offset in each of some partitions; others have no bound."""

    by_partition: Mapping[int, int]

    @property
    def text(self) -> str:
        """As a person writes it, in order of partition."""
        return ",".join(f"{number}:{at}" for number, at in sorted(self.by_partition.items()))


Bound: TypeAlias = Instant | Offsets
_PLACE = re.compile(r"([0-9]{1,5}):([0-9]{1,18})")


def parse_bound(text: str) -> Bound:
    """Return the bound that somebody wrote: an instant, or partition:offset, comma between.

    Raises:
        ValueError: it is neither, or names a partition twice.

    """
    if not re.match(r"[0-9]*:", text):
        try:
            return parse_moment(text)
        except ValueError as error:
            raise ValueError(f"{error}, or partition:offset like 0:1200,3:77") from None
    found: dict[int, int] = {}
    for each in text.split(","):
        place = _PLACE.fullmatch(each)
        if place is None:
            raise ValueError(f"{each!r} is no partition:offset: write them like 0:1200,3:77")
        partition, offset = map(int, place.groups())
        if partition in found:
            raise ValueError(f"partition {partition} stands there twice: name it once")
        found[partition] = offset
    return Offsets(found)


def bound_text(bound: Bound) -> str:
    """Return a bound as `parse_bound` reads it."""
    return bound.text if isinstance(bound, Offsets) else instant_text(bound)


def crossed(start: Bound | None, end: Bound | None) -> bool:
    """Return whether nothing can stand between two bounds, in one partition at least."""
    if isinstance(start, Offsets) and isinstance(end, Offsets):
        places = start.by_partition.items()
        return any(end.by_partition.get(number, at + 1) <= at for number, at in places)
    if start is None or end is None or isinstance(start, Offsets) or isinstance(end, Offsets):
        return False
    return end <= start


def reached(bound: Bound | None, instant: Instant, place: LogPlace | None) -> bool | None:
    """Return whether a cut stands at a bound or behind it; None where that does not bound it."""
    if bound is None:
        return None
    if not isinstance(bound, Offsets):
        return bound <= instant
    least = None if place is None else bound.by_partition.get(place.partition)
    return None if place is None or least is None else least <= place.offset
