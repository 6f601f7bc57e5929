"""The gate: whether an event is in time, by the time that stands in the log.

Owns: late and future.  Does not own: log time itself (ticks), what happens to late usage.
Law: the answer depends on the record and the ticks around it, on no clock.
"""

from dataclasses import dataclass

from pipeline.collect.columns import Longs, Mask
from pipeline.core.calendar import Instant


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
