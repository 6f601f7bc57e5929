"""Contesting: whether a dispute may be opened or ended, on the very tables.

Owns: the facts that a ruling writes, the note of what an accepted one credits included.
Does not own: what a dispute shows (invoice/disputing.py), the note (correcting.py), events
(paying.py).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, cast

from pipeline.catalog.catalog import FactLog
from pipeline.catalog.corrections import Decision, Part
from pipeline.catalog.facts import Fact, NewFact
from pipeline.core.identity import Json
from pipeline.invoice.asking import asked
from pipeline.invoice.disputing import Ruling, ending, lines_disputed, opening
from pipeline.invoice.lifecycle import EventKind, InvoiceEvent, stands
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.facts import Author
from pipeline.workers.correcting import Papers, history_of
from pipeline.workers.paying import Lives


class Contested(Papers, Lives, Protocol):
    """A payer's documents, and what happened to each."""


def contesting(
    store: Contested,
    log: FactLog,
    known: Sequence[Fact],
    document: Document,
    wanted: Decision,
    ruling: Ruling,
    author: Author,
) -> list[NewFact]:
    """Return the facts of a ruling about a document; `wanted` is what is contested, or credited.

    Raises:
        ValueError: it is void, or disputed already, or not, or there is not so much to credit.

    """
    number, history = document.sealed.number, history_of(store, log.at, document.payer)
    standing = stands(document.before_issue, store.read_events(document.id))
    standing.after(_event(ruling, author, wanted))
    paper = history.find(document.id)
    if paper is None or paper.is_note:
        raise ValueError(f"{number} is a note: dispute the invoice that it corrects")
    if ruling is Ruling.OPEN:
        lines = [part.line for part in wanted.parts]
        evidence = cast(dict[str, Json], document.record["evidence"])
        return [opening(known, paper, lines, evidence, number)]
    ended, opened = ending(known, paper, ruling, number)
    if ruling is Ruling.REJECTED:
        return [ended]
    if wanted.amount_minor is None and not wanted.parts:
        wanted = replace(wanted, parts=tuple(map(Part, lines_disputed(opened))))
    credit = asked(log.at(log.head), history, replace(wanted, reference=opened.id), number)
    return [ended, credit.told()]


def _event(ruling: Ruling, author: Author, wanted: Decision) -> InvoiceEvent:
    """Return what a ruling makes happen to its document."""
    kind = EventKind.DISPUTED if ruling is Ruling.OPEN else EventKind.DISPUTE_CLOSED
    return InvoiceEvent(kind, author.actor, author.reason, wanted.at)
