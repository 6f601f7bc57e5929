"""Proof: an issued document against what a fold makes of the same cut: the log's, or the books'.

Owns: what is compared.  Does not own: refolding (refold.py), the chain (ledger/seal.py).
Law: equal means equal bytes of content, equal windows, equal place of the cut, equal settlement.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, cast

from pipeline.book.booking import TickPassed
from pipeline.catalog.catalog import Catalog
from pipeline.catalog.credits import Grant
from pipeline.core.identity import Json
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.correcting import decided_note, usage_note
from pipeline.invoice.history import History, Paper, early_of
from pipeline.invoice.layers import layers_of
from pipeline.invoice.planned import planned_lines, requests_of
from pipeline.invoice.settling import Spent, added, given_back, settle
from pipeline.invoice.usage import Usage, UsageRequest
from pipeline.ledger.seal import Sealed, content_bytes, windows_digest

Windows = Sequence[Sequence[Json]]
"""What usage lies in, as evidence holds it."""


class Fold(Protocol):
    """A partition as it was folded: from the log again, or as it stands in the books."""

    @property
    def number(self) -> int:
        """The partition."""
        ...

    @property
    def source(self) -> str:
        """What it was folded from, as faults name it."""
        ...

    def tick_at(self, serial: int) -> TickPassed | None: ...

    def usage(self, requests: Iterable[UsageRequest], below_cut: int) -> tuple[Usage, Windows]: ...


def content_fault(
    paper: Paper, sealed: Sealed, catalog: Catalog, history: History, fold: Fold
) -> str | None:
    """Return how a document differs from its fold, None where it is equal.

    `catalog` is the one at the cut; `history` holds all documents of its payer.
    """
    if history.payer not in catalog.customers:
        return f"no customer {history.payer} at its cut"
    before = history.before(paper.cut_serial, paper.instant)
    if paper.is_note:
        made = _note(paper, history, before, fold)
    elif paper.replaces is not None:
        made = _reissued(paper, paper.replaces, before, fold)
    else:
        made = _invoice(paper, catalog, history, fold)
    if isinstance(made, str):
        return made
    document, windows = made
    if document.issues:
        return f"it cannot be rated any more: {document.issues[0]}"
    if content_bytes(document.content) != sealed.content:
        return f"its content is not what {fold.source} makes of it"
    return _evidence_fault(paper, sealed, fold, windows_digest(windows))


def _invoice(
    paper: Paper, catalog: Catalog, history: History, fold: Fold
) -> tuple[Composed, Windows] | str:
    payer, instant, carried = history.payer, paper.instant, history.carried_before(paper)
    cause = early = None
    if paper.is_early:
        cause = cast(str, paper.content["cause"])
        early = early_of(catalog, cause)
        if early is None:
            return "no fact in force at its cut has it made"
    lines = planned_lines(catalog, payer, paper.currency, instant, carried, early)
    usage, windows = fold.usage(requests_of(lines), paper.cut_serial)
    for document in compose(catalog, payer, paper.currency, instant, lines, usage, cause):
        if (document.kind, document.ordinal) == (paper.kind, paper.ordinal):
            return document, windows
    return f"{fold.source} makes no such document"


def _reissued(
    paper: Paper, replaces: str, before: History, fold: Fold
) -> tuple[Composed, Windows] | str:
    replaced = before.find(replaces)
    if replaced is None:
        return "it was issued in place of none that is known"
    cause = cast(str, paper.content.get("cause"))
    anew = before.reissue(replaced, paper.cut_serial, paper.instant, cause)
    usage, windows = fold.usage(anew.requests, paper.cut_serial)
    return anew.composed(before.payer, paper.currency, usage), windows


def _note(
    paper: Paper, history: History, before: History, fold: Fold
) -> tuple[Composed, Windows] | str:
    """Return what the log and the facts make of a note."""
    corrects, cause = paper.content.get("corrects"), paper.content.get("cause")
    corrected = before.find(str(corrects))
    if corrected is None or corrected.is_note:
        return "it corrects no document of its customer"
    deals = history.catalog_at_cut(paper.cut_serial).deals
    decisions = deals.decisions.about(corrected.id)
    windows: Windows = ()
    if cause is None:
        anew = layers_of(before, corrected, deals.mends.get(corrected.id, ()))
        usage, windows = fold.usage(anew.requests, paper.cut_serial)
        below = partial(_used_below, fold)
        made = usage_note(before, anew, usage, below, paper.instant, decisions)
    else:
        decision = next((each for each in decisions if each.fact == cause), None)
        if decision is None:
            return "no decision in force at its cut makes it"
        beside = (other for other in history.papers if other.order[:2] == paper.order[:2])
        usage_notes = [p.content for p in beside if p.is_note and p.content.get("cause") is None]
        made = decided_note(before, decision, usage_notes)
    return f"{fold.source} makes no such note" if made is None else (made, windows)


def _used_below(fold: Fold, requests: Iterable[UsageRequest], below_cut: int) -> Usage:
    return fold.usage(requests, below_cut)[0]


def _evidence_fault(paper: Paper, sealed: Sealed, fold: Fold, digest: str) -> str | None:
    record = cast(dict[str, Json], json.loads(sealed.record))
    evidence = cast(dict[str, Json], record["evidence"])
    if evidence["windows_digest"] != digest:
        return f"its windows are not what {fold.source} makes of them"
    passed = fold.tick_at(paper.cut_serial)
    for partition in cast(list[Mapping[str, Json]], evidence["partitions"]):
        if partition["partition"] != fold.number:
            return "it rests on another partition than its customer's"
        if passed is None or partition["to_offset"] != passed.offset:
            return "its cut lies elsewhere in the log"
    return None


def settlement_fault(
    sealed: Sealed, grants: Iterable[Grant], before: Iterable[Sealed]
) -> str | None:
    """Return why a document's settlement is not what its facts make of it; None where it is.

    `before` are the documents of the payer that its issuer sealed before this one.
    """
    spent: Spent = {}
    known = [*before]
    for other in known:
        spent = added(spent, _settlement(other))
    content = cast(dict[str, Json], json.loads(sealed.content))
    must = settle(content, grants, spent)
    if content.get("voids") is True:
        there = (o for o in known if not o.is_removed)
        voided = (o for o in there if json.loads(o.content)["id"] == content["corrects"])
        must = given_back(content, next(map(_settlement, voided), None))
    if must.json() != _settlement(sealed):
        return "its settlement is not what the credits come to"
    return None


def _settlement(sealed: Sealed) -> Mapping[str, Json] | None:
    record = cast(dict[str, Json], json.loads(sealed.record))
    return cast("Mapping[str, Json] | None", record["settlement"])
