"""Returns of the auditor: which usage was taken off again, by which reversal, from when on.

Owns: what the facts that match reversals may say, and what they must say in the end.
Does not own: which reversals count (witness.py), what is billed without what went (billing.py).
Law: it shares no step with the pipeline.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.simulate.witness import Counted, Witness, first_generation

Place = tuple[int, int, int]
"""Partition, offset, number in the message."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Usage that went, from an offset of its partition on."""

    usage: Counted
    offset: int


@dataclass(slots=True)
class Returns:
    """Everything that was matched in one world."""

    witness: Witness
    taken: list[Taken] = field(default_factory=list)
    conflicts: Counter[int] = field(default_factory=Counter)
    """Reversals of another payload than their originals', by partition."""
    faults: list[str] = field(default_factory=list)
    _waiting: dict[Place, Counted] = field(init=False)
    _usage: dict[Place, Counted] = field(init=False)
    _of_key: dict[tuple[int, bytes], list[Counted]] = field(init=False)

    def __post_init__(self) -> None:
        """Take every fact in turn."""
        self._waiting = {_place(each): each for each in self.witness.reversals}
        self._usage = {_place(each): each for each in self.witness.counted}
        self._of_key = {}
        for each in self.witness.counted:
            self._of_key.setdefault((each.partition, each.key), []).append(each)
        for fact in self.witness.facts:
            if fact.kind is FactKind.MATCH:
                for reversal, original, sign in _told(fact):
                    self._match(fact, reversal, original, same=sign == "=")
        for each in self._waiting.values():
            usage = self._of_key.get((each.partition, each.key), ())
            if any(_looked_for(each, one) for one in usage):
                self.faults.append(f"{each} never met its original")

    def _match(self, fact: Fact, at: Place, of: Place, *, same: bool) -> None:
        reversal, usage = self._waiting.pop(at, None), self._usage.get(of)
        if reversal is None:  # an earlier fact told it
            return
        if usage is None or usage.key != reversal.key:
            self.faults.append(f"{reversal} is matched with {usage or of}")
            return
        seen = max(reversal.offset, usage.offset)
        alike = [
            each
            for each in self._of_key[usage.partition, usage.key]
            if each.payload == reversal.payload and each.offset < seen
        ]
        if same != (usage.payload == reversal.payload) or (alike and not same):
            self.faults.append(f"{reversal} is matched with {usage} as {'its own' * same}")
            return
        offset = self.witness.named_at(usage.partition, fact.serial)
        if offset is None:  # it was told behind the last tick
            return
        if offset < seen:
            self.faults.append(f"{reversal} is matched before it or its original is booked")
        elif same:
            self.taken.append(Taken(usage, offset))
        else:
            self.conflicts[usage.partition] += 1


def _looked_for(reversal: Counted, usage: Counted) -> bool:
    """Return whether usage of its key came when a reversal's original may have come.

    One that tells another time than its original may be looked for too late, and wait for ever.
    """
    return usage.generation >= first_generation(reversal.event)


def _place(counted: Counted) -> Place:
    return counted.partition, counted.offset, counted.place


def _told(fact: Fact) -> Iterator[tuple[Place, Place, str]]:
    """Yield what a fact says: OFFSET:PLACE=OFFSET:PLACE*SCALE, or with ! where they differ."""
    partition = cast(int, fact.body["partition"])
    for word in cast(str, fact.body["matches"]).split():
        reversal, sign, original = re.split("([=!])", word)
        offset, place = map(int, reversal.split(":"))
        of, at = map(int, original.split("*")[0].split(":"))
        yield (partition, offset, place), (partition, of, at), sign
