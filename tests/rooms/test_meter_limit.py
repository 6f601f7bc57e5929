"""The stop limit: a share of the last events of a partition, in whole messages."""

from decimal import Decimal

import pytest

from pipeline.collect.limits import BATCH_EVENTS_MAX
from pipeline.meter.limit import RejectWindow
from pipeline.meter.slices import Counts

BAD = Counts(offered=10, rejected=10)
GOOD = Counts(offered=10, fresh=10)
HALF = Counts(offered=10, fresh=5, rejected=5)
LATE = Counts(offered=10, late=6, conflict=3, duplicate=1)
TICK = Counts()
LIAR = Counts(offered=999_999_999, rejected=999_999_999)


@pytest.mark.parametrize(
    ("messages", "first_exceeded"),
    [
        ([BAD] * 9, None),  # no full window yet
        ([BAD] * 10, 9),
        ([HALF] * 30, None),  # exactly the share is allowed
        ([HALF] * 10 + [BAD], 10),
        ([GOOD] * 50 + [BAD] * 5, None),
        ([GOOD] * 50 + [BAD] * 6, 55),
        ([BAD] * 5 + [GOOD] * 50 + [BAD] * 5, None),  # the first ones are out of the window
        ([LATE] * 50, None),  # neither is anybody's mistake
        ([TICK] * 500 + [BAD] * 9 + [TICK] * 500, None),  # ticks are no events
        ([TICK] * 500 + [BAD] * 10, 509),
    ],
)
def test_more_than_half_of_the_last_hundred(
    messages: list[Counts], first_exceeded: int | None
) -> None:
    window = RejectWindow(Decimal("0.5"), 100)
    told = [window.exceeded_by(counts) for counts in messages]

    assert next((at for at, exceeded in enumerate(told) if exceeded), None) == first_exceeded


def test_a_header_that_lies_weighs_no_more_than_a_batch() -> None:
    window = RejectWindow(Decimal("0.5"), 10_000)
    for _ in range(1000):
        assert not window.exceeded_by(GOOD)

    assert not window.exceeded_by(LIAR)
    assert window.rejected == BATCH_EVENTS_MAX


def test_a_share_of_one_never_stops() -> None:
    window = RejectWindow(Decimal(1), 10)

    assert not any(window.exceeded_by(BAD) for _ in range(100))
