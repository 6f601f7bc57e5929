"""Guarding: what a candidate catalog may come to before it is stopped.

Owns: limits, and which of them are broken.
Does not own: what customers come to (workers/beside.py), what follows from it (cli).
Law: exact at the limit: what comes to just as much breaks nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from pipeline.core.identity import Json
from pipeline.core.quantity import decimal_text, round_half_away
from pipeline.replay.what_if import Change


@dataclass(frozen=True, slots=True)
class Limits:
    """In percent. Of the customers at most `share_max` may pay more by over `more_than`.

    `total_max`: all of a currency may differ by so much, either way. None: no limit.
    """

    more_than: Fraction = Fraction(0)
    share_max: Fraction | None = None
    total_max: Fraction | None = None

    def json(self) -> dict[str, Json]:
        """Return it as it is kept."""
        return {
            "more_than": str(self.more_than),
            "share_max": None if self.share_max is None else str(self.share_max),
            "total_max": None if self.total_max is None else str(self.total_max),
        }

    @classmethod
    def of_json(cls, told: Mapping[str, Json]) -> "Limits":
        """Return what was kept."""
        share, total = (cast("str | None", told[key]) for key in ("share_max", "total_max"))
        return cls(
            Fraction(cast(str, told["more_than"])),
            None if share is None else Fraction(share),
            None if total is None else Fraction(total),
        )


def broken(limits: Limits, revenue: Iterable[Change], customers: Sequence[Change]) -> list[str]:
    """Return the limits that are broken, as a person reads them.

    A customer counts once, whatever number of currencies it is billed in.
    """
    found = []
    names = {each.name for each in customers}
    dearer = {each.name for each in customers if _is_over(each, limits.more_than)}
    if limits.share_max is not None and 100 * len(dearer) > limits.share_max * len(names):
        share = Fraction(100 * len(dearer), len(names))
        found.append(
            f"{_text(share)} % of the customers ({len(dearer)} of {len(names)}) pay more by over"
            f" {_text(limits.more_than)} %: at most {_text(limits.share_max)} % may"
        )
    for each in revenue:
        if limits.total_max is None or not each.difference_minor:
            continue
        percent = each.percent
        if percent is None or abs(percent) > limits.total_max:
            told = "from nothing" if percent is None else f"by {_text(percent)} %"
            found.append(
                f"all in {each.currency} differs {told}: at most {_text(limits.total_max)} % may"
            )
    return found


def summed(customers: Iterable[Change]) -> list[Change]:
    """Return what all customers come to, by currency."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for each in customers:
        sums[each.currency][0] += each.before_minor
        sums[each.currency][1] += each.after_minor
    return [Change("", currency, *minor) for currency, minor in sorted(sums.items())]


def _is_over(each: Change, percent: Fraction) -> bool:
    """Whether somebody pays more by over so many percent; more than nothing always is."""
    if each.difference_minor <= 0:
        return False
    return each.percent is None or each.percent > percent


def _text(percent: Fraction) -> str:
    return decimal_text(round_half_away(percent * 100), 2)
