"""RATING.md, rule by rule. Every number here was worked out by hand from the rules.

A line reads `kind quantity x unit_amount = amount - discount = total`; the discount is left out
where it is 0.
"""

import json
from collections.abc import Mapping

import pytest

from pipeline.rate import answer_allocate, answer_rate

Object = Mapping[str, object]

ONE_EACH: Object = {"type": "unit", "unit_amount": "1"}
THREE_TIERS: Object = {
    "type": "graduated",
    "tiers": [
        {"up_to": "10", "unit_amount": "1", "flat_amount": "5"},
        {"up_to": "20", "unit_amount": "0.5", "flat_amount": "3"},
        {"unit_amount": "0.1"},
    ],
}
TWO_VOLUMES: Object = {
    "type": "volume",
    "tiers": [{"up_to": "10", "unit_amount": "2", "flat_amount": "5"}, {"unit_amount": "1"}],
}


def ask(price: object, quantity: object = None, **more: object) -> Object:
    request: dict[str, object] = {"id": "x", "currency": "EUR", "price": price, **more}
    if quantity is not None:
        request["quantity"] = quantity
    answer = json.loads(answer_rate(json.dumps(request)))
    assert isinstance(answer, dict)
    assert answer["id"] == "x"
    return answer


def rows(answer: Object) -> list[str]:
    lines = answer["lines"]
    assert isinstance(lines, list)
    texts = []
    for line in lines:
        off = "" if not line["discount"].strip("0.") else f" - {line['discount']} = {line['total']}"
        texts.append(
            f"{line['kind']} {line['quantity']} x {line['unit_amount']} = {line['amount']}{off}"
        )
    return texts


def amount(price: Object, quantity: object = None, **more: object) -> object:
    return ask(price, quantity, **more)["amount"]


def error(price: object, quantity: object = None, **more: object) -> str:
    answer = ask(price, quantity, **more)
    found = answer.get("error")
    assert isinstance(found, dict), answer
    assert set(found) == {"code", "path", "message"}
    assert all(isinstance(value, str) for value in found.values())
    return f"{found['code']} {found['path']}"


def shares(total: str, *weights: str, currency: str = "EUR") -> object:
    request = {"id": 1, "currency": currency, "amount": total, "weights": weights}
    answer = json.loads(answer_allocate(json.dumps(request)))
    return answer["shares"] if "shares" in answer else answer["error"]["code"]


def percents(*percents: str) -> list[Object]:
    return [{"type": "percentage", "percent": percent} for percent in percents]


def fixed(amount: str) -> list[Object]:
    return [{"type": "fixed", "amount": amount}]


def events(*amounts: str) -> Object:
    return {"per_event_amounts": list(amounts)}


# Lines in and out


def test_rule_1_every_line_has_one_answer_in_order_bad_ones_too() -> None:
    good = '{"id":"g","currency":"EUR","price":{"type":"flat","amount":"1"}}'
    lines = [good, "{", good.replace('"g"', '"h"'), '{"id":"e"}']
    answers = [answer_rate(line) for line in lines]

    assert [json.loads(answer)["id"] for answer in answers] == ["g", None, "h", "e"]
    assert not any("\n" in answer for answer in answers)


BAD_NUMBERS: list[object] = ["1e3", "NaN", "Infinity", " 1", "1 ", "+1", ".5", "1.", "", "-", "1,5"]
BAD_NUMBERS += ["٣", "1_000", "0x1", "--1", "1\n", 1, 1.5, True, False, [], {}]
BAD_NUMBERS += ["9" * 101, f"{'9' * 50}.{'9' * 51}", f"-{'9' * 101}"]


@pytest.mark.parametrize("number", BAD_NUMBERS)
def test_rule_2_anything_but_a_plain_decimal_string_is_refused(number: object) -> None:
    assert error(ONE_EACH, quantity=number).startswith("bad_number quantity")


@pytest.mark.parametrize(
    ("number", "billed"),
    [
        ("12.5", "12.50"),
        ("007.50", "7.50"),
        ("0", "0.00"),
        ("-0", "0.00"),
        ("-12.5", "0.00"),
        ("1" * 100, "1" * 100 + ".00"),
        (f"-{'1' * 99}.1", "0.00"),
        (f"1.{'4' * 99}", "1.44"),
        (f"1{'0' * 30}.{'0' * 11}5", f"1{'0' * 30}.00"),
    ],
)
def test_rule_2_a_plain_decimal_string_is_read(number: str, billed: str) -> None:
    assert amount(ONE_EACH, number) == billed


