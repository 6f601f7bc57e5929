"""The database in memory: its tables, transactions that are whole or not at all.

Owns: what rows there are, atomicity, advisory locks.
Does not own: the queries (facts_session.py, books_session.py, papers_session.py).
Law: a transaction that ends by an exception, or whose process stalls in it, changes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

from pipeline.book.booking import Cursor, LateUsage, SequenceKey, TickPassed
from pipeline.book.reversing import ReversalState, Reversed
from pipeline.book.series import SeriesKey
from pipeline.catalog.facts import Fact
from pipeline.catalog.matches import EventPlace
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import ServerFailed
from pipeline.dedupe.sequences import SequenceState
from pipeline.invoice.fees import Reach
from pipeline.invoice.usage import UsagePart
from pipeline.meter.slices import Minus
from pipeline.meter.ticks import Tick
from pipeline.simulate.world import SESSION_S, Runner, World
from pipeline.stores.postgres.books import Anchor
from pipeline.stores.postgres.documents import Document, Prepared
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.pauses import Pause

CutKey = tuple[str, str, Instant]
"""(payer, currency, instant)."""


@dataclass(frozen=True, slots=True)
class CutRow:
    """A booked cut."""

    serial: int
    partition: int
    prepared: bool = False
    fact: int = 0


@dataclass(frozen=True, slots=True)
class ReversalRow:
    """A booked reversal."""

    place: EventPlace
    minus: Minus
    state: str = ReversalState.WAITING


@dataclass(slots=True)
class Tables:
    """All rows, by their primary keys."""

    facts: dict[int, Fact] = field(default_factory=dict)
    mirrored: dict[str, int] = field(default_factory=lambda: {"mirrored": 0})
    ticks: dict[int, tuple[Tick, bool]] = field(default_factory=dict)
    cursors: dict[int, tuple[Cursor, Anchor]] = field(default_factory=dict)
    passed: dict[tuple[int, int], TickPassed] = field(default_factory=dict)
    sequences: dict[tuple[int, SequenceKey], SequenceState] = field(default_factory=dict)
    usage: dict[tuple[SeriesKey, Instant, int], UsagePart] = field(default_factory=dict)
    points: dict[tuple[SeriesKey, Instant, bytes, int], tuple[int, int]] = field(
        default_factory=dict
    )
    reversals: dict[tuple[int, Reversed], ReversalRow] = field(default_factory=dict)
    reversed: dict[tuple[SeriesKey, Instant, int], int] = field(default_factory=dict)
    cuts: dict[CutKey, CutRow] = field(default_factory=dict)
    late: dict[tuple[str, int], LateUsage] = field(default_factory=dict)
    dirty: dict[str, int] = field(default_factory=dict)
    """The partition of each marked payer, in the order in which they were first marked."""
    drafts: dict[str, Draft] = field(default_factory=dict)
    carried: dict[tuple[str, str, str, str], Reach] = field(default_factory=dict)
    prepared: dict[tuple[str, str, Instant, str, int], Prepared] = field(default_factory=dict)
    documents: dict[tuple[str, int], Document] = field(default_factory=dict)
    pauses: dict[tuple[str, int], Pause] = field(default_factory=dict)
    deaths: dict[tuple[int, int], int] = field(default_factory=dict)

    draft_changes: dict[int, tuple[str, str]] = field(default_factory=dict)
    marked: dict[str, int] = field(default_factory=dict)
    published: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)
    chains: dict[str, int] = field(default_factory=dict)
    publication: dict[str, str] = field(default_factory=dict)

    def copy(self) -> "Tables":
        """Return the same rows in other tables."""
        return Tables(*(dict(getattr(self, each.name)) for each in fields(self)))


@dataclass(slots=True, eq=False)
class MemoryDatabase:
    """The server. `drafts_stored` keeps every draft that was ever committed."""

    world: World
    tables: Tables = field(default_factory=Tables)
    locks: "dict[str, MemorySession]" = field(default_factory=dict)
    drafts_stored: list[Draft] = field(default_factory=list)


class MemorySession:
    """What every session has: an end, and transactions."""

    def __init__(self, database: MemoryDatabase, process: Runner) -> None:
        """Open a session for a process."""
        self.database, self.process = database, process
        self.drafts_pending: list[Draft] = []
        self._open = True
        self._before: Tables | None = None
        process.on_death.append(self.close)
        process.on_stall.append(self._stalled)

    @property
    def tables(self) -> Tables:
        """The rows as this session sees them.

        Raises:
            ServerFailed: the session is over, though its process went on in another one.

        """
        if not self._open:
            raise ServerFailed("the session was ended by the server")
        return self.database.tables

    def close(self) -> None:
        """End: what was not committed never was, and its locks are free."""
        self._open = False
        self._roll_back()
        locks = self.database.locks
        self.database.locks = {name: held for name, held in locks.items() if held is not self}

    def _stalled(self, time_us: Instant) -> None:
        leads = self in self.database.locks.values()
        if self._before is not None or (leads and time_us >= SESSION_S * SECOND):
            self.close()

    def lock(self, name: str) -> bool:
        """Return whether a lock is this session's, from now on until it ends."""
        self.effect(f"lock {name}")
        return self.database.locks.setdefault(name, self) is self

    def _roll_back(self) -> None:
        if self._before is not None:
            self.database.tables, self._before = self._before, None
            self.drafts_pending.clear()

    def effect(self, what: str) -> None:
        """Come to an effect on the database.

        Raises:
            ServerFailed: the session is over, or not answered.

        """
        self.database.world.effect(self.process, what, stalls=True)
        if not self._open:
            raise ServerFailed("the session was ended by the server")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a transaction; one within another is part of it."""
        if self._before is not None:
            yield
            return
        self.effect("begin")
        self._before = self.tables
        self.database.tables = self._before.copy()
        try:
            yield
            self.effect("commit")
        except BaseException:
            self._roll_back()
            raise
        self._before = None
        self.database.drafts_stored += self.drafts_pending
        self.drafts_pending.clear()
        self.database.world.effect(self.process, "committed", stalls=True)

    snapshot = transaction
