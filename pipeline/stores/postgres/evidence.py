"""Digests of the usage that documents rest on, of lines that Postgres itself writes.

Owns: the queries. Does not own: the form of a line (ledger/seal.py), what is asked for.
Law: a digest is that of `evidence_of_usage`, to which `talea verify` holds it; there Python makes
an object of every window, here it joins text.
"""

from collections.abc import Iterable, Sequence

from pipeline.invoice.usage import UsageRequest, disjoint
from pipeline.ledger.seal import lines_digest, point_lines, window_lines
from pipeline.stores.postgres.connection import Connection
from pipeline.stores.postgres.points import POINTS_FOUND, asked_of_points
from pipeline.stores.postgres.usage import REQUESTED, columns

# A text holds a gigabyte: by the day that is any number of windows, by the hour ten million points.
_DAY_US, _HOUR_US = 86_400_000_000, 3_600_000_000
_TOLD = " w.place, s.customer, s.meter, s.scale, s.dimensions,"
_WINDOWS = (
    f"SELECT{_TOLD} string_agg(concat_ws(',', w.window_us, w.told, w.total, w.low, w.high), E'\\n')"
    " FROM (SELECT r.place, s.id, u.window_us, sum(u.count)::bigint AS told, sum(u.sum) AS total,"
    " min(u.minimum) AS low, max(u.maximum) AS high"
    + REQUESTED
    + " GROUP BY r.place, s.id, u.window_us) AS w JOIN series s ON s.id = w.id"
    f" GROUP BY w.place, s.id, w.window_us / {_DAY_US}"
)
_POINTS = (
    f"SELECT{_TOLD} string_agg(concat(w.time_us, ',\"', encode(w.point_key, 'hex'), '\",',"
    " w.value, ',', w.told), E'\\n')"
    " FROM (SELECT r.place, s.id, found.*" + POINTS_FOUND + ") AS w JOIN series s ON s.id = w.id"
    f" GROUP BY w.place, s.id, w.time_us / {_HOUR_US}"
)


def digests_of_usage(
    connection: Connection, asked: Sequence[Iterable[UsageRequest]], below_cut: int
) -> list[str]:
    """Return a digest for each document asked for: of every window and point it rests on, once."""
    requests = [sorted(set(of)) for of in asked]
    stretches = [(n, each) for n, of in enumerate(requests) for each in disjoint(of)]
    lines: list[list[bytes]] = [[] for _ in asked]
    rows = connection.execute(_WINDOWS, [*columns([each for _, each in stretches]), below_cut])
    for place, *series, figures in rows:
        lines[stretches[place - 1][0]] += window_lines(series, figures.encode().split(b"\n"))
    points = _points(connection, requests, below_cut)
    return [
        lines_digest([*own, *{line for each in of for line in points.get(each, ())}])
        for own, of in zip(lines, requests, strict=True)
    ]


def _points(
    connection: Connection, requests: Iterable[Sequence[UsageRequest]], below_cut: int
) -> dict[UsageRequest, list[bytes]]:
    """Return the lines of the points that each request asks for."""
    asked, parameters = asked_of_points(sorted({e for of in requests for e in of}), below_cut)
    found: dict[UsageRequest, list[bytes]] = {}
    for place, *series, figures in connection.execute(_POINTS, parameters) if asked else ():
        told = point_lines(series, figures.encode().split(b"\n"))
        found.setdefault(asked[place - 1], []).extend(told)
    return found
