"""RATING.md, rules 26 to 38: adjustments, proration, allocation; worked out by hand."""

import pytest

from rooms.test_rate_rules import (
    ONE_EACH,
    SERVED,
    THREE_TIERS,
    Object,
    amount,
    ask,
    error,
    events,
    fixed,
    percents,
    rows,
    shares,
)

HUNDRED: Object = {"type": "flat", "amount": "100"}
TWO_LINES: Object = {
    "type": "graduated",
    "tiers": [{"up_to": "1", "unit_amount": "10"}, {"unit_amount": "5"}],
}


def test_rule_26_percentages_first_each_on_what_is_left_then_fixed() -> None:
    # 100 - 10 = 90, less 50 percent = 45, less 5 = 40; the input order of kinds is nothing
    halves = percents("10", "50")
    for discounts in (
        halves + fixed("5"),
        fixed("5") + halves,
        [halves[0], *fixed("5"), halves[1]],
    ):
        assert rows(ask(HUNDRED, discounts=discounts)) == ["flat 1 x 100 = 100.00 - 60.00 = 40.00"]


def test_rule_26_percentages_keep_their_order() -> None:
    # 12 percent of 0.08 is 0.01, left 0.07; 35 percent of that 0.02, left 0.05
    # 35 percent of 0.08 is 0.03, left 0.05; 12 percent of that 0.01, left 0.04
    eight: Object = {"type": "flat", "amount": "0.08"}
    assert amount(eight, discounts=percents("12", "35")) == "0.05"
    assert amount(eight, discounts=percents("35", "12")) == "0.04"


def test_rule_27_a_percentage_is_rounded_on_the_sum_and_split_by_largest_remainder() -> None:
    # 0.15 + 0.05 = 0.20, 25 percent are 0.05: shares 3.75 and 1.25 cents -> 4 and 1
    price: Object = {
        "type": "graduated",
        "tiers": [{"up_to": "1", "unit_amount": "0.15"}, {"unit_amount": "0.05"}],
    }
    assert rows(ask(price, "2", discounts=percents("25"))) == [
        "usage 1 x 0.15 = 0.15 - 0.04 = 0.11",
        "usage 1 x 0.05 = 0.05 - 0.01 = 0.04",
    ]
    # 0.05 + 0.05: 10 percent are 0.01, one line bears it (rounded per line both would)
    even: Object = {
        "type": "graduated",
        "tiers": [{"up_to": "1", "unit_amount": "0.05"}, {"unit_amount": "0.05"}],
    }
    assert rows(ask(even, "2", discounts=percents("10"))) == [
        "usage 1 x 0.05 = 0.05 - 0.01 = 0.04",
        "usage 1 x 0.05 = 0.05",
    ]
    # the second discount is split over what the first left: 0.04 and 0.05
    assert rows(ask(even, "2", discounts=percents("10", "10"))) == [
        "usage 1 x 0.05 = 0.05 - 0.01 = 0.04",
        "usage 1 x 0.05 = 0.05 - 0.01 = 0.04",
    ]


def test_rule_27_a_fixed_discount_is_split_likewise() -> None:
    # 10 + 5: 3.01 is 2.0067 and 1.0033 -> 2.01 and 1.00
    assert rows(ask(TWO_LINES, "2", discounts=fixed("3.01"))) == [
        "usage 1 x 10 = 10.00 - 2.01 = 7.99",
        "usage 1 x 5 = 5.00 - 1.00 = 4.00",
    ]


def test_rule_27_a_line_with_nothing_left_bears_nothing() -> None:
    tiers = [{"up_to": "1"}, {"up_to": "2", "unit_amount": "0.01"}, {"unit_amount": "0.01"}]
    price: Object = {"type": "graduated", "tiers": tiers}
    # 0.00, 0.01, 0.01: half is 0.01; the tie between the last two goes to the first of them
    assert rows(ask(price, "3", discounts=percents("50"))) == [
        "usage 1 x 0 = 0.00",
        "usage 1 x 0.01 = 0.01 - 0.01 = 0.00",
        "usage 1 x 0.01 = 0.01",
    ]
    # and what is left of these is on the third line alone
    assert rows(ask(price, "3", discounts=percents("50") + fixed("0.01")))[2] == (
        "usage 1 x 0.01 = 0.01 - 0.01 = 0.00"
    )


