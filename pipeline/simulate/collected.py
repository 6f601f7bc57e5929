"""Collected: what must have become of raw usage, as the auditor works it out.

Owns: that each readable message stands in the usage log, each other one in a dead letter, and that
the collector's rows count them so.
Does not own: what counts of the log (witness.py).
Law: it shares no step with the pipeline; it knows what senders meant, not what bytes say.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from pipeline.collect.letters import DeadLetter
from pipeline.collect.rounds import Stand
from pipeline.core.errors import Code
from pipeline.core.identity import event_key, partition_of
from pipeline.simulate.log import Kept
from pipeline.simulate.raw import RawKept
from pipeline.simulate.story import Sent
from pipeline.simulate.witness import Name, name_of

Fault = tuple[str, str]
"""(law, detail)."""


def collection_faults(
    topic: Sequence[Sequence[RawKept]],
    stands: Mapping[int, Stand],
    log: Sequence[Sequence[Kept]],
    packed: Mapping[bytes, Sent],
    letters: Collection[DeadLetter],
) -> Iterator[Fault]:
    """Yield what was lost, made up, or counted otherwise; `packed` is what collectors sent."""
    for partition, messages in enumerate(topic):
        readable = sum(each.event is not None for each in messages)
        must = Stand(partition, len(messages) - 1, readable, len(messages) - readable)
        told = stands.get(partition, Stand(partition))
        if told != must:
            yield "collected", f"{told} must be {must}"
    there = {
        (number, name)
        for number, records in enumerate(log)
        for record in records
        if record.value in packed
        for name in _names(packed[record.value])
    }
    sent = {_home(each, len(log)) for messages in topic for each in messages if each.event}
    for number, (key, payload, _) in sorted(sent - there, key=str):
        yield "collected", f"partition {number} lacks {key.hex()}: {payload}"
    for number, (key, payload, _) in sorted(there - sent, key=str):
        yield "collected", f"nobody sent {key.hex()}: {payload}, partition {number} has it"
    yield from _letters(topic, letters)


def _names(sent: Sent) -> Iterable[Name]:
    return map(name_of, sent.keys, sent.events)


def _home(kept: RawKept, partitions: int) -> tuple[int, Name]:
    event = kept.event
    assert event is not None
    key = event_key(event.customer, event.source, event.id)
    return partition_of(event.customer, partitions), name_of(key, event)


def _letters(topic: Sequence[Sequence[RawKept]], letters: Iterable[DeadLetter]) -> Iterator[Fault]:
    """Yield unreadable messages that no letter tells of as they were, and letters about others."""
    told: dict[tuple[int, int], DeadLetter] = {}
    for letter in letters:
        place = letter.partition, letter.offset
        if told.setdefault(place, letter) != letter:
            yield "letters", f"raw {place} has two different letters"
    for partition, messages in enumerate(topic):
        for offset, kept in enumerate(messages):
            found = told.pop((partition, offset), None)
            if (kept.event is None) != (found is not None):
                yield "letters", f"raw {partition}/{offset}: told {found}, meant {kept.event}"
            elif found is not None and not _as_it_was(found, kept):
                yield "letters", f"raw {partition}/{offset} is told otherwise than it was"
    for place in told:
        yield "letters", f"raw {place} is told of, and was never sent"


def _as_it_was(letter: DeadLetter, kept: RawKept) -> bool:
    counts = [each.event_count for each in letter.refusals]
    late = any(each.rejection.code is Code.LATE for each in letter.refusals)
    same = letter.message == (kept.value or b"") and [*letter.headers] == [*kept.headers]
    return same and counts == [1] and not late
