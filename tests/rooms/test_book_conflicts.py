"""Conflicts of sequences: what the letter of a second batch says, event by event."""

import pytest

from builders import T0, TICK_1
from pipeline.book.conflicts import SequenceConflict, taken_at
from pipeline.collect.letters import SEQUENCE_PATH, DeadLetter
from pipeline.core.errors import Code
from pipeline.dedupe.sequences import Remembered, SequenceRange

FIRST, NEXT = Remembered(0, 4, b"x" * 16, 40), Remembered(4, 2, b"y" * 16, 44)
FORGOTTEN = Remembered(6, 3, b"z" * 16)
Told = list[tuple[list[int], int | None]]
"""Places in the batch, and the offset they name (None: nobody knows it)."""

CASES: list[tuple[str, tuple[int, int], list[int], Told]] = [
    ("all of one batch", (0, 4), [0, 1, 2, 3], [([0, 1, 2, 3], 40)]),
    ("over two batches", (2, 4), [0, 1, 2, 3], [([0, 1], 40), ([2, 3], 44)]),
    ("beyond the end", (5, 3), [0, 1, 2], [([0], 44), ([1, 2], None)]),
    ("booked before offsets were kept", (6, 3), [0, 2], [([0, 2], None)]),
    ("only events that nothing else refused", (0, 4), [1], [([1], 40)]),
]


@pytest.mark.parametrize(("places", "indexes", "told"), [c[1:] for c in CASES],
                         ids=[c[0] for c in CASES])  # fmt: skip
def test_each_event_names_what_took_its_place(
    places: tuple[int, int], indexes: list[int], told: Told
) -> None:
    seen = SequenceRange("host-1", "e1", *places, b"!" * 16)
    conflict = SequenceConflict(50, TICK_1, T0, seen, [FIRST, NEXT, FORGOTTEN])

    refusals = conflict.refusals(indexes)

    assert [([*one.indexes], taken_at(one.rejection.message)) for one in refusals] == told
    assert sum(one.event_count for one in refusals) == len(indexes)
    assert {(one.rejection.code, one.rejection.path) for one in refusals} == {
        (Code.CONFLICT, SEQUENCE_PATH)
    }
    assert DeadLetter("usage.events.v1", 0, 50, T0, refusals, b"").by_books
