"""Missing: which places of sequences never came, and what may be issued all the same.

Owns: that the books know each open gap and since when, that documents wait for them or are waived.
Does not own: what came (witness.py), who waives (operators.py).
Law: it shares no step with the pipeline.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from pipeline.catalog.facts import FactKind
from pipeline.core.calendar import Instant
from pipeline.core.identity import derived_id
from pipeline.simulate.billing import Billing
from pipeline.simulate.database import Tables
from pipeline.simulate.witness import Gap, Witness
from pipeline.stores.postgres.documents import Document

Fault = tuple[str, str]
"""(law, detail)."""
Open = dict[tuple[int, tuple[str, str]], list[tuple[int, int, Instant]]]
"""The [first, end) that miss, each since when, by partition and sequence."""


def missing_faults(witness: Witness, billing: Billing, tables: Tables) -> Iterator[Fault]:
    """Yield gaps that the books do not know, and documents that did not wait for them."""
    must, told = _open(witness), _booked(tables)
    for place in sorted(must.keys() | told.keys()):
        if must.get(place) != told.get(place):
            yield "missing", f"{place}: told {told.get(place)}, never came {must.get(place)}"
    invoices = [each for each in tables.documents.values() if each.kind == "invoice"]
    yield from _waiver_faults(invoices, witness, billing)


def _open(witness: Witness) -> Open:
    found: Open = defaultdict(list)
    for gap in witness.gaps:
        place = gap.partition, (gap.producer, gap.epoch)
        taken = witness.taken[place]
        missing = [number for number in gap.places if number not in taken]
        found[place] += ((first, end, gap.since) for first, end in _runs(missing))
    return {place: sorted(runs) for place, runs in found.items() if runs}


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1] = runs[-1][0], number + 1
        else:
            runs.append((number, number + 1))
    return runs


def _booked(tables: Tables) -> Open:
    return {
        place: sorted(
            (first, end, since) for (first, end), since in zip(state.gaps, state.since, strict=True)
        )
        for place, state in tables.sequences.items()
        if state.gaps
    }


def _waiver_faults(
    invoices: Collection[Document], witness: Witness, billing: Billing
) -> Iterator[Fault]:
    """Yield what was issued though events before its cut never came, and needless waivers."""
    waived = {f.subject for f in witness.facts if f.kind is FactKind.ISSUE_WAIVER}
    never = _open(witness)
    for document in invoices:
        tick = witness.ticks[document.cut_serial]
        issuer = billing.book(tick.fact_position).latest["issuer", document.issuer]
        home, issue = witness.home(document.payer), derived_id("iss", document.id, "incomplete")
        own = [gap for gap in witness.gaps if gap.partition == home and gap.since <= tick.time]
        if issue in waived and not own:
            yield "waived", f"{document.sealed.number} waited for nothing that missed at its cut"
        if issue in waived or issuer.get("completeness") != "hold":
            continue
        stands = witness.tick_places[home, document.cut_serial]
        for gap in own:
            if gap.offset < stands and _is_open(gap, never):
                told = f"{gap.producer} {gap.epoch} never delivered some of {gap.places}"
                yield "waived", f"{document.sealed.number} was issued, and {told}"


def _is_open(gap: Gap, never: Open) -> bool:
    missing = never.get((gap.partition, (gap.producer, gap.epoch)), ())
    return any(gap.places.start <= first < gap.places.stop for first, _, _ in missing)
