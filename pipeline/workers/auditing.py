"""Auditing: an independent reader counts the log's headers, the books say the rest.

Owns: reading both sides.  Does not own: the equation (replay/audit.py).
"""

from collections.abc import Callable

from pipeline.invoice.usage import UsageRequest
from pipeline.replay.audit import Conservation
from pipeline.replay.coverage import covered_stretches
from pipeline.stores.kafka import log_ends, read_range, usage_log
from pipeline.stores.postgres.books import load_cursors
from pipeline.stores.postgres.session import Session
from pipeline.stores.postgres.usage import booked_counts, covered_counts
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.surroundings import Surroundings

Progress = Callable[[int, int], None]
"""Called with (records read, records to read)."""


def conservation(around: Surroundings, progress: Progress) -> dict[int, Conservation]:
    """Return the seven counts of every partition.

    Raises:
        ServerFailed: a server does not answer.

    """
    connection = around.database.connect(name="audit", autocommit=True)
    try:
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursors = load_cursors(connection)
            booked, covered = _usage(around, connection)
        ends = log_ends(around.kafka, usage_log(around.stack), around.partitions)
        total, read = sum(end - first for first, end in ends), 0
        found = {}
        for partition, (first, end) in enumerate(ends):
            cursor = cursors[partition][0] if partition in cursors else None
            offset = cursor.offset if cursor else -1
            offered, beyond = _offered(around, partition, first, end, offset)
            read += end - first
            progress(read, total)
            counts = cursor.counts if cursor else None
            paid = covered.get(partition, 0)
            found[partition] = Conservation(
                partition=partition,
                offered=offered,
                billed=paid,
                duplicate=counts.duplicate if counts else 0,
                conflict=counts.conflict if counts else 0,
                late=counts.late if counts else 0,
                rejected=counts.rejected if counts else 0,
                pending=beyond + booked.get(partition, 0) - paid,
            )
        return found
    finally:
        connection.close()


def _offered(
    around: Surroundings, partition: int, first: int, end: int, cursor: int
) -> tuple[int, int]:
    """Return the events that headers count in all, and beyond the cursor."""
    offered = beyond = 0
    for record in read_range(around.kafka, usage_log(around.stack), partition, first, end):
        count = 1 if record.event_count is None else record.event_count
        offered += count
        if record.offset > cursor:
            beyond += count
    return offered, beyond


def _usage(around: Surroundings, connection: Session) -> tuple[dict[int, int], dict[int, int]]:
    """Return the events booked and the events covered, by partition."""
    known = Knowledge(connection)
    head = connection.execute("SELECT serial FROM fact_head").fetchone()
    catalog = known.catalog(head[0] if head else 0)
    stretches: list[UsageRequest] = covered_stretches(catalog)
    partitions = around.partitions
    return booked_counts(connection, partitions), covered_counts(connection, stretches, partitions)
