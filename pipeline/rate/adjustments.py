"""Adjustments: discounts and the maximum, in minor units (rules 8, 26 to 31).

Owns: their order and how they fall on lines. Does not own: the past (rating.py applies all this
to both sides of rule 11), or the minimum, which is a line of its own.
Law: with charges above zero, every line's discount lies within 0 and its amount.
Readings:
- A fixed discount is split like a percentage one: by largest remainder over what is left of
  each line (rule 27 says it of percentages, DESIGN section 8 of every split).
- Where lines come to less than zero (a negative unit amount), a percentage discount is the
  mirror image, a fixed one does nothing.
- The maximum cuts the last lines first: lines use the room in order (rule 31).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias, assert_never

from pipeline.core.money import allocate_whole
from pipeline.core.quantity import rounded_ratio, rounded_times
from pipeline.rate.faults import FaultCode
from pipeline.rate.fields import Fields
from pipeline.rate.limits import DISCOUNTS_MAX


@dataclass(frozen=True, slots=True)
class PercentageDiscount:
    """So many percent of what is left; above 100 acts as 100 (rule 28)."""

    percent: Fraction


@dataclass(frozen=True, slots=True)
class FixedDiscount:
    """So much money, rounded to the currency first (rule 8)."""

    amount: Fraction


Discount: TypeAlias = PercentageDiscount | FixedDiscount


def in_order(discounts: Sequence[Discount]) -> list[Discount]:
    """Return all percentages, then all fixed ones, each kind in input order (rule 26)."""
    if len(discounts) == 1:
        return list(discounts)
    return sorted(discounts, key=lambda discount: isinstance(discount, FixedDiscount))


def discounted(
    amounts: Sequence[int], discounts: Sequence[Discount], scale: int
) -> list[tuple[int, ...]]:
    """Return what each discount, in order, takes off each line; all in minor units."""
    if len(amounts) == 1:
        return [_taken_of(amounts[0], discounts, scale)]
    left, taken = list(amounts), []
    for discount in in_order(discounts):
        shares = _shares(left, _taken(discount, sum(left), scale))
        left = [rest - share for rest, share in zip(left, shares, strict=True)]
        taken.append(shares)
    return list(zip(*taken, strict=True))


def _taken_of(left: int, discounts: Sequence[Discount], scale: int) -> tuple[int, ...]:
    """Return what each discount, in order, takes off the only line: nothing is to be split."""
    taken = []
    for discount in in_order(discounts):
        off = _taken(discount, left, scale)
        left -= off
        taken.append(off)
    return tuple(taken)


def _taken(discount: Discount, left: int, scale: int) -> int:
    """Return how much one discount takes off what is left of all lines (rules 27, 28)."""
    match discount:
        case PercentageDiscount():
            numerator, denominator = discount.percent.as_integer_ratio()
            if numerator >= 100 * denominator:
                return left
            return rounded_ratio(left * numerator, 100 * denominator)
        case FixedDiscount():
            return min(rounded_times(discount.amount, scale), max(left, 0))
        case _:
            assert_never(discount)


def _shares(left: Sequence[int], taken: int) -> list[int]:
    """Split a discount over what is left of each line, by largest remainder (rule 27)."""
    if not taken:
        return [0] * len(left)
    sign = 1 if taken > 0 else -1
    return allocate_whole(taken, [max(0, sign * rest) for rest in left])


def capped(nets: Sequence[int], room: int) -> list[int]:
    """Return what the maximum takes off each line so that all fit the room (rule 31)."""
    excess = sum(nets) - room
    cuts = [0] * len(nets)
    for index in reversed(range(len(nets))):
        if excess <= 0:
            break
        cuts[index] = min(excess, max(nets[index], 0))
        excess -= cuts[index]
    return cuts


def read_discounts(fields: Fields) -> tuple[Discount, ...]:
    """Read `discounts`."""
    read = (read_discount(item) for item in fields.objects("discounts", DISCOUNTS_MAX))
    return tuple(discount for discount in read if discount is not None)


def read_discount(fields: Fields, more: frozenset[str] = frozenset()) -> Discount | None:
    """Read one discount; `more` keys belong to whoever asks."""
    if not fields.opened:
        return None
    match fields.value("type"):
        case "percentage":
            fields.close(more | {"type", "percent"}, frozenset({"amount"}))
            return PercentageDiscount(fields.needed("percent"))
        case "fixed":
            fields.close(more | {"type", "amount"}, frozenset({"percent"}))
            return FixedDiscount(fields.needed("amount"))
        case None:
            fields.note(FaultCode.MISSING, "type", "required, but absent or null")
        case other:
            fields.choice("type", other, ("percentage", "fixed"))
    return None
