"""Folding: the catalog of the facts that somebody decides by, in the simulation.

Owns: that what the last one knew is not folded again.
Does not own: the fold (catalog), who decides what.
Law: facts that are not those of before, each the very same, are folded from the first on.
"""

from collections.abc import Sequence
from operator import is_

from pipeline.catalog.catalog import Catalog, FactLog
from pipeline.catalog.facts import Fact


class _Folded:
    """Facts, each the very one that was read, and their log."""

    def __init__(self) -> None:
        self.known: list[Fact] = []
        self.log = FactLog()

    def after(self, known: Sequence[Fact]) -> "_Folded":
        """Return it with the facts that follow; a new one, where these are others."""
        count = len(self.known)
        if count > len(known) or not all(map(is_, self.known, known)):
            return _Folded().after(known)
        self.known += known[count:]
        self.log.append(known[count:])
        return self


_last = [_Folded()]
"""That of whoever asked last."""


def log_of(known: Sequence[Fact]) -> FactLog:
    """Return the log of all facts so far."""
    _last[0] = _last[0].after(known)
    return _last[0].log


def catalog_of(known: Sequence[Fact]) -> Catalog:
    """Return the catalog of all facts so far."""
    return log_of(known).at(len(known))
