"""Collected: an independent reader counts raw usage, the collector's rows say the rest.

Owns: reading both sides.  Does not own: the equation (replay/audit.py), the usage log's own
(auditing.py).
"""

from pipeline.collect.rounds import Stand
from pipeline.replay.audit import Collection, collection_of
from pipeline.stores.postgres.collecting import load_stands
from pipeline.stores.raw import count_raw, raw_ends
from pipeline.topology import USAGE_RAW
from pipeline.workers.auditing import Progress
from pipeline.workers.surroundings import Surroundings


def collection(around: Surroundings, progress: Progress) -> dict[int, Collection]:
    """Return the four counts of every partition of raw usage.

    Raises:
        ServerFailed: a server does not answer.

    """
    name = around.stack.topic(USAGE_RAW)
    with around.database.session("audit") as connection:
        stands = {stand.partition: stand for stand in load_stands(connection)}
    ends = raw_ends(around.kafka, name, around.partitions)
    total, read = sum(end - first for first, end in ends), 0
    found = {}
    for partition, (first, end) in enumerate(ends):
        stand = stands.get(partition, Stand(partition))
        seen = count_raw(around.kafka, name, partition, first, end, stand.offset)
        read += end - first
        progress(read, total)
        found[partition] = collection_of(stand, first, *seen)
    return found
