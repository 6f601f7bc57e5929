"""Sums: the tax of one category over a document, and each line's share of it.

Owns: the one rounding of a category's tax, the largest-remainder split.
Does not own: which category a line is in (deciding.py), lines (invoice/taxed.py).
Law (EN 16931, BR-CO-17): tax = taxable x rate, rounded once, half away from zero; shares sum to it,
each less than one minor unit off its exact share. Where amounts contain the tax, it is
amount x rate / (100 + rate), rounded alike: what is left is such that BR-CO-17 holds, wherever
whole minor units allow it.
"""

from collections.abc import Sequence
from fractions import Fraction

from pipeline.core.errors import BrokenInvariant
from pipeline.core.quantity import rounded_ratio


def tax_share(percent: Fraction, *, inclusive: bool) -> Fraction:
    """Return what part of an amount its tax is."""
    return percent / (100 + percent) if inclusive else percent / 100


def tax_of(amount_minor: int, share: Fraction) -> int:
    """Return the tax of a category, from the sum of its lines."""
    return rounded_ratio(amount_minor * share.numerator, share.denominator)


def split_tax(tax_minor: int, amounts_minor: Sequence[int], share: Fraction) -> list[int]:
    """Return the tax of each amount; they sum to `tax_minor`, and mirror amounts mirror shares.

    The exact shares must sum to less than one minor unit from it, as a category's do, and those
    of the children of a line that was given its share here.
    """
    numerator, denominator = share.numerator, share.denominator
    found, rests = [], []
    for amount in amounts_minor:
        size, rest = divmod(abs(amount) * numerator, denominator)
        sign = -1 if amount < 0 else 1
        found.append(sign * size)
        rests.append(sign * rest)
    left = tax_minor - sum(found)
    if left == 0:
        return found
    step = 1 if left > 0 else -1
    takers = sorted(
        (i for i, rest in enumerate(rests) if rest * step > 0), key=lambda i: (-step * rests[i], i)
    )
    if len(takers) < abs(left):
        raise BrokenInvariant(f"a tax of {tax_minor} is not that of {list(amounts_minor)}")
    for place in takers[: abs(left)]:
        found[place] += step
    return found
