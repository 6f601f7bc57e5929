"""The commands' cores: strict in, exact out, never an exception; and the explanation."""

import json
import time
from fractions import Fraction

import pytest

from pipeline.rate import (
    BlockTier,
    Fault,
    FlatPrice,
    GraduatedPrice,
    Rated,
    RatingInput,
    UnitTier,
    answer_allocate,
    answer_rate,
    explain_rate,
    parse_price,
    rate,
)
from pipeline.rate.limits import NUMBER_DIGITS_MAX

GOOD = '"currency":"EUR","price":{"type":"flat","amount":"1"}'


@pytest.mark.parametrize(
    ("line", "code", "path"),
    [
        ("", "invalid_json", ""),
        ("{", "invalid_json", ""),
        (b"\xff", "invalid_json", ""),
        ("\ufeff{}", "invalid_json", ""),
        ('{"id":"a\nb"}', "invalid_json", ""),
        ("{'id':1}", "invalid_json", ""),
        (f'{{{GOOD},"quantity":NaN}}', "invalid_json", ""),
        (f'{{{GOOD},"quantity":-Infinity}}', "invalid_json", ""),
        ("null", "not_an_object", ""),
        ("[{}]", "not_an_object", ""),
        (f'{{{GOOD},"maximum":"1","maximum":"2"}}', "duplicate_key", "maximum"),
        (
            '{"currency":"EUR","price":{"type":"flat","amount":"1","amount":"2"}}',
            "duplicate_key",
            "price.amount",
        ),
        (
            f'{{{GOOD},"discounts":[{{"type":"fixed","type":"fixed"}}]}}',
            "duplicate_key",
            "discounts[0].type",
        ),
        (f'{{{GOOD},"discounts":{{}}}}', "wrong_type", "discounts"),
        (f'{{{GOOD},"discounts":[null]}}', "wrong_type", "discounts[0]"),
        (f'{{{GOOD},"discounts":[{{"type":"half"}}]}}', "bad_choice", "discounts[0].type"),
        (f'{{{GOOD},"discounts":[{{}}]}}', "missing", "discounts[0].type"),
        (f'{{{GOOD},"discounts":[{{"type":"fixed"}}]}}', "missing", "discounts[0].amount"),
        (f'{{{GOOD},"unit_conversion":[]}}', "wrong_type", "unit_conversion"),
        (f'{{{GOOD},"unit_conversion":{{"factor":"1"}}}}', "missing", "unit_conversion.operation"),
        (f'{{{GOOD},"proration":"all"}}', "wrong_type", "proration"),
        (f'{{{GOOD},"line_position":"middle"}}', "bad_choice", "line_position"),
        (f'{{{GOOD},"line_position":1}}', "bad_choice", "line_position"),
        ('{"currency":"EUR","price":[]}', "wrong_type", "price"),
        ('{"currency":"EUR","price":{"type":"fancy"}}', "bad_choice", "price.type"),
        ('{"currency":"EUR","price":{"type":["flat"]}}', "bad_choice", "price.type"),
        ('{"currency":"EUR","price":{"type":"volume","tiers":{}}}', "wrong_type", "price.tiers"),
        (
            '{"currency":"EUR","price":{"type":"volume","tiers":[1]}}',
            "wrong_type",
            "price.tiers[0]",
        ),
        ('{"currency":978,"price":{"type":"flat","amount":"1"}}', "wrong_type", "currency"),
        ('{"id":"deep","x":' + "[" * 200 + "]" * 200 + "}", "too_large", ""),
        ("[" * 200_000, "too_large", ""),
        ('{"id":"' + "a" * (4 << 20) + '"}', "too_large", ""),
        (f'{{{GOOD},"discounts":[{",".join(["{}"] * 101)}]}}', "too_large", "discounts"),
    ],
)
def test_a_bad_line_is_answered_with_code_path_and_message(
    line: str | bytes, code: str, path: str
) -> None:
    answer = json.loads(answer_rate(line))
    assert (answer["error"]["code"], answer["error"]["path"]) == (code, path)
    assert 0 < len(answer["error"]["message"]) < 300
    assert f"[{code}]" in explain_rate(line)
    other = json.loads(answer_allocate(line))
    assert set(other) == {"id", "error"}
    if not path:
        assert other == answer


def test_a_deep_line_still_has_its_id() -> None:
    line = '{"id":"deep","x":' + "[" * 200 + "]" * 200 + "}"
    assert json.loads(answer_rate(line))["id"] == "deep"
    assert json.loads(answer_rate(line.replace('"deep"', "[" * 99 + "]" * 99)))["id"] is None


def test_a_key_repeated_in_a_price_seen_before_is_still_an_error() -> None:
    once = f"{{{GOOD}}}"
    assert "amount" in json.loads(answer_rate(once))
    assert "error" in json.loads(
        answer_rate(once.replace('"amount":"1"', '"amount":"1","amount":"1"'))
    )
    assert "error" in json.loads(answer_rate(once.replace('"amount":"1"', '"amount":1')))
    assert "amount" in json.loads(answer_rate(once))


