"""Window percentile: burstable billing, the percentile of what each window came to.

Law: nearest rank over every window of the period; one without usage came to 0.
"""

from collections.abc import Iterable
from fractions import Fraction

from pipeline.core.calendar import Instant, Period
from pipeline.meter.percentile import nearest_rank


def window_percentile(
    parts: Iterable[tuple[Instant, Fraction]], period: Period, window_us: int, percent: Fraction
) -> Fraction:
    """Return the percentile of the sums by window; parts of one window add up."""
    sums: dict[Instant, Fraction] = {}
    for window, part in parts:
        sums[window] = sums.get(window, Fraction(0)) + part
    silent = (period.end - period.start) // window_us - len(sums)
    values = [(total, 1) for total in sums.values()]
    return nearest_rank([*values, (Fraction(0), silent)], percent) or Fraction(0)