def test_rule_27_negative_lines_are_the_mirror_image() -> None:
    tiers = [{"up_to": "1", "unit_amount": "-0.15"}, {"unit_amount": "-0.05"}]
    price: Object = {"type": "graduated", "tiers": tiers}
    assert rows(ask(price, "2", discounts=percents("25") + fixed("1"), maximum="1")) == [
        "usage 1 x -0.15 = -0.15 - -0.04 = -0.11",
        "usage 1 x -0.05 = -0.05 - -0.01 = -0.04",
    ]
    # 0.50 - 0.15 = 0.35: 10 percent are 0.04, borne by the line that costs something
    tiers = [{"up_to": "1", "unit_amount": "-0.15"}, {"unit_amount": "0.5"}]
    price = {"type": "graduated", "tiers": tiers}
    assert rows(ask(price, "2", discounts=percents("10"), maximum="0.3")) == [
        "usage 1 x -0.15 = -0.15",
        "usage 1 x 0.5 = 0.50 - 0.05 = 0.45",
    ]


def test_rule_27_a_line_that_two_discounts_share_otherwise_than_before_is_no_line() -> None:
    # before, 10 less 8 and the last 2; now 15: of the first line 5.33 and 4.67, of the second
    # 2.67 and 2.33: the first is discounted by 10 as it was
    assert rows(ask(TWO_LINES, "1", pre_line_quantity="1", discounts=fixed("8") + fixed("7"))) == [
        "usage 1 x 5 = 5.00 - 5.00 = 0.00"
    ]


def test_rule_28_a_discount_ends_at_what_is_left() -> None:
    assert rows(ask(HUNDRED, discounts=percents("150"))) == [
        "flat 1 x 100 = 100.00 - 100.00 = 0.00"
    ]
    assert amount(HUNDRED, discounts=percents("90") + fixed("25")) == "0.00"
    assert amount(HUNDRED, discounts=percents("100", "100") + fixed("5")) == "0.00"


def test_rule_29_discounts_are_fields_of_the_line_and_totals_sum_up() -> None:
    answer = ask(TWO_LINES, "3", discounts=percents("10"), maximum="16")
    # 10 + 10 less 2; 18 capped at 16: the last line bears 2 more
    assert rows(answer) == [
        "usage 1 x 10 = 10.00 - 1.00 = 9.00",
        "usage 2 x 5 = 10.00 - 3.00 = 7.00",
    ]
    assert answer["amount"] == "16.00"
    assert set(answer) == {"id", "amount", "lines"}


def test_rule_30_previously_billed_touches_nothing_but_maximum_and_minimum() -> None:
    assert amount(ONE_EACH, "5", previously_billed_amount="99") == "5.00"
    assert amount(ONE_EACH, "5", discounts=fixed("1"), previously_billed_amount="99") == "4.00"
    # absent: what rule 11 bills for the past, here 8 less 1 = 7, so 3 of 10 are left
    assert amount(ONE_EACH, "5", pre_line_quantity="8", discounts=fixed("1"), maximum="10") == (
        "3.00"
    )
    # and 20 - 7 - 5
    assert (
        rows(ask(ONE_EACH, "5", pre_line_quantity="8", discounts=fixed("1"), minimum="20"))[1]
        == "minimum 1 x 8 = 8.00"
    )


@pytest.mark.parametrize(
    ("before", "quantity", "billed_before", "maximum", "lines"),
    [
        # no past: room is maximum less what was billed
        ("0", "50", "70", "100", ["usage 50 x 1 = 50.00 - 20.00 = 30.00"]),
        ("0", "50", "100", "100", ["usage 50 x 1 = 50.00 - 50.00 = 0.00"]),
        ("0", "50", "130", "100", ["usage 50 x 1 = 50.00 - 50.00 = 0.00"]),
        # as billed by rule 11: 60 of 100 used
        ("60", "50", None, "100", ["usage 50 x 1 = 50.00 - 10.00 = 40.00"]),
        ("60", "50", "60", "100", ["usage 50 x 1 = 50.00 - 10.00 = 40.00"]),
        # more was billed than rule 11 says (80 for 60): 20 left
        ("60", "50", "80", "100", ["usage 50 x 1 = 50.00 - 30.00 = 20.00"]),
        # less was billed (30 for 60): 70 left, the line is 50
        ("60", "50", "30", "100", ["usage 50 x 1 = 50.00"]),
        # the past alone is worth more than the maximum
        ("120", "50", None, "100", ["usage 50 x 1 = 50.00 - 50.00 = 0.00"]),
        ("120", "50", "70", "100", ["usage 50 x 1 = 50.00 - 20.00 = 30.00"]),
        # corrections: 150 -> 120 stays at the cap; 150 -> 80 gives 20 back
        ("150", "-30", None, "100", ["usage -30 x 1 = -30.00 - -30.00 = 0.00"]),
        ("150", "-70", None, "100", ["usage -70 x 1 = -70.00 - -50.00 = -20.00"]),
        # 110 billed where the cap is 100: 10 extra leave room of 90, 90 - 80 come back
        ("150", "-70", "110", "100", ["usage -70 x 1 = -70.00 - -60.00 = -10.00"]),
    ],
)
def test_rule_31_maximum(
    before: str, quantity: str, billed_before: str | None, maximum: str, lines: list[str]
) -> None:
    answer = ask(
        ONE_EACH,
        quantity,
        pre_line_quantity=before,
        previously_billed_amount=billed_before,
        maximum=maximum,
    )
    assert rows(answer) == lines


