"""Auditing: an independent reader counts the log's headers, the books say the rest.

Owns: reading both sides, the log only once: a later look reads what is new.
Does not own: the equation (replay/audit.py), a second account of outcomes (recounting.py).
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from pipeline.book.booking import Cursor
from pipeline.replay.audit import Conservation
from pipeline.replay.coverage import covered_stretches
from pipeline.stores.kafka import log_ends, read_range, usage_log
from pipeline.stores.postgres.books import load_cursors, offered_at
from pipeline.stores.postgres.usage import booked_counts, covered_counts
from pipeline.workers.knowledge import Knowledge
from pipeline.workers.surroundings import Surroundings

Progress = Callable[[int, int], None]
"""Called with (records read, records to read)."""


def conservation(around: Surroundings, progress: Progress) -> dict[int, Conservation]:
    """Return the seven counts of every partition.

    Raises:
        ServerFailed: a server does not answer.

    """
    audit = Audit(around)
    try:
        return audit.look(progress)
    finally:
        audit.close()


@dataclass(frozen=True, slots=True)
class Stock:
    """What the books say at one moment: cursors, events booked and covered, by partition.

    `waiting` are reversals that nothing matched yet: in no usage row.
    """

    cursors: Mapping[int, Cursor]
    booked: Mapping[int, int]
    covered: Mapping[int, int]
    fact_head: int
    waiting: Mapping[int, int] = field(default_factory=dict)

    def cursor(self, partition: int) -> Cursor:
        """Return where a partition's books stand."""
        return self.cursors.get(partition) or Cursor(partition)

    def conservation(self, partition: int, offered: int, beyond: int) -> Conservation:
        """Return the counts of a partition whose log offers so much, in all and beyond."""
        counts = self.cursor(partition).counts
        covered = self.covered.get(partition, 0)
        return Conservation(
            partition=partition,
            offered=offered,
            billed=covered,
            duplicate=counts.duplicate,
            conflict=counts.conflict,
            late=counts.late,
            rejected=counts.rejected,
            pending=beyond
            + self.booked.get(partition, 0)
            - covered
            + self.waiting.get(partition, 0),
        )


@dataclass(slots=True)
class _Counted:
    """What headers offered below `following`; `ahead` is the part beyond the books."""

    following: int
    offered: int
    ahead: deque[tuple[int, int]] = field(default_factory=deque)

    def take(self, offset: int, count: int) -> None:
        self.following, self.offered = offset + 1, self.offered + count
        if count:
            self.ahead.append((offset, count))

    def beyond(self, booked: int) -> int:
        """Forget what the books have; return how many events they do not."""
        while self.ahead and self.ahead[0][0] <= booked:
            self.ahead.popleft()
        return sum(count for _, count in self.ahead)


_BITE = 2_000


def _bites(names: Iterable[str]) -> Iterator[Sequence[str]]:
    """Yield some names at a time."""
    left = iter(names)
    while bite := [*islice(left, _BITE)]:
        yield bite


class Audit:
    """Looks at the equation, as often as asked; each look reads only what came since.

    Where the log no longer has its beginning, or where not the `whole` of it is to be read, the
    count goes on from what the books had at a tick.
    """

    def __init__(
        self, around: Surroundings, known: Knowledge | None = None, *, whole: bool = True
    ) -> None:
        """Connect. `known` is what the process knows already: facts come to much memory."""
        self._around, self._whole = around, whole
        self._connection = around.database.connect(name="audit", autocommit=True)
        self._known = known or Knowledge(self._connection)
        self._counted: dict[int, _Counted] = {}
        self.ends: list[tuple[int, int]] = []
        self.stock = Stock({}, {}, {}, 0)

    def look(self, progress: Progress) -> dict[int, Conservation]:
        """Return the seven counts of every partition.

        Raises:
            ServerFailed: a server does not answer.

        """
        around = self._around
        self.stock = self._take_stock()
        self.ends = log_ends(around.kafka, usage_log(around.stack), around.partitions)
        for number, (first, _) in enumerate(self.ends):
            if number not in self._counted:
                self._counted[number] = self._start(number, first)
        left = {n: end - self._counted[n].following for n, (_, end) in enumerate(self.ends)}
        read, found = 0, {}
        for number in range(around.partitions):
            self._read(number, self.ends[number][1])
            read += left[number]
            progress(read, sum(left.values()))
            counted = self._counted[number]
            beyond = counted.beyond(self.stock.cursor(number).offset)
            found[number] = self.stock.conservation(number, counted.offered, beyond)
        return found

    def _start(self, number: int, first: int) -> _Counted:
        cursor = self.stock.cursor(number)
        if not self._whole and cursor.tick.serial:
            passed = self._connection.tick_passed(number, cursor.tick.serial)
            return _Counted(max(first, passed.offset + 1), passed.counts.offered)
        if first == 0:
            return _Counted(0, 0)
        offset, offered = offered_at(self._connection, number, first)
        return _Counted(max(first, offset + 1), offered)

    def _read(self, number: int, end: int) -> None:
        counted, name = self._counted[number], usage_log(self._around.stack)
        for record in read_range(self._around.kafka, name, number, counted.following, end):
            counted.take(record.offset, 1 if record.event_count is None else record.event_count)

    def _take_stock(self) -> Stock:
        connection, partitions = self._connection, self._around.partitions
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            head, _ = connection.fact_head()
            catalog, covered = self._known.catalog(head), Counter[int]()
            for some in _bites(catalog.subscribers):
                stretches = covered_stretches(catalog, some)
                covered.update(covered_counts(connection, stretches, partitions))
            return Stock(
                {number: cursor for number, (cursor, _) in load_cursors(connection).items()},
                booked_counts(connection, partitions),
                covered,
                head,
                connection.waiting_counts(),
            )

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()
