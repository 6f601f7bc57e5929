"""Laws of quantities: text and number are one, to the last digit; no float is let in."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.quantity import (
    INTEGER_DIGITS_MAX,
    REPEATING_DIGITS,
    SCALE_MAX,
    at_most,
    decimal_text,
    exact,
    exact_sum,
    from_mantissa,
    mantissa_scale,
    minus,
    parse_decimal,
    plain_mantissa,
    quantity_text,
    ratio,
    round_half_away,
    rounded_times,
)

plain = st.from_regex(
    rf"-?[0-9]{{1,{INTEGER_DIGITS_MAX}}}(\.[0-9]{{1,{SCALE_MAX}}})?", fullmatch=True
)
mantissas = st.integers(-(10**38) + 1, 10**38 - 1)
scales = st.integers(0, SCALE_MAX)


@given(plain)
def test_what_is_plain_parses_to_itself(text: str) -> None:
    value = parse_decimal(text)

    assert Fraction(value) == Fraction(text) == exact(text)


@given(plain)
def test_quantity_text_round_trip(text: str) -> None:
    quantity = exact(text)
    written = quantity_text(quantity)

    assert Fraction(parse_decimal(written)) == quantity
    assert written == written.strip("+")
    assert not ("." in written and written.endswith(("0", ".")))
    assert quantity_text(Fraction(written)) == written


@given(plain)
@example("-0")
@example("-0.000")
@example("100")
def test_mantissa_and_scale_are_the_smallest(text: str) -> None:
    mantissa, scale = mantissa_scale(parse_decimal(text))

    assert from_mantissa(mantissa, scale) == Fraction(text)
    assert scale == 0 or mantissa % 10 != 0
    assert 0 <= scale <= SCALE_MAX


@given(mantissas, scales, st.integers(0, 5))
def test_equal_values_have_one_mantissa_and_scale(mantissa: int, scale: int, zeros: int) -> None:
    sign, digits = int(mantissa < 0), tuple(map(int, str(abs(mantissa))))
    padded = Decimal((sign, (*digits, *[0] * zeros), -scale - zeros))

    assert mantissa_scale(padded) == mantissa_scale(Decimal((sign, digits, -scale)))


@given(mantissas, scales)
def test_decimal_text_keeps_or_drops_zeros_only(mantissa: int, scale: int) -> None:
    kept = decimal_text(mantissa, scale, keep_zeros=True)
    dropped = kept.rstrip("0").rstrip(".") if scale else kept

    assert len(kept.partition(".")[2]) == scale
    assert Fraction(kept) == Fraction(mantissa, 10**scale)
    assert decimal_text(mantissa, scale) == (dropped if dropped != "-0" else "0")


@given(st.integers(-(10**20), 10**20), st.sampled_from([3, 7, 9, 11, 30, 999]))
def test_what_never_ends_is_written_to_twelve_decimals(numerator: int, denominator: int) -> None:
    quantity = Fraction(numerator, denominator)
    written = quantity_text(quantity)

    assert abs(Fraction(written) - quantity) <= Fraction(1, 2 * 10**REPEATING_DIGITS)
    assert len(written.partition(".")[2]) <= REPEATING_DIGITS


@given(st.text(max_size=50).filter(lambda text: not text.isascii() or not text.isdigit()))
def test_what_is_not_plain_is_refused_or_exact(text: str) -> None:
    try:
        value = parse_decimal(text)
    except ValueError:
        return
    assert text.isascii()
    assert Fraction(value) == Fraction(text)


@given(st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.binary(max_size=4)))
def test_only_strings_are_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="travels as a string"):
        parse_decimal(value)


@given(plain | st.text("0123456789.-+e٣ ", max_size=6))
@example("-0.50")
def test_plain_numbers_read_fast_are_read_alike(text: str) -> None:
    fast = plain_mantissa(text)

    assert fast is None or fast == mantissa_scale(parse_decimal(text))


@given(st.lists(st.fractions(max_denominator=60)))
def test_a_sum_of_many_is_that_of_one_after_the_other(numbers: list[Fraction]) -> None:
    assert exact_sum(numbers) == sum(numbers, Fraction(0))


numbers = st.fractions() | st.fractions(-3, 3, max_denominator=8)


@given(st.integers(), st.integers(min_value=1), numbers, numbers, st.integers(0, 10**4))
def test_what_is_done_in_whole_numbers_is_what_fractions_do(
    numerator: int, denominator: int, one: Fraction, other: Fraction, times: int
) -> None:
    made = ratio(numerator, denominator)

    assert (type(made), made) == (Fraction, Fraction(numerator, denominator))
    assert made.as_integer_ratio() == Fraction(numerator, denominator).as_integer_ratio()
    assert minus(one, other).as_integer_ratio() == (one - other).as_integer_ratio()
    assert at_most(one, other) is (one <= other)
    assert at_most(one, one)
    assert rounded_times(one, times) == round_half_away(one * times)
