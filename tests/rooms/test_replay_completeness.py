"""What a producer never delivered is told range by range, and since when."""

from pipeline.dedupe.sequences import SequenceState
from pipeline.replay.completeness import Incomplete, incomplete

SINCE = 1_750_000_000_000_000


def test_only_producers_with_something_missing_are_told() -> None:
    sequences = {
        (0, ("host-1", "e1")): SequenceState(next=10),
        (2, ("host-1", "e1")): SequenceState(10, ((3, 4), (7, 10)), since=(SINCE, SINCE + 1)),
        (2, ("host-2", "e9")): SequenceState(1, ((0, 1),), ended=True, since=(0,)),
    }

    assert list(incomplete(sequences)) == [
        Incomplete(2, "host-1", "e1", ((3, 3), (7, 9)), SINCE, ended=False),
        Incomplete(2, "host-2", "e9", ((0, 0),), 0, ended=True),
    ]


def test_it_is_told_with_both_ends() -> None:
    one = Incomplete(2, "host-1", "e1", ((3, 3), (7, 9)), SINCE, ended=True)

    assert one.json() == {
        "producer": "host-1",
        "epoch": "e1",
        "partition": 2,
        "missing": [[3, 3], [7, 9]],
        "events": 4,
        "since": "2025-06-15T15:06:40Z",
        "ended": True,
    }
    assert str(one) == (
        "producer host-1 (epoch e1) misses 4 events of partition 2 since 2025-06-15T15:06:40Z:"
        " 3, 7 to 9; it closed this epoch"
    )


def test_many_ranges_are_cut_short_for_a_person() -> None:
    ranges = tuple((n, n) for n in range(0, 20, 2))

    assert str(Incomplete(0, "p", "e", ranges, 0, ended=False)).endswith(
        "of partition 0: 0, 2, 4, 6, 8, and 5 ranges more"
    )
