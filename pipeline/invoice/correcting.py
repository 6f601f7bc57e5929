"""Correcting: the note of one document at a cut, of changed usage or of a decision.

Owns: which of a difference is booked by a note, and when none is made.
Does not own: composing anew (history.py), differences (notes.py), what is left (crediting.py).
Law: usage corrects what usage billed: what people took off or added stays, and a void document is
corrected no more.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

from pipeline.catalog.corrections import Decision
from pipeline.catalog.facts import FactKind
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json
from pipeline.invoice.compose import Composed
from pipeline.invoice.crediting import Left, NothingLeft
from pipeline.invoice.history import History
from pipeline.invoice.layers import Layers, UsedBelow
from pipeline.invoice.lines import Line
from pipeline.invoice.notes import (
    Cause,
    Change,
    Record,
    booked,
    lines_of,
    note,
    part_of_change,
)
from pipeline.invoice.totals import Totals
from pipeline.invoice.usage import Usage

USAGE_CHANGED = "usage_changed"
"""Why a note is made that nobody decided."""


def is_void(notes: Sequence[Record]) -> bool:
    """Return whether one of a document's notes voids it."""
    return any(each["voids"] is True for each in notes)


def usage_note(
    history: History,
    layers: Layers,
    usage: Usage,
    used_below: UsedBelow,
    instant: Instant,
    decided: Sequence[Decision],
    least_minor: int = 0,
) -> Composed | None:
    """Return the note that usage makes of a document; None where there is nothing to correct.

    `decided` is what is decided of it by then. What comes to less than `least_minor` is left for a
    later cut. With issues where the document cannot be rated any more.
    """
    paper = layers.paper
    notes = history.notes_of(paper.id)
    if is_void(notes):
        return None
    change, unrated = layers.changed(history, usage, used_below)
    cause = Cause(instant_text(instant), USAGE_CHANGED)
    if unrated is not None:
        empty = note(paper.content, Change([], []), cause)
        told = {"tax": unrated.content["tax"]} if "tax" in unrated.content else {}
        return _composed({**empty, **told}, unrated)  # what it awaits an answer to stands there
    notes += _repricings_to_come(history, notes, decided)
    change = _bounded(paper.content, notes, _beside(layers, notes, decided), change)
    if not change.is_money or abs(change.totals.total) < least_minor:
        return None
    return _composed(note(paper.content, change, cause))


def _repricings_to_come(
    history: History, notes: Sequence[Record], decided: Sequence[Decision]
) -> list[Record]:
    """Return the notes that applied diffs are about to make of a document, at cuts of this tick.

    Its usage is corrected by their prices already, so what they leave room for is there, too.
    """
    made = {each["cause"] for each in notes}
    told = (each for each in decided if each.kind is FactKind.REPRICING and each.fact not in made)
    found = (decided_note(history, each) for each in told)
    return [each.content for each in found if each is not None]


def _beside(layers: Layers, notes: Sequence[Record], decided: Sequence[Decision]) -> Counter[Json]:
    """Return what decisions added to each line, or took off it, beside what usage makes of it.

    The notes of a diff are no such decisions where usage is corrected by its prices.
    """
    diffs = {mend.diff for mend in layers.mends}
    own = {e.fact for e in decided if e.kind is FactKind.REPRICING and e.reference in diffs}
    found = Counter[Json]()
    for each in notes:
        if each["cause"] is not None and each["cause"] not in own:
            found.update({line["corrects"]: _total(line) for line in lines_of(each)})
    return found


def _bounded(
    original: Record, notes: Sequence[Record], beside: Counter[Json], change: Change
) -> Change:
    """Return a change without the lines that people credited so far that too little is left."""
    if all(minor >= 0 for minor in beside.values()):
        return change
    stands = booked(original, notes)
    left = {line["id"]: _total(line) for line in lines_of(stands)}
    kept = [
        line
        for line in change.lines
        if _total(line) >= 0
        or beside[line["id"]] >= 0
        or left.get(line["id"], 0) + _total(line) >= 0
    ]
    bounded = change if len(kept) == len(change.lines) else part_of_change(original, kept)
    room = Totals.of_json(stands["totals"]).total
    if beside.total() >= 0 or room + bounded.totals.total >= min(room, 0):
        return bounded
    return Change([], [])


def decided_note(
    history: History, decision: Decision, made: Sequence[Mapping[str, Json]] = ()
) -> Composed | None:
    """Return the note of a decision; None where nothing is left to take off or put back.

    `made`: the notes that usage makes at the same cut.
    """
    paper = history.find(decision.document)
    if paper is None or paper.is_note:
        raise BrokenInvariant(f"{decision.kind} of {decision.document}, which is no invoice")
    own = [each for each in made if each["corrects"] == paper.id]
    notes = [*history.notes_of(paper.id), *own]
    if is_void(notes):
        return None
    try:
        change = Left(paper.content, notes, strict=False).change(decision)
    except NothingLeft:
        return None
    voids = decision.kind is FactKind.VOID
    if not change.lines:
        return None
    cause = Cause(
        instant_text(decision.at),
        decision.code,
        decision.fact,
        decision.reference,
        decision.refund,
        voids,
    )
    return _composed(note(paper.content, change, cause))


def _composed(content: dict[str, Json], wanted: Composed | None = None) -> Composed:
    issuer, kind = cast(str, content["issuer"]), cast(str, content["kind"])
    return Composed(issuer, kind, 0, content, wanted.issues if wanted else ())


def _total(line: Line) -> int:
    return Totals.of_json(line["totals"]).total
