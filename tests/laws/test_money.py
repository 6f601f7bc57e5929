"""Laws of money: one rounding, half away from zero; splits that lose nothing."""

from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from math import floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.core.money import Money, allocate, minor_digits
from pipeline.core.quantity import round_half_away

CURRENCIES = ["EUR", "JPY", "KWD", "CLF", "USD", "ISK"]

amounts = st.integers(-(10**30), 10**30)
fractions = st.builds(Fraction, amounts, st.integers(1, 10**12))
weights = st.lists(
    st.builds(Fraction, st.integers(0, 10**6), st.integers(1, 60)), min_size=1, max_size=12
)
repeating = st.lists(st.sampled_from([Fraction(0), Fraction(1), Fraction(2)]), min_size=1)


@given(fractions)
def test_rounding_goes_to_the_nearest_integer(value: Fraction) -> None:
    assert abs(round_half_away(value) - value) <= Fraction(1, 2)


@given(amounts)
def test_a_half_goes_away_from_zero(whole: int) -> None:
    assert round_half_away(Fraction(2 * whole + 1, 2)) == (whole + 1 if whole >= 0 else whole)


@given(fractions)
def test_rounding_mirrors(value: Fraction) -> None:
    assert round_half_away(-value) == -round_half_away(value)


@given(amounts, st.integers(0, 20))
def test_rounding_is_that_of_decimal(mantissa: int, scale: int) -> None:
    with localcontext(prec=80):
        theirs = Decimal(mantissa).scaleb(-scale).quantize(Decimal(1), ROUND_HALF_UP)

    assert round_half_away(Fraction(mantissa, 10**scale)) == int(theirs)


@given(amounts, st.sampled_from(CURRENCIES))
def test_money_is_written_with_exactly_its_decimals(minor: int, currency: str) -> None:
    text = Money(minor, currency).text
    digits = minor_digits(currency)

    assert len(text.partition(".")[2]) == digits
    assert Fraction(text) * 10**digits == minor
    assert Money.rounded(Fraction(text), currency) == Money(minor, currency)


@given(fractions, st.sampled_from(CURRENCIES))
def test_rounding_to_money_is_off_by_half_a_minor_unit_at_most(
    amount: Fraction, currency: str
) -> None:
    exact = amount * 10 ** minor_digits(currency)

    assert abs(Money.rounded(amount, currency).minor - exact) <= Fraction(1, 2)


@given(amounts, amounts, st.sampled_from(CURRENCIES))
def test_money_adds_and_takes_away(one: int, other: int, currency: str) -> None:
    first, second = Money(one, currency), Money(other, currency)

    assert first + second - second == first
    assert (first + second).minor == one + other
    assert Money(-one, currency) == -first


@given(amounts, amounts)
def test_currencies_do_not_mix(one: int, other: int) -> None:
    with pytest.raises(ValueError, match="EUR"):
        Money(one, "JPY") + Money(other, "EUR")


@given(amounts, st.one_of(weights, repeating))
def test_a_split_loses_nothing(total: int, parts: list[Fraction]) -> None:
    assume(any(parts))
    shares = allocate(total, parts)

    assert sum(shares) == total
    assert len(shares) == len(parts)


@given(st.integers(0, 10**12), st.one_of(weights, repeating))
def test_a_split_is_fair_by_largest_remainder_then_place(total: int, parts: list[Fraction]) -> None:
    assume(any(parts))
    shares = allocate(total, parts)
    exact = [total * part / sum(parts) for part in parts]
    remainders = [value - floor(value) for value in exact]
    topped = [share - floor(value) for share, value in zip(shares, exact, strict=True)]

    assert set(topped) <= {0, 1}
    for i, mine in enumerate(topped):
        for j, other in enumerate(topped):
            if mine and not other:
                assert (-remainders[i], i) < (-remainders[j], j)


@given(amounts, weights)
def test_a_negative_split_is_the_mirror_image(total: int, parts: list[Fraction]) -> None:
    assume(any(parts))

    assert allocate(-total, parts) == [-share for share in allocate(total, parts)]


@given(amounts, weights, fractions)
def test_only_the_ratio_of_weights_matters(
    total: int, parts: list[Fraction], factor: Fraction
) -> None:
    assume(any(parts) and factor > 0)

    assert allocate(total, parts) == allocate(total, [part * factor for part in parts])


@given(amounts, weights)
def test_who_weighs_nothing_gets_nothing(total: int, parts: list[Fraction]) -> None:
    assume(any(parts))
    shares = allocate(total, [Fraction(0), *parts, Fraction(0)])

    assert (shares[0], shares[-1]) == (0, 0)
    assert shares[1:-1] == allocate(total, parts)
