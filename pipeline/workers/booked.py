"""Booked: a partition as it stands in the books, for documents to be held against.

Owns: reading usage of many documents at once, and each tick once.
Does not own: what is compared (replay/proof.py), which documents (verifying.py).
Law: what was read ahead is what would be read for one document alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.book.booking import TickPassed
from pipeline.core.identity import Json
from pipeline.invoice.usage import Usage, UsageRequest
from pipeline.workers.drafting import UsageSource


class Booked(UsageSource, Protocol):
    """Usage as it is booked, and where ticks stand."""

    def tick_passed(self, partition: int, serial: int) -> TickPassed: ...

    def evidence_of_usage(
        self, asked: Sequence[Iterable[UsageRequest]], below_cut: int
    ) -> list[list[list[Json]]]: ...


@dataclass(slots=True)
class ReadAhead:
    """What was read at once for many documents of one cut; whatever is not here is asked for."""

    used: Usage = field(default_factory=dict)
    windows: Mapping[tuple[int, frozenset[UsageRequest]], Sequence[Sequence[Json]]] = field(
        default_factory=dict
    )
    ticks: dict[tuple[int, int], TickPassed | None] = field(default_factory=dict)

    def read(self, archive: Booked, asked: Sequence[list[UsageRequest]], below_cut: int) -> None:
        """Read the usage that documents of a cut rest on."""
        self.used = archive.read_usage((each for own in asked for each in own), below_cut)
        found = archive.evidence_of_usage(asked, below_cut)
        keys = ((below_cut, frozenset(own)) for own in asked)
        self.windows = dict(zip(keys, found, strict=True))


@dataclass(frozen=True, slots=True)
class BookFold:
    """A partition as it stands in the books."""

    number: int
    archive: Booked
    ahead: "ReadAhead"
    source: str = "the book"

    def tick_at(self, serial: int) -> TickPassed | None:
        known = self.ahead.ticks
        if (self.number, serial) not in known:
            try:
                known[self.number, serial] = self.archive.tick_passed(self.number, serial)
            except LookupError:
                known[self.number, serial] = None
        return known[self.number, serial]

    def usage(
        self, requests: Iterable[UsageRequest], below_cut: int
    ) -> tuple[Usage, Sequence[Sequence[Json]]]:
        asked = [*requests]
        there = self.ahead.windows.get((below_cut, frozenset(asked)))
        if there is not None:
            return self.ahead.used, there
        (windows,) = self.archive.evidence_of_usage([asked], below_cut)
        return self.archive.read_usage(asked, below_cut), windows
