"""Points of the usage log: written with the rows of their flush, read by series and time.

Owns: the usage_point table.  Does not own: which events are points (meter/pick.py), what they
come to (invoice/usage.py).
Law: a point stands once a cut; told twice, it adds up.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from pipeline.book.booking import BookedRows
from pipeline.collect.columns import Longs
from pipeline.core.identity import KEY_BYTES
from pipeline.invoice.usage import UsageRequest
from pipeline.meter.meters import Grain
from pipeline.meter.points import UsagePoint
from pipeline.meter.scope import Pairs
from pipeline.stores.postgres.connection import Connection
from pipeline.stores.postgres.copying import Column, copy_columns

STAGED = (
    "CREATE TEMPORARY TABLE staged_point (series_id bigint, time_us bigint, point_key bytea,"
    " cut bigint, value bigint, multiplicity bigint) ON COMMIT DELETE ROWS"
)
_INSERT = "INSERT INTO usage_point (series_id, time_us, point_key, cut, value, multiplicity)"
_MERGE = (
    " ON CONFLICT (series_id, time_us, point_key, cut) DO UPDATE"
    " SET multiplicity = usage_point.multiplicity + excluded.multiplicity"
)
_UPSERT_STAGED = (
    _INSERT + " SELECT series_id, time_us, point_key, cut, min(value), sum(multiplicity)"
    " FROM staged_point GROUP BY series_id, time_us, point_key, cut"
    " ORDER BY series_id, time_us, point_key, cut" + _MERGE
)
_UPSERT_WIDE = _INSERT + " VALUES (%s, %s, %s, %s, %s, %s)" + _MERGE

_ASKED = (
    " FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::boolean[])"
    " WITH ORDINALITY AS r (customer, meter, start_us, end_us, levels, place)"
    " JOIN series s ON s.customer = r.customer AND s.meter = r.meter"
)
_STANDING = (
    " GROUP BY p.time_us, p.point_key HAVING sum(p.multiplicity) > 0"
    " ORDER BY p.time_us DESC, p.point_key DESC"
)
_SELECT_POINTS = (
    "SELECT p.time_us, p.point_key, min(p.value) AS value, sum(p.multiplicity)::bigint AS told"
    " FROM usage_point p WHERE p.series_id = s.id AND p.cut < %s AND p.time_us < "
)
POINTS_FOUND = (
    f"{_ASKED} CROSS JOIN LATERAL"
    f" (({_SELECT_POINTS} r.end_us AND p.time_us >= r.start_us{_STANDING})"
    f" UNION ALL ({_SELECT_POINTS} r.start_us AND r.levels{_STANDING} LIMIT 1)) AS found"
)
"""The points that requests ask for, as `found`, with the place of each request and its series."""
_READ = (
    "SELECT r.place, s.customer, s.meter, s.scale, s.dimensions,"
    " found.time_us, found.point_key, found.value::text, found.told" + POINTS_FOUND
)

Found = tuple[UsageRequest, tuple[str, str, int, str], UsagePoint]
"""A request, the series (customer, meter, scale, dimensions as canonical JSON), the point."""


def write_points(connection: Connection, booked: Sequence[tuple[BookedRows, Longs]]) -> None:
    """Write the points of rows, each given with the series ids of its rows."""
    staged: list[list[Column]] = []
    wide: list[tuple[object, ...]] = []
    for rows, ids in booked:
        points = rows.points
        if points is None:
            continue
        columns: list[Column] = [
            ids[points.row],
            points.time,
            np.frombuffer(points.key, f"V{KEY_BYTES}"),
            rows.cut[points.row],
            points.mantissa,
            points.multiplicity,
        ]
        if points.wide:
            places = sorted(points.wide)
            for at in places:
                series, time, key, cut, _, told = (column[at].item() for column in columns)
                wide.append((series, time, key, cut, points.wide[at], told))
            columns = [np.delete(column, places) for column in columns]
        staged.append(columns)
    if not staged:
        return
    together = [np.concatenate(parts) for parts in zip(*staged, strict=True)]
    copy_columns(connection, "staged_point", together)
    connection.execute(_UPSERT_STAGED)
    with connection.cursor() as cursor:
        for row in wide:  # one by one: a point may repeat in a flush
            cursor.execute(_UPSERT_WIDE, row)


def read_points(
    connection: Connection, requests: Sequence[UsageRequest], below_cut: int
) -> Iterator[Found]:
    """Yield the points that answer requests under a cut; none for those that ask for none.

    For levels also the last point before the request's start, of each series.
    """
    asked, parameters = asked_of_points(requests, below_cut)
    rows = connection.execute(_READ, parameters) if asked else ()
    for place, customer, meter, scale, text, time, key, value, told in rows:
        point = UsagePoint(time, key, scale, int(value), told, pairs(text))
        yield asked[place - 1], (customer, meter, scale, text), point


def asked_of_points(
    requests: Iterable[UsageRequest], below_cut: int
) -> tuple[list[UsageRequest], list[object]]:
    """Return which requests ask for points, and what `POINTS_FOUND` takes for these."""
    asked = [each for each in requests if each.grain in (Grain.POINTS, Grain.LEVELS)]
    columns = (list(column) for column in zip(*map(_columns, asked), strict=True))
    return asked, [*columns, below_cut, below_cut]


def _columns(request: UsageRequest) -> tuple[str, str, int, int, bool]:
    levels = request.grain is Grain.LEVELS
    return request.customer, request.meter, request.start, request.end, levels


@lru_cache(maxsize=1 << 12)
def pairs(dimensions: str) -> Pairs:
    """Return the dimensions of a series from its text: canonical, so sorted."""
    return tuple(json.loads(dimensions).items())
