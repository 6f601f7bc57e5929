"""Scope: which usage of a meter is meant, and by what it is told apart.

Owns: filters and groups over the dimensions of a series.
Does not own: which dimensions a meter keeps (meters.py), the lines made of groups (invoice).
Law: every series a scope holds is in exactly one group.
"""

from dataclasses import dataclass
from typing import TypeAlias

from pipeline.core.identity import Json

Pairs: TypeAlias = tuple[tuple[str, str], ...]
"""The dimensions of a series, or of a group, sorted by name; one that usage lacks is absent."""


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """`where` names dimensions with the values asked for: all of the names, any of the values."""

    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    group_by: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the dimensions make no difference."""
        return not (self.where or self.group_by)

    def holds(self, dimensions: Pairs) -> bool:
        """Whether usage of these dimensions is meant; usage that lacks one asked for is not."""
        given = dict(dimensions)
        return all(given.get(name) in values for name, values in self.where)

    def group(self, dimensions: Pairs) -> Pairs:
        """Return the group that usage of these dimensions is in."""
        return tuple(pair for pair in dimensions if pair[0] in self.group_by)

    def json(self) -> dict[str, Json]:
        """Return it as facts and documents tell it: only what makes a difference."""
        told: dict[str, Json] = {}
        if self.where:
            told["filter"] = {name: list(values) for name, values in self.where}
        if self.group_by:
            told["group_by"] = list(self.group_by)
        return told


EVERYTHING = Scope()
"""All usage of a meter, together."""
