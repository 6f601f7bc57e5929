"""Money: integer minor units and a currency; rounding and allocation.

Owns: the minor unit, the one rounding (half away from zero), the largest-remainder split.
Law: allocate(...) sums to what was allocated; no float, no tolerance.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import lcm

import iso4217

from pipeline.core.quantity import decimal_text, rounded_times

MINOR_MAX = 10**18
"""The most that an amount somebody writes may come to: 64 bits hold nine times that."""


@cache
def minor_digits(currency: str) -> int:
    """Return the decimals of an upper-case ISO 4217 currency (EUR 2, JPY 0, KWD 3, CLF 4).

    Source: ISO 4217 list one, column "minor unit", by the package iso4217.

    Raises:
        ValueError: no such currency, or one without a minor unit (gold, test codes).

    """
    try:
        known = iso4217.Currency(currency)
    except ValueError:
        raise ValueError(f"{currency!r} is no ISO 4217 currency") from None
    if known.exponent is None:
        raise ValueError(f"{currency} has no minor unit, so nothing can be billed in it")
    return int(known.exponent)


def is_currency(text: str) -> bool:
    """Return whether a text names a currency that can be billed in."""
    try:
        minor_digits(text)
    except ValueError:
        return False
    return True


def whole_minor(amount: Fraction, currency: str) -> int:
    """Return an amount that somebody wrote in minor units; it is never rounded.

    Raises:
        ValueError: finer than the currency, beyond `MINOR_MAX`, or no such currency.

    """
    digits = minor_digits(currency)
    scale: int = 10**digits
    minor = amount * scale
    if minor.denominator != 1:
        raise ValueError(f"{currency} has {digits} decimals: write no more")
    if abs(minor) > MINOR_MAX:
        most = Money(MINOR_MAX, currency).text
        raise ValueError(f"above {most} {currency}: write less")
    return minor.numerator


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount in whole minor units of one currency."""

    minor: int
    currency: str

    @classmethod
    def rounded(cls, amount: Fraction, currency: str) -> "Money":
        """Round an exact amount in major units, once, half away from zero."""
        return cls(rounded_times(amount, 10 ** minor_digits(currency)), currency)

    @property
    def text(self) -> str:
        """The amount in major units with exactly the currency's decimals."""
        return decimal_text(self.minor, minor_digits(self.currency), keep_zeros=True)

    def __add__(self, other: "Money") -> "Money":
        """Add an amount of the same currency."""
        if other.currency != self.currency:
            raise ValueError(f"cannot add {other.currency} to {self.currency}")
        return Money(self.minor + other.minor, self.currency)

    def __neg__(self) -> "Money":
        """Return the mirror image."""
        return Money(-self.minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        """Subtract an amount of the same currency."""
        return self + -other


def sums_by_currency(amounts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the sums of (currency, minor units), in order of currency; none that is zero."""
    found = Counter[str]()
    for currency, minor in amounts:
        found[currency] += minor
    return {currency: found[currency] for currency in sorted(found) if found[currency]}


def allocate(total_minor: int, weights: Sequence[Fraction]) -> list[int]:
    """Split minor units by weights: floor, then the rest by largest remainder.

    Ties go in input order; a negative total is the mirror image (RATING rule 38).

    Raises:
        ValueError: no weights, a negative one, or all of them zero.

    """
    unit = lcm(*(weight.denominator for weight in weights))
    return allocate_whole(
        total_minor, [weight.numerator * (unit // weight.denominator) for weight in weights]
    )


def allocate_whole(total_minor: int, weights: Sequence[int]) -> list[int]:
    """Split minor units by whole weights, as `allocate` does.

    Raises:
        ValueError: no weights, a negative one, or all of them zero.

    """
    whole = sum(weights)
    if not weights or whole == 0 or min(weights) < 0:
        raise ValueError("weights must be non-negative and not all zero")
    if total_minor < 0:
        return [-share for share in allocate_whole(-total_minor, weights)]
    split = [divmod(total_minor * weight, whole) for weight in weights]
    shares = [share for share, _ in split]
    left = total_minor - sum(shares)
    if left:
        by_remainder = sorted(range(len(split)), key=lambda i: -split[i][1])  # ties keep order
        for index in by_remainder[:left]:
            shares[index] += 1
    return shares
