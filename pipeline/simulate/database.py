"""The database in memory: its tables, transactions that are whole or not at all.

Owns: what rows there are, atomicity, advisory locks.
Does not own: the queries (facts_session.py, books_session.py, papers_session.py).
Law: a transaction that ends by an exception, or whose process stalls in it, changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pipeline.book.booking import Cursor, LateUsage, SequenceKey, TickPassed
from pipeline.book.reversing import ReversalState, Reversed
from pipeline.book.series import SeriesKey
from pipeline.catalog.facts import Fact
from pipeline.catalog.matches import EventPlace
from pipeline.collect.rounds import Stand
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import BrokenInvariant, ServerFailed
from pipeline.dedupe.sequences import SequenceState
from pipeline.invoice.fees import Reach
from pipeline.invoice.lifecycle import InvoiceEvent, Standing
from pipeline.invoice.usage import UsagePart
from pipeline.ledger.checkpoint import Checkpoint
from pipeline.meter.slices import Minus
from pipeline.meter.ticks import Tick
from pipeline.simulate.world import SESSION_S, Runner, World
from pipeline.stores.postgres.backfills import Staged
from pipeline.stores.postgres.books import Anchor
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.pauses import Pause
from pipeline.stores.postgres.preparing import Prepared

CutKey = tuple[str, str, Instant]
"""(payer, currency, instant)."""


@dataclass(frozen=True, slots=True)
class CutRow:
    """A booked cut."""

    serial: int
    partition: int
    fact: int = 0


@dataclass(frozen=True, slots=True)
class ReversalRow:
    """A booked reversal."""

    place: EventPlace
    minus: Minus
    state: str = ReversalState.WAITING


K = TypeVar("K")
V = TypeVar("V")


class Undo:
    """What tables held before the transaction that is open, if one is: each when first written."""

    def __init__(self) -> None:
        """Begin with none open."""
        self.kept: dict[int, tuple[Table[Any, Any], dict[Any, Any]]] | None = None

    def begin(self) -> None:
        """Open a transaction.

        Raises:
            BrokenInvariant: another one is open: they do not interleave here.

        """
        if self.kept is not None:
            raise BrokenInvariant("a transaction begins within another's")
        self.kept = {}

    def commit(self) -> None:
        """Let what was written stand."""
        self.kept = None

    def roll_back(self) -> None:
        """Put back what there was, in its order."""
        kept, self.kept = self.kept, None
        for table, rows in (kept or {}).values():
            dict.clear(table)
            dict.update(table, rows)


class Table(dict[K, V]):
    """Rows by primary key; what is overwritten within a transaction can be put back."""

    __slots__ = ("_undo",)

    def __init__(self, undo: Undo) -> None:
        """Begin empty."""
        super().__init__()
        self._undo = undo

    def _keep(self) -> None:
        kept = self._undo.kept
        if kept is not None and id(self) not in kept:
            kept[id(self)] = (self, dict(self))

    def __setitem__(self, key: K, row: V) -> None:
        """Write a row."""
        self._keep()
        super().__setitem__(key, row)

    def __delitem__(self, key: K) -> None:
        """Delete a row."""
        self._keep()
        super().__delitem__(key)

    def setdefault(self, key: K, row: V) -> V:
        """Write a row where there is none; return the one there is."""
        self._keep()
        return super().setdefault(key, row)

    def pop(self, key: K, default: Any = None) -> Any:
        """Delete a row if it is there, and return it."""
        self._keep()
        return super().pop(key, default)

    def become(self, rows: Mapping[K, V]) -> None:
        """Hold these rows and no others."""
        self._keep()
        super().clear()
        super().update(rows)


class Tables:
    """All rows, by their primary keys."""

    def __init__(self) -> None:
        """Begin with no rows."""
        self.undo = undo = Undo()
        self.facts: Table[int, Fact] = Table(undo)
        self.skips: Table[int, Fact] = Table(undo)
        """Those of the facts that skip something."""
        self.mirrored: Table[str, int] = Table(undo)
        self.ticks: Table[int, tuple[Tick, bool]] = Table(undo)
        self.cursors: Table[int, tuple[Cursor, Anchor]] = Table(undo)
        self.stands: Table[int, tuple[Stand, str]] = Table(undo)
        """Where each partition of raw usage stands, and in which topic."""
        self.passed: Table[tuple[int, int], TickPassed] = Table(undo)
        self.sequences: Table[tuple[int, SequenceKey], SequenceState] = Table(undo)
        self.usage: Table[tuple[SeriesKey, Instant, int], UsagePart] = Table(undo)
        self.points: Table[tuple[SeriesKey, Instant, bytes, int], tuple[int, int]] = Table(undo)
        self.reversals: Table[tuple[int, Reversed], ReversalRow] = Table(undo)
        self.reversed: Table[tuple[SeriesKey, Instant, int], int] = Table(undo)
        self.cuts: Table[CutKey, CutRow] = Table(undo)
        self.unprepared: Table[CutKey, CutRow] = Table(undo)
        """Those of the cuts that have no documents yet."""
        self.late: Table[tuple[str, int], LateUsage] = Table(undo)
        self.dirty: Table[str, int] = Table(undo)
        """The partition of each marked payer, in the order in which they were first marked."""
        self.drafts: Table[str, Draft] = Table(undo)
        self.carried: Table[tuple[str, str, str, str], Reach] = Table(undo)
        self.prepared: Table[tuple[str, str, Instant, str, int], Prepared] = Table(undo)
        self.documents: Table[tuple[str, int], Document] = Table(undo)
        self.events: Table[str, tuple[tuple[InvoiceEvent, Standing], ...]] = Table(undo)
        """What happened to each document, and where it stood behind that."""
        self.removed: Table[tuple[str, int], bytes] = Table(undo)
        """What documents said whose contents are beyond retention: the auditor's alone."""
        self.checkpoints: Table[tuple[str, int], Checkpoint] = Table(undo)
        self.staged: Table[str, Staged] = Table(undo)
        self.staged_batches: Table[str, Sequence[tuple[int, bytes]]] = Table(undo)
        self.pauses: Table[tuple[str, int], Pause] = Table(undo)
        self.deaths: Table[tuple[int, int], int] = Table(undo)
        self.draft_changes: Table[int, tuple[str, str]] = Table(undo)
        self.marked: Table[str, int] = Table(undo)
        self.published: Table[str, tuple[str, frozenset[str]]] = Table(undo)
        self.chains: Table[str, int] = Table(undo)
        self.publication: Table[str, str] = Table(undo)
        self.shadowed: Table[str, int] = Table(undo)
        """Of a replay: the last place of each issuer when it was planted."""
        self.mirrored["mirrored"] = 0


