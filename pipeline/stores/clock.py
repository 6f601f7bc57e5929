"""The wall clock, the only one: tickers, commands and agents ask it; the fold never does."""

import time

from pipeline.core.calendar import Instant


def wall_clock() -> Instant:
    """Return the current instant."""
    return time.time_ns() // 1000
