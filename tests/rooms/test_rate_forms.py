"""Lines of one form are read once, and answered as each would be by itself."""

import json
from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rate import answer_rate
from pipeline.rate.forms import rated_again
from pipeline.rate.limits import FORMS_MAX

ENDS = count(1)
"""So many spaces behind a line give it a form that nobody had."""

REQUESTS = {
    "unit": '"price":{"type":"unit","unit_amount":"0.0123"}',
    "flat": '"price":{"type":"flat","amount":"10"}',
    "package": '"price":{"type":"package","package_size":"10","package_amount":"3"}',
    "volume": '"price":{"type":"volume","tiers":[{"up_to":"5","unit_amount":"2"},'
    '{"flat_amount":"1"}]}',
    "bounded": '"price":{"type":"graduated","tiers":[{"up_to":"5","unit_amount":"1"}]}',
    "percentage": '"price":{"type":"percentage","rate_percent":"1.5","free_amount":"3"}',
    "discounts": '"price":{"type":"unit","unit_amount":"1"},"maximum":"9","minimum":"2",'
    '"discounts":[{"type":"percentage","percent":"10"},{"type":"fixed","amount":"0.5"}]',
    "converted": '"price":{"type":"unit","unit_amount":"1"},"usage_discount":"1",'
    '"unit_conversion":{"operation":"divide","factor":"3","rounding":"ceiling","precision":1}',
    "prorated": '"price":{"type":"flat","amount":"31"},"proration":{"period_start":'
    '"2026-01-01T00:00:00Z","period_end":"2026-02-01T00:00:00Z","service_start":'
    '"2026-01-11T00:00:00Z","service_end":"2026-02-01T00:00:00Z"}',
    "past": '"price":{"type":"unit","unit_amount":"1"},"pre_line_quantity":"4",'
    '"line_position":"last","minimum":"20"',
    "events": '"price":{"type":"percentage","rate_percent":"1","fixed_per_event":"1"},'
    '"event_count":"1"',
    "events needed": '"price":{"type":"percentage","fixed_per_event":"1"}',
    "fault": '"price":{"type":"unit","unit_amount":"1"},"maximum":"1","minimum":"2"',
}


def by_itself(line: str) -> str:
    """Answer a line whose form was never seen."""
    return answer_rate(line + " " * next(ENDS))


def answered(line: str) -> str:
    """Answer a line often enough for its form to be known, if it has one."""
    return [answer_rate(line) for _ in range(4)][-1]


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("template", ['{"id":ID,REST,"quantity":"QUANTITY"}', '{"id": ID, REST}'])
def test_a_line_of_a_known_form_is_answered_as_by_itself(name: str, template: str) -> None:
    form = template.replace("REST", f'"currency":"EUR",{REQUESTS[name]}')
    for identity, quantity in (
        ('"1"', "1"),
        ('"a b:c"', "7.25"),
        ("17", "0"),
        ("-3", "-4"),
        ("0", "123456789.123456789123"),
        ('""', "-0.0"),
        ('"~"', "9" * 100),
        ('"1"', "9" * 101),
        ('"ü"', "00012.500"),
        ('"\\u0041"', "1"),
        ('"\\""', "1"),
        ("1.5", "1"),
        ("01", "1"),
        ("-0", "1"),
        ("123456789012345678901", "1"),
        ("true", "1e3"),
        ("null", " 1"),
        ('"\x7f"', "1"),
        ('"\t"', "1"),
        ("[1]", "1."),
    ):
        line = form.replace("ID", identity).replace("QUANTITY", quantity)
        assert answered(line) == by_itself(line)


def known(line: str) -> object:
    answered(line)
    return rated_again(line)


@pytest.mark.parametrize("name", REQUESTS)
def test_forms_of_sound_requests_are_known(name: str) -> None:
    sound = name not in {"events", "events needed", "fault"}
    rest = f'"currency":"EUR",{REQUESTS[name]}'
    for line in (
        f'{{"id":"1",{rest},"quantity":"3"}}',
        f'{{"quantity": "3", {rest}, "id": 1}}',
        f'  {{{rest},"id":"","quantity":"3"}}\r',
    ):
        assert (known(line) is not None) is sound


PRICE = '"currency":"EUR","price":{"type":"unit","unit_amount":"1"}'


@pytest.mark.parametrize(
    "line",
    [
        f'{{{PRICE},"quantity":"3"}}',
        f'{{"id":"1",{PRICE},"quantity":"3","more":1}}',
        f'{{"id":"1",{PRICE},"quantity":"3","quantity":"3"}}',
        f'{{"id":"1","id":"1",{PRICE},"quantity":"3"}}',
        f'{{"id":"1",{PRICE}"quantity":"3"}}',
        f'{{"id":"1",{PRICE},"quantity":"3"}}}}',
        f'{{"id":1.5,{PRICE},"quantity":"3"}}',
        f'{{"id":1e5,{PRICE},"quantity":"3"}}',
        f'{{"x":{{"id":"1"}},"id":"1",{PRICE},"quantity":"3"}}',
        f'{{"id":{{"id":"1"}},{PRICE},"quantity":"3"}}',
        f'{{"id":[{{"id":"1","quantity":"3"}}],{PRICE},"quantity":"3"}}',
        f'{{"id":"1",{PRICE},"quantity":{{"quantity":"3"}}}}',
        f'{{"id":"the id of a form",{PRICE},"quantity":"3"}}',
    ],
)
def test_forms_of_other_lines_are_not(line: str) -> None:
    line += " " * next(ENDS)
    assert known(line) is None
    assert answered(line) == by_itself(line)


MATRIX = (
    '"currency":"EUR","price":{"type":"matrix","dimensions":["id","quantity"],"cells":[{"values":'
    '["1","3"],"unit_amount":"5"}],"default_unit_amount":"7"}'
)


@pytest.mark.parametrize("outer", ["7", "the id of a form", "the \\u0069d of a form"])
def test_what_is_called_id_elsewhere_is_part_of_the_form(outer: str) -> None:
    for inner in ("1", "2", "the id of a form"):
        told = f'"dimensions":{{"id":"{inner}","quantity":"3"}}'
        line = f'{{{told},"id":"{outer}",{MATRIX},"quantity":"271828182845904523536.5"}}'
        assert known(line) is None
        assert answered(line) == by_itself(line)


@given(
    st.sampled_from([*REQUESTS.values()]),
    st.lists(st.tuples(st.text(max_size=4), st.decimals(-99, 10**7)), min_size=3, max_size=6),
    st.booleans(),
)
def test_any_ids_and_quantities_are_answered_as_by_themselves(
    rest: str, said: list[tuple[str, object]], ascii_only: bool
) -> None:
    for identity, quantity in said:
        name = json.dumps(identity, ensure_ascii=ascii_only)
        line = f'{{"id":{name},"currency":"USD",{rest},"quantity":"{quantity}"}}'
        assert answer_rate(line) == by_itself(line)


def test_no_more_forms_are_remembered_than_the_limit() -> None:
    line = f'{{"id":"1","maximum":"99",{PRICE},"quantity":"3"}}'
    assert known(line) is not None
    for spaces in islice(ENDS, FORMS_MAX):
        answer_rate(f'{{"id":"1",{" " * (spaces % 997)}"usage_discount":"{spaces}",{PRICE}}}')
    assert rated_again(line) is None
    assert known(line) is not None