def test_rule_2_precision_is_a_json_integer_and_counts_are_whole() -> None:
    def precision(value: object) -> Object:
        return {"operation": "divide", "factor": "3", "rounding": "floor", "precision": value}

    assert amount(ONE_EACH, "10", unit_conversion=precision(1)) == "3.30"
    for bad in ("1", 1.0, 1.5, True, [1]):
        assert error(ONE_EACH, "10", unit_conversion=precision(bad)) == (
            "wrong_type unit_conversion.precision"
        )
    assert amount(ONE_EACH, "10", unit_conversion=precision(40)) == "3.33"
    for bad, code in ((-1, "negative"), (41, "too_large"), (10**30, "wrong_type")):
        assert error(ONE_EACH, "10", unit_conversion=precision(bad)) == (
            f"{code} unit_conversion.precision"
        )
    fee = {"type": "percentage", "fixed_per_event": "1"}
    assert amount(fee, "0", event_count="3") == "3.00"
    for bad in ("3.0", "1.5", 3):
        assert error(fee, "0", event_count=bad) == "bad_number event_count"
    assert error({**fee, "free_events": "1.0"}, "0") == "bad_number price.free_events"


def test_rule_3_null_means_absent_everywhere() -> None:
    names = (
        "unit_conversion usage_discount discounts maximum minimum pre_line_quantity proration"
        " previously_billed_amount line_position event_count per_event_amounts"
    )
    absent = dict.fromkeys(names.split())
    keys = "up_to unit_amount rate_percent flat_amount block_size block_amount"
    tier: Object = dict.fromkeys(keys.split())
    for model in ("graduated", "volume", "graduated_percentage"):
        assert rows(ask({"type": model, "tiers": [{**tier, "flat_amount": "3"}]}, "2")) == [
            "usage 2 x 0 = 0.00",
            "flat 1 x 3 = 3.00",
        ]
    assert amount({**ONE_EACH, "tiers": None, "amount": None}, "2", **absent) == "2.00"
    assert error({"type": "unit", "unit_amount": None}, "2") == "missing price.unit_amount"
    assert error(None, "2") == "missing price"
    assert error(ONE_EACH, None) == "missing quantity"
    assert error(ONE_EACH, "2", currency=None) == "missing currency"


SERVED = {
    "period_start": "2024-01-01",
    "period_end": "2024-01-11",
    "service_start": "2024-01-01",
    "service_end": "2024-01-06",
    "time_zone": "UTC",
}


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        ({"bogus": "1"}, "bogus"),
        ({"bogus": None}, "bogus"),
        ({"price": {"type": "unit", "unit_amount": "1", "unit_amonut": "1"}}, "price.unit_amonut"),
        ({"price": {"type": "unit", "unit_amount": "1", "tiers": []}}, "price.tiers"),
        ({"price": {"type": "volume", "tiers": [{"x": "1"}]}}, "price.tiers[0].x"),
        (
            {"price": {"type": "volume", "tiers": [{"rate_percent": "1"}]}},
            "price.tiers[0].rate_percent",
        ),
        (
            {"price": {"type": "graduated_percentage", "tiers": [{"block_size": "1"}]}},
            "price.tiers[0].block_size",
        ),
        ({"unit_conversion": {"operation": "divide", "factor": "1", "y": 1}}, "unit_conversion.y"),
        ({"discounts": [{"type": "fixed", "amount": "1", "percent": "1"}]}, "discounts[0].percent"),
        ({"proration": {**SERVED, "zone": "UTC"}}, "proration.zone"),
    ],
)
def test_rule_3_an_unknown_key_is_an_error(request_: Object, path: str) -> None:
    assert error(**{"price": ONE_EACH, "quantity": "1", **request_}) == f"unknown_key {path}"


@pytest.mark.parametrize(
    ("currency", "billed"),
    [("EUR", "1.23"), ("CLF", "1.2346"), ("KWD", "1.235"), ("BHD", "1.235"), ("TND", "1.235")]
    + [(currency, "1") for currency in ("JPY", "KRW", "CLP", "VND")],
)
def test_rule_3_minor_units_are_those_of_iso_4217(currency: str, billed: str) -> None:
    assert amount(ONE_EACH, "1.23456", currency=currency) == billed


@pytest.mark.parametrize("currency", ["eur", "EURO", "", "XXX", "XAU", "ZZZ", "€"])
def test_rule_3_other_currencies_are_refused(currency: str) -> None:
    assert error(ONE_EACH, "1", currency=currency) == "bad_currency currency"


