"""What if: what other prices would have come to, for the seller and for each customer.

Owns: revenue before and after, who pays more or less, the largest shocks.
Does not own: pricing (the replay's workers), causes (diff.py).
Law: customers sum to revenue and so do plans, on both sides; where nothing differs nobody is
shocked.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from pipeline.core.identity import Json
from pipeline.core.quantity import decimal_text, round_half_away
from pipeline.invoice.lines import Line
from pipeline.replay.diff import Pair, Selection

SHOCKS = 10
_EDGES = (-50, -20, -10, -5, 0, 5, 10, 20, 50)
"""Percent, between the stretches of a distribution."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a customer, a plan, or all of a currency came to, and comes to."""

    name: str
    currency: str
    before_minor: int
    after_minor: int

    @property
    def difference_minor(self) -> int:
        """After less before."""
        return self.after_minor - self.before_minor

    @property
    def percent(self) -> Fraction | None:
        """The difference in percent of before; None where that is nothing."""
        if not self.before_minor:
            return None
        return Fraction(100 * self.difference_minor, abs(self.before_minor))

    @property
    def percent_text(self) -> str | None:
        """The percentage with one decimal."""
        percent = self.percent
        if percent is None:
            return None
        return decimal_text(round_half_away(percent * 10), 1, keep_zeros=True)

    def json(self, named: str | None = None) -> dict[str, Json]:
        """Return it for a report."""
        return {
            **({} if named is None else {named: self.name}),
            "currency": self.currency,
            "before_minor": self.before_minor,
            "after_minor": self.after_minor,
            "difference_minor": self.difference_minor,
            "percent": self.percent_text,
        }


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The figures of a replay by another catalog."""

    revenue: Sequence[Change]
    plans: Sequence[Change]
    customers: Sequence[Change]

    @property
    def shocks(self) -> list[Change]:
        """The customers who would pay most more, in minor units: the largest first."""
        dearer = (each for each in self.customers if each.difference_minor > 0)
        return sorted(dearer, key=lambda e: (-e.difference_minor, e.name, e.currency))[:SHOCKS]

    @property
    def distribution(self) -> list[tuple[int | None, int | None, int]]:
        """Stretches (from, to, customers) of percent whose bills move; `from` is in, `to` not.

        But for the stretches around zero: who pays the same is in neither of them.
        """
        moved = [e.percent for e in self.customers if e.difference_minor and e.percent is not None]
        bounds = [*zip((None, *_EDGES), (*_EDGES, None), strict=True)]
        return [
            (start, end, sum(_within(percent, start, end) for percent in moved))
            for start, end in bounds
        ]

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many customers pay more, less, the same."""
        minors = [each.difference_minor for each in self.customers]
        more, less = sum(minor > 0 for minor in minors), sum(minor < 0 for minor in minors)
        return more, less, len(minors) - more - less

    def json(self) -> dict[str, Json]:
        """Return it as it is printed."""
        more, less, same = self.counts
        return {
            "revenue": [each.json() for each in self.revenue],
            "plans": [each.json("plan") for each in self.plans],
            "customers": {"more": more, "less": less, "same": same},
            "distribution": [
                {"from_percent": start, "to_percent": end, "customers": count}
                for start, end, count in self.distribution
            ],
            "shocks": [each.json("customer") for each in self.shocks],
        }


def _within(percent: Fraction, start: int | None, end: int | None) -> bool:
    return (start is None or start <= percent) and (end is None or percent < end)


def what_if(pairs: Iterable[Pair], selection: Selection) -> WhatIf:
    """Return what documents come to on both sides; each pair with its content, also the same."""
    sides: list[Counter[tuple[str, str, str]]] = [Counter(), Counter()]
    for pair in pairs:
        if not selection.holds(pair):
            continue
        for side, content in zip(sides, (pair.before, pair.after), strict=True):
            for line in selection.lines(content).values():
                where = pair.customer, _plan(line), str(line["currency"])
                side[where] += cast(Mapping[str, int], line["totals"])["total_minor"]
    return WhatIf(
        _changes(sides, lambda _customer, _plan: ""),
        _changes(sides, lambda _customer, plan: plan),
        _changes(sides, lambda customer, _plan: customer),
    )


def _plan(line: Line) -> str:
    """Return the plan that a line is of; none for orders and lines by hand."""
    card = cast("Mapping[str, str] | None", line["rate_card"]) or {}
    return card.get("plan", "")


def _changes(
    sides: Sequence[Mapping[tuple[str, str, str], int]], named: Callable[[str, str], str]
) -> list[Change]:
    found: dict[tuple[str, str], list[int]] = {}
    for place, side in enumerate(sides):
        for (customer, plan, currency), minor in side.items():
            found.setdefault((named(customer, plan), currency), [0, 0])[place] += minor
    return [Change(*key, *minor) for key, minor in sorted(found.items())]
