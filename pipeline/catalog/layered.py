"""Layered: a large mapping of which each version differs little from the one before.

Owns: sharing between versions.  Does not own: what is in it.
Law: a version reads as the dict that one would have updated, the order of its keys too.

A catalog follows from each fact, and some are remembered: were each a copy, a hundred thousand
customers would be in memory as often.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

_LEAST = 64
_SHARE = 32
"""The part of a mapping that may be told beside it, before both are written anew."""


class _Layered(Mapping[K, V]):
    """What was known, and what was told since."""

    __slots__ = ("known", "told")

    def __init__(self, known: Mapping[K, V], told: Mapping[K, V]) -> None:
        self.known, self.told = known, told

    def __getitem__(self, key: K) -> V:
        try:
            return self.told[key]
        except KeyError:
            return self.known[key]

    def __iter__(self) -> Iterator[K]:
        yield from self.known
        yield from (key for key in self.told if key not in self.known)

    def __len__(self) -> int:
        return len(self.known) + sum(key not in self.known for key in self.told)

    def __contains__(self, key: object) -> bool:
        return key in self.told or key in self.known

    def __repr__(self) -> str:
        return repr(dict(self))


def updated(before: Mapping[K, V], told: Mapping[K, V]) -> Mapping[K, V]:
    """Return a mapping with more told, each instead of what was under its key before.

    Neither may be changed any more: the mapping may be one of them, or rest on both.
    """
    if not told:
        return before
    if not before:
        return told
    known, since = before, told
    if isinstance(before, _Layered):
        known, since = before.known, {**before.told, **told}
    if len(since) > _LEAST + len(known) // _SHARE:
        return {**known, **since}
    return _Layered(known, since)