def test_rule_31_lines_use_the_room_in_order() -> None:
    # 4 extra leave room of 15: tier 1 with its fee fills it
    assert rows(ask(THREE_TIERS, "12", maximum="19", previously_billed_amount="4")) == [
        "usage 10 x 1 = 10.00",
        "flat 1 x 5 = 5.00",
        "usage 2 x 0.5 = 1.00 - 1.00 = 0.00",
        "flat 1 x 3 = 3.00 - 3.00 = 0.00",
    ]
    assert rows(ask(THREE_TIERS, "12", maximum="21.5", previously_billed_amount="4"))[2:] == [
        "usage 2 x 0.5 = 1.00",
        "flat 1 x 3 = 3.00 - 1.50 = 1.50",
    ]


def test_rule_31_a_line_of_nothing_is_not_cut() -> None:
    tiers = [{"up_to": "1", "unit_amount": "10"}, {"up_to": "2"}]
    assert rows(ask({"type": "graduated", "tiers": tiers}, "2", maximum="4")) == [
        "usage 1 x 10 = 10.00 - 6.00 = 4.00",
        "usage 1 x 0 = 0.00",
    ]


@pytest.mark.parametrize(
    ("position", "top_up"),
    [
        ("single", ["minimum 1 x 8 = 8.00"]),
        ("last", ["minimum 1 x 8 = 8.00"]),
        ("first", []),
        ("mid", []),
    ],
)
def test_rule_32_the_minimum_is_topped_up_on_the_last_line(
    position: str, top_up: list[str]
) -> None:
    # 20 - 9 billed before - 3 now
    answer = ask(
        ONE_EACH,
        "3",
        pre_line_quantity="9",
        previously_billed_amount="9",
        line_position=position,
        minimum="20",
    )
    assert rows(answer) == ["usage 3 x 1 = 3.00", *top_up]


def test_rule_32_the_minimum_looks_at_the_net_and_never_takes_away() -> None:
    assert rows(ask(ONE_EACH, "10", discounts=percents("50"), minimum="8")) == [
        "usage 10 x 1 = 10.00 - 5.00 = 5.00",
        "minimum 1 x 3 = 3.00",
    ]
    assert rows(ask(ONE_EACH, "10", minimum="8")) == ["usage 10 x 1 = 10.00"]
    assert rows(ask(ONE_EACH, "0", minimum="8")) == ["minimum 1 x 8 = 8.00"]
    # discounts do not touch the top-up
    assert amount(ONE_EACH, "0", minimum="8", discounts=percents("50")) == "8.00"
    # 20 was billed, 5 taken back: 3 up to 18
    assert rows(ask(ONE_EACH, "-5", pre_line_quantity="20", minimum="18")) == [
        "usage -5 x 1 = -5.00",
        "minimum 1 x 3 = 3.00",
    ]


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"minimum": "5", "maximum": "4"}, "minimum_above_maximum minimum"),
        ({"discounts": percents("-1")}, "negative discounts[0].percent"),
        ({"discounts": percents("1") + fixed("-1")}, "negative discounts[1].amount"),
        ({"maximum": "-1"}, "negative maximum"),
        ({"minimum": "-1"}, "negative minimum"),
        ({"usage_discount": "-1"}, "negative usage_discount"),
        ({"pre_line_quantity": "-1"}, "negative pre_line_quantity"),
        (
            {"unit_conversion": {"operation": "divide", "factor": "0"}},
            "not_positive unit_conversion.factor",
        ),
        (
            {"unit_conversion": {"operation": "multiply", "factor": "-1"}},
            "not_positive unit_conversion.factor",
        ),
    ],
)
def test_rule_33_what_makes_no_sense_is_refused(more: Object, found: str) -> None:
    assert error(ONE_EACH, "5", **more) == found


