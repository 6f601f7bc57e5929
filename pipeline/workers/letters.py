"""Dead letters out of their topic: each one once, event by event.

Owns: the scan.  Does not own: what a letter says (replay/letters.py), the record (stores).
"""

import struct
from collections.abc import Callable, Iterator
from functools import partial

from pipeline.collect.keyed import KeyedEvent, keyed_event
from pipeline.collect.letters import DeadLetter, Refusal, kept_message
from pipeline.collect.raw import RawReader
from pipeline.core.errors import Code, Rejection, ServerFailed
from pipeline.meter.place import Opened
from pipeline.replay.letters import RAW, REJECTED, USAGE, RejectedEvent, rejected_events
from pipeline.stores.codec import Unreadable
from pipeline.stores.kafka import LogRecord
from pipeline.stores.records import letter_of, open_message, open_usage_event
from pipeline.stores.registry import COMMAND_TRIES, message_decoder
from pipeline.topology import USAGE_EVENTS, USAGE_REJECTED
from pipeline.workers.seams import Log
from pipeline.workers.surroundings import Surroundings

Progress = Callable[[int, int], None]
"""Called with (records read, records to read)."""
_TOLD_EVERY = 200
REJECTED_TOPIC = USAGE_REJECTED.name


def read_letters(around: Surroundings, log: Log, progress: Progress) -> Iterator[DeadLetter]:
    """Yield every dead letter kept; one written twice (a worker died before its ack) once.

    Raises:
        ServerFailed: a server does not answer.

    """
    topic = around.stack.topic(USAGE_REJECTED)
    ends = log.ends(topic, around.partitions)
    total, read = sum(end - first for first, end in ends), 0
    seen: set[tuple[object, ...]] = set()
    progress(0, total)
    for partition, (first, end) in enumerate(ends):
        for record in log.read_range(topic, partition, first, end):
            read += 1
            if read % _TOLD_EVERY == 0:
                progress(read, total)
            letter = _letter(partition, record)
            place = letter.topic, letter.partition, letter.offset
            name = *place, letter.by_books, letter.by_skip
            if name not in seen:
                seen.add(name)
                yield letter
    progress(total, total)


def letters_since(around: Surroundings, log: Log, read: dict[int, int]) -> Iterator[DeadLetter]:
    """Yield the dead letters written since offsets that were read; move these on.

    Raises:
        ServerFailed: a server does not answer.

    """
    topic = around.stack.topic(USAGE_REJECTED)
    for partition, (first, end) in enumerate(log.ends(topic, around.partitions)):
        start = max(first, read.get(partition, 0))
        for record in log.read_range(topic, partition, start, end):
            yield _letter(partition, record)
            read[partition] = record.offset + 1


def _letter(partition: int, record: LogRecord) -> DeadLetter:
    """Return the letter of a record; one that is none is refused itself, at its own position."""
    try:
        return letter_of(record.value)
    except (Unreadable, ValueError, struct.error) as error:
        why = f"no dead letter ({error}): who wrote it?"
        refusal = Refusal(Rejection(Code.UNREADABLE, "", why), 1)
        message = kept_message(record.value)
        return DeadLetter(REJECTED_TOPIC, partition, record.offset, 0, [refusal], message)


def is_unread(letter: DeadLetter) -> bool:
    """Return whether a letter stands for a record among the dead letters that is none."""
    return letter.topic == REJECTED_TOPIC


class LetterReader:
    """Reads what letters refuse, with what reads their messages on the way in."""

    def __init__(self, around: Surroundings) -> None:
        """Read as the workers of this stack do, though not for ever where a registry is away."""
        self._decode = message_decoder(around.settings.registry, COMMAND_TRIES)
        read_record = partial(open_usage_event, decoded=self._decode)
        self._raw = RawReader(around.partitions, read_record)

    def events(self, letter: DeadLetter) -> list[RejectedEvent]:
        """Return what a letter refuses, event by event.

        Raises:
            ServerFailed: the schema registry is silent.

        """
        if is_unread(letter):
            return rejected_events(letter, REJECTED, letter.refusals[0].rejection)
        origin = USAGE if letter.topic == USAGE_EVENTS.name else RAW
        try:
            return rejected_events(letter, origin, self._opened(letter, origin))
        except ServerFailed:
            raise
        except Exception as error:  # a worker may have died of it; it is told
            fault = Rejection(Code.UNREADABLE, "", f"{type(error).__name__}: {error}"[:200])
            return rejected_events(letter, origin, fault)

    def _opened(self, letter: DeadLetter, origin: str) -> Opened | KeyedEvent:
        if origin == USAGE:
            return open_message(letter.message, self._decode)
        entry = self._raw.read(letter.message, letter.headers)
        return entry if isinstance(entry, Rejection) else keyed_event(*entry[1:])
