"""Telling: a threshold that a draft reached becomes a fact, once.

Owns: writing it, and knowing what was told but no tick named yet.
Does not own: what is reached (invoice/thresholds.py), when drafts are rated (drafting.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.catalog.catalog import Catalog, extend
from pipeline.catalog.corrections import Decision
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.calendar import Instant
from pipeline.invoice.asking import own_instant
from pipeline.stores.postgres.facts import Author
from pipeline.workers.seams import FactWriter

_AUTHOR = Author("talea", "usage came to a threshold")


class Reached(Exception):
    """Thresholds were reached that nobody told yet: tell them, then rate anew."""

    def __init__(self, reached: Sequence[Decision]) -> None:
        """Name them."""
        super().__init__(", ".join(map(_subject, reached)))
        self.reached = reached


@dataclass(slots=True)
class Teller:
    """Tells over one session in autocommit."""

    writer: FactWriter
    clock: Callable[[], Instant]
    _told: set[str] = field(default_factory=set)

    def look(self, reached: Sequence[Decision]) -> None:
        """Stop where something is to be told.

        Raises:
            Reached: it was not told by this worker.

        """
        news = [each for each in reached if _subject(each) not in self._told]
        if news:
            raise Reached(news)

    def tell(self, reached: Sequence[Decision], before: Catalog) -> None:
        """Write what nobody told before, each at an instant of its own.

        `before` is any catalog that is known: what came after it is folded alone.
        """
        now = self.clock()

        def decide(known: Sequence[Fact]) -> Sequence[NewFact]:
            told = {fact.subject for fact in known if fact.kind is FactKind.THRESHOLD_REACHED}
            catalog, least, found = extend(before, known[before.position :]), now, []
            for each in reached:
                if _subject(each) not in told:
                    least = own_instant(catalog, replace(each, at=least), least)
                    found.append(replace(each, at=least).told())
                    least += 1
            return found

        self.writer.append_facts(decide, _AUTHOR, now)
        self._told |= set(map(_subject, reached))


def _subject(reached: Decision) -> str:
    return reached.early.subject if reached.early else ""
