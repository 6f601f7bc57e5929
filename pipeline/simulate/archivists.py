"""Archivists: people who keep the archive of documents in order, in the story of one seed.

Owns: that contents are removed which were kept long enough, by a clock that leapt ahead.
Does not own: the job (workers/retaining.py), what must be left (retained.py), when (play.py).
"""

from pipeline.core.calendar import SECOND, Duration, cycle_edge
from pipeline.ledger.retention import oldest_kept
from pipeline.simulate.errands import Errands
from pipeline.simulate.jobs import ADA
from pipeline.simulate.signing import AHEAD
from pipeline.workers.retaining import remove, to_remove

_YEAR = Duration(12, 0, 0)


class Archivists(Errands):
    """Everybody who keeps the archive in one world."""

    def retain(self) -> None:
        """Remove what was signed a while ago: years have gone by for whoever does so."""
        stage, random = self.stage, self.stage.world.streams.of("retain")
        signed_before = stage.world.now + AHEAD - random.randint(0, 40) * SECOND
        years = random.randint(1, 9)
        leapt = cycle_edge(signed_before, _YEAR, years, "UTC")
        with self._job("retain") as process:
            session = stage.session(process)
            for going in to_remove(session, oldest_kept(leapt, years)):
                for fact in remove(session, going, ADA, stage.world.now):
                    stage.world.counted["removed"] += len(going.kept)
                    self._announced(process, fact.serial)
