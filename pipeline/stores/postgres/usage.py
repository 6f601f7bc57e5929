"""Usage rows as documents ask for them.

Owns: the queries.  Does not own: what is asked (invoice/usage.py, invoice/compose.py).
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pipeline.core.identity import Json, partition_of
from pipeline.invoice.usage import UsagePart, UsageRequest, Used, disjoint
from pipeline.ledger.seal import point_evidence
from pipeline.meter.meters import Grain
from pipeline.stores.postgres.arrays import LONGS, TEXTS, longs, texts
from pipeline.stores.postgres.connection import Connection
from pipeline.stores.postgres.points import pairs, read_points

NO_CUT = 1 << 62
"""Above every tick serial: usage under any cut."""

_EVENTS = "sum(u.count + 2 * u.reversed)::bigint"
"""Usage and reversals, each as the one event that it was."""
_REQUESTS = (
    f" FROM unnest({TEXTS}, {TEXTS}, {LONGS}, {LONGS})"
    " WITH ORDINALITY AS r (customer, meter, start_us, end_us, place)"
)
_OWN_SERIES = "s.customer = r.customer AND s.meter = r.meter"
_OWN_WINDOWS = "u.window_us >= r.start_us AND u.window_us < r.end_us"
REQUESTED = (
    f"{_REQUESTS} JOIN series s ON {_OWN_SERIES}"
    f" JOIN usage u ON u.series_id = s.id AND {_OWN_WINDOWS} AND u.cut < %s"
)
"""The rows that `columns` of requests, and a cut, ask for."""


def columns(requests: Sequence[UsageRequest]) -> list[str]:
    """Return requests as queries take them."""
    return [
        texts([request.customer for request in requests]),
        texts([request.meter for request in requests]),
        longs([request.start for request in requests]),
        longs([request.end for request in requests]),
    ]


def read_usage(
    connection: Connection, requests: Iterable[UsageRequest], below_cut: int = NO_CUT
) -> dict[UsageRequest, list[Used]]:
    """Return the usage of each request, over rows and points with cut < `below_cut`."""
    return ask_usage(connection, requests, below_cut)()


def ask_usage(
    connection: Connection, requests: Iterable[UsageRequest], below_cut: int = NO_CUT
) -> Callable[[], dict[UsageRequest, list[Used]]]:
    """Ask for usage as `read_usage` does; return what waits for it."""
    asked = list(dict.fromkeys(requests))
    alike: dict[tuple[Grain, bool], list[UsageRequest]] = {}
    for each in asked:
        if each.grain in (Grain.TOTALS, Grain.WINDOWS):
            alike.setdefault((each.grain, each.scope.whole), []).append(each)
    parts = [(own, _ask_parts(connection, own, below_cut)) for own in alike.values()]

    def answered() -> dict[UsageRequest, list[Used]]:
        found: dict[UsageRequest, list[Used]] = {}
        for own, rows in parts:
            for place, scale, start, text, count, total, low, high in rows:
                part = UsagePart(scale, count, int(total), int(low), int(high), start, pairs(text))
                found.setdefault(own[place - 1], []).append(part)
        for request, _, point in read_points(connection, asked, below_cut):
            found.setdefault(request, []).append(point)
        return found

    return answered


def _ask_parts(
    connection: Connection, asked: Sequence[UsageRequest], below_cut: int
) -> Iterable[tuple[Any, ...]]:
    """Ask for the aggregates of requests that all ask for the same columns."""
    window = "u.window_us" if asked[0].grain is Grain.WINDOWS else "0::bigint"
    dimensions = "'{}'" if asked[0].scope.whole else "s.dimensions"
    # Request by request: all of them joined are as many rows as windows, to be sorted by request.
    return connection.execute(
        f"SELECT r.place, own.*{_REQUESTS} CROSS JOIN LATERAL"
        f" (SELECT s.scale, {window} AS window_us, {dimensions} AS dimensions,"
        # As text, of which Python makes a whole number three times as fast as of a decimal.
        " sum(u.count)::bigint, sum(u.sum)::text, min(u.minimum)::text, max(u.maximum)::text"
        " FROM series s JOIN usage u ON u.series_id = s.id"
        f" WHERE {_OWN_SERIES} AND {_OWN_WINDOWS} AND u.cut < %s"
        " GROUP BY 1, 2, 3 HAVING sum(u.count) <> 0) AS own ORDER BY 1, 2, 3, 4",
        [*columns(asked), below_cut],
    )


def moved_since(
    connection: Connection, asked: Sequence[tuple[UsageRequest, int]], below_cut: int
) -> list[bool]:
    """Return of each request whether any usage came to it under cuts in [`cut`, `below_cut`).

    Each is asked with a `cut` of its own. What came and was taken back again counts too.
    """
    stretches = [(*request.stretch, cut) for request, cut in asked]
    known = [*dict.fromkeys(stretches)]
    if not known:
        return []
    customers, meters, *instants = zip(*known, strict=True)
    told = (texts(customers), texts(meters), *map(longs, instants))
    moved = {known[place - 1] for (place,) in connection.execute(_MOVED, [*told, below_cut])}
    return [each in moved for each in stretches]


_MOVED = (
    f"SELECT r.place FROM unnest({TEXTS}, {TEXTS}, {LONGS}, {LONGS}, {LONGS})"
    " WITH ORDINALITY AS r (customer, meter, start_us, end_us, since, place)"
    " WHERE EXISTS (SELECT FROM series s JOIN usage u ON u.series_id = s.id"
    f" WHERE {_OWN_SERIES} AND {_OWN_WINDOWS}"
    " AND u.cut >= r.since AND u.cut < %s)"
)
"""Points have a row of usage beside them, in whose window they lie."""


def evidence_of_usage(
    connection: Connection, asked: Sequence[Iterable[UsageRequest]], below_cut: int
) -> list[list[list[Json]]]:
    """Return every window and point, as evidence tells them, that each document rests on."""
    requests = [sorted(set(of)) for of in asked]
    found = windows_of_usage(connection, requests, below_cut)
    points = read_points(connection, sorted({each for of in requests for each in of}), below_cut)
    told = defaultdict[UsageRequest, list[tuple[tuple[object, ...], list[Json]]]](list)
    for request, series, point in points:
        line = point_evidence(series, point.time, point.key, point.mantissa, point.multiplicity)
        told[request].append(((series, point.time, point.key), line))
    return [
        [*windows, *dict(p for each in of for p in told.get(each, ())).values()]
        for windows, of in zip(found, requests, strict=True)
    ]


def windows_of_usage(
    connection: Connection, asked: Sequence[Sequence[UsageRequest]], below_cut: int
) -> list[list[list[Json]]]:
    """Return every window, as evidence tells it, that each document rests on; no points."""
    stretches = [(n, each) for n, of in enumerate(asked) for each in disjoint(of)]
    rows = connection.execute(
        "SELECT r.place, s.customer, s.meter, s.scale, s.dimensions, u.window_us,"
        " sum(u.count)::bigint, sum(u.sum)::text, min(u.minimum)::text, max(u.maximum)::text"
        + REQUESTED
        + " GROUP BY r.place, s.customer, s.meter, s.scale, s.dimensions, u.window_us",
        [*columns([each for _, each in stretches]), below_cut],
    )
    found: list[list[list[Json]]] = [[] for _ in asked]
    for place, customer, meter, scale, dimensions, start, count, *figures in rows:
        window: list[Json] = [customer, meter, scale, dimensions, start, count]
        found[stretches[place - 1][0]].append([*window, *map(int, figures)])
    return found


def booked_counts(connection: Connection, partitions: int) -> dict[int, int]:
    """Return the events that usage rows hold, by partition of their customer."""
    rows = connection.execute(
        f"SELECT s.customer, {_EVENTS} FROM usage u JOIN series s ON s.id = u.series_id"
        " GROUP BY s.customer"
    )
    return _by_partition(rows, partitions)


def covered_counts(
    connection: Connection, stretches: Sequence[UsageRequest], partitions: int
) -> dict[int, int]:
    """Return the events in stretches of windows, each once, by partition of their customer.

    Stretches of a meter that none of them filters are disjoint.
    """
    chosen = {(each.customer, each.meter) for each in stretches if each.scope.where}
    plain = [each for each in stretches if (each.customer, each.meter) not in chosen]
    filtered = [each for each in stretches if (each.customer, each.meter) in chosen]
    rows = connection.execute(
        f"SELECT s.customer, {_EVENTS}" + REQUESTED + " GROUP BY s.customer",
        [*columns(plain), NO_CUT],
    ).fetchall()
    if filtered:
        wheres = [json.dumps(dict(each.scope.where)) for each in filtered]
        rows += connection.execute(_COVERED, [*columns(filtered), wheres]).fetchall()
    return _by_partition(rows, partitions)


_COVERED = (
    f"SELECT s.customer, {_EVENTS} FROM series s JOIN usage u ON u.series_id = s.id"
    " WHERE EXISTS (SELECT FROM"
    f" unnest({TEXTS}, {TEXTS}, {LONGS}, {LONGS}, %s::text[])"
    " AS r (customer, meter, start_us, end_us, wanted)"
    f" WHERE {_OWN_SERIES} AND {_OWN_WINDOWS}"
    " AND NOT EXISTS (SELECT FROM jsonb_each(r.wanted::jsonb) AS w (name, choices)"
    " WHERE NOT coalesce(w.choices ? (s.dimensions::jsonb ->> w.name), false)))"
    " GROUP BY s.customer"
)
"""Rows that some stretch holds: its windows, and a value it wants of each dimension it names."""


def _by_partition(rows: Iterable[tuple[str, int]], partitions: int) -> dict[int, int]:
    counts: dict[int, int] = {}
    for customer, count in rows:
        partition = partition_of(customer, partitions)
        counts[partition] = counts.get(partition, 0) + count
    return counts