def test_the_dearest_lines_are_answered_in_seconds() -> None:
    digits = "9" * NUMBER_DIGITS_MAX
    tiers = [
        {"up_to": f"{n}.{digits[:-10]}", "unit_amount": f"0.{digits[1:]}"} for n in range(1, 1001)
    ]
    request = {
        "currency": "CLF",
        "price": {"type": "graduated", "tiers": tiers},
        "quantity": "900.1",
        "pre_line_quantity": "899.9",
        "line_position": "mid",
        "unit_conversion": {"operation": "divide", "factor": f"1.{digits[1:]}"},
        "discounts": [{"type": "percentage", "percent": f"0.{digits[1:]}"}] * 100,
        "maximum": digits,
    }
    paid = {
        "currency": "EUR",
        "price": {"type": "percentage", "rate_percent": "1", "free_events": "5"},
        "per_event_amounts": [f"{n}.{digits[:-10]}" for n in range(40_000)],
    }
    weights = {"currency": "EUR", "amount": digits, "weights": paid["per_event_amounts"]}
    start = time.process_time()
    assert "amount" in json.loads(answer_rate(json.dumps({**request, "quantity": "0.05"})))
    assert "amount" in json.loads(answer_rate(json.dumps(paid)))
    assert "shares" in json.loads(answer_allocate(json.dumps(weights)))
    assert time.process_time() - start < 30


def test_allocate_answers_id_and_shares() -> None:
    line = '{"id":7,"currency":"EUR","amount":"0.10","weights":["1","2"]}'
    assert answer_allocate(line) == '{"id":7,"shares":["0.03","0.07"]}'
    for cut, code in (
        ('"currency":"EUR",', "missing"),
        ('"amount":"0.10",', "missing"),
        (',"weights":["1","2"]', "missing"),
    ):
        assert json.loads(answer_allocate(line.replace(cut, "")))["error"]["code"] == code
    assert json.loads(answer_allocate(line.replace("id", "di")))["error"]["path"] == "di"


def test_the_limits_themselves_are_allowed() -> None:
    discount = '{"type":"percentage","percent":"0"}'
    line = f'{{{GOOD},"discounts":[{",".join([discount] * 100)}]}}'
    assert json.loads(answer_rate(line))["amount"] == "1.00"
    nest = "[" * 63 + "]" * 63
    assert json.loads(answer_rate(f'{{"id":{nest},{GOOD}}}'))["amount"] == "1.00"
    assert json.loads(answer_rate(f'{{"id":[{nest}],{GOOD}}}'))["error"]["code"] == "too_large"
    long = f"{{{GOOD}}}".ljust(4 << 20)
    assert json.loads(answer_rate(long))["amount"] == "1.00"
    assert json.loads(answer_rate(long + " "))["error"]["code"] == "too_large"


def test_an_answer_is_one_compact_line_of_ascii() -> None:
    answer = answer_rate(f'{{"id":"ü",{GOOD}}}')
    assert answer == (
        '{"id":"\\u00fc","amount":"1.00","lines":[{"kind":"flat","quantity":"1",'
        '"unit_amount":"1","amount":"1.00","discount":"0.00","total":"1.00"}]}'
    )


def test_the_explanation_says_how_each_line_came_to_be() -> None:
    request = {
        "id": "a",
        "currency": "EUR",
        "price": {
            "type": "graduated",
            "tiers": [
                {"up_to": "10", "unit_amount": "0.5", "flat_amount": "1"},
                {"unit_amount": "0.4"},
            ],
        },
        "quantity": "5000",
        "pre_line_quantity": "7000",
        "unit_conversion": {"operation": "divide", "factor": "1000", "rounding": "ceiling"},
        "usage_discount": "1",
        "discounts": [{"type": "fixed", "amount": "1"}, {"type": "percentage", "percent": "10"}],
        "maximum": "4",
        "minimum": "4",
        "line_position": "last",
        "proration": {
            "period_start": "2024-01-01",
            "period_end": "2024-01-03",
            "service_start": "2024-01-02",
            "service_end": "2024-01-03",
            "time_zone": "UTC",
        },
    }
    # now 11 units: 2.50 + 0.50 + 0.20 = 3.20, less 0.32, less 1; before 6: 1.50 + 0.50 = 2.00,
    # less 0.20, less 1: 0.80; the line is 1.88 - 0.80 = 1.08, and 4.00 - 0.80 - 1.08 is missing
    text = explain_rate(json.dumps(request))
    for words in (
        'id "a"',
        "graduated price in EUR, line position last",
        "quantity 7000 before + 5000 = 12000",
        "converted: divided by 1000, rounded (ceiling) to 0 decimals",
        "usage discount: 1 of the running total free",
        "priced quantity 11, before 6",
        "proration: amounts x 1/2 of the period",
        "tier 2 usage: 1 x 0.4 x share of the period = 0.20",
        "billed earlier in the period: 0.80",
        "maximum 4.00",
        "minimum 4.00: topped up by 2.12",
        "minimum: 1 x 2.12 = 2.12, discount 0.00, total 2.12",
        "amount 3.20 EUR",
    ):
        assert words in text
    assert text.index("10 percent of what is left") < text.index("1.00 off what is left")
    assert text.index("charges of the running total") < text.index("less the charges of what came")


