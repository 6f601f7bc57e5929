"""Asking: whether a decision about an issued document may be taken.

Owns: what is refused, and why; the instant of the cut that a decision causes.
Does not own: what a decision takes off (crediting.py), the note (correcting.py), facts (catalog).
Law: what is decided fits what is left, decisions whose notes are still to be made included.
"""

from dataclasses import replace
from typing import cast

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.corrections import Decision
from pipeline.catalog.early import EarlyUsage
from pipeline.catalog.facts import FactKind
from pipeline.catalog.legs import FOR_EVER
from pipeline.catalog.offers import billed_in
from pipeline.catalog.periods import closings, currency_of, sold_to
from pipeline.core.calendar import Instant
from pipeline.invoice.correcting import decided_note, is_void
from pipeline.invoice.crediting import Left, NothingLeft
from pipeline.invoice.history import History, Paper
from pipeline.invoice.notes import Record, children, lines_of


def asked(catalog: Catalog, history: History, wanted: Decision, number: str) -> Decision:
    """Return a decision at an instant of its own, as it may be written.

    Raises:
        ValueError: it may not be taken: one line that says why, and what to do.

    """
    paper = history.find(wanted.document)
    if paper is None or paper.is_note:
        kind = "none that is issued" if paper is None else "a note"
        raise ValueError(f"{number} is {kind}: correct the invoice that it corrects")
    if paper.is_removed:
        told = "its content was removed and nothing corrects it any more"
        raise ValueError(f"{number} is beyond retention: {told}")
    notes = notes_to_come(catalog, history, paper)
    if is_void(notes):
        raise ValueError(f"{number} is void: whatever is billed again is on another invoice")
    if wanted.reissue and paper.is_early:
        told = f"{number} bills a period that ran on, and its last document bills the rest"
        raise ValueError(f"{told}: void it without --reissue, or credit it")
    if wanted.reissue and not wanted.keeps_by_hand and _all_by_hand(paper):
        told = f"every line of {number} is by hand, and nothing is left without"
        raise ValueError(f"{told}: void it without --reissue")
    _known_lines(paper, wanted, number)
    try:
        change = Left(paper.content, notes).change(wanted)
    except NothingLeft as refused:
        raise ValueError(f"{refused}: ask for no more (`talea invoices show {number}`)") from None
    if not change.is_money:
        raise ValueError(f"nothing is left of {number}: its notes took it all off")
    return replace(wanted, at=own_instant(catalog, wanted, paper.instant + 1))


def notes_to_come(catalog: Catalog, history: History, paper: Paper) -> list[Record]:
    """Return the notes of a document, and those that decisions about it are about to make."""
    notes = history.notes_of(paper.id)
    made = {note["cause"] for note in notes}
    for decision in catalog.deals.decisions.about(paper.id):
        if decision.fact not in made:
            beside = [note for note in notes if note not in history.notes_of(paper.id)]
            found = decided_note(history, decision, beside)
            if found is not None:
                notes.append(found.content)
    return notes


def decided_already(catalog: Catalog, wanted: Decision) -> bool:
    """Return whether a decision with a reference was taken before: twice is once."""
    return wanted.reference is not None and any(
        replace(known, at=wanted.at, fact="", serial=0) == wanted
        for known in catalog.deals.decisions.about(wanted.document)
    )


def _all_by_hand(paper: Paper) -> bool:
    cards = (cast(Record, line["rate_card"] or {}) for line in lines_of(paper.content))
    return all("by_hand" in card for card in cards)


def _known_lines(paper: Paper, wanted: Decision, number: str) -> None:
    lines = {line["id"] for line in lines_of(paper.content)}
    parents = {
        child["id"]: line["id"] for line in lines_of(paper.content) for child in children(line)
    }
    seen = set()
    for part in wanted.parts:
        if part.line in parents:
            told = f"{part.line} is a part of line {parents[part.line]}"
            raise ValueError(f"{told}: parts are corrected with their line")
        if part.line not in lines:
            told = f"{number} has no line {part.line}"
            raise ValueError(f"{told}: `talea invoices show {number} --json` lists their ids")
        if part.line in seen:
            raise ValueError(f"line {part.line} is named twice: once is enough")
        seen.add(part.line)


def own_instant(catalog: Catalog, wanted: Decision, least: Instant) -> Instant:
    """Return an instant from `least` on that no other cut of a decision's payer has."""
    taken = [each.at for each in catalog.deals.decisions.known if each.payer == wanted.payer]
    at = max(wanted.at, least, *(each + 1 for each in taken))
    sold = sold_to(catalog, wanted.payer)
    while any(at in closings(catalog, each, at - 1, at + 1) for each in sold):
        at += 1
    return at


def correction(
    catalog: Catalog, payer: str, currency: str, after: Instant, now: Instant
) -> Decision | None:
    """Return the decision to correct a payer's documents; None where its next cut does.

    Usage of closed periods is corrected at the next cut in the same currency. Where none is to
    come after an instant, this makes one.
    """
    if next_closing(catalog, payer, currency, after) is not None:
        return None
    return correcting(catalog, payer, currency, now)


def next_closing(catalog: Catalog, payer: str, currency: str, after: Instant) -> Instant | None:
    """Return the next instant after one at which a payer is billed in a currency; None: never."""
    sold = (each for each in sold_to(catalog, payer) if currency_of(catalog, each) == currency)
    first = (next(closings(catalog, each, after, FOR_EVER), None) for each in sold)
    return min((instant for instant in first if instant is not None), default=None)


def correcting(catalog: Catalog, payer: str, currency: str, now: Instant) -> Decision:
    """Return the decision to correct a payer's documents now."""
    wanted = Decision(FactKind.CORRECTION, payer, currency, now)
    return replace(wanted, at=own_instant(catalog, wanted, now))


def billing_now(catalog: Catalog, subscription: str, now: Instant) -> Decision:
    """Return the decision to bill what was used so far.

    Raises:
        ValueError: it may not be taken: one line that says why, and what to do.

    """
    sold = catalog.subscriptions.get(subscription)
    if sold is None:
        told = f"no subscription {subscription}"
        raise ValueError(f"{told}: `talea catalog show subscription` lists all")
    if now < sold.start or (sold.end is not None and sold.end <= now):
        raise ValueError(f"{subscription} is not served now: what it owes is billed by itself")
    early, currency = EarlyUsage(subscription, now), billed_in(catalog, sold)
    payer = catalog.accounts.payer(sold.customer)
    wanted = Decision(FactKind.BILL_NOW, payer, currency, now, early=early)
    return replace(wanted, at=own_instant(catalog, wanted, now))