@pytest.mark.parametrize(
    ("line", "identity"),
    [
        ('{"id":"a"}', '"a"'),
        ('{"id":1.50}', "1.50"),
        ('{"id":123456789012345678901234567890}', "123456789012345678901234567890"),
        ('{"id":{"b":[1e400,-0,true,null]}}', '{"b":[1e400,-0,true,null]}'),
        ('{"id":"\\ud800"}', '"\\ud800"'),
        ('{"id":"a","id":"b"}', '"b"'),
        ("{}", "null"),
        ("[]", "null"),
        ('"id"', "null"),
        ("1", "null"),
        ("", "null"),
        ('{"id":"a"', "null"),
        ('{"id":"a"} {}', "null"),
        ('{"id":NaN}', "null"),
    ],
)
def test_rule_4_the_id_is_echoed_as_it_was_or_null(line: str, identity: str) -> None:
    for answer in (answer_rate(line), answer_allocate(line), answer_rate(line.encode())):
        assert answer.startswith(f'{{"id":{identity},"error":{{"code":"')


def test_rule_5_quantity_is_required_but_for_flat_and_event_amounts() -> None:
    assert rows(ask({"type": "flat", "amount": "7.5"})) == ["flat 1 x 7.5 = 7.50"]
    assert amount({"type": "percentage", "rate_percent": "10"}, **events("30", "20")) == "5.00"
    for price in (ONE_EACH, THREE_TIERS, TWO_VOLUMES, {"type": "percentage"}):
        assert error(price) == "missing quantity"


def test_rule_5_what_may_be_left_out_is_zero() -> None:
    bare: list[tuple[Object, str]] = [
        ({"type": "graduated", "tiers": [{"up_to": None}]}, "usage 9 x 0 = 0.00"),
        ({"type": "volume", "tiers": [{}]}, "usage 9 x 0 = 0.00"),
        ({"type": "graduated_percentage", "tiers": [{}]}, "usage 9 x 0 = 0.00"),
        ({"type": "percentage"}, "usage 9 x 0 = 0.00"),
    ]
    for price, line in bare:
        assert rows(ask(price, "9")) == [line]
        assert ask(price, "9") == ask(price, "9", line_position="single")


@pytest.mark.parametrize(
    ("price", "missing"),
    [
        ({"type": "flat"}, "amount"),
        ({"type": "unit"}, "unit_amount"),
        ({"type": "package", "package_amount": "1"}, "package_size"),
        ({"type": "package", "package_size": "1"}, "package_amount"),
        ({"type": "graduated"}, "tiers"),
        ({"type": "volume", "tiers": []}, "tiers"),
        ({"type": "volume", "tiers": [{"block_size": "1"}]}, "tiers[0].block_amount"),
        ({"type": "volume", "tiers": [{"block_amount": "1"}]}, "tiers[0].block_size"),
        ({}, "type"),
    ],
)
def test_rule_5_what_a_price_needs_is_missed(price: Object, missing: str) -> None:
    assert error(price, "1") == f"missing price.{missing}"


def test_rule_6_amounts_have_the_currencys_decimals_and_quantities_twelve_at_most() -> None:
    third = {"operation": "divide", "factor": "3"}
    answer = ask({"type": "unit", "unit_amount": "0.50"}, "2", unit_conversion=third)
    # 2/3 of a unit at 0.50 is 0.333..
    assert rows(answer) == ["usage 0.666666666667 x 0.5 = 0.33"]
    answer = ask({"type": "unit", "unit_amount": "1"}, "2.500", currency="KWD")
    assert answer["lines"] == [
        {
            "kind": "usage",
            "quantity": "2.5",
            "unit_amount": "1",
            "amount": "2.500",
            "discount": "0.000",
            "total": "2.500",
        }
    ]


# Exactness


def test_rule_7_only_the_line_is_rounded_once_half_away_from_zero() -> None:
    third = {"operation": "divide", "factor": "3"}
    assert amount({"type": "unit", "unit_amount": "0.003"}, "5", unit_conversion=third) == "0.01"
    # 3 x 0.335 = 1.005; a unit price rounded first would make 1.02
    assert amount({"type": "unit", "unit_amount": "0.335"}, "3") == "1.01"
    assert amount({"type": "flat", "amount": "-0.005"}) == "-0.01"
    assert amount({"type": "flat", "amount": "0.0049999999999999999999999999999999999"}) == "0.00"
    # a float would be 2.67: 2.675 is 2.67499999..
    assert amount({"type": "flat", "amount": "2.675"}) == "2.68"


