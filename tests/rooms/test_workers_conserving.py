"""The equation as a line in the log."""

from structlog.testing import capture_logs

from pipeline.replay.audit import Conservation
from pipeline.workers.conserving import say

CLOSED = Conservation(0, 10, 4, 1, 1, 1, 1, 2)
OPEN = Conservation(1, 10, 4, 1, 1, 1, 1, 1)


def test_it_says_the_seven_totals_and_that_they_close() -> None:
    with capture_logs() as said:
        say({0: CLOSED})

    (line,) = said
    assert (line["event"], line["log_level"], line["closed"]) == ("conservation", "info", True)
    assert (line["offered"], line["billed"], line["pending"]) == (10, 4, 2)


def test_an_open_equation_is_an_error_that_names_the_partitions() -> None:
    with capture_logs() as said:
        say({0: CLOSED, 1: OPEN})

    (line,) = said
    assert (line["log_level"], line["closed"], line["partitions"]) == ("error", False, [1])
