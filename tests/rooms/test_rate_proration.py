"""Fees prorated by elapsed time, in zones whose clocks change.

The price models themselves are held to the worked cases of peers (test_peers.py).
"""

from fractions import Fraction

import pytest

from pipeline.rate import FlatPrice, Rated, RatingInput, rate
from rooms.test_rate_rules import ask


@pytest.mark.parametrize(
    ("zone", "start", "end", "first", "last", "amount"),
    [
        # a month of 31 days: 15 of them
        ("UTC", "2024-01-01", "2024-02-01", "2024-01-17", "2024-02-01", "15.00"),
        # spring: 31 days of which one lasts 23 hours; 743 h; 22 days and that hour less
        ("Europe/Berlin", "2024-03-01", "2024-04-01", "2024-03-10", "2024-04-01", "21.99"),
        # autumn: 745 h; the last 5 days, 121 h with the long Sunday: 31 x 121 / 745
        ("Europe/Berlin", "2024-10-01", "2024-11-01", "2024-10-27", "2024-11-01", "5.03"),
        # no change of clocks: 5 of 31
        ("Asia/Kolkata", "2024-10-01", "2024-11-01", "2024-10-27", "2024-11-01", "5.00"),
        # Lord Howe moves by half an hour: 30 days of April, 720.5 h; the first 7 of 168.5 h
        ("Australia/Lord_Howe", "2024-04-01", "2024-05-01", "2024-04-01", "2024-04-08", "7.25"),
        # Samoa skipped 2011-12-30: December had 30 days; two dates later is one day later
        ("Pacific/Apia", "2011-12-01", "2012-01-01", "2011-12-29", "2011-12-31", "1.03"),
        # a leap day: 29 days of February
        ("UTC", "2024-02-01", "2024-03-01", "2024-02-28", "2024-03-01", "2.14"),
    ],
)
def test_a_fee_of_31_prorated_by_elapsed_time(
    zone: str, start: str, end: str, first: str, last: str, amount: str
) -> None:
    proration = {
        "period_start": start,
        "period_end": end,
        "service_start": first,
        "service_end": last,
        "time_zone": zone,
    }
    assert ask({"type": "flat", "amount": "31"}, proration=proration)["amount"] == amount


def test_the_pipeline_gives_the_share_itself() -> None:
    rated = rate(RatingInput("EUR", FlatPrice(Fraction(10)), proration=Fraction(1, 3)))
    assert isinstance(rated, Rated)
    assert [line.component.text for line in rated.lines] == ["flat"]
    assert rated.amount_minor == 333
    assert rated.amount.text == "3.33"