def test_rule_8_limits_and_fixed_discounts_are_rounded_first() -> None:
    ten: Object = {"type": "flat", "amount": "10"}
    assert rows(ask(ten, maximum="9.995")) == ["flat 1 x 10 = 10.00"]
    assert rows(ask(ten, maximum="9.994")) == ["flat 1 x 10 = 10.00 - 0.01 = 9.99"]
    assert rows(ask(ten, minimum="10.005"))[1] == "minimum 1 x 0.01 = 0.01"
    # 0.125 + 0.125 is 0.26, not 0.25
    assert amount(ten, discounts=fixed("0.125") + fixed("0.125")) == "9.74"
    # 4.995 billed is 5.00 billed: 5 of room
    assert amount(ten, maximum="10", previously_billed_amount="4.995") == "5.00"
    # a minimum of 1.004 and a maximum of 1.001 are both 1.00
    assert amount(ten, minimum="1.004", maximum="1.001") == "1.00"
    assert shares("-0.125", "1") == ["-0.13"]


# Quantity


def test_rule_9_below_zero_is_zero_then_conversion_then_usage_discount() -> None:
    dozens = {"operation": "divide", "factor": "12", "rounding": "ceiling"}
    # 30 / 12 = 2.5, up to 3, less 1 free dozen
    assert rows(ask(ONE_EACH, "30", unit_conversion=dozens, usage_discount="1")) == [
        "usage 2 x 1 = 2.00"
    ]
    assert rows(ask(ONE_EACH, "30", unit_conversion=dozens, usage_discount="4")) == []
    tripled = {"operation": "multiply", "factor": "3"}
    assert rows(ask(ONE_EACH, "-5", unit_conversion=tripled)) == []
    # 4 billed, 9 taken back: what is left is nothing, not minus 5
    assert rows(ask(ONE_EACH, "-9", pre_line_quantity="4")) == ["usage -4 x 1 = -4.00"]


@pytest.mark.parametrize(
    ("rounding", "precision", "halved", "doubled"),
    [
        (None, None, "1.125", "4.5"),
        ("none", 0, "1.125", "4.5"),
        ("ceiling", None, "2", "5"),
        ("floor", None, "1", "4"),
        ("half_up", None, "1", "5"),
        ("ceiling", 2, "1.13", "4.5"),
        ("floor", 2, "1.12", "4.5"),
        ("half_up", 2, "1.13", "4.5"),
        ("half_up", 1, "1.1", "4.5"),
    ],
)
def test_rule_10_rounding_of_a_conversion(
    rounding: str | None, precision: int | None, halved: str, doubled: str
) -> None:
    for operation, converted in (("divide", halved), ("multiply", doubled)):
        conversion = {
            "operation": operation,
            "factor": "2",
            "rounding": rounding,
            "precision": precision,
        }
        answer = ask(ONE_EACH, "2.25", unit_conversion=conversion)
        assert rows(answer)[0].startswith(f"usage {converted} x")


def test_rule_10_conversion_and_free_usage_act_on_the_running_total() -> None:
    tens = {"operation": "divide", "factor": "10", "rounding": "ceiling"}
    # 14 -> 2 tens; 14 + 4 = 18 -> 2 tens: nothing new; a line of its own would be 1 more
    assert rows(ask(ONE_EACH, "4", pre_line_quantity="14", unit_conversion=tens)) == []
    # 14 -> 2 less 1 free; 14 + 7 = 21 -> 3 less 1 free: 2 - 1
    assert rows(
        ask(ONE_EACH, "7", pre_line_quantity="14", unit_conversion=tens, usage_discount="1")
    ) == ["usage 1 x 1 = 1.00"]


# Progressive


def test_rule_11_the_past_is_subtracted_as_it_was_rounded() -> None:
    price: Object = {"type": "unit", "unit_amount": "0.005"}
    # 3 -> 0.015 -> 0.02; 1 -> 0.005 -> 0.01; the line is 0.01, while 2 alone are 0.01 too
    assert rows(ask(price, "2", pre_line_quantity="1")) == ["usage 2 x 0.005 = 0.01"]
    # 2 -> 0.01; 1 -> 0.01: the line is 0.00
    assert rows(ask(price, "1", pre_line_quantity="1")) == ["usage 1 x 0.005 = 0.00"]


