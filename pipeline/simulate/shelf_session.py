"""Staged units in memory: the queries of stores/postgres/backfills.py.

Law: one contract suite runs these and the real ones.
"""

from collections.abc import Iterable
from dataclasses import replace

from pipeline.simulate.life_session import LifeSession
from pipeline.stores.postgres.backfills import Staged


class ShelfSession(LifeSession):
    """Units of old usage that were staged."""

    def stage_unit(self, unit: Staged, batches: Iterable[tuple[int, bytes]]) -> Staged | None:
        """Stage (partition, batch) under a name; where one is, change nothing and return it."""
        with self.transaction():
            known = self.tables.staged.get(unit.name)
            if known is not None:
                return known
            self.tables.staged[unit.name] = replace(unit, staged=self.database.world.now)
            self.tables.staged_batches[unit.name] = (*batches,)
        return None

    def staged_unit(self, name: str) -> Staged | None:
        """Return the unit of a name."""
        self.effect("read staged")
        return self.tables.staged.get(name)

    def staged_batches(self, name: str) -> list[tuple[int, bytes]]:
        """Return the (partition, batch) of a unit, in order; none once they were forgotten."""
        self.effect("read staged")
        return [*self.tables.staged_batches.get(name, ())]

    def forget_batches(self, name: str) -> None:
        """Delete the batches of a unit that the log has."""
        with self.transaction():
            self.tables.staged_batches.pop(name, None)

    def drop_unit(self, name: str) -> None:
        """Delete a unit that nothing came of."""
        with self.transaction():
            self.tables.staged_batches.pop(name, None)
            self.tables.staged.pop(name, None)
