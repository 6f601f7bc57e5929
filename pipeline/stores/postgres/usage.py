"""Usage rows as documents ask for them.

Owns: the queries.  Does not own: what is asked (invoice/usage.py, invoice/compose.py).
"""

from collections.abc import Iterable, Sequence

from pipeline.core.identity import Json, partition_of
from pipeline.invoice.usage import UsagePart, UsageRequest
from pipeline.ledger.seal import windows_digest
from pipeline.stores.postgres.connection import Connection

NO_CUT = 1 << 62
"""Above every tick serial: usage under any cut."""

_REQUESTED = (
    " FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[])"
    " WITH ORDINALITY AS r (customer, meter, start_us, end_us, place)"
    " JOIN series s ON s.customer = r.customer AND s.meter = r.meter"
    " JOIN usage u ON u.series_id = s.id"
    " AND u.window_us >= r.start_us AND u.window_us < r.end_us AND u.cut < %s"
)


def _columns(requests: Sequence[UsageRequest]) -> list[list[object]]:
    return [
        [request.customer for request in requests],
        [request.meter for request in requests],
        [request.start for request in requests],
        [request.end for request in requests],
    ]


def read_usage(
    connection: Connection, requests: Iterable[UsageRequest], below_cut: int = NO_CUT
) -> dict[UsageRequest, list[UsagePart]]:
    """Return the aggregates of each request, by scale, over rows with cut < `below_cut`."""
    asked = sorted(set(requests))
    if not asked:
        return {}
    rows = connection.execute(
        "SELECT r.place, s.scale, sum(u.count)::bigint, sum(u.sum), min(u.minimum), max(u.maximum)"
        + _REQUESTED
        + " GROUP BY r.place, s.scale ORDER BY r.place, s.scale",
        [*_columns(asked), below_cut],
    )
    found: dict[UsageRequest, list[UsagePart]] = {}
    for place, scale, count, *mantissas in rows:
        part = UsagePart(scale, count, *(int(mantissa) for mantissa in mantissas))
        found.setdefault(asked[place - 1], []).append(part)
    return found


def digest_of_usage(
    connection: Connection, requests: Iterable[UsageRequest], below_cut: int
) -> str:
    """Return the digest of every window that a document rests on."""
    asked = sorted(set(requests))
    rows = connection.execute(
        "SELECT s.customer, s.meter, s.scale, s.dimensions, u.window_us,"
        " sum(u.count)::bigint, sum(u.sum), min(u.minimum), max(u.maximum)"
        + _REQUESTED
        + " GROUP BY s.customer, s.meter, s.scale, s.dimensions, u.window_us",
        [*_columns(asked), below_cut],
    ).fetchall()
    windows: list[list[Json]] = [
        [customer, meter, scale, dimensions, start, count, int(total), int(low), int(high)]
        for customer, meter, scale, dimensions, start, count, total, low, high in rows
    ]
    return windows_digest(windows)


def booked_counts(connection: Connection, partitions: int) -> dict[int, int]:
    """Return the events that usage rows hold, by partition of their customer."""
    rows = connection.execute(
        "SELECT s.customer, sum(u.count)::bigint FROM usage u JOIN series s ON s.id = u.series_id"
        " GROUP BY s.customer"
    )
    return _by_partition(rows, partitions)


def covered_counts(
    connection: Connection, stretches: Sequence[UsageRequest], partitions: int
) -> dict[int, int]:
    """Return the events in disjoint stretches of windows, by partition of their customer."""
    rows = connection.execute(
        "SELECT s.customer, sum(u.count)::bigint" + _REQUESTED + " GROUP BY s.customer",
        [*_columns(stretches), NO_CUT],
    )
    return _by_partition(rows, partitions)


def _by_partition(rows: Iterable[tuple[str, int]], partitions: int) -> dict[int, int]:
    counts: dict[int, int] = {}
    for customer, count in rows:
        partition = partition_of(customer, partitions)
        counts[partition] = counts.get(partition, 0) + count
    return counts