@pytest.mark.parametrize("position", ["single", "first"])
def test_rule_11_nothing_is_subtracted_without_a_past(position: str) -> None:
    assert rows(ask(THREE_TIERS, "2", line_position=position)) == [
        "usage 2 x 1 = 2.00",
        "flat 1 x 5 = 5.00",
    ]
    # tier 2 from here on: 2 x 0.5 and its fee
    assert rows(ask(THREE_TIERS, "2", line_position=position, pre_line_quantity="10")) == [
        "usage 2 x 0.5 = 1.00",
        "flat 1 x 3 = 3.00",
    ]


@pytest.mark.parametrize("position", ["mid", "last"])
def test_rule_12_mid_and_last_have_a_past_even_of_zero(position: str) -> None:
    assert rows(ask(THREE_TIERS, "2", line_position=position)) == ["usage 2 x 1 = 2.00"]
    assert rows(ask(THREE_TIERS, "12", line_position=position)) == [
        "usage 10 x 1 = 10.00",
        "usage 2 x 0.5 = 1.00",
        "flat 1 x 3 = 3.00",
    ]


def test_rule_12_single_with_a_past_subtracts_too() -> None:
    assert rows(ask(THREE_TIERS, "4", pre_line_quantity="6")) == ["usage 4 x 1 = 4.00"]


def test_rule_13_a_correction_takes_back() -> None:
    # 22 -> 20: 2 of tier 3; 12 -> 9: all of tier 2 with its fee and 1 of tier 1
    assert rows(ask(THREE_TIERS, "-2", pre_line_quantity="22")) == ["usage -2 x 0.1 = -0.20"]
    assert rows(ask(THREE_TIERS, "-3", pre_line_quantity="12", line_position="mid")) == [
        "usage -1 x 1 = -1.00",
        "usage -2 x 0.5 = -1.00",
        "flat -1 x 3 = -3.00",
    ]


@pytest.mark.parametrize("position", ["single", "mid", "last"])
def test_rule_13_volume_bills_now_and_reverses_later(position: str) -> None:
    assert rows(ask(TWO_VOLUMES, "8", line_position="first")) == [
        "usage 8 x 2 = 16.00",
        "flat 1 x 5 = 5.00",
    ]
    answer = ask(TWO_VOLUMES, "4", pre_line_quantity="8", line_position=position)
    assert rows(answer) == ["usage -8 x 2 = -16.00", "flat -1 x 5 = -5.00", "usage 12 x 1 = 12.00"]
    assert answer["amount"] == "-9.00"
    # and back again: the lower tier's lines first, now billed
    assert rows(ask(TWO_VOLUMES, "-4", pre_line_quantity="12", line_position=position)) == [
        "usage 8 x 2 = 16.00",
        "flat 1 x 5 = 5.00",
        "usage -12 x 1 = -12.00",
    ]


def test_rule_14_lines_match_by_component_and_unit_amount() -> None:
    same = [{"up_to": "10", "unit_amount": "1"}, {"unit_amount": "1", "flat_amount": "2"}]
    # one price in both tiers: graduated keeps the tiers apart, volume sees one usage line
    graduated: Object = {"type": "graduated", "tiers": same}
    assert rows(ask(graduated, "5", pre_line_quantity="8")) == [
        "usage 2 x 1 = 2.00",
        "usage 3 x 1 = 3.00",
        "flat 1 x 2 = 2.00",
    ]
    volume: Object = {"type": "volume", "tiers": same}
    assert rows(ask(volume, "5", pre_line_quantity="8")) == [
        "usage 5 x 1 = 5.00",
        "flat 1 x 2 = 2.00",
    ]


def test_rule_15_flat_is_billed_whole_by_the_first_line() -> None:
    seats: Object = {"type": "flat", "amount": "9.99"}
    for position in ("single", "first"):
        for before in ("0", "4"):
            assert rows(ask(seats, "3", line_position=position, pre_line_quantity=before)) == [
                "flat 3 x 9.99 = 29.97"
            ]
    for position in ("mid", "last"):
        assert rows(ask(seats, "3", line_position=position)) == []
    assert error({**seats, "payment_term": "in_advance"}) == "unknown_key price.payment_term"


def test_rule_15_the_minimum_of_a_split_flat_fee_is_that_of_the_whole() -> None:
    seats: Object = {"type": "flat", "amount": "10"}
    assert amount(seats, minimum="15") == "15.00"
    assert amount(seats, minimum="15", line_position="first") == "10.00"
    assert amount(seats, minimum="15", line_position="last") == "5.00"
