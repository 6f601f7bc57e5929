"""Quantities: exact decimals, parsed strictly, written one way.

Owns: the number grammar, mantissa and scale, the one text form of a quantity.
Law: parse(text(q)) == q; no float is ever accepted or made.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import gcd

INTEGER_DIGITS_MAX = 20
"""Digits before the point that an event value may have."""
SCALE_MAX = 18
"""Digits after the point that an event value may have."""
REPEATING_DIGITS = 12
"""Decimals printed of a quantity that has no finite decimal form (RATING rule 6)."""

_PLAIN_CHARS_MAX = 18
_PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


def parse_decimal(text: object) -> Decimal:
    """Return the decimal that a plain string names: no exponent, NaN, spaces or JSON number.

    Raises:
        ValueError: not of that form, or beyond INTEGER_DIGITS_MAX / SCALE_MAX.

    """
    if not isinstance(text, str):
        raise ValueError(f"a decimal travels as a string, not as {type(text).__name__}")
    if len(text) > INTEGER_DIGITS_MAX + SCALE_MAX + 2 or not _PLAIN.fullmatch(text):
        raise ValueError(f"{text[:50]!r} is not a plain decimal number within the limits")
    whole, _, decimals = text.lstrip("-").partition(".")
    if len(whole) > INTEGER_DIGITS_MAX or len(decimals) > SCALE_MAX:
        raise ValueError(
            f"{text!r} has more than {INTEGER_DIGITS_MAX} digits before"
            f" or {SCALE_MAX} after the point"
        )
    return Decimal(text)


def mantissa_scale(value: Decimal) -> tuple[int, int]:
    """Return (mantissa, scale), value = mantissa x 10^-scale, with the smallest scale >= 0."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"{value} is not finite")
    mantissa = int("".join(map(str, digits)))
    while exponent < 0 and mantissa % 10 == 0:
        mantissa, exponent = mantissa // 10, exponent + 1
    if exponent > 0:
        mantissa, exponent = mantissa * 10**exponent, 0
    return (-mantissa if sign else mantissa), -exponent


def plain_mantissa(text: str) -> tuple[int, int] | None:
    """Read the commonest numbers fast, as parse_decimal and mantissa_scale would; else None."""
    if len(text) > _PLAIN_CHARS_MAX or not text.isascii():
        return None
    if text.isdigit():
        return int(text), 0
    whole, point, decimals = text.partition(".")
    if not whole.removeprefix("-").isdigit():
        return None
    if not point:
        return int(whole), 0
    if not decimals.isdigit():
        return None
    decimals = decimals.rstrip("0")
    return int(whole + decimals), len(decimals)


def from_mantissa(mantissa: int, scale: int) -> Fraction:
    """Return mantissa x 10^-scale, exactly."""
    return ratio(mantissa, 10**scale) if scale else Fraction(mantissa)


_set_numerator = vars(Fraction)["_numerator"].__set__
_set_denominator = vars(Fraction)["_denominator"].__set__


def ratio(numerator: int, denominator: int) -> Fraction:
    """Return Fraction(numerator, denominator) of whole numbers, the denominator above zero.

    Most numbers of a run are made here: the class itself looks first what else it was given,
    which takes longer than all the rest.
    """
    divisor = gcd(numerator, denominator)
    made: Fraction = object.__new__(Fraction)
    _set_numerator(made, numerator // divisor)
    _set_denominator(made, denominator // divisor)
    return made


def at_most(number: Fraction, bound: Fraction) -> bool:
    """Return number <= bound, without asking of what class they are."""
    numerator, denominator = number.as_integer_ratio()
    top, below = bound.as_integer_ratio()
    return numerator * below <= top * denominator


def minus(number: Fraction, taken: Fraction) -> Fraction:
    """Return number - taken, without asking of what class they are."""
    numerator, denominator = number.as_integer_ratio()
    top, below = taken.as_integer_ratio()
    return ratio(numerator * below - top * denominator, denominator * below)


def rounded_times(number: Fraction, times: int) -> int:
    """Return number x times, rounded half away from zero."""
    numerator, denominator = number.as_integer_ratio()
    return rounded_ratio(numerator * times, denominator)


def exact_sum(numbers: Iterable[Fraction]) -> Fraction:
    """Return the sum of many numbers: of each denominator's first, which whole numbers add up."""
    numerators: dict[int, int] = {}
    for number in numbers:
        denominator = number.denominator
        numerators[denominator] = numerators.get(denominator, 0) + number.numerator
    return sum((Fraction(total, of) for of, total in numerators.items()), Fraction(0))


def quantity_text(quantity: Fraction) -> str:
    """Return the one decimal form: no exponent, no trailing zeros.

    A fraction without a finite decimal form is rounded half away from zero to
    REPEATING_DIGITS decimals.
    """
    numerator, denominator = quantity.numerator, quantity.denominator
    if denominator == 1:
        return str(numerator)
    scale, factor = _decimals(denominator)
    if factor:  # in lowest terms it ends in no zero
        digits = str(numerator * factor)
        if numerator >= denominator:
            return f"{digits[:-scale]}.{digits[-scale:]}"
        return decimal_text(numerator * factor, scale)
    return decimal_text(rounded_ratio(numerator * 10**scale, denominator), scale)


@lru_cache(maxsize=1024)  # quantities differ, their denominators hardly do
def _decimals(denominator: int) -> tuple[int, int]:
    """Return how many decimals a fraction is printed with, and what its numerator is times.

    0 where it has no finite decimal form.
    """
    rest, twos, fives = denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return REPEATING_DIGITS, 0
    scale = max(twos, fives)
    return scale, 10**scale // denominator


def decimal_text(mantissa: int, scale: int, *, keep_zeros: bool = False) -> str:
    """Return mantissa x 10^-scale in plain digits; trailing zeros go unless kept."""
    if not scale:
        return str(mantissa)
    digits = str(mantissa if mantissa >= 0 else -mantissa)
    if len(digits) <= scale:
        digits = digits.rjust(scale + 1, "0")
    if keep_zeros and mantissa >= 0:  # most amounts of money
        return f"{digits[:-scale]}.{digits[-scale:]}"
    whole, decimals = digits[:-scale], digits[-scale:]
    if not keep_zeros:
        decimals = decimals.rstrip("0")
    sign = "-" if mantissa < 0 else ""
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def round_half_away(value: Fraction) -> int:
    """Round to the nearest integer, halves away from zero: the house's only rounding."""
    return rounded_ratio(value.numerator, value.denominator)


def rounded_ratio(numerator: int, denominator: int) -> int:
    """Round numerator / denominator, whose denominator is above zero, in the same way."""
    if numerator < 0:
        return -((denominator - 2 * numerator) // (2 * denominator))
    return (denominator + 2 * numerator) // (2 * denominator)


def exact(text: str) -> Fraction:
    """Return the fraction of a decimal string that was checked before."""
    return Fraction(Decimal(text))  # neither rounds, whatever the context
