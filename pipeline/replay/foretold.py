"""Foretold: what usage that is not booked yet would come to, document by document.

Owns: which would-be drafts and notes differ, and by how much.
Does not own: making either side (workers/foretelling.py).
Law: the differences sum, by currency, to what all would-be documents differ by.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from pipeline.core.identity import Json
from pipeline.core.money import sums_by_currency

Content = Mapping[str, Json]


class _Which(NamedTuple):
    customer: str
    currency: str
    cut_instant: str
    issuer: str
    corrects: str


@dataclass(frozen=True, slots=True, order=True)
class Moved:
    """A would-be document; `corrects` is the document that a note is about, or empty."""

    customer: str
    currency: str
    cut_instant: str
    issuer: str
    corrects: str
    before_minor: int
    after_minor: int

    @property
    def difference_minor(self) -> int:
        """By how much it grows."""
        return self.after_minor - self.before_minor

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        return {
            "customer": self.customer,
            "currency": self.currency,
            "cut_instant": self.cut_instant,
            "issuer": self.issuer,
            "corrects": self.corrects or None,
            "before_minor": self.before_minor,
            "after_minor": self.after_minor,
            "difference_minor": self.difference_minor,
        }


@dataclass(frozen=True, slots=True)
class Foretold:
    """All documents that move; `uncovered`: events that nobody pays for, by the catalog of now.

    `unrated`: customers with a document that then could not be rated, or cannot as it is.
    """

    moved: Sequence[Moved]
    uncovered: int = 0
    unrated: Sequence[str] = ()

    @property
    def totals(self) -> Mapping[str, int]:
        """The difference by currency; none that is zero."""
        return sums_by_currency((each.currency, each.difference_minor) for each in self.moved)

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        return {
            "documents": [each.json() for each in self.moved],
            "total_difference_minor": dict(self.totals),
            "customers_touched": len({each.customer for each in self.moved}),
            "events_nobody_pays": self.uncovered,
            "unrated": [*self.unrated],
        }


def moves(before: Iterable[Content], after: Iterable[Content]) -> list[Moved]:
    """Return the would-be documents that come to another amount, from the contents of both."""
    old, new = _totals(before), _totals(after)
    which = sorted({*old, *new})
    return [Moved(*each, old[each], new[each]) for each in which if old[each] != new[each]]


def _totals(contents: Iterable[Content]) -> Counter[_Which]:
    found = Counter[_Which]()
    for content in contents:
        which = _Which(
            cast(str, content["customer"]),
            cast(str, content["currency"]),
            cast(str, content["cut_instant"]),
            cast(str, content["issuer"]),
            cast(str, content.get("corrects", "")),
        )
        found[which] += cast(dict[str, int], content["totals"])["total_minor"]
    return found
