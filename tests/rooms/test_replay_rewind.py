"""A rewind goes back and never ahead; its proof is that counts grew by what arrived."""

from dataclasses import replace

import pytest

from pipeline.core.errors import BadInput
from pipeline.meter.slices import Counts
from pipeline.replay.rewind import Rewound, Target, target

BOOKED = 20
BEFORE = Counts(offered=10, fresh=5, duplicate=2, conflict=1, late=1, rejected=1)


@pytest.mark.parametrize("wanted", [3, 10, BOOKED, BOOKED + 1])
def test_a_target_lies_in_the_log_and_not_ahead_of_the_books(wanted: int) -> None:
    assert target(0, wanted, first=3, booked=BOOKED) == Target(0, wanted, BOOKED)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [(BOOKED + 2, "22 lies ahead of the books"), (2, "the log begins at 3, 2 is gone")],
)
def test_any_other_is_refused(wanted: int, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        target(0, wanted, first=3, booked=BOOKED)


def test_as_many_are_read_again_as_the_books_have() -> None:
    assert Target(0, 15, BOOKED).behind == 6
    assert Target(0, BOOKED + 1, BOOKED).behind == 0


@pytest.mark.parametrize(
    ("after", "arrived", "unmoved"),
    [
        (BEFORE, 0, True),
        (BEFORE + Counts(offered=3, fresh=1, duplicate=2), 3, True),
        (BEFORE + Counts(offered=3, fresh=3), 0, False),
        (replace(BEFORE, fresh=6), 0, False),
        (replace(BEFORE, fresh=6, duplicate=1), 0, False),
        (BEFORE, 3, False),
    ],
    ids=[
        "nothing arrived",
        "what arrived was booked",
        "booked twice",
        "one outcome too many",
        "an outcome changed",
        "what arrived was not booked",
    ],
)
def test_unmoved_means_grown_by_what_arrived(after: Counts, arrived: int, unmoved: bool) -> None:
    assert Rewound(Target(0, 5, BOOKED), BEFORE, after, arrived).unmoved is unmoved
