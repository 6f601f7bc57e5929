"""Money, row by row: minor units, the one rounding, allocation with its ties."""

from fractions import Fraction

import pytest

from pipeline.core.money import MINOR_MAX, Money, allocate, minor_digits, whole_minor
from pipeline.core.quantity import parse_decimal, quantity_text, round_half_away


@pytest.mark.parametrize(
    ("currency", "digits"),
    [("EUR", 2), ("USD", 2), ("JPY", 0), ("KRW", 0), ("CLP", 0), ("VND", 0), ("ISK", 0),
     ("KWD", 3), ("BHD", 3), ("TND", 3), ("CLF", 4), ("UYW", 4), ("MRU", 2)],
)  # fmt: skip
def test_minor_units_are_isos(currency: str, digits: int) -> None:
    assert minor_digits(currency) == digits


@pytest.mark.parametrize("currency", ["", "eur", "EURO", "EUR ", "978", "DEM", "XAU", "XTS", "XXX"])
def test_what_nothing_can_be_billed_in(currency: str) -> None:
    with pytest.raises(ValueError, match=r"is no ISO 4217 currency|has no minor unit"):
        minor_digits(currency)


@pytest.mark.parametrize(
    ("amount", "currency"), [("10000000000000000", "EUR"), ("-1000000000000000000", "JPY")]
)
def test_an_amount_that_somebody_wrote_is_bounded(amount: str, currency: str) -> None:
    most = Fraction(amount)
    assert abs(whole_minor(most, currency)) == MINOR_MAX
    with pytest.raises(ValueError, match=f"above [0-9.]+ {currency}: write less"):
        whole_minor(most + (1 if most > 0 else -1), currency)


@pytest.mark.parametrize(
    ("exact", "rounded"),
    [
        ("0.5", 1),
        ("-0.5", -1),
        ("1.5", 2),
        ("2.5", 3),  # not to even
        ("-2.5", -3),
        ("2.4999999999999999999999999999999999", 2),
        ("2.5000000000000000000000000000000001", 3),
        ("-0.49", 0),
        ("0", 0),
    ],
)
def test_halves_go_away_from_zero(exact: str, rounded: int) -> None:
    assert round_half_away(Fraction(exact)) == rounded


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("0.005", "EUR", "0.01"),
        ("-0.005", "EUR", "-0.01"),
        ("0.0049", "EUR", "0.00"),
        ("-0.0049", "EUR", "0.00"),
        ("1234567.5", "JPY", "1234568"),
        ("1.23456", "CLF", "1.2346"),
        ("7", "KWD", "7.000"),
        ("-7", "EUR", "-7.00"),
    ],
)
def test_money_as_text(amount: str, currency: str, text: str) -> None:
    assert Money.rounded(Fraction(amount), currency).text == text


SPLITS = [
    (100, [1, 1, 1], [34, 33, 33]),
    (101, [1, 1, 1], [34, 34, 33]),
    (-101, [1, 1, 1], [-34, -34, -33]),
    (2, [1, 1, 1], [1, 1, 0]),
    (1, [1, 2], [0, 1]),
    (10, [0, 1, 0], [0, 10, 0]),
    (0, [3, 5], [0, 0]),
    (1, [0, 0, 5, 5], [0, 0, 1, 0]),
    (5, [7], [5]),
    (10**30 + 1, [1, 1], [5 * 10**29 + 1, 5 * 10**29]),
]


@pytest.mark.parametrize(("total", "weights", "shares"), SPLITS)
def test_allocation(total: int, weights: list[int], shares: list[int]) -> None:
    assert allocate(total, [Fraction(weight) for weight in weights]) == shares


@pytest.mark.parametrize("weights", [[], [0], [0, 0], [1, -1], [-1, 3]])
def test_what_cannot_be_allocated(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights must be"):
        allocate(100, [Fraction(weight) for weight in weights])


@pytest.mark.parametrize(
    "text",
    ["", "-", ".", "1.", ".5", "+1", "1e3", "1E-3", "NaN", "Infinity", "-Infinity", "0x1", "1_000",
     " 1", "1\n", "1,5", "--1", "\u0661", "1.2.3", "9" * 21, "0." + "0" * 19, "1" * 50],
)  # fmt: skip
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match=r"decimal number within|digits before"):
        parse_decimal(text)


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (Fraction(3, 2), "1.5"),
        (Fraction(10), "10"),
        (Fraction(0), "0"),
        (Fraction(-1, 8), "-0.125"),
        (Fraction(1, 3), "0.333333333333"),
        (Fraction(2, 3), "0.666666666667"),
        (Fraction(-2, 3), "-0.666666666667"),
        (Fraction(1, 3 * 10**15), "0"),
        (Fraction(1, 2**30), "0.000000000931322574615478515625"),
    ],
)
def test_quantities_as_text(quantity: Fraction, text: str) -> None:
    assert quantity_text(quantity) == text
