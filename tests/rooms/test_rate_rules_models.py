"""RATING.md, rules 16 to 25, the models; every number worked out by hand."""

import pytest

from rooms.test_rate_rules import (
    ONE_EACH,
    THREE_TIERS,
    TWO_VOLUMES,
    Object,
    amount,
    ask,
    error,
    events,
    rows,
)


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        (["0", None], "not_positive price.tiers[0].up_to"),
        (["-1", None], "not_positive price.tiers[0].up_to"),
        (["5", "5", None], "tier_order price.tiers[1].up_to"),
        (["5", "4"], "tier_order price.tiers[1].up_to"),
        ([None, "5"], "tier_order price.tiers[0].up_to"),
        (["5", None, None], "tier_order price.tiers[1].up_to"),
    ],
)
@pytest.mark.parametrize("model", ["graduated", "volume", "graduated_percentage"])
def test_rule_16_bounds_ascend_above_zero(model: str, bounds: list[str | None], found: str) -> None:
    price: Object = {"type": model, "tiers": [{"up_to": up_to} for up_to in bounds]}
    assert error(price, "1") == found


def test_rule_16_bounds_are_inclusive() -> None:
    assert rows(ask(THREE_TIERS, "10")) == ["usage 10 x 1 = 10.00", "flat 1 x 5 = 5.00"]
    assert rows(ask(TWO_VOLUMES, "10")) == ["usage 10 x 2 = 20.00", "flat 1 x 5 = 5.00"]
    assert rows(ask(TWO_VOLUMES, "10.01")) == ["usage 10.01 x 1 = 10.01"]


@pytest.mark.parametrize("model", ["graduated", "volume", "graduated_percentage"])
def test_rule_16_a_quantity_beyond_a_bounded_last_tier_is_an_error(model: str) -> None:
    price: Object = {"type": model, "tiers": [{"up_to": "5"}, {"up_to": "10"}]}
    assert amount(price, "10") == "0.00"
    assert error(price, "10.1") == "beyond_last_tier quantity"
    assert error(price, "6", pre_line_quantity="5") == "beyond_last_tier quantity"
    assert error(price, "-6", pre_line_quantity="12") == "beyond_last_tier pre_line_quantity"
    # what counts is the priced quantity: 20 halved
    assert amount(price, "20", unit_conversion={"operation": "divide", "factor": "2"}) == "0.00"
    assert amount(price, "20", usage_discount="10") == "0.00"


def test_rule_17_tier_by_tier_usage_before_flat() -> None:
    assert rows(ask(THREE_TIERS, "25")) == [
        "usage 10 x 1 = 10.00",
        "flat 1 x 5 = 5.00",
        "usage 10 x 0.5 = 5.00",
        "flat 1 x 3 = 3.00",
        "usage 5 x 0.1 = 0.50",
    ]


def test_rule_17_the_first_tiers_fee_is_due_without_usage() -> None:
    assert rows(ask(THREE_TIERS, "0")) == ["flat 1 x 5 = 5.00"]
    assert rows(ask(TWO_VOLUMES, "0")) == ["flat 1 x 5 = 5.00"]
    assert rows(ask(ONE_EACH, "0")) == []


def blocks(model: str) -> Object:
    tiers: list[Object] = [
        {"up_to": "10", "block_size": "4", "block_amount": "3"},
        {"block_size": "5", "block_amount": "2"},
    ]
    return {"type": model, "tiers": tiers}


def test_rule_18_blocks_begun_count_on_the_tiers_own_share() -> None:
    # graduated: 10 of tier 1 are 3 blocks of 4; 6 of tier 2 are 2 blocks of 5
    assert rows(ask(blocks("graduated"), "16")) == ["usage 3 x 3 = 9.00", "usage 2 x 2 = 4.00"]
    # volume: all 16 are 4 blocks of 5
    assert rows(ask(blocks("volume"), "16")) == ["usage 4 x 2 = 8.00"]
    assert rows(ask(blocks("graduated"), "8")) == ["usage 2 x 3 = 6.00"]
    assert rows(ask(blocks("graduated"), "8.1")) == ["usage 3 x 3 = 9.00"]
    # 16 -> 20 of volume: 4 blocks billed, 4 needed
    assert rows(ask(blocks("volume"), "4", pre_line_quantity="16")) == []


@pytest.mark.parametrize("key", ["unit_amount", "flat_amount"])
def test_rule_18_blocks_exclude_other_amounts(key: str) -> None:
    tier = {"block_size": "4", "block_amount": "3"}
    price: Object = {"type": "graduated", "tiers": [{**tier, key: "1"}]}
    assert error(price, "1") == f"tier_mixed price.tiers[0].{key}"
    assert amount({"type": "graduated", "tiers": [{**tier, key: None}]}, "1") == "3.00"


