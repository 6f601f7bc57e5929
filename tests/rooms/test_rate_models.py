"""Every price model on a table of worked cases, as the field knows them.

The cases follow the documentation and suites of peers (Stripe's tiers, OpenMeter's graduated,
volume and package prices with commitments, Lago's percentages, Kill Bill's prorations); where a
peer disagrees with RATING.md the number here is RATING's and the comment says so.
"""

from fractions import Fraction

import pytest

from pipeline.rate import FlatPrice, Rated, RatingInput, rate
from rooms.test_rate_rules import Object, ask, events, rows

STRIPE: Object = {
    "tiers": [
        {"up_to": "5", "unit_amount": "5"},
        {"up_to": "10", "unit_amount": "4"},
        {"up_to": "15", "unit_amount": "3"},
        {"up_to": "20", "unit_amount": "2"},
        {"unit_amount": "1"},
    ]
}


@pytest.mark.parametrize(
    ("quantity", "graduated", "volume"),
    [
        ("1", "5.00", "5.00"),
        ("5", "25.00", "25.00"),
        ("6", "29.00", "24.00"),
        ("20", "70.00", "40.00"),
        ("25", "75.00", "25.00"),
    ],
)
def test_stripe_tiers(quantity: str, graduated: str, volume: str) -> None:
    assert ask({"type": "graduated", **STRIPE}, quantity)["amount"] == graduated
    assert ask({"type": "volume", **STRIPE}, quantity)["amount"] == volume


@pytest.mark.parametrize(
    ("quantity", "amount"), [("0", "10.00"), ("5", "35.00"), ("6", "49.00"), ("10", "65.00")]
)
def test_stripe_tiers_with_fees(quantity: str, amount: str) -> None:
    # 10 + 5 each up to 5, then 10 + 4 each: 6 -> 35 + 10 + 4, 10 -> 35 + 10 + 20
    tiers = [
        {"up_to": "5", "unit_amount": "5", "flat_amount": "10"},
        {"unit_amount": "4", "flat_amount": "10"},
    ]
    assert ask({"type": "graduated", "tiers": tiers}, quantity)["amount"] == amount


OPENMETER: Object = {
    "type": "graduated",
    "tiers": [
        {"up_to": "5", "flat_amount": "100"},
        {"up_to": "10", "flat_amount": "50"},
        {"up_to": "15", "unit_amount": "5"},
        {"unit_amount": "1"},
    ],
}


@pytest.mark.parametrize(
    ("case", "lines"),
    [
        # a tier without a unit amount prices its units at 0 (OpenMeter leaves that line out)
        (
            {"quantity": "1", "pre_line_quantity": "7", "line_position": "mid"},
            ["usage 1 x 0 = 0.00"],
        ),
        ({"quantity": "0", "line_position": "last"}, []),
        (
            {"quantity": "22"},
            [
                "usage 5 x 0 = 0.00",
                "flat 1 x 100 = 100.00",
                "usage 5 x 0 = 0.00",
                "flat 1 x 50 = 50.00",
                "usage 5 x 5 = 25.00",
                "usage 7 x 1 = 7.00",
            ],
        ),
        (
            {"quantity": "10", "pre_line_quantity": "12"},
            ["usage 3 x 5 = 15.00", "usage 7 x 1 = 7.00"],
        ),
        # the fee of 100 was billed by an earlier line
        (
            {"quantity": "0", "line_position": "last", "minimum": "1000"},
            ["minimum 1 x 900 = 900.00"],
        ),
        (
            {
                "quantity": "0",
                "pre_line_quantity": "2",
                "line_position": "last",
                "minimum": "1000",
                "previously_billed_amount": "100",
            },
            ["minimum 1 x 900 = 900.00"],
        ),
        (
            {"quantity": "0", "pre_line_quantity": "2", "line_position": "mid", "minimum": "1000"},
            [],
        ),
        # 100 + 50 + 2 x 5 were billed, 10 are left up to 170
        (
            {
                "quantity": "10",
                "pre_line_quantity": "12",
                "line_position": "mid",
                "maximum": "170",
                "previously_billed_amount": "160",
            },
            ["usage 3 x 5 = 15.00 - 5.00 = 10.00", "usage 7 x 1 = 7.00 - 7.00 = 0.00"],
        ),
    ],
)
def test_openmeter_graduated(case: Object, lines: list[str]) -> None:
    assert rows(ask(OPENMETER, **case)) == lines


@pytest.mark.parametrize(
    ("quantity", "more", "lines"),
    [
        ("5", {}, ["usage 5 x 0 = 0.00", "flat 1 x 100 = 100.00"]),
        ("7", {}, ["usage 7 x 0 = 0.00", "flat 1 x 150 = 150.00"]),
        ("12", {}, ["usage 12 x 10 = 120.00"]),
        ("22", {}, ["usage 22 x 5 = 110.00"]),
        ("0", {"minimum": "120"}, ["flat 1 x 100 = 100.00", "minimum 1 x 20 = 20.00"]),
        (
            "7",
            {"maximum": "125"},
            ["usage 7 x 0 = 0.00", "flat 1 x 150 = 150.00 - 25.00 = 125.00"],
        ),
    ],
)
def test_openmeter_volume(quantity: str, more: Object, lines: list[str]) -> None:
    tiers: list[Object] = [
        {"up_to": "5", "flat_amount": "100"},
        {"up_to": "10", "flat_amount": "150"},
        {"up_to": "15", "unit_amount": "10"},
        {"unit_amount": "5"},
    ]
    assert rows(ask({"type": "volume", "tiers": tiers}, quantity, **more)) == lines


