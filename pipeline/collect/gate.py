"""The gate: whether an event is in time, by the time that stands in the log.

Owns: late and future, and who may come late all the same.
Does not own: log time itself (ticks), what happens to late usage, who gives passes out
(workers/readmission.py).
Law: the answer depends on the record, the facts in force and the ticks around it, on no clock.
"""

from dataclasses import dataclass

from pipeline.collect.batch import UsageBatch
from pipeline.collect.columns import Longs, Mask
from pipeline.core.calendar import Instant
from pipeline.core.identity import pass_digest


@dataclass(frozen=True, slots=True)
class Gate:
    """Fixed for the life of a log, in microseconds.

    `horizon`: how far event time may lie behind log time. `tolerance`: how far ahead.
    """

    horizon: int
    tolerance: int

    @property
    def generation_width(self) -> int:
        """How long one generation of claims lasts.

        A repeat that is in time meets its first delivery in this generation or the one before.
        """
        return self.horizon + self.tolerance

    def generation(self, log_time: Instant) -> int:
        """Return the generation of claims that a log time belongs to."""
        return log_time // self.generation_width

    def late(self, times: Longs, log_time: Instant) -> Mask:
        """Return which events come too late."""
        return times < log_time - self.horizon

    def future(self, times: Longs, log_time: Instant) -> Mask:
        """Return which events lie too far ahead."""
        return times > log_time + self.tolerance


@dataclass(frozen=True, slots=True)
class GatePass:
    """The right of batches prepared by one job to come late, for a while.

    Whoever gave it out has read the log up to some log time and knows that none of their keys
    stands there. `until` lies one generation width behind that time: a batch judged by then
    meets whatever came in between among the claims; a later one might count twice.
    `batches` are named by `pass_digest`.
    """

    until: Instant
    batches: frozenset[str]

    def admits(self, batch: UsageBatch, log_time: Instant) -> bool:
        """Return whether a batch may come late at a log time."""
        named = pass_digest(batch.key, batch.fingerprint) in self.batches
        return named and log_time <= self.until
