"""The chain of slices: what is missing is named, and only what is missing."""

import pytest

from pipeline.replay.chain import ChainGap, chain_gap, log_gap


@pytest.mark.parametrize(
    ("came", "missing"),
    [
        ([], None),
        ([5, 6, 7], None),
        ([3, 4, 5, 3, 4, 5, 6], None),
        ([7], (5, 6)),
        ([5, 8, 9], (6, 7)),
        ([8, 9, 5], (6, 7)),
        ([7, 8, 5, 6], None),
        ([7, 8, 5, 6, 7, 8], None),
        ([7, 12, 5, 6, 7], (8, 11)),
        ([9, 7, 5], (6, 6)),
    ],
    ids=[
        "nothing came",
        "one after the other",
        "repeats",
        "a first one too early",
        "a gap",
        "what is behind the gap came first",
        "filled, what is behind comes again",
        "filled, and all of it again",
        "a second gap behind a filled one",
        "the lowest that came bounds it",
    ],
)
def test_the_first_gap_behind_offset_4(came: list[int], missing: tuple[int, int] | None) -> None:
    expected = missing and ChainGap(0, *missing)

    assert chain_gap(0, 5, came) == expected


@pytest.mark.parametrize(
    ("booked", "first", "end", "lost"),
    [
        (-1, 0, 0, None),
        (9, 0, 10, None),
        (9, 0, 30, None),
        (9, 10, 30, None),
        (9, 12, 30, (10, 11)),
        (9, 0, 7, (7, 9)),
        (-1, 3, 5, (0, 2)),
    ],
    ids=[
        "an empty log",
        "all booked",
        "more to book",
        "retention up to the books",
        "retention ahead of the books",
        "a log cut off below the books",
        "a log without its beginning",
    ],
)
def test_what_the_log_itself_lost(
    booked: int, first: int, end: int, lost: tuple[int, int] | None
) -> None:
    expected = lost and ChainGap(3, *lost, lost=True)

    assert log_gap(3, booked, first, end) == expected


def test_gaps_overlap_where_an_offset_is_missing_in_both() -> None:
    gap = ChainGap(1, 5, 9)

    assert gap.overlaps(ChainGap(1, 9, 12))
    assert not gap.overlaps(ChainGap(1, 10, 12))
    assert not gap.overlaps(ChainGap(2, 5, 9))
