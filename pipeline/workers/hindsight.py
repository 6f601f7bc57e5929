"""Hindsight: the drafts of a customer as they were at an earlier place of the log.

Owns: load -> fold again -> compose, at a named place.
Does not own: folding (refolding.py), which documents were open then and their lines (drafting.py).
Law: it is the very draft that stood there, byte for byte, from the facts and the log up to there
and the documents cut by then; nothing of what came later counts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.book.booking import Cursor, Cut
from pipeline.catalog.cuts import horizon_at
from pipeline.core.calendar import Instant
from pipeline.core.errors import BadInput
from pipeline.core.identity import partition_of
from pipeline.invoice.history import History
from pipeline.invoice.planned import Carried
from pipeline.invoice.usage import UsageRequest, Used
from pipeline.meter.meters import Grain
from pipeline.meter.ticks import Tick
from pipeline.replay.refold import cuts_before
from pipeline.stores.postgres.books import Anchor
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.preparing import BookedCuts
from pipeline.stores.postgres.session import Session
from pipeline.stores.postgres.usage import NO_CUT
from pipeline.workers.drafting import Payer, Planner, would_be
from pipeline.workers.refolding import Refolder
from pipeline.workers.seams import Log
from pipeline.workers.surroundings import Surroundings
from pipeline.workers.verifying import Progress


@dataclass(slots=True)
class _Then:
    """The books of one payer as they were at a place: what a draft asks of them."""

    refolder: Refolder
    partition: int
    offset: int
    tick: Tick
    history: History
    cuts: Sequence[Cut]
    progress: Progress
    _used: dict[UsageRequest, list[Used]] = field(default_factory=dict)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        yield

    def load_cursors(self) -> dict[int, tuple[Cursor, Anchor]]:
        return {}

    def read_cuts(self, payers: Sequence[str], after: Instant) -> BookedCuts:
        """Return the cuts, and those of periods whose documents there are not yet."""
        closed = {(cut.currency, cut.instant) for cut in self.cuts if cut.instant > after}
        found = BookedCuts(dict.fromkeys(payers, closed))
        made = {(paper.currency, paper.instant) for paper in self.history.papers}
        for cut in sorted(self.cuts, key=lambda cut: (cut.serial, cut.instant)):
            tick = self.refolder.rows[cut.serial]
            if not cut.fact and tick and (cut.currency, cut.instant) not in made:
                own = found.unprepared.setdefault((cut.payer, cut.currency), [])
                own.append((cut.instant, tick.fact_position))
        return found

    def carried_by(self, payers: Sequence[str]) -> Mapping[tuple[str, str], Carried]:
        currencies = {paper.currency for paper in self.history.papers}
        return {
            (payer, currency): self.history.carried(currency)
            for payer in payers
            for currency in sorted(currencies)
        }

    def read_usage(
        self, requests: Iterable[UsageRequest], below_cut: int = NO_CUT
    ) -> dict[UsageRequest, list[Used]]:
        """Return usage up to the place, folding the log from where it makes a difference."""
        asked = [*requests]
        if not asked:
            return {}
        earliest = min(request.start for request in asked)
        levels = any(request.grain is Grain.LEVELS for request in asked)
        serial, end = self.tick.serial, self.offset + 1
        start = self.refolder.start(self.partition, earliest, serial, levels=levels)
        refold = self.refolder.refold(
            self.partition, start, end, lambda read: self.progress(read, end - start)
        )
        used, _ = refold.usage(asked, below_cut)
        return used


def drafts_at(
    around: Surroundings,
    log: Log,
    session: Session,
    customer: str,
    offset: int | None,
    time: Instant | None,
    progress: Progress,
) -> list[Draft]:
    """Return the drafts of a customer at an offset of its partition, or as a time began.

    Raises:
        BadInput: nothing is booked there yet, or no tick was before it.

    """
    partition = partition_of(customer, around.partitions)
    cursors = session.load_cursors()
    booked = cursors[partition][0].offset if partition in cursors else -1
    if offset is None:  # up to the last tick before the time, and no usage behind it
        offset = session.offset_at(partition, 0 if time is None else time)
    if offset > booked:
        raise BadInput(f"partition {partition} is booked up to offset {booked}, not to {offset}")
    tick, stands = session.tick_before(partition, offset + 1)
    if stands < 0:
        raise BadInput(f"no tick stands up to offset {offset} of partition {partition}")
    refolder = Refolder(around, log, session)
    catalog = refolder.known.catalog(tick.fact_position)
    if customer not in catalog.customers:
        raise BadInput(f"{customer} was no customer there: `talea catalog log` tells since when")
    papers = [each.paper for each in session.read_documents(customer)]
    papers = [paper for paper in papers if paper.cut_serial <= tick.serial]
    rows = [row for _, row in sorted(refolder.rows.items()) if row is not None]
    cuts = cuts_before(partition, rows, tick, refolder.known.catalog)
    own = [cut for cut in cuts if cut.payer == customer]
    history = History(
        customer, papers, lambda cut: refolder.known.catalog(session.fact_position(cut))
    )
    then = _Then(refolder, partition, offset, tick, history, own, progress)
    # What is ahead of its tick is judged by the next one: log time may be past the last tick.
    log_time = refolder.refold(partition, stands, offset + 1, lambda _: None).place.log_time
    cursor = Cursor(partition, offset, -1, tick, log_time)
    payer = Payer(customer, cursor, catalog, horizon_at(catalog, tick))
    return [*would_be(then, refolder.known.catalog, [payer], Planner())]
