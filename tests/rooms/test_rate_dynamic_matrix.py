"""Dynamic and matrix prices, row by row."""

import pytest

from rooms.test_rate_rules import Object, amount, ask, error, rows


@pytest.mark.parametrize(
    ("multiplier", "value", "lines"),
    [
        ({}, "7.125", ["usage 7.125 x 1 = 7.13"]),
        ({"multiplier": "1.2"}, "12.3455", ["usage 12.3455 x 1.2 = 14.81"]),
        ({"multiplier": "0"}, "100", ["usage 100 x 0 = 0.00"]),
        ({"multiplier": "2"}, "0", []),
        ({"multiplier": "2"}, "-3", []),  # a total below zero is rated as zero (rule 9)
    ],
)
def test_a_dynamic_price_is_the_value_told_times_a_multiplier(
    multiplier: Object, value: str, lines: list[str]
) -> None:
    assert rows(ask({"type": "dynamic", **multiplier}, value)) == lines


def test_a_dynamic_price_is_billed_progressively() -> None:
    price: Object = {"type": "dynamic", "multiplier": "0.5"}
    parts = [
        amount(price, "0.01", pre_line_quantity=before, line_position=position)
        for before, position in (("0", "first"), ("0.01", "mid"), ("0.02", "last"))
    ]

    assert parts == ["0.01", "0.00", "0.01"]  # 0.005, 0.010, 0.015: rounded as running totals


def test_a_multiplier_is_not_below_zero() -> None:
    assert error({"type": "dynamic", "multiplier": "-1"}, "1") == "negative price.multiplier"


MATRIX: Object = {
    "type": "matrix",
    "dimensions": ["region", "tier"],
    "cells": [
        {"values": ["eu", "edge"], "unit_amount": "0.05"},
        {"values": ["us", ""], "unit_amount": "0.04"},
    ],
    "default_unit_amount": "0.125",
}


@pytest.mark.parametrize(
    ("told", "unit"),
    [
        ({"region": "eu", "tier": "edge"}, "0.05"),
        ({"tier": "edge", "region": "eu", "host": "a"}, "0.05"),
        ({"region": "us", "tier": ""}, "0.04"),
        ({"region": "us"}, "0.125"),  # lacks a dimension
        ({"region": "eu", "tier": "core"}, "0.125"),
        ({"region": "edge", "tier": "eu"}, "0.125"),
        ({}, "0.125"),
        (None, "0.125"),
    ],
)
def test_a_matrix_price_goes_by_the_values_of_its_dimensions(
    told: Object | None, unit: str
) -> None:
    quantity, total = "200", {"0.05": "10.00", "0.04": "8.00", "0.125": "25.00"}[unit]

    assert rows(ask(MATRIX, quantity, dimensions=told)) == [f"usage 200 x {unit} = {total}"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"dimensions": []}, "missing price.dimensions"),
        ({"dimensions": ["tier", "tier"]}, "duplicate_key price.dimensions"),
        ({"dimensions": ["region"]}, "cell_size price.cells[0].values"),
        ({"dimensions": ["region", 5]}, "wrong_type price.dimensions[1]"),
        ({"cells": []}, "missing price.cells"),
        ({"cells": [{"values": ["eu", "edge"]}]}, "missing price.cells[0].unit_amount"),
        (
            {"cells": [{"values": ["eu", "x"], "unit_amount": "1", "price": "1"}]},
            "unknown_key price.cells[0].price",
        ),
        (
            {"cells": [{"values": ["eu", "x"], "unit_amount": "1"}] * 2},
            "duplicate_key price.cells[1].values",
        ),
        ({"default_unit_amount": None}, "missing price.default_unit_amount"),
    ],
)
def test_a_broken_matrix(change: Object, fault: str) -> None:
    assert error({**MATRIX, **change}, "1") == fault


def test_dimensions_beside_another_price_would_be_ignored() -> None:
    price: Object = {"type": "unit", "unit_amount": "1"}

    assert error(price, "1", dimensions={"region": "eu"}) == "unfit dimensions"
    assert error(MATRIX, "1", dimensions={"region": 1}) == "wrong_type dimensions.region"
    assert error(MATRIX, "1", dimensions="eu") == "wrong_type dimensions"
