"""Dedupe by key: an event counts once.

Owns: fresh | duplicate | conflict for keyed events.
Does not own: Redis (stores/claims.py runs this same rule as a script), the gate, offsets.
Law: any redelivery, re-batching or rewind gives each idempotency key the same single owner;
the answer depends on two generations of the log and on nothing else.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import FINGERPRINT_BYTES, KEY_BYTES


class Verdict(IntEnum):
    """What became of an event's claim."""

    FRESH = 0
    DUPLICATE = 1
    CONFLICT = 2


@dataclass(frozen=True, slots=True)
class Claim:
    """Who owns a key: the first delivery in its generation, and its payload's fingerprint."""

    offset: int
    index: int
    fingerprint: bytes


def conflict_text(owner: Claim) -> str:
    """Return what a dead letter says of a key that was used before with another payload."""
    return f"key first used at offset {owner.offset}, event {owner.index}, with other content"


def owner_in(text: str) -> tuple[int, int] | None:
    """Return (offset, index) of the first delivery that a `conflict_text` names."""
    found = _CONFLICT.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else None


_CONFLICT = re.compile(r"key first used at offset (\d{1,18}), event (\d{1,5}), with other content")


@dataclass(frozen=True, slots=True)
class Delivery:
    """The claimable events of one batch: what passed the gate, in batch order.

    `indexes` are places in the batch; `keys` and `fingerprints` are packed columns of the same
    length. `after` is the offset after the last batch claimed before this one: nothing between
    it and `offset` claims a key.
    """

    offset: int
    after: int
    generation: int
    indexes: Sequence[int]
    keys: bytes
    fingerprints: bytes

    def events(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (index, key, fingerprint)."""
        for place, index in enumerate(self.indexes):
            yield (
                index,
                self.keys[place * KEY_BYTES : (place + 1) * KEY_BYTES],
                self.fingerprints[place * FINGERPRINT_BYTES : (place + 1) * FINGERPRINT_BYTES],
            )


@dataclass(frozen=True, slots=True)
class Judged:
    """The events of a delivery that are not fresh: (index, verdict, the owner's place)."""

    repeats: Sequence[tuple[int, Verdict, Claim]]


@dataclass(frozen=True, slots=True)
class Behind:
    """The claims are complete only up to `watermark` (-1: they are empty): re-claim from there."""

    watermark: int


class ClaimBook:
    """The rule itself, over dictionaries: what refold and simulation use, and Redis mirrors."""

    def __init__(self, start: int = 0) -> None:
        """Start with claims complete up to `start` (exclusive)."""
        self.watermark = start - 1
        self._generations: dict[int, dict[bytes, Claim]] = {}

    def claim(self, delivery: Delivery) -> Judged | Behind:
        """Judge a delivery; claim its keys unless it lies at or below the watermark.

        A key is claimed in its own generation even where the one before owns it: else what a
        generation holds would hang on the one before it, and so for ever back.

        Raises:
            BrokenInvariant: a claim at or below the watermark is gone (dropped too early).

        """
        if delivery.after > self.watermark + 1:
            return Behind(self.watermark)
        older = self._generations.get(delivery.generation - 1, {})
        own = self._generations.setdefault(delivery.generation, {})
        repeats = []
        for index, key, fingerprint in delivery.events():
            if key not in own and delivery.offset <= self.watermark:
                raise BrokenInvariant(
                    f"the claim of offset {delivery.offset}, event {index} is gone, though"
                    f" claims are complete up to {self.watermark}"
                )
            me = Claim(delivery.offset, index, fingerprint)
            first = own.setdefault(key, me)
            owner = older.get(key, first)
            if owner.offset == me.offset and owner.index == index:
                continue
            same = owner.fingerprint == fingerprint
            repeats.append((index, Verdict.DUPLICATE if same else Verdict.CONFLICT, owner))
        self.watermark = max(self.watermark, delivery.offset)
        return Judged(repeats)

    def drop(self, generation: int) -> None:
        """Forget every generation below `generation`."""
        for old in [g for g in self._generations if g < generation]:
            del self._generations[old]