def test_the_explanation_of_a_bad_line_names_every_fault() -> None:
    text = explain_rate('{"id":1,"currency":"x","price":{"type":"unit"},"bogus":1}')
    assert text.splitlines() == [
        "id 1: not rated",
        "  bogus: nobody reads this key [unknown_key]",
        "  currency: 'x' is no upper-case ISO 4217 currency with a minor unit [bad_currency]",
        "  price.unit_amount: required, but absent or null [missing]",
    ]
    assert "quantity: required" in explain_rate(
        '{"currency":"EUR","price":{"type":"unit","unit_amount":"1"}}'
    )
    assert "  quantity 1\n" in explain_rate(f"{{{GOOD}}}")


def test_the_explanation_shows_no_key_that_a_terminal_would_obey() -> None:
    for key, shown in (("a\\nb", "a\\nb"), ("\\u001b[2J", "\\x1b[2J"), ("\\ud800", "\\ud800")):
        text = explain_rate(f'{{"id":1,{GOOD},"{key}":1}}')
        assert text == f"id 1: not rated\n  {shown}: nobody reads this key [unknown_key]"
    assert "  ü: nobody" in explain_rate(f'{{{GOOD},"ü":1}}')


def test_the_explanation_of_events_says_which_of_them_pay() -> None:
    def explained(price: dict[str, str], **told: object) -> str:
        whole = {"type": "percentage", "rate_percent": "1.3", **price}
        return explain_rate(json.dumps({"currency": "EUR", "price": whole, **told}))

    paid = ["50", "100", "250", "400"]
    free = {"fixed_per_event": "2", "free_events": "3", "free_amount": "250"}
    assert "  events 4, free: 2 and 250 of 800\n" in explained(free, per_event_amounts=paid)
    bounds = {"per_event_minimum": "1", "per_event_maximum": "5"}
    text = explained(bounds, per_event_amounts=paid)
    assert "  events 4, free: 0 and 0 of 800\n" in text
    assert "  each paying event costs at least 1, at most 5\n" in text
    assert "  events 12\n" in explained({"fixed_per_event": "1"}, quantity="9", event_count="12")
    assert "  events 1, free: 1 and 9 of 9\n" in explained(
        {"free_events": "1"}, quantity="9", event_count="1"
    )


def test_the_explanation_of_a_volume_says_which_tier_prices_it() -> None:
    tiers = [{"up_to": "15", "unit_amount": "10"}, {"unit_amount": "5", "flat_amount": "1"}]
    request = {"currency": "EUR", "price": {"type": "volume", "tiers": tiers}}
    text = explain_rate(json.dumps({**request, "quantity": "1", "pre_line_quantity": "15"}))
    for words in (
        "    usage at tier 2: 16 x 5 = 80.00",
        "    flat at tier 2: 1 x 1 = 1.00",
        "    usage at tier 1: 15 x 10 = 150.00",
    ):
        assert words in text


def test_a_price_is_parsed_with_every_fault_at_its_path() -> None:
    tiers = [{"up_to": "x", "y": "1"}, {"up_to": "0", "flat_amount": 1}]
    faults = parse_price({"type": "volume", "tiers": tiers}, "plans[3].price")
    assert isinstance(faults, tuple)
    assert [(fault.code.value, fault.path) for fault in faults] == [
        ("bad_number", "plans[3].price.tiers[0].up_to"),
        ("not_positive", "plans[3].price.tiers[1].up_to"),
        ("tier_order", "plans[3].price.tiers[1].up_to"),
        ("unknown_key", "plans[3].price.tiers[0].y"),
        ("bad_number", "plans[3].price.tiers[1].flat_amount"),
    ]
    assert parse_price(None) == (
        Fault(faults[0].code.__class__("wrong_type"), "price", "null is no object"),
    )


def test_tiers_of_both_kinds_may_stand_in_one_price() -> None:
    price = GraduatedPrice(
        (UnitTier(Fraction(10), Fraction(1)), BlockTier(None, Fraction(5), Fraction(3)))
    )
    rated = rate(RatingInput("EUR", price, Fraction(12)))
    assert isinstance(rated, Rated)
    assert [line.component.text for line in rated.lines] == ["tier 1 usage", "tier 2 usage"]
    assert rated.amount_minor == 1300


def test_a_negative_share_of_the_period_is_refused() -> None:
    rated = rate(RatingInput("EUR", FlatPrice(Fraction(1)), proration=Fraction(-1, 2)))
    assert isinstance(rated, Fault)
    assert rated.path == "proration"
