"""Dead letters: what one message did not contribute, and why, with the message itself.

Owns: the record, and how much of a monster it keeps.
Does not own: judging (event.py, meter/sift.py), Avro (stores/records.py), the topic.
Law: told apart by (topic, partition, offset) and who refused: written twice, it is one letter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.collect.limits import LETTER_HEADERS_BYTES_MAX, READ_BYTES_MAX
from pipeline.core.calendar import Instant
from pipeline.core.errors import Code, Rejection

SEQUENCE_PATH = "first_sequence"
"""Path of what only the books can refuse, a batch in conflict with another of its sequence."""

Headers = Sequence[tuple[str, bytes | None]]
"""Record headers in their order; a name may come twice."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Events of one message refused for one reason; no indexes means the whole message."""

    rejection: Rejection
    event_count: int
    indexes: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`topic` is its name in topology, without a prefix; `log_time` is 0 where it has no ticks.

    `customer` is that of all refused events, where it is one and known, else empty.
    """

    topic: str
    partition: int
    offset: int
    log_time: Instant
    refusals: Sequence[Refusal]
    message: bytes
    headers: Headers = ()
    customer: str = ""

    @property
    def by_books(self) -> bool:
        """Whether booking refused these events: of a message there may be two letters then."""
        told = {(each.rejection.code, each.rejection.path) for each in self.refusals}
        return told == {(Code.CONFLICT, SEQUENCE_PATH)}

    @property
    def by_skip(self) -> bool:
        """Whether the message was skipped: then nothing else that was made of it counts."""
        return {each.rejection.code for each in self.refusals} == {Code.SKIPPED}


def kept_message(message: bytes) -> bytes:
    """Return what a letter keeps of a message: of a monster the head; its position says where."""
    return message[:READ_BYTES_MAX]


def kept_headers(headers: Iterable[tuple[str, bytes | None]]) -> Headers:
    """Return what a letter keeps of record headers: the first of them, up to the limit."""
    kept, left = [], LETTER_HEADERS_BYTES_MAX
    for name, value in headers:
        left -= len(name.encode()) + len(value or b"")
        if left < 0:
            break
        kept.append((name, value))
    return tuple(kept)
