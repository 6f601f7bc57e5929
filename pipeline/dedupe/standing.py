"""Dedupe against the log itself: whether an event that comes again stands there already.

Owns: sent | standing | conflict | unproven, for events older than what claims remember and for
those of sequences, which claims never knew.
Does not own: reading the log (workers/readmission.py), claims (claims.py).
Law: an event may come in only if no event of its key is claimable anywhere in the log that the
first one could lie in. What a sequence did not take for its own is a repeat, and stands for nobody.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from pipeline.collect.batch import Mode, UsageBatch
from pipeline.collect.columns import Columns, Mask
from pipeline.collect.keyed import KeyedEvent, claimed_columns, events_at, key_at
from pipeline.core.calendar import Instant


class Outcome(StrEnum):
    """What becomes of an event that asks to come in."""

    SENT = "sent"
    STANDING = "standing"
    """Its key stands in the log, or is to be sent already, with the same content."""
    CONFLICT = "conflict"
    """Its key stands there with other content."""
    UNPROVEN = "unproven"
    """So old that its first delivery may have left the log."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Keys that are looked for in one partition, and the sequences that some come from."""

    keys: Collection[bytes]
    epochs: Collection[tuple[str, str]]

    @classmethod
    def of(cls, events: Sequence[KeyedEvent]) -> "Wanted":
        """Return what to look for so that these events are not counted twice."""
        epochs = {event.epoch for event in events if event.epoch is not None}
        return cls({event.claims[0] for event in events}, epochs)

    def met(
        self, batch: UsageBatch, columns: Columns, claimable: Mask, partition: int
    ) -> Iterator[KeyedEvent]:
        """Yield the claimable events of a batch that have one of these keys."""
        if batch.mode is Mode.SEQUENCED and (batch.producer, batch.epoch) not in self.epochs:
            return
        places = np.flatnonzero(claimable).tolist()
        keys, _ = claimed_columns(batch, columns, partition)
        claimed = replace(batch, key=keys)
        found = [at for at in places if key_at(claimed, at, partition) in self.keys]
        yield from events_at(batch, columns, found, partition)


def outcomes(
    events: Sequence[KeyedEvent], standing: Mapping[bytes, bytes], proven_from: Instant
) -> list[Outcome]:
    """Return what becomes of events of one partition, in their order.

    `standing` maps the keys met in the log to the fingerprints of their first events there;
    events with time from `proven_from` on had every delivery in the log that was read.
    """
    owners = dict(standing)
    found = []
    for event in events:
        key, own_print = event.claims
        owner = owners.get(key)
        if owner is not None:
            found.append(Outcome.STANDING if owner == own_print else Outcome.CONFLICT)
        elif event.gate_time < proven_from:
            found.append(Outcome.UNPROVEN)
        else:
            owners[key] = own_print
            found.append(Outcome.SENT)
    return found
