"""Points of a refold: what the usage_point table holds, in memory.

Owns: merging booked points, and answering requests as stores/postgres/points.py does.
Law: the same points for the same request and cut as live.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.book.booking import BookedRows
from pipeline.book.series import SeriesKey
from pipeline.core.calendar import Instant
from pipeline.core.identity import KEY_BYTES
from pipeline.invoice.usage import UsageRequest
from pipeline.meter.meters import Grain
from pipeline.meter.points import UsagePoint, in_order

_Place = tuple[Instant, bytes, int, int]
"""Time, key, cut, mantissa."""


@dataclass(slots=True)
class FoldedPoints:
    """Points by customer and meter, then series."""

    _series: dict[tuple[str, str], dict[SeriesKey, dict[_Place, int]]] = field(default_factory=dict)

    def add(self, rows: BookedRows) -> None:
        """Add the points booked with the rows of one slice."""
        points = rows.points
        if points is None:
            return
        for at, row in enumerate(points.row.tolist()):
            series = rows.index[rows.series[row]]
            places = self._series.setdefault((series.customer, series.meter), {})
            mantissa = points.wide.get(at, int(points.mantissa[at]))
            key = points.key[at * KEY_BYTES : (at + 1) * KEY_BYTES]
            place = (int(points.time[at]), key, int(rows.cut[row]), mantissa)
            of_series = places.setdefault(series, {})
            of_series[place] = of_series.get(place, 0) + int(points.multiplicity[at])

    def asked(
        self, request: UsageRequest, below_cut: int
    ) -> Iterator[tuple[SeriesKey, UsagePoint]]:
        """Yield the points that answer a request under a cut; none where it asks for none."""
        if request.grain not in (Grain.POINTS, Grain.LEVELS):
            return
        for series, places in self._series.get((request.customer, request.meter), {}).items():
            standing = in_order(
                UsagePoint(time, key, series.scale, mantissa, count, series.dimensions)
                for (time, key, cut, mantissa), count in places.items()
                if cut < below_cut and time < request.end
            )
            before = [point for point in standing if point.time < request.start]
            within = standing[len(before) :]
            carried = before[-1:] if request.grain is Grain.LEVELS else []
            yield from ((series, point) for point in (*carried, *within))
