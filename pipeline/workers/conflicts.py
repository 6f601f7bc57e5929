"""Conflicts: the event that a key was first used for, read where it stands in the log.

Owns: finding it.  Does not own: the verdict (dedupe/claims.py), showing it (cli/rejected.py).
"""

from pipeline.collect.batch import UsageBatch
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.keyed import KeyedEvent, events_at
from pipeline.dedupe.claims import owner_in
from pipeline.replay.letters import USAGE, LetterId, RejectedEvent
from pipeline.stores.kafka import log_ends, read_range, usage_log
from pipeline.stores.records import open_message
from pipeline.stores.registry import COMMAND_TRIES, message_decoder
from pipeline.workers.surroundings import Surroundings


def first_delivery(
    around: Surroundings, conflict: RejectedEvent
) -> tuple[LetterId, KeyedEvent | None] | None:
    """Return where the key of a conflict was first used, and for what.

    None where the rejected event is no conflict; no event where the log has it no longer.

    Raises:
        ServerFailed: the broker does not answer.

    """
    owner = owner_in(conflict.rejection.message)
    if owner is None or conflict.id.origin != USAGE:
        return None
    (offset, index), number = owner, conflict.id.partition
    where, name = LetterId(USAGE, number, offset, index), usage_log(around.stack)
    first, end = log_ends(around.kafka, name, around.partitions)[number]
    if not first <= offset < end:
        return where, None
    decode = message_decoder(around.settings.registry, COMMAND_TRIES)
    for record in read_range(around.kafka, name, number, offset, offset + 1):
        batch = open_message(record.value, decode)
        columns = read_columns(batch) if isinstance(batch, UsageBatch) else None
        if isinstance(batch, UsageBatch) and isinstance(columns, Columns) and index < len(columns):
            return where, next(iter(events_at(batch, columns, [index], number)))
    return where, None