@pytest.mark.parametrize(
    ("before", "quantity", "position", "more", "lines"),
    [
        ("0", "0", "single", {}, []),
        ("0", "0", "single", {"minimum": "100"}, ["minimum 1 x 100 = 100.00"]),
        ("0", "0", "mid", {"minimum": "100"}, []),
        ("0", "0", "last", {"minimum": "100"}, ["minimum 1 x 100 = 100.00"]),
        ("0", "10", "mid", {}, ["usage 1 x 15 = 15.00"]),
        ("0", "5", "mid", {}, ["usage 1 x 15 = 15.00"]),
        ("17", "5", "mid", {}, ["usage 1 x 15 = 15.00"]),
        ("17", "3", "mid", {}, []),
        ("60", "50", "mid", {"maximum": "100"}, ["usage 5 x 15 = 75.00 - 65.00 = 10.00"]),
    ],
)
def test_openmeter_package(
    before: str, quantity: str, position: str, more: Object, lines: list[str]
) -> None:
    price: Object = {"type": "package", "package_size": "10", "package_amount": "15"}
    answer = ask(price, quantity, pre_line_quantity=before, line_position=position, **more)
    assert rows(answer) == lines


LAGO = {"type": "percentage", "rate_percent": "1.3", "fixed_per_event": "2"}
LAGO_PAID = events("50", "100", "250", "400")
LAGO_BOUNDS = {"rate_percent": "2.99", "per_event_minimum": "1.75", "per_event_maximum": "12"}


@pytest.mark.parametrize(
    ("price", "paid", "amount"),
    [
        # free: 50 and 100 whole and 100 of the third: (800 - 250) x 1.3 percent + 2 x 2
        ({"free_events": "3", "free_amount": "250"}, LAGO_PAID, "11.15"),
        ({"free_amount": "250"}, LAGO_PAID, "11.15"),
        # three events free: 400 x 1.3 percent + 2
        ({"free_events": "3"}, LAGO_PAID, "7.20"),
        # 500 would be free, the count ends it after 400
        ({"free_events": "3", "free_amount": "500"}, LAGO_PAID, "7.20"),
        ({}, LAGO_PAID, "18.40"),
        ({"rate_percent": "0"}, LAGO_PAID, "8.00"),
        ({"free_events": "5"}, events("50", "100", "250"), "0.00"),
        ({"rate_percent": "2.9", "fixed_per_event": "0"}, events("1", "1", "1", "1"), "0.12"),
        # 1.75 + 2.392 + 12, with the fee 2.299 + 4.392 + 12
        ({**LAGO_BOUNDS, "fixed_per_event": "0"}, events("10", "80", "10000"), "16.14"),
        (LAGO_BOUNDS, events("10", "80", "10000"), "18.69"),
        ({**LAGO_BOUNDS, "free_events": "2"}, events("10", "80", "10000"), "12.00"),
        # (10 + 80 - 30) x 0.0299 = 1.794, + 12
        (
            {**LAGO_BOUNDS, "fixed_per_event": "0", "free_amount": "30"},
            events("10", "80", "10000"),
            "13.79",
        ),
        # (10090 - 10000) x 0.0299 = 2.691
        (
            {**LAGO_BOUNDS, "fixed_per_event": "0", "free_events": "3", "free_amount": "10000"},
            events("10", "80", "10000"),
            "2.69",
        ),
    ],
)
def test_lago_percentage(price: Object, paid: Object, amount: str) -> None:
    assert ask({**LAGO, **price}, **paid)["amount"] == amount


@pytest.mark.parametrize(
    ("money", "lines"),
    [
        ("0", ["flat 1 x 200 = 200.00"]),
        ("1", ["usage 1 x 0.01 = 0.01", "flat 1 x 200 = 200.00"]),
        ("10", ["usage 10 x 0.01 = 0.10", "flat 1 x 200 = 200.00"]),
        (
            "21",
            [
                "usage 10 x 0.01 = 0.10",
                "flat 1 x 200 = 200.00",
                "usage 10 x 0.02 = 0.20",
                "flat 1 x 300 = 300.00",
                "usage 1 x 0.03 = 0.03",
                "flat 1 x 400 = 400.00",
            ],
        ),
    ],
)
def test_lago_graduated_percentage(money: str, lines: list[str]) -> None:
    tiers: list[Object] = [
        {"up_to": "10", "flat_amount": "200", "rate_percent": "1"},
        {"up_to": "20", "flat_amount": "300", "rate_percent": "2"},
        {"flat_amount": "400", "rate_percent": "3"},
    ]
    assert rows(ask({"type": "graduated_percentage", "tiers": tiers}, money)) == lines


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