def test_rule_33_prices_and_weights() -> None:
    package: Object = {"type": "package", "package_size": "0", "package_amount": "1"}
    assert error(package, "5") == "not_positive price.package_size"
    block = {"block_size": "-1", "block_amount": "1"}
    assert error({"type": "volume", "tiers": [block]}, "5") == (
        "not_positive price.tiers[0].block_size"
    )
    assert error({"type": "percentage"}, **events("5", "-1")) == "negative per_event_amounts[1]"
    assert error({"type": "percentage"}, "-5", event_count="1") == "negative quantity"
    assert error({"type": "percentage", "rate_percent": "-1"}, "5") == "negative price.rate_percent"
    for key in ("free_amount", "free_events", "per_event_minimum", "per_event_maximum"):
        assert error({"type": "percentage", key: "-1"}, **events("5")) == f"negative price.{key}"
    rate = {"type": "graduated_percentage", "tiers": [{"rate_percent": "-1"}]}
    assert error(rate, "5") == "negative price.tiers[0].rate_percent"
    free = {"type": "package", "package_size": "1", "package_amount": "1", "free_units": "-1"}
    assert error(free, "5") == "negative price.free_units"
    # a credit per unit is a price
    assert amount({"type": "unit", "unit_amount": "-0.5"}, "5") == "-2.50"
    bounds = {"per_event_minimum": "2", "per_event_maximum": "1"}
    assert error({"type": "percentage", **bounds}, **events("5")) == (
        "minimum_above_maximum price.per_event_minimum"
    )
    assert shares("1", "1", "-1") == "negative"
    # equal is fine, and so are zeros
    assert amount(ONE_EACH, "5", minimum="5", maximum="5", discounts=fixed("0")) == "5.00"


# Proration


def served(price: Object, quantity: str, *, more: Object | None = None, **times: str) -> Object:
    return ask(price, quantity, proration={**SERVED, **times}, **(more or {}))


def test_rule_34_the_share_of_the_period_multiplies_each_line_before_its_rounding() -> None:
    # half of the ten days: 2.5 x 1 -> 2.50; a fee of 5 -> 2.50
    assert rows(served(THREE_TIERS, "5")) == ["usage 5 x 1 = 2.50", "flat 1 x 5 = 2.50"]
    # 0.01 x 1/2 = 0.005 -> 0.01 on each of two lines
    cents: Object = {
        "type": "graduated",
        "tiers": [{"up_to": "1", "unit_amount": "0.01"}, {"unit_amount": "0.01"}],
    }
    assert rows(served(cents, "2")) == ["usage 1 x 0.01 = 0.01", "usage 1 x 0.01 = 0.01"]
    # one second of ten days: 864000 x 1/864000
    second = served({"type": "flat", "amount": "864000"}, "1", service_end="2024-01-01T00:00:01")
    assert second["amount"] == "1.00"


def test_rule_35_nothing_else_is_prorated() -> None:
    # 12 units still reach tier 2; discount 1, maximum and minimum stay whole
    assert rows(served(THREE_TIERS, "12", more={"discounts": fixed("1")})) == [
        "usage 10 x 1 = 5.00 - 0.53 = 4.47",
        "flat 1 x 5 = 2.50 - 0.26 = 2.24",
        "usage 2 x 0.5 = 0.50 - 0.05 = 0.45",
        "flat 1 x 3 = 1.50 - 0.16 = 1.34",
    ]
    assert served(ONE_EACH, "100", more={"maximum": "40"})["amount"] == "40.00"
    assert served(ONE_EACH, "100", more={"minimum": "60"})["amount"] == "60.00"
    assert rows(served(ONE_EACH, "100", more={"pre_line_quantity": "1"})) == [
        "usage 100 x 1 = 50.00"
    ]


BERLIN = {"time_zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("times", "billed"),
    [
        # a date is midnight there, so is the bare date-time; 23 hours on 2024-03-31
        ({**BERLIN, "period_start": "2024-03-31", "period_end": "2024-04-01",
          "service_start": "2024-03-31T00:00:00", "service_end": "2024-03-31T01:00:00"}, "1.00"),
        # the same hour by offset and by Z
        ({**BERLIN, "period_start": "2024-03-31", "period_end": "2024-04-01",
          "service_start": "2024-03-31T00:00:00+01:00", "service_end": "2024-03-31T00:00:00Z"},
         "1.00"),
        # 25 hours on 2024-10-27 are not 23, billed 23 x 1/25
        ({**BERLIN, "period_start": "2024-10-27", "period_end": "2024-10-28",
          "service_start": "2024-10-27", "service_end": "2024-10-27T01:00"}, "0.92"),
        # 02:30 is skipped: with the offset before the gap it is 01:30Z, 2.5 h after midnight
        ({**BERLIN, "period_start": "2024-03-31", "period_end": "2024-04-01",
          "service_start": "2024-03-31", "service_end": "2024-03-31T02:30"}, "2.50"),
        # 02:30 comes twice: the earlier one is 2.5 h after midnight, 23 x 2.5 / 25
        ({**BERLIN, "period_start": "2024-10-27", "period_end": "2024-10-28",
          "service_start": "2024-10-27", "service_end": "2024-10-27T02:30:00"}, "2.30"),
        # empty service
        ({"service_end": "2024-01-01"}, "0.00"),
        # all absolute: no zone is asked for; an hour of ten
        ({"time_zone": None, "period_start": "2024-01-01T00:00:00Z",
          "period_end": "2024-01-01T05:00:00-05:00", "service_start": "2024-01-01T00:00:00Z",
          "service_end": "2024-01-01T00:30:00.000000-00:30"}, "2.30"),
    ],
)  # fmt: skip
def test_rule_36_dates_and_times(times: Object, billed: str) -> None:
    answer = ask({"type": "flat", "amount": "23"}, proration={**SERVED, **times})
    assert answer.get("amount") == billed, answer


