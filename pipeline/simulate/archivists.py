"""Archivists: people who keep the archive of documents in order, in the story of one seed.

Owns: that contents are removed which were kept long enough, by a clock that leapt ahead; which
taxes are answered by hand.
Does not own: what is decided (workers/retaining.py, tax/asking.py), what must be of it
(retained.py, taxes.py), when (play.py).
"""

from collections.abc import Mapping, Sequence
from functools import partial

from pipeline.catalog.facts import Fact, NewFact
from pipeline.core.calendar import SECOND, Duration, cycle_edge
from pipeline.core.identity import Json
from pipeline.ledger.retention import oldest_kept
from pipeline.simulate.errands import Errands
from pipeline.simulate.folding import catalog_of
from pipeline.simulate.jobs import ADA
from pipeline.simulate.signing import AHEAD
from pipeline.tax.asking import answering
from pipeline.workers.retaining import remove, to_remove

_YEAR = Duration(12, 0, 0)
_QUESTIONS = 10_000
_BY_HAND: Sequence[Mapping[str, object]] = (
    {"category": "S", "jurisdiction": "US-TX", "rate_percent": "6.25"},
    {"category": "E", "jurisdiction": "US", "rate_percent": "0"},
)


class Archivists(Errands):
    """Everybody who keeps the archive in one world."""

    def answer(self) -> None:
        """Say how something is taxed that a document awaits, as whoever was asked does not."""
        stage, random = self.stage, self.stage.world.streams.of("answer")
        with self._job("answer") as process:
            session = stage.session(process)
            for question in session.awaited_taxes(_QUESTIONS):
                if random.random() < 0.5:
                    told = random.choice(_BY_HAND)
                    self._decide("answer", partial(_answered, question, told), "answers")

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


def _answered(
    question: Mapping[str, Json], told: Mapping[str, object], known: Sequence[Fact]
) -> list[NewFact]:
    return answering(catalog_of(known), question, told, ADA.actor)
