"""Effect: what a change comes to in money, document by document.

Owns: which would-be documents differ, and by how much.
Does not own: composing either side (compose.py), what changed (catalog/planning.py).
Law: the differences of a currency sum to the difference of its totals.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from pipeline.core.identity import Json


@dataclass(frozen=True, slots=True, order=True)
class Effect:
    """One would-be document before and after a change; None: there is none."""

    customer: str
    currency: str
    cut_instant: str
    issuer: str
    before_minor: int | None
    after_minor: int | None

    @property
    def difference_minor(self) -> int:
        """By how much it grows."""
        return (self.after_minor or 0) - (self.before_minor or 0)

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        return {
            "customer": self.customer,
            "currency": self.currency,
            "cut_instant": self.cut_instant,
            "issuer": self.issuer,
            "before_minor": self.before_minor,
            "after_minor": self.after_minor,
            "difference_minor": self.difference_minor,
        }


def effects(
    before: Iterable[Mapping[str, Json]], after: Iterable[Mapping[str, Json]]
) -> list[Effect]:
    """Return every document that there is before or after, from the contents of both."""
    old, new = _totals(before), _totals(after)
    return [Effect(*key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())]


def sums(found: Iterable[Effect]) -> list[dict[str, Json]]:
    """Return the totals of each currency."""
    totals: dict[str, tuple[int, int]] = {}
    for effect in found:
        before, after = totals.get(effect.currency, (0, 0))
        totals[effect.currency] = (
            before + (effect.before_minor or 0),
            after + (effect.after_minor or 0),
        )
    return [
        {
            "currency": currency,
            "before_minor": before,
            "after_minor": after,
            "difference_minor": after - before,
        }
        for currency, (before, after) in sorted(totals.items())
    ]


def _totals(contents: Iterable[Mapping[str, Json]]) -> dict[tuple[str, str, str, str], int]:
    return {
        (
            cast(str, content["customer"]),
            cast(str, content["currency"]),
            cast(str, content["cut_instant"]),
            cast(str, content["issuer"]),
        ): cast(dict[str, int], content["totals"])["total_minor"]
        for content in contents
    }
