"""Retaining: take out the contents of documents that are older than they must be kept.

Owns: load -> judge -> tell -> remove.
Does not own: what may go and what stays (ledger/retention.py), the chain (ledger/seal.py).
Law: only what stands before a checkpoint whose signature holds, in a chain that holds, is removed.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from pipeline.catalog.corrections import Decision, decision
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.calendar import Instant
from pipeline.core.errors import CheckFailed
from pipeline.core.identity import Json
from pipeline.invoice.history import Paper, with_cut
from pipeline.invoice.notes import Record
from pipeline.invoice.planned import Carried, carried_told
from pipeline.ledger.checkpoint import Checkpoint, checkpoint_fault
from pipeline.ledger.retention import (
    Removal,
    kept_digest,
    kept_of,
    kept_text,
    last_to_go,
    removals,
    removed_to,
)
from pipeline.ledger.seal import chain_faults
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.facts import Author
from pipeline.stores.signing import signature_holds
from pipeline.workers.seams import FactWriter


class Shelves(FactWriter, Protocol):
    """What is issued and signed, what was removed of it, and the way to remove more."""

    def transaction(self) -> AbstractContextManager[object]: ...

    def read_facts(self, after: int, until: int | None = None) -> list[Fact]: ...

    def issuers_sealed(self) -> list[str]: ...

    def read_checkpoints(self, issuer: str | None = None) -> list[Checkpoint]: ...

    def read_documents(self, payer: str | None = None) -> list[Document]: ...

    def remove_contents(self, issuer: str, kept: Mapping[int, str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Going:
    """Contents that may go: what is told of them, and what is kept of each, by place."""

    removal: Removal
    kept: Mapping[int, str]

    def json(self) -> dict[str, Json]:
        """Return it for a report."""
        return {
            "issuer": self.removal.issuer,
            "documents": len(self.kept),
            "after": self.removal.after,
            "place": self.removal.place,
            "number": self.removal.number,
        }


def to_remove(store: Shelves, before: Instant) -> list[Going]:
    """Return the contents that may go: of what was issued before an instant, by issuer.

    Raises:
        CheckFailed: a chain or its checkpoint does not hold there.

    """
    facts = store.read_facts(0)
    known, found, documents = removals(facts), [], store.read_documents()
    for issuer in store.issuers_sealed():
        gone = known.get(issuer, [])
        checkpoint = last_to_go(store.read_checkpoints(issuer), gone, before)
        if checkpoint is None:
            continue
        chain = [each for each in documents if each.issuer == issuer]
        stretch = [each for each in chain if each.sealed.place <= checkpoint.head.place]
        _refuse_unless_held(stretch, checkpoint, removed_to(gone))
        going = [each for each in stretch if each.sealed.place > removed_to(gone)]
        kept = kept_by_place(going, documents, facts)
        last = going[-1].sealed
        told = Removal(
            issuer,
            removed_to(gone),
            last.place,
            last.number,
            last.seal.hex(),
            kept_digest(kept.values()),
        )
        found.append(Going(told, kept))
    return found


def remove(store: Shelves, going: Going, author: Author, now: Instant) -> list[Fact]:
    """Remove contents and tell of it, at once; return the fact. Whoever was first is the only one.

    `store` is a session of the owner.
    """
    removal = going.removal

    def decide(facts: Sequence[Fact]) -> list[NewFact]:
        known = removals(facts).get(removal.issuer, [])
        return [removal.told()] if removed_to(known) == removal.after else []

    with store.transaction():
        written = store.append_facts(decide, author, now)
        if written:
            store.remove_contents(removal.issuer, going.kept)
    return written


def remove_again(store: Shelves, told: Fact) -> bool:
    """Remove contents that are back out of a backup, as a fact told; return whether they are those.

    `store` is a session of the owner.
    """
    ((removal,),) = removals([told]).values()
    documents = store.read_documents()
    going = [
        each
        for each in documents
        if each.issuer == removal.issuer and removal.after < each.sealed.place <= removal.place
    ]
    kept = kept_by_place(going, documents, store.read_facts(0))
    if kept_digest(kept.values()) != removal.kept_digest:
        return False
    store.remove_contents(removal.issuer, kept)
    return True


def _refuse_unless_held(stretch: Sequence[Document], checkpoint: Checkpoint, beyond: int) -> None:
    faults = chain_faults([each.sealed for each in stretch], beyond)
    name = f"place {checkpoint.head.place} of {checkpoint.head.issuer}"
    fault = checkpoint_fault(checkpoint, stretch[-1].sealed if stretch else None)
    if not signature_holds(checkpoint):
        fault = "the signature of its checkpoint does not hold"
    told = [f"{number}: {what}" for number, what in faults.items()]
    told += [f"{name}: {fault}"] if fault else []
    if told:
        raise CheckFailed(f"nothing is removed from a chain that does not hold: {told[0]}")


def kept_by_place(
    going: Iterable[Document], documents: Iterable[Document], facts: Iterable[Fact]
) -> dict[int, str]:
    """Return what is kept of documents of one issuer, by place."""
    wanted = {each.id: each.sealed.place for each in going}
    diffs = {e.id: decision(e) for e in facts if e.kind is FactKind.REPRICING}
    found: dict[int, str] = {}
    own = sorted(documents, key=_owner)
    for _, papers in groupby(own, key=_owner):
        found |= _kept_of_payer([*papers], wanted, diffs)
    return dict(sorted(found.items()))


def _owner(document: Document) -> tuple[str, str]:
    return document.payer, document.currency


def _kept_of_payer(
    documents: Sequence[Document], wanted: Mapping[str, int], diffs: Mapping[str, Decision]
) -> dict[int, str]:
    """Return what is kept of those wanted of a payer and currency; the later build on it."""
    if wanted.keys().isdisjoint(each.id for each in documents):
        return {}
    papers = sorted((each.paper for each in documents), key=lambda paper: paper.order)
    found: dict[int, str] = {}
    carried: Carried = {}

    def repricing_of(note: Record) -> Decision | None:
        return diffs.get(str(note.get("cause")))

    for _, cut in groupby(papers, key=lambda paper: paper.order[:2]):
        beside = [*cut]
        billing = [paper.content for paper in beside if _bills(paper)]
        carried = with_cut(carried, billing, repricing_of)
        for paper in beside:
            before = carried
            if paper.is_note:
                carried = with_cut(carried, [paper.content], repricing_of)
            if paper.id in wanted:
                told = carried_told(carried) if carried != before or _bills(paper) else None
                found[wanted[paper.id]] = kept_text(kept_of(paper.content, told))
    return found


def _bills(paper: Paper) -> bool:
    return not paper.is_note and paper.replaces is None
