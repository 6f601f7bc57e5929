"""Quarantine: the dead letters of what only the books can refuse.

Owns: fetching the message of a sequence conflict again, writing its letter.
Does not own: the verdict (dedupe/sequences.py), what the letter says (book/conflicts.py).
Law: written before the books move over the message: a worker that dies in between writes it once
more, and a letter of one position is one.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.book.conflicts import SequenceConflict
from pipeline.collect.letters import DeadLetter
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import batch_digest
from pipeline.meter.sift import Arrival, Sifted, customer_of
from pipeline.stores.kafka import LogRecord, usage_log
from pipeline.stores.records import encode_letter, open_message
from pipeline.stores.registry import COMMAND_TRIES, message_decoder
from pipeline.topology import EVENT_COUNT_HEADER, USAGE_EVENTS, USAGE_REJECTED
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.seams import Log, Writer
from pipeline.workers.surroundings import Surroundings

_PATIENCE_S = 60.0


class Quarantine:
    """Writes letters; connects when there is one to write."""

    def __init__(
        self, around: Surroundings, log: Log, known: Knowledge, writer: Callable[[], Writer]
    ) -> None:
        """Read from `log`, judge by what is `known`."""
        self._around, self._log, self._known = around, log, known
        self._connect = writer
        self._writer: Writer | None = None

    def write(self, partition: int, conflicts: Sequence[SequenceConflict]) -> None:
        """Return once the broker has a letter of every conflict.

        Raises:
            ServerFailed: a server does not answer.

        """
        if not conflicts:
            return
        writer = self._writer = self._writer or self._connect()
        for conflict in conflicts:
            letter = self._letter(partition, conflict)
            writer.send(
                self._around.stack.topic(USAGE_REJECTED),
                partition,
                encode_letter(letter),
                key=letter.customer.encode() or None,
            )
        writer.flush()

    def _letter(self, partition: int, conflict: SequenceConflict) -> DeadLetter:
        record = self._record(partition, conflict.offset)
        looked = self._look(partition, conflict, record)
        refusals = conflict.refusals(np.flatnonzero(looked.claimable).tolist())
        count = str(record.event_count).encode()
        return DeadLetter(
            USAGE_EVENTS.name,
            partition,
            conflict.offset,
            looked.log_time,
            refusals,
            record.value,
            [] if record.event_count is None else [(EVENT_COUNT_HEADER, count)],
            customer_of(looked, refusals),
        )

    def _record(self, partition: int, offset: int) -> LogRecord:
        name = usage_log(self._around.stack)
        (record,) = self._log.read_range(name, partition, offset, offset + 1)
        return record

    def _look(self, partition: int, conflict: SequenceConflict, record: LogRecord) -> Sifted:
        """Judge the message as the metering worker did: what else is wrong has its own letter."""
        decode = message_decoder(self._around.settings.registry, COMMAND_TRIES)
        digest = batch_digest(record.value)
        at = Arrival(conflict.offset, conflict.tick, conflict.log_time, record.event_count, digest)
        opened = open_message(record.value, decode)
        looked = self._known.look_waiting(opened, at, partition, _PATIENCE_S)
        if not isinstance(looked, Sifted) or digest != conflict.seen.digest:
            raise BrokenInvariant(
                f"partition {partition}: offset {conflict.offset} is another message than the one"
                " that was metered"
            )
        return looked
