"""The stop limit: when so much is rejected that the line should stop and be looked at.

Owns: the share of rejected among the last events of a partition.
Does not own: what stopping means (workers/holding.py), why events are rejected (sift.py).
Law: it changes no outcome. Late usage and conflicts are nobody's mistake here: not counted
as rejected.
"""

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from pipeline.collect.limits import BATCH_EVENTS_MAX
from pipeline.meter.slices import Counts


@dataclass(slots=True)
class RejectWindow:
    """The last `events` offered events of one partition, in whole messages.

    `share_max` of them may be rejected. A message weighs at most what a batch may hold: one
    header that lies about its count proves nothing about the rest.
    """

    share_max: Decimal
    events: int
    offered: int = 0
    rejected: int = 0
    _recent: deque[tuple[int, int]] = field(default_factory=deque)

    def exceeded_by(self, counts: Counts) -> bool:
        """Count one message; return whether too much of a full window was rejected."""
        offered = min(counts.offered, BATCH_EVENTS_MAX)
        rejected = min(counts.rejected, BATCH_EVENTS_MAX)
        if offered:
            self._recent.append((offered, rejected))
            self.offered += offered
            self.rejected += rejected
        while self._recent and self.offered - self._recent[0][0] >= self.events:
            gone_offered, gone_rejected = self._recent.popleft()
            self.offered -= gone_offered
            self.rejected -= gone_rejected
        return self.offered >= self.events and self.rejected > self.share_max * self.offered
