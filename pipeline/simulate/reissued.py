"""Reissued: documents that stand in the place of void ones, as the auditor works them out.

Owns: which there must be, and what each bills: what the first one billed, by usage up to its cut.
Does not own: the first one's lines (billing.py), the void (noted.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Collection, Iterable

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import parse_instant
from pipeline.simulate.billing import Billing, Cut
from pipeline.simulate.dues import ExpectedLine
from pipeline.simulate.edited import Again
from pipeline.stores.postgres.documents import Document


def reissues(documents: Collection[Document], facts: Iterable[Fact]) -> dict[Cut, Again]:
    """Return the documents that must stand in place of void ones, for somebody wanted them."""
    known = {each.id: each for each in documents}
    voided = {each.content.get("cause") for each in documents if each.content.get("voids")}
    found: dict[Cut, Again] = {}
    for fact in facts:
        body = fact.body
        if fact.kind is FactKind.VOID and body["reissue"] is True and fact.id in voided:
            of = known[str(body["document"])]
            place = of.payer, of.currency, of.instant
            before = found.get(place, Again(place, False))
            again = Again(before.first, before.is_plain, (*before.edited_as, place))
            if body.get("keeps_by_hand") is False:
                again = Again(before.first, True)
            found[of.payer, of.currency, parse_instant(body["at"])] = again
    return found


def billed(billing: Billing, place: Cut, serial: int, seen: int | None) -> list[ExpectedLine]:
    """Return the lines of the document of a cut, by usage up to its own cut or the tick `seen`."""
    again = billing.again.get(place)
    if again is None:
        return billing.issued(place[0], place[1], serial, seen).lines.get(place[2], [])
    seen = serial if seen is None else seen
    lines = billing.issued(place[0], place[1], serial, seen).lines.get(again.first[2], [])
    kept = (each for each in lines if not (again.is_plain and _by_hand(each)))
    return [billing.edits.on(place, each) for each in kept]


def _by_hand(line: ExpectedLine) -> bool:
    """Whether somebody added a line: it is of no subscription, and of no order."""
    return "/" not in line.source
