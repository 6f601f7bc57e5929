"""Reissued: documents that stand in the place of void ones, as the auditor works them out.

Owns: which there must be, and what each bills: what the first one billed, by usage up to its cut.
Does not own: the first one's lines (billing.py), the void (noted.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import parse_instant
from pipeline.simulate.billing import Billing, Cut
from pipeline.simulate.dues import ExpectedLine
from pipeline.stores.postgres.documents import Document


class Again(NamedTuple):
    """The document that another stands for in the end, and whether nothing by hand is on it."""

    first: Cut
    is_plain: bool


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
            first, is_plain = found.get(place, Again(place, False))
            is_plain |= body.get("keeps_by_hand") is False
            found[of.payer, of.currency, parse_instant(body["at"])] = Again(first, is_plain)
    return found


def billed(billing: Billing, place: Cut, serial: int, seen: int | None) -> list[ExpectedLine]:
    """Return the lines of the document of a cut, by usage up to its own cut or the tick `seen`."""
    first, is_plain = billing.again.get(place, (place, False))
    seen = serial if first != place and seen is None else seen
    lines = billing.issued(place[0], place[1], serial, seen).lines.get(first[2], [])
    if is_plain:
        return [each.plain or each for each in lines if not _by_hand(each)]
    return lines


def _by_hand(line: ExpectedLine) -> bool:
    """Whether somebody added a line: it is of no subscription, and of no order."""
    return "/" not in line.source