@pytest.mark.parametrize(
    ("times", "found"),
    [
        ({"service_start": "2023-12-31"}, "outside_period proration.service_start"),
        ({"service_end": "2024-01-11T00:00:01"}, "outside_period proration.service_end"),
        ({"service_start": "2024-01-07"}, "bad_period proration.service_end"),
        ({"period_end": "2024-01-01"}, "bad_period proration.period_end"),
        ({"period_end": "2023-01-01"}, "bad_period proration.period_end"),
        ({"time_zone": "Europe/Atlantis"}, "unknown_zone proration.time_zone"),
        ({"time_zone": "../UTC"}, "unknown_zone proration.time_zone"),
        ({"time_zone": "Europe"}, "unknown_zone proration.time_zone"),
        ({"time_zone": ""}, "unknown_zone proration.time_zone"),
        ({"time_zone": "U\0C"}, "unknown_zone proration.time_zone"),
        ({"time_zone": None}, "missing proration.time_zone"),
        ({"service_end": None}, "missing proration.service_end"),
        ({"service_end": "2024-02-30"}, "bad_time proration.service_end"),
        ({"service_end": "2024-01-05T24:00"}, "bad_time proration.service_end"),
        ({"service_end": "2024-01-05T01:00:00.0000001"}, "bad_time proration.service_end"),
        ({"service_end": "0001-01-01"}, "bad_period proration.service_end"),
        ({"period_end": "9999-12-31T23:59:59", "time_zone": "Pacific/Pago_Pago"},
         "bad_time proration.period_end"),
        ({"service_end": "05.01.2024"}, "bad_time proration.service_end"),
        ({"service_end": 20240105}, "wrong_type proration.service_end"),
    ],
)  # fmt: skip
def test_rule_37_service_lies_inside_its_period(times: Object, found: str) -> None:
    assert error(ONE_EACH, "1", proration={**SERVED, **times}) == found


# Allocate


@pytest.mark.parametrize(
    ("total", "weights", "expected"),
    [
        ("10", ["10", "5"], ["6.67", "3.33"]),
        ("100", ["1", "1", "1"], ["33.34", "33.33", "33.33"]),
        ("-100", ["1", "1", "1"], ["-33.34", "-33.33", "-33.33"]),
        ("0.05", ["1", "0", "1"], ["0.03", "0.00", "0.02"]),
        # 0.07 over 3:2:2 is 3, 2, 2; 0.08 is 3.43, 2.29, 2.29: the largest remainder is the first
        ("0.08", ["3", "2", "2"], ["0.04", "0.02", "0.02"]),
        # 0.05 over 1:2:2 is 1, 2, 2; 0.04 is 0.8, 1.6, 1.6: floor 0, 1, 1 and two more cents
        ("0.04", ["1", "2", "2"], ["0.01", "0.02", "0.01"]),
        ("0", ["1", "2"], ["0.00", "0.00"]),
        ("1", ["0.5"], ["1.00"]),
        ("0.01", ["0", "0.000001"], ["0.00", "0.01"]),
    ],
)
def test_rule_38_largest_remainder(total: str, weights: list[str], expected: list[str]) -> None:
    assert shares(total, *weights) == expected


def test_rule_38_weights_must_weigh_something() -> None:
    assert shares("1") == "bad_weights"
    assert shares("1", "0", "0.0") == "bad_weights"
    assert shares("1", "1", "x") == "bad_number"
    assert shares("5", "1", "1", currency="JPY") == ["3", "2"]
    assert shares("5", "1", currency="yen") == "bad_currency"
