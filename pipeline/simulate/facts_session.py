"""Facts and ticks in memory: the queries of stores/postgres/facts.py.

Law: one contract suite runs these and the real ones.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from pipeline.catalog.facts import Fact, FactKind, NewFact, Skips, skips_of
from pipeline.core.calendar import Instant
from pipeline.meter.ticks import Tick
from pipeline.simulate.database import MemorySession
from pipeline.stores.postgres.facts import Author


class FactSession(MemorySession):
    """The fact log and the ticks that name it."""

    def append_facts(
        self,
        decide: Callable[[Sequence[Fact]], Sequence[NewFact]],
        author: Author,
        now: Instant,
    ) -> list[Fact]:
        """Write what `decide` makes of all facts so far; return the facts written."""
        with self.transaction():
            known = self.read_facts(0)
            written: list[Fact] = []
            for new in decide(known):
                about = new.kind, new.subject
                alike = sum((f.kind, f.subject) == about for f in [*known, *written])
                fact_id, serial = new.id_after(alike + 1), len(known) + len(written) + 1
                body, (actor, reason) = dict(new.body), (author.actor, author.reason)
                fact = Fact(serial, fact_id, new.kind, new.subject, body, actor, reason, now)
                self.tables.facts[serial] = fact
                if fact.kind is FactKind.SKIP:
                    self.tables.skips[serial] = fact
                written.append(fact)
            return written

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        """Return the facts with after < serial <= until (None: all), in order.

        Of some `kinds` only, and then the one at `until` too.
        """
        self.effect("read facts")
        kept = self.tables.facts
        last = len(kept) if until is None else min(until, len(kept))
        facts = [kept[serial] for serial in range(after + 1, last + 1)]
        return [f for f in facts if kinds is None or f.kind in kinds or f.serial == until]

    def read_skips(self) -> Skips:
        """Return what is skipped."""
        self.effect("read skips")
        return skips_of(fact.body for fact in self.tables.skips.values())

    def fact_head(self) -> tuple[int, int]:
        """Return (highest serial, highest serial mirrored)."""
        self.effect("read head")
        return len(self.tables.facts), self.tables.mirrored["mirrored"]

    def mark_mirrored(self, serial: int) -> None:
        """Note that the facts up to `serial` stand in the mirror topic."""
        with self.transaction():
            mirrored = self.tables.mirrored
            mirrored["mirrored"] = max(serial, mirrored["mirrored"])

    def try_lead(self) -> bool:
        """Return whether the ticks are this session's to write, from now on until it ends."""
        return self.lock("ticker")

    def write_tick(self, clock: Instant, partitions: int) -> Tick | None:
        """Commit the row of the next tick; None where facts wait to be mirrored first."""
        del partitions
        with self.transaction():
            head = len(self.tables.facts)
            if self.tables.mirrored["mirrored"] < head:
                return None
            last, last_time = len(self.tables.ticks), 0
            if last:
                last_time = self.tables.ticks[last][0].time
            tick = Tick(last + 1, max(clock, last_time + 1), head)
            self.tables.ticks[tick.serial] = (tick, False)
            return tick

    def unacked_ticks(self) -> list[Tick]:
        """Return the ticks that not every partition has acked, in order."""
        self.effect("read ticks")
        return [tick for tick, acked in self.tables.ticks.values() if not acked]

    def last_acked_tick(self) -> Tick | None:
        """Return the highest tick that stands in every partition."""
        self.effect("read ticks")
        latest = reversed(self.tables.ticks.values())
        return next((tick for tick, acked in latest if acked), None)

    def mark_acked(self, serials: Iterable[int]) -> None:
        """Note that every partition has these ticks."""
        with self.transaction():
            for serial in serials:
                self.tables.ticks[serial] = (self.tables.ticks[serial][0], True)

    def ticks_from(self, serial: int, count: int) -> list[Tick]:
        """Return the rows of up to `count` ticks from `serial` on."""
        self.effect("read ticks")
        last = min(len(self.tables.ticks), serial + count - 1)
        return [self.tables.ticks[each][0] for each in range(serial, last + 1)]

    def fact_position(self, tick_serial: int) -> int:
        """Return the fact position that a tick names."""
        return self.tables.ticks[tick_serial][0].fact_position