@pytest.mark.parametrize(
    ("rounding", "free", "quantity", "lines"),
    [
        (None, None, "0", []),
        (None, None, "1", ["usage 1 x 5 = 5.00"]),
        (None, None, "100", ["usage 1 x 5 = 5.00"]),
        (None, None, "100.5", ["usage 2 x 5 = 10.00"]),
        ("up", "50", "50", []),
        ("up", "50", "150", ["usage 1 x 5 = 5.00"]),
        ("up", "50", "151", ["usage 2 x 5 = 10.00"]),
        ("down", None, "99", []),
        ("down", None, "199", ["usage 1 x 5 = 5.00"]),
        ("down", "50", "149", []),
        ("down", "50", "150", ["usage 1 x 5 = 5.00"]),
    ],
)
def test_rule_19_packages(
    rounding: str | None, free: str | None, quantity: str, lines: list[str]
) -> None:
    price: Object = {"type": "package", "package_size": "100", "package_amount": "5"}
    assert rows(ask({**price, "free_units": free, "rounding": rounding}, quantity)) == lines


def percentage(**more: str) -> Object:
    return {"type": "percentage", "rate_percent": "2", **more}


def test_rule_20_usage_is_money_and_flat_is_paying_events() -> None:
    price = percentage(fixed_per_event="0.25")
    assert rows(ask(price, "150", event_count="3")) == [
        "usage 150 x 0.02 = 3.00",
        "flat 3 x 0.25 = 0.75",
    ]
    assert ask(price, **events("100", "20", "30")) == ask(price, "150", event_count="3")
    assert rows(ask(percentage(), "150")) == ["usage 150 x 0.02 = 3.00"]


def test_rule_20_one_event_is_known_by_the_quantity() -> None:
    price = percentage(fixed_per_event="1", free_amount="40", per_event_maximum="2")
    # 100 less 40 free: 1.20 + 1 is above 2
    assert rows(ask(price, "100", event_count="1")) == ["usage 1 x 2 = 2.00"]
    assert ask(price, "100", event_count="1") == ask(price, "100", **events("100"))


@pytest.mark.parametrize(
    ("price", "paid", "lines"),
    [
        # within three events: 50 + 50 free, the next pays in full though it is the third event
        ({"free_events": "2"}, ["50", "50", "10"], ["usage 10 x 0.02 = 0.20", "flat 1 x 1 = 1.00"]),
        # 60 + 40 fit 100 exactly, then nothing is left
        (
            {"free_amount": "100"},
            ["60", "40", "10"],
            ["usage 10 x 0.02 = 0.20", "flat 1 x 1 = 1.00"],
        ),
        # both: the count ends it
        (
            {"free_events": "1", "free_amount": "100"},
            ["60", "40"],
            ["usage 40 x 0.02 = 0.80", "flat 1 x 1 = 1.00"],
        ),
        ({"free_events": "5"}, ["60", "40"], []),
        (
            {"free_events": "0", "free_amount": "90"},
            ["50"],
            ["usage 50 x 0.02 = 1.00", "flat 1 x 1 = 1.00"],
        ),
        ({}, ["50", "50"], ["usage 100 x 0.02 = 2.00", "flat 2 x 1 = 2.00"]),
    ],
)
def test_rule_21_events_wholly_within_the_allowance_are_free(
    price: dict[str, str], paid: list[str], lines: list[str]
) -> None:
    assert rows(ask(percentage(fixed_per_event="1", **price), **events(*paid))) == lines


def test_rule_22_the_first_event_not_wholly_free_ends_the_allowance() -> None:
    price = percentage(fixed_per_event="1", free_amount="100")
    # 60 free; of 70, 40 are free and 30 pay; the 5 after it pays though 5 would have fit
    assert rows(ask(price, **events("60", "70", "5"))) == [
        "usage 35 x 0.02 = 0.70",
        "flat 2 x 1 = 2.00",
    ]
    # beyond free_events the rest of the amount is not used: 70 pays whole
    counted = percentage(fixed_per_event="1", free_amount="100", free_events="1")
    assert rows(ask(counted, **events("60", "70"))) == [
        "usage 70 x 0.02 = 1.40",
        "flat 1 x 1 = 1.00",
    ]
    # within them it is: 70 - 40
    counted = percentage(fixed_per_event="1", free_amount="100", free_events="2")
    assert rows(ask(counted, **events("60", "70"))) == [
        "usage 30 x 0.02 = 0.60",
        "flat 1 x 1 = 1.00",
    ]


