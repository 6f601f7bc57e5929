"""What the auditor of the simulation demands of reversals that wait."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from builders import usage
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, Instant
from pipeline.simulate.decisions import HORIZON_S, TOLERANCE_S
from pipeline.simulate.returns import Returns
from pipeline.simulate.witness import Counted, Witness, generation_of

WIDTH = (HORIZON_S + TOLERANCE_S) * SECOND
BORDER = 1_000 * WIDTH
"""Where a generation of claims begins."""
BEFORE = BORDER - 3 * SECOND


def counted(event: UsageEvent, offset: int, came: Instant) -> Counted:
    return Counted(0, offset, 0, event, b"key", generation_of(came))


def faults(event: UsageEvent, came: Instant, reversal: UsageEvent) -> Sequence[str]:
    """Return what is wrong in a world where nothing was matched."""
    witness = Witness(1, {}, {}, {}, ())
    witness.counted.append(counted(event, 3, came))
    witness.reversals.append(counted(reversal, 5, BORDER))
    return Returns(witness).faults


@pytest.mark.parametrize(
    ("what", "time", "value", "owed"),
    [
        ("what its original told", BEFORE, "1", True),
        ("another value", BEFORE, "2", True),
        ("a time that comes as soon", BEFORE + SECOND, "2", True),
        ("a time that comes a generation later", BEFORE + 10 * SECOND, "2", False),
        ("a time long before", BEFORE - WIDTH, "2", True),
    ],
)
def test_a_reversal_must_be_matched_where_its_original_is_looked_for(
    what: str, time: Instant, value: str, *, owed: bool
) -> None:
    event = usage(value="1", time=BEFORE)
    told = usage(value=value, time=time)

    found = faults(event, BEFORE, replace(told, reversed_at=BORDER))

    assert bool(found) is owed, what


def test_usage_that_came_later_than_it_could_is_looked_for_all_the_same() -> None:
    """It may be sent again long after its time."""
    event, told = usage(value="1", time=BEFORE), usage(value="2", time=BEFORE + 10 * SECOND)

    assert faults(event, BORDER, replace(told, reversed_at=BORDER))
