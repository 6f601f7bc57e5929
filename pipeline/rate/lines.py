"""Lines: the parts a price is made of, and the rated lines they become.

Owns: Component (what a line stands for), Part (exact), RatedLine and Rated (minor units).
Law: total = amount - discount on every line; the amount of the answer is the sum of totals
(rule 29).
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cache
from typing import NamedTuple

from pipeline.core.money import Money
from pipeline.core.quantity import rounded_ratio

ZERO = Fraction(0)
ONE = Fraction(1)


class Kind(StrEnum):
    """What a line bills."""

    USAGE = "usage"
    FLAT = "flat"
    MINIMUM = "minimum"


@dataclass(frozen=True, slots=True)
class Component:
    """What lines are matched by, together with the unit amount (rule 14).

    `tier` counts from 1 and is set for graduated models only: a volume line stands for all of
    the usage, whichever tier prices it.
    """

    kind: Kind
    tier: int | None = None

    @property
    def text(self) -> str:
        """The component in words: `usage`, `tier 2 flat`."""
        return self.kind.value if self.tier is None else f"tier {self.tier} {self.kind.value}"

    @classmethod
    def of_text(cls, text: str) -> "Component":
        """Return the component that a text tells."""
        *tier, kind = text.split(" ")
        return cls(Kind(kind), int(tier[1]) if tier else None)


USAGE = Component(Kind.USAGE)
FLAT = Component(Kind.FLAT)
MINIMUM = Component(Kind.MINIMUM)


@cache
def tier_component(kind: Kind, tier: int) -> Component:
    """Return the component of a graduated tier, counted from 1."""
    return Component(kind, tier)


class Part(NamedTuple):
    """One exact charge: quantity x unit amount, not yet prorated or rounded.

    `tier` is where the line stands in the answer (rule 17); 0 for models without tiers.
    """

    component: Component
    quantity: Fraction
    unit_amount: Fraction
    tier: int = 0

    @property
    def place(self) -> tuple[int, bool]:
        """Sort key of rule 17: tier by tier, usage before flat."""
        return self.tier, self.component.kind is Kind.FLAT


def part_minor(quantity: Fraction, unit: Fraction, factor: Fraction | None, scale: int) -> int:
    """Return a part in minor units: the line's single rounding (rules 7, 34).

    `scale` is minor units per major unit. No fraction is made for it.
    """
    numerator, denominator = quantity.as_integer_ratio()
    top, below = unit.as_integer_ratio()
    numerator *= top * scale
    denominator *= below
    if factor is not None:
        numerator *= factor.numerator
        denominator *= factor.denominator
    return rounded_ratio(numerator, denominator)


class RatedLine(NamedTuple):
    """A billed line: what it stands for, how much of what, and money in minor units.

    `unit_amount` is never prorated (rule 35), so quantity x unit amount may differ from
    `amount_minor`.
    """

    component: Component
    quantity: Fraction
    unit_amount: Fraction
    amount_minor: int
    discount_minor: int
    shares: tuple[int, ...] = ()
    """The discount by what took it: each discount of the request in order, then the maximum."""

    @property
    def kind(self) -> Kind:
        """Usage, flat or minimum."""
        return self.component.kind

    @property
    def total_minor(self) -> int:
        """Amount less discount."""
        return self.amount_minor - self.discount_minor

    @property
    def is_nothing(self) -> bool:
        """Whether it bills nothing of nothing: no line of a difference."""
        return not (self.quantity or self.amount_minor or self.discount_minor)


class Rated(NamedTuple):
    """The answer: lines in the order of rule 17, the minimum last."""

    currency: str
    lines: tuple[RatedLine, ...]

    @property
    def amount_minor(self) -> int:
        """The sum of the lines' totals (rule 29)."""
        return sum(line.total_minor for line in self.lines)

    @property
    def amount(self) -> Money:
        """The sum of the lines' totals, as money."""
        return Money(self.amount_minor, self.currency)
