"""The gate: late and future by log time, to the microsecond; generations of claims."""

import numpy as np
import pytest

from builders import GATE, HOUR, MINUTE, T0
from pipeline.collect.gate import Gate

SMALL = Gate(horizon=100, tolerance=10)


@pytest.mark.parametrize(
    ("event_time", "late", "future"),
    [
        (899, True, False),
        (900, False, False),  # exactly at the horizon: in time
        (901, False, False),
        (1000, False, False),
        (1010, False, False),  # exactly at the tolerance: in time
        (1011, False, True),
        (-(2**62), True, False),
        (2**62, False, True),
    ],
)
def test_an_event_against_log_time_1000(event_time: int, late: bool, future: bool) -> None:
    times = np.array([event_time], dtype="<i8")

    assert SMALL.late(times, 1000).tolist() == [late]
    assert SMALL.future(times, 1000).tolist() == [future]


@pytest.mark.parametrize(
    ("log_time", "generation"), [(0, 0), (109, 0), (110, 1), (219, 1), (220, 2)]
)
def test_a_generation_is_as_wide_as_horizon_and_tolerance(log_time: int, generation: int) -> None:
    assert SMALL.generation(log_time) == generation


def test_the_default_width() -> None:
    assert GATE.generation_width == 72 * HOUR + 5 * MINUTE
    assert GATE.generation(T0 + GATE.generation_width) == GATE.generation(T0) + 1
