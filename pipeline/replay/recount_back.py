"""Taken back: the part of a recount that tells what became of reversals.

Owns: a second account of what waits, what was reversed before, which matches are true.
Does not own: any rule the pipeline has: these are written again, from the design alone.
Law: a match is believed only where both events were counted by the recount itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from pipeline.core.identity import Json

Place = tuple[int, int]
"""(offset, place in its message)."""
Told = tuple[int, int, Place, Place, bool]
"""(serial, partition, reversal, original, whether their payloads are said to be the same)."""
Payload = tuple[str, bytes, bytes]
"""(customer, key, print of the rest)."""


def told_by(serial: int, body: Mapping[str, Json]) -> list[Told]:
    """Return what the body of a match says."""
    found = []
    for word in cast(str, body["matches"]).split():
        same = "=" in word
        back, rest = word.split("=" if same else "!")
        places = [tuple(map(int, text.split(":"))) for text in (back, rest.partition("*")[0])]
        first, second = ((offset, place) for offset, place in places)
        found.append((serial, cast(int, body["partition"]), first, second, same))
    return found


@dataclass(slots=True)
class TakenBack:
    """The reversals of one partition; `wanted` are originals that facts name."""

    wanted: frozenset[Place]
    waiting: dict[Place, Payload] = field(default_factory=dict)
    _known: set[Payload] = field(default_factory=set)
    _counted: dict[Place, Payload] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Sequence[Told], partition: int) -> "TakenBack":
        """Begin, knowing what facts will name."""
        return cls(frozenset(original for _, of, _, original, _ in told if of == partition))

    def counted(self, place: Place, payload: Payload) -> None:
        """Remember usage that was counted, which a fact names."""
        self._counted[place] = payload

    def came(self, place: Place, payload: Payload) -> bool:
        """Take a reversal in; return whether its original had none before."""
        if payload in self._known:
            return False
        self._known.add(payload)
        self.waiting[place] = payload
        return True

    def believed(self, back: Place, original: Place, *, same: bool) -> bool:
        """Take a match in; return whether what it says is so."""
        mine, theirs = self.waiting.get(back), self._counted.get(original)
        if mine is None or theirs is None or mine[1] != theirs[1] or same != (mine == theirs):
            return False
        del self.waiting[back]
        return True
