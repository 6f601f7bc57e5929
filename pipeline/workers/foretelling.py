"""Foretell: what open drafts and notes would come to with usage that is not booked yet.

Owns: load -> compose twice -> compare, in bites.  Reads only.
Does not own: composing (drafting.py, correcting.py), folding that usage (replay/usage_ahead.py).
Law: both sides of a payer rest on one snapshot, so they differ by that usage alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from pipeline.book.booking import Cursor
from pipeline.catalog.catalog import FactLog
from pipeline.catalog.cuts import horizon_at
from pipeline.core.calendar import Instant
from pipeline.core.identity import partition_of
from pipeline.invoice.planned import Carried
from pipeline.invoice.usage import UsageRequest, Used
from pipeline.replay.foretold import Foretold, Moved, moves
from pipeline.replay.usage_ahead import UsageAhead
from pipeline.stores.postgres.books import Anchor
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.preparing import BookedCuts, Prepared
from pipeline.stores.postgres.usage import NO_CUT
from pipeline.workers.correcting import BooksAhead, notes_ahead
from pipeline.workers.drafting import BITE, OpenBooks, Payer, Planner, would_be
from pipeline.workers.knowledge import FactReader


class Books(FactReader, OpenBooks, BooksAhead, Protocol):
    """All that drafts and notes rest on."""


@dataclass(frozen=True, slots=True)
class _Ahead:
    """The books of a snapshot that was begun, with some usage more."""

    books: Books
    usage: UsageAhead

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        yield

    def read_usage(
        self, requests: Iterable[UsageRequest], below_cut: int = NO_CUT
    ) -> Mapping[UsageRequest, Sequence[Used]]:
        asked = [*requests]
        found: dict[UsageRequest, Sequence[Used]] = {**self.books.read_usage(asked, below_cut)}
        for request, used in self.usage.usage(asked).items():
            found[request] = [*found.get(request, ()), *used]
        return found

    def late_usage(
        self, payer: str, currency: str, below: int, *, carried: bool = False
    ) -> list[tuple[int, Instant]]:
        found = self.books.late_usage(payer, currency, below, carried=carried)
        first = self.usage.first.get(payer)
        return found if first is None else [*found, (below - 1, first)]

    def moved_since(self, asked: Sequence[tuple[UsageRequest, int]], below_cut: int) -> list[bool]:
        ahead = self.usage.usage(request for request, _ in asked)
        booked = self.books.moved_since(asked, below_cut)
        return [moved or of in ahead for moved, (of, _) in zip(booked, asked, strict=True)]

    def load_cursors(self) -> dict[int, tuple[Cursor, Anchor]]:
        return self.books.load_cursors()

    def read_cuts(self, payers: Sequence[str], after: Instant) -> BookedCuts:
        return self.books.read_cuts(payers, after)

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]:
        return self.books.carried_by(payers)

    def read_documents(self, payer: str | None = None) -> list[Document]:
        return self.books.read_documents(payer)

    def read_prepared(self, payer: str) -> list[Prepared]:
        return self.books.read_prepared(payer)

    def fact_position(self, tick_serial: int) -> int:
        return self.books.fact_position(tick_serial)


def foretell(
    books: Books,
    facts: FactLog,
    usage: UsageAhead,
    partitions: int,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Foretold:
    """Return what the documents of payers come to with usage that is not booked yet."""
    names = sorted(usage.first)
    moved: list[Moved] = []
    unrated = set[str]()
    nothing = UsageAhead({}, {}, 0)
    for start in range(0, len(names), BITE):
        bite = names[start : start + BITE]
        with books.snapshot():
            facts.append(books.read_facts(facts.head))  # the books may know more by now
            old, new = (
                [*_documents(_Ahead(books, more), facts, bite, partitions)]
                for more in (nothing, usage)
            )
        moved += moves((each.content for each in old), (each.content for each in new))
        unrated |= {each.payer for each in new if each.issues}
        tell(start + len(bite), len(names))
    return Foretold(moved, usage.uncovered, sorted(unrated))


def _documents(
    books: _Ahead, facts: FactLog, names: Sequence[str], partitions: int
) -> Iterator[Draft]:
    """Yield the open drafts of payers, and the notes that are about to be made."""
    cursors, catalog = books.load_cursors(), facts.at(facts.head)
    payers = []
    for name in names:
        cursor, _ = cursors.get(partition_of(name, partitions), (None, None))
        if cursor is not None and name in catalog.customers:
            payers.append(Payer(name, cursor, catalog, horizon_at(catalog, cursor.tick)))
    yield from would_be(books, facts.at, payers, Planner())
    for payer in payers:
        yield from notes_ahead(books, facts.at, payer.name, payer.cursor.partition)
