"""Since: what usage must make of a document once a diff of it was applied, as the auditor sees it.

Owns: by which prices it is corrected from when on.
Does not own: what it comes to by them (billing.py), the diff's own notes (repriced.py).
Law: it shares no step with the pipeline.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.catalog.facts import Fact
from pipeline.core.calendar import Instant
from pipeline.simulate.billing import Billing
from pipeline.simulate.reissued import billed
from pipeline.stores.postgres.documents import Document

Sums = Counter[tuple[str, str]]
"""Minor units by (source, start) of a line."""


@dataclass(frozen=True, slots=True)
class Since:
    """An applied diff: its fact, the last tick whose cuts it knew, what facts say by its prices."""

    fact: int
    until: int
    by: Billing
    told: Sequence[Fact]


def due_of(
    billing: Billing, since: Sequence[Since], of: Document, serial: int, named: int | None = None
) -> Sums:
    """Return what a document and its notes of usage come to at a tick, without diffs' notes.

    Diffs count whose facts the tick names, or another one (`named`).
    """
    position = billing.witness.ticks[serial if named is None else named].fact_position
    for place in range(len(since), 0, -1):
        last = since[place - 1]
        if last.fact <= position:
            found = due_of(billing, since[: place - 1], of, last.until)
            found.update(_due(last.by, of, serial))
            found.subtract(_due(last.by, of, last.until))
            return found
    return _due(billing, of, serial)


def _due(billing: Billing, of: Document, serial: int) -> Sums:
    place: tuple[str, str, Instant] = (of.payer, of.currency, of.instant)
    found = Sums()
    for line in billed(billing, place, serial, serial):
        found[line.source, line.start] += line.total_minor
    return found