@dataclass(slots=True, eq=False)
class MemoryDatabase:
    """The server. `drafts_stored` keeps every draft that was ever committed."""

    world: World
    tables: Tables = field(default_factory=Tables)
    locks: "dict[str, MemorySession]" = field(default_factory=dict)
    drafts_stored: list[Draft] = field(default_factory=list)
    prepared_at: dict[str, int] = field(default_factory=dict)
    """The last fact when each document was prepared, by id: of a rolled back one, and once more."""
    issued_at: dict[str, int] = field(default_factory=dict)
    """The last fact when each document got its number."""
    beside: "dict[str, MemoryDatabase]" = field(default_factory=dict)
    """By the name of its schema, whom a replay shadows."""
    compared: frozenset[CutKey] = frozenset()
    """The cuts that were done with there when both sides were compared last."""


class MemorySession:
    """What every session has: an end, and transactions."""

    def __init__(self, database: MemoryDatabase, process: Runner) -> None:
        """Open a session for a process."""
        self.database, self.process = database, process
        self.drafts_pending: list[Draft] = []
        self._open = True
        self._writes = False
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
        if self._writes or (leads and time_us >= SESSION_S * SECOND):
            self.close()

    def lock(self, name: str) -> bool:
        """Return whether a lock is this session's, from now on until it ends."""
        self.effect(f"lock {name}")
        return self.database.locks.setdefault(name, self) is self

    def _roll_back(self) -> None:
        if self._writes:
            self._writes = False
            self.database.tables.undo.roll_back()
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
        if self._writes:
            yield
            return
        self.effect("begin")
        self.database.tables.undo.begin()
        self._writes = True
        try:
            yield
            self.effect("commit")
        except BaseException:
            self._roll_back()
            raise
        self._writes = False
        self.database.tables.undo.commit()
        self.database.drafts_stored += self.drafts_pending
        self.drafts_pending.clear()
        self.database.world.effect(self.process, "committed", stalls=True)

    snapshot = flowing = transaction
