"""Names: those of a batch as one text, and those that need no second look.

Owns: many names without an object for each.
Does not own: which are well formed (columns.py), whose partition is whose (meter/sift.py).
Law: a sequence of the same names, whatever it is made of; forgetting costs time, never a result.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class Names(Sequence[str]):
    """At least one name, one a line of `text`; taken apart once somebody asks."""

    __slots__ = ("_apart", "text")

    def __init__(self, text: str) -> None:
        """Take lines; a name has no line break."""
        self.text = text
        self._apart: list[str] | None = None

    def _names(self) -> list[str]:
        if self._apart is None:
            self._apart = self.text.split("\n")
        return self._apart

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._names())

    def __iter__(self) -> Iterator[str]:
        """Go through them."""
        return iter(self._names())

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        """Return one of them, or some."""
        return self._names()[at]

    def __eq__(self, other: object) -> bool:
        """Whether another sequence has the same names."""
        if isinstance(other, Names):
            return self.text == other.text
        return self._names() == other

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        """Return what a list of them looks like."""
        return repr(self._names())


def lines_of(names: Sequence[str]) -> str:
    """Return names, one a line."""
    return names.text if isinstance(names, Names) else "\n".join(names)


class Familiar:
    """Names of one partition that were found well formed and at home there."""

    __slots__ = ("_count_max", "_names")

    def __init__(self, count_max: int = 1 << 16) -> None:
        """Know nobody; begin anew beyond so many."""
        self._count_max = count_max
        self._names: set[str] = set()

    def holds(self, names: Iterable[str]) -> bool:
        """Whether all of some names are familiar."""
        return self._names.issuperset(names)

    def learn(self, names: Iterable[str]) -> None:
        """Remember names, within bounds."""
        if len(self._names) > self._count_max:
            self._names.clear()
        self._names.update(names)
