"""Usage ahead: what books would hold more of, were some events booked now.

Owns: folding events that are in no log, answering requests for them, which of them nobody pays.
Does not own: what the books hold (stores), documents (workers/foretelling.py).
Law: what it answers, beside what the books answer, is what they answer once the events are booked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.catalog.catalog import Catalog
from pipeline.collect.columns import Columns, read_columns
from pipeline.collect.keyed import KeyedEvent, pack_again
from pipeline.core.calendar import Instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import partition_of
from pipeline.invoice.usage import UsageRequest, Used
from pipeline.meter.fold import fold
from pipeline.meter.place import Place
from pipeline.meter.slices import Counts, Slice
from pipeline.meter.ticks import Tick
from pipeline.replay.coverage import covered_stretches
from pipeline.replay.refold import CatalogAt, Refold

ANY_CUT = 1 << 62


@dataclass(frozen=True, slots=True)
class UsageAhead:
    """Events by partition, folded; `first`: the first window of each payer."""

    partitions: Mapping[int, Refold]
    first: Mapping[str, Instant]
    uncovered: int

    @classmethod
    def of(
        cls, events: Sequence[KeyedEvent], partitions: int, tick: Tick, catalog_at: CatalogAt
    ) -> "UsageAhead":
        """Fold events whose meters are all in force by the tick's facts."""
        catalog = catalog_at(tick.fact_position)
        homes: dict[int, list[KeyedEvent]] = {}
        first: dict[str, Instant] = {}
        for event in events:
            homes.setdefault(partition_of(event.customer, partitions), []).append(event)
            payer, window = catalog.accounts.payer(event.customer), _window(event, catalog)
            first[payer] = min(first.get(payer, window), window)
        folded = {home: _folded(home, own, tick, catalog_at) for home, own in homes.items()}
        return cls(folded, first, _uncovered(events, catalog))

    def usage(self, requests: Iterable[UsageRequest]) -> dict[UsageRequest, list[Used]]:
        """Return what answers requests; those that nothing answers are left out."""
        asked = [*requests]
        found: dict[UsageRequest, list[Used]] = {}
        for refold in self.partitions.values():
            found |= refold.usage(asked, ANY_CUT)[0]
        return found


def _folded(home: int, events: Sequence[KeyedEvent], tick: Tick, catalog_at: CatalogAt) -> Refold:
    refold = Refold(home, Place(0, 0, tick, tick.time), {}, catalog_at, source="a backfill")
    known = catalog_at(tick.fact_position).meters
    for offset, batch in enumerate(pack_again(events)):
        columns = read_columns(batch)
        if not isinstance(columns, Columns):
            raise BrokenInvariant(f"a batch of a backfill: {columns.message}")
        meters = [known.get(entry.meter) for entry in batch.meters]
        rows = fold(batch, columns, np.ones(len(columns), np.bool_), meters, home)
        counts = Counts(offered=batch.event_count, fresh=batch.event_count)
        refold.book(Slice(offset, tick.time, None, counts, None, rows))
    return refold


def _window(event: KeyedEvent, catalog: Catalog) -> Instant:
    return event.time - event.time % catalog.meters[event.meter].window_us


def _uncovered(events: Sequence[KeyedEvent], catalog: Catalog) -> int:
    """Return how many events no price of a subscription meters."""
    used = {(event.customer, event.meter) for event in events}
    stretches: dict[tuple[str, str], list[UsageRequest]] = {}
    for stretch in covered_stretches(catalog):
        whose = stretch.customer, stretch.meter
        if whose in used:
            stretches.setdefault(whose, []).append(stretch)
    return sum(
        not any(
            stretch.start <= _window(event, catalog) < stretch.end
            and stretch.scope.holds(event.dimensions)
            for stretch in stretches.get((event.customer, event.meter), ())
        )
        for event in events
    )
