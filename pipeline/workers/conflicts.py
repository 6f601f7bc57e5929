"""Conflicts: the event that a key or place was first used for, read where it stands in the log.

Owns: finding it.  Does not own: the verdict (dedupe), showing it (cli/rejected.py).
"""

from pipeline.book.conflicts import taken_at
from pipeline.collect.batch import UsageBatch
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.keyed import KeyedEvent, events_at, key_at
from pipeline.dedupe.claims import owner_in
from pipeline.replay.letters import USAGE, LetterId, RejectedEvent
from pipeline.stores.kafka import log_ends, read_range, usage_log
from pipeline.stores.records import open_message
from pipeline.stores.registry import COMMAND_TRIES, message_decoder
from pipeline.workers.surroundings import Surroundings


def first_delivery(
    around: Surroundings, conflict: RejectedEvent
) -> tuple[LetterId, KeyedEvent | None] | None:
    """Return where the key or place of a conflict was first used, and for what.

    None where the rejected event is no conflict, or nobody knows any more what took its place;
    no event where the log has it no longer.

    Raises:
        ServerFailed: the broker does not answer.

    """
    text, number = conflict.rejection.message, conflict.id.partition
    owner, taken = owner_in(text), taken_at(text)
    if conflict.id.origin != USAGE or conflict.event is None or (owner is None and taken is None):
        return None
    offset, index = owner or (taken, None)
    assert offset is not None
    batch = _batch_at(around, number, offset)
    columns = read_columns(batch) if batch else None
    if batch is not None and isinstance(columns, Columns):
        if index is None:
            keys = (key_at(batch, place, number) for place in range(len(columns)))
            index = next((i for i, key in enumerate(keys) if key == conflict.event.key), None)
        if index is not None and index < len(columns):
            where = LetterId(USAGE, number, offset, index)
            return where, next(iter(events_at(batch, columns, [index], number)))
    whole = LetterId(USAGE, number, offset)
    return whole if index is None else whole._replace(number=index), None


def _batch_at(around: Surroundings, partition: int, offset: int) -> UsageBatch | None:
    name = usage_log(around.stack)
    first, end = log_ends(around.kafka, name, around.partitions)[partition]
    if not first <= offset < end:
        return None
    decode = message_decoder(around.settings.registry, COMMAND_TRIES)
    for record in read_range(around.kafka, name, partition, offset, offset + 1):
        opened = open_message(record.value, decode)
        return opened if isinstance(opened, UsageBatch) else None
    return None
