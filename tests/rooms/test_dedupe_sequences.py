"""Sequences, told as stories: ranges in the order they came, and what became of each."""

import pytest

from pipeline.dedupe.claims import Verdict
from pipeline.dedupe.sequences import SequenceRange, SequenceState, judge_range

FRESH, DUPLICATE, CONFLICT = Verdict.FRESH, Verdict.DUPLICATE, Verdict.CONFLICT

Row = tuple[int, int, str]
"""First place, count, content."""

STORIES: list[tuple[str, list[Row], list[Verdict], int, list[tuple[int, int]]]] = [
    ("in order", [(0, 3, "x"), (3, 2, "y")], [FRESH, FRESH], 5, []),
    ("resent", [(0, 3, "x"), (0, 3, "x")], [FRESH, DUPLICATE], 3, []),
    ("other content", [(0, 3, "x"), (0, 3, "z")], [FRESH, CONFLICT], 3, []),
    ("a jump", [(2, 3, "x")], [FRESH], 5, [(0, 2)]),
    ("a jump filled", [(2, 3, "x"), (0, 2, "y")], [FRESH, FRESH], 5, []),
    ("filled from the middle", [(9, 1, "x"), (3, 2, "y")], [FRESH, FRESH], 10, [(0, 3), (5, 9)]),
    ("filled and resent", [(2, 1, "x"), (0, 2, "y"), (0, 2, "y")],
     [FRESH, FRESH, DUPLICATE], 3, []),
    ("filled and forged", [(2, 1, "x"), (0, 2, "y"), (0, 2, "z")], [FRESH, FRESH, CONFLICT], 3, []),
    ("cut another way", [(0, 4, "x"), (0, 2, "y")], [FRESH, DUPLICATE], 4, []),
    ("over the end", [(0, 4, "x"), (3, 2, "y")], [FRESH, CONFLICT], 4, []),
    ("over a gap's edge", [(4, 2, "x"), (3, 2, "y")], [FRESH, CONFLICT], 6, [(0, 4)]),
    ("over a whole gap", [(0, 1, "x"), (3, 1, "y"), (0, 4, "z")],
     [FRESH, FRESH, CONFLICT], 4, [(1, 3)]),
    ("a heartbeat", [(0, 0, "")], [FRESH], 0, []),
    ("a heartbeat tells a lost tail", [(0, 2, "x"), (5, 0, "")], [FRESH, FRESH], 5, [(2, 5)]),
    ("an old heartbeat", [(0, 4, "x"), (2, 0, "")], [FRESH, FRESH], 4, []),
    ("lost tail comes after all", [(0, 2, "x"), (5, 0, ""), (2, 3, "y")],
     [FRESH, FRESH, FRESH], 5, []),
    ("a huge jump", [(2**61, 1, "x")], [FRESH], 2**61 + 1, [(0, 2**61)]),
]  # fmt: skip


def seen(first: int, count: int, content: str, *, end: bool = False) -> SequenceRange:
    return SequenceRange("host-1", "e1", first, count, content.encode() * 16, end)


@pytest.mark.parametrize(
    ("told", "expected", "following", "gaps"),
    [story[1:] for story in STORIES],
    ids=[story[0] for story in STORIES],
)
def test_a_story(
    told: list[Row], expected: list[Verdict], following: int, gaps: list[tuple[int, int]]
) -> None:
    state, verdicts = SequenceState(), []
    for row in told:
        verdict, state = judge_range(state, seen(*row))
        verdicts.append(verdict)

    assert verdicts == expected
    assert (state.next, list(state.gaps)) == (following, gaps)


def test_the_end_of_an_epoch_stays_said() -> None:
    _, state = judge_range(SequenceState(), seen(5, 0, "", end=True))
    _, late = judge_range(state, seen(0, 5, "x"))

    assert (state.ended, state.gaps) == (True, ((0, 5),))
    assert (late.ended, late.gaps) == (True, ())


def test_a_gap_remembers_when_it_first_showed() -> None:
    state = SequenceState()
    for log_time, row in [(7, (4, 1, "x")), (8, (10, 0, "")), (9, (1, 2, "y")), (9, (6, 1, "z"))]:
        _, state = judge_range(state, seen(*row), log_time)

    assert list(zip(state.gaps, state.since, strict=True)) == [
        ((0, 1), 7),
        ((3, 4), 7),
        ((5, 6), 8),
        ((7, 10), 8),
    ]


@pytest.mark.parametrize("row", [(0, 3, "x"), (0, 2, "y"), (2, 2, "y")])
def test_what_is_not_fresh_changes_no_state(row: Row) -> None:
    _, state = judge_range(SequenceState(), seen(0, 3, "x"))
    verdict, after = judge_range(state, seen(*row))

    assert verdict is not FRESH
    assert after == state


def test_a_booked_batch_is_remembered_with_its_offset_and_a_conflict_is_not() -> None:
    state = SequenceState()
    for offset, row in [(7, (2, 2, "x")), (9, (0, 2, "y")), (12, (0, 2, "z"))]:
        _, state = judge_range(state, seen(*row), offset=offset)

    assert [(each.first, each.event_count, each.offset) for each in state.recent] == [
        (2, 2, 7),
        (0, 2, 9),
    ]