def test_rule_23_bounds_apply_to_each_paying_event_unrounded() -> None:
    bounds = {"per_event_minimum": "0.304", "per_event_maximum": "2"}
    price = percentage(fixed_per_event="0.1", **bounds)
    # 5: 0.2 -> 0.304; 50: 1.1; 500: 10.1 -> 2; together 3.404
    assert rows(ask(price, **events("5", "50", "500"))) == ["usage 1 x 3.404 = 3.40"]
    # 0.304 + 0.304 = 0.608, not 0.30 + 0.30
    assert rows(ask(price, **events("5", "5"))) == ["usage 1 x 0.608 = 0.61"]
    # a free event meets no minimum; the remainder of 30 does: 0.7 stays
    free = percentage(fixed_per_event="0.1", free_amount="20", **bounds)
    assert rows(ask(free, **events("10", "40"))) == ["usage 1 x 0.7 = 0.70"]
    assert rows(ask(free, **events("10", "10"))) == []


def test_rule_24_an_event_of_nothing_still_pays_fee_and_minimum() -> None:
    assert rows(ask(percentage(fixed_per_event="1"), **events("0", "0"))) == ["flat 2 x 1 = 2.00"]
    assert rows(ask(percentage(per_event_minimum="3"), **events("0"))) == ["usage 1 x 3 = 3.00"]
    # one that uses the allowance up and has nothing left to pay on: 0 remainder cannot be,
    # because exactly equal fits; so the third pays
    price = percentage(fixed_per_event="1", free_amount="10", free_events="2")
    assert rows(ask(price, **events("0", "10", "0"))) == ["flat 1 x 1 = 1.00"]


NEEDS_AMOUNTS = [
    {"free_events": "2"},
    {"per_event_minimum": "1"},
    {"per_event_maximum": "1"},
    {"free_amount": "10", "fixed_per_event": "1"},
]


@pytest.mark.parametrize("price", NEEDS_AMOUNTS)
def test_rule_25_what_looks_at_events_needs_their_amounts(price: dict[str, str]) -> None:
    assert error(percentage(**price), "50") == "events_needed per_event_amounts"
    assert error(percentage(**price), "50", event_count="2") == "events_needed per_event_amounts"
    assert "amount" in ask(percentage(**price), "50", event_count="1")
    assert "amount" in ask(percentage(**price), "50", **events("20", "30"))


def test_rule_25_a_fee_needs_a_count_and_a_free_amount_alone_needs_nothing() -> None:
    assert error(percentage(fixed_per_event="1"), "50") == "events_needed event_count"
    free = percentage(free_amount="30")
    assert rows(ask(free, "50")) == ["usage 20 x 0.02 = 0.40"]
    # and is progressive: 50 - 30 billed before, 70 - 30 now
    assert rows(ask(free, "20", pre_line_quantity="50")) == ["usage 20 x 0.02 = 0.40"]
    assert rows(ask(free, "20", pre_line_quantity="20")) == ["usage 10 x 0.02 = 0.20"]


def test_rule_25_amounts_sum_to_the_quantity_and_are_as_many_as_counted() -> None:
    price = percentage(fixed_per_event="1")
    assert error(price, "50", **events("20", "20")) == "events_mismatch per_event_amounts"
    wrong = error(price, "40", event_count="3", **events("20", "20"))
    assert wrong == "events_mismatch per_event_amounts"
    assert "amount" in ask(price, "40.0", event_count="2", **events("20", "20.00"))


@pytest.mark.parametrize(
    "more",
    [
        {"pre_line_quantity": "1"},
        {"line_position": "mid"},
        {"line_position": "last"},
        {"usage_discount": "1"},
        {"unit_conversion": {"operation": "divide", "factor": "1"}},
    ],
)
def test_rule_25_event_data_has_no_past_and_no_other_units(more: Object) -> None:
    price = percentage(fixed_per_event="1")
    assert error(price, "50", event_count="2", **more) == "events_forbidden event_count"
    assert error(price, "5", **events("5"), **more) == "events_forbidden per_event_amounts"
    assert "amount" in ask(percentage(), "50", **more)


@pytest.mark.parametrize("price", [ONE_EACH, THREE_TIERS, {"type": "flat", "amount": "1"}])
def test_rule_25_only_a_percentage_looks_at_events(price: Object) -> None:
    assert error(price, "5", event_count="1") == "events_forbidden event_count"
    assert error(price, "5", **events("5")) == "events_forbidden per_event_amounts"
