"""Beside: drafts and documents rated by a candidate catalog, at the places of the live ones.

Owns: load -> compose twice -> keep, in bites; when limits stop it.
Does not own: composing (drafting.py, invoice), limits (replay/guarding.py).
Law: both sides of a draft rest on one snapshot, so they differ by the catalog alone; an issued
document is rated on the usage that it was issued on. Nothing live is locked, marked or written.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import sleep
from typing import cast

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.cuts import horizon_at
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json, partition_of
from pipeline.invoice.compose import Composed
from pipeline.invoice.history import History, Paper
from pipeline.meter.ticks import Tick
from pipeline.replay.guarding import broken, summed
from pipeline.replay.revising import revised
from pipeline.replay.what_if import Change
from pipeline.stores.postgres.documents import Document
from pipeline.stores.postgres.drafts import Draft
from pipeline.stores.postgres.session import Session
from pipeline.stores.postgres.shadow_prices import (
    Candidate,
    Priced,
    changes_beside,
    ids_beside,
    is_follower_asked,
    issued_beside,
    keep_priced,
    note_broken,
    payers_behind,
    read_candidates,
)
from pipeline.workers.drafting import BITE, Payer, Planner, would_be
from pipeline.workers.knowledge import Knowledge

_REST_S = 0.5


@dataclass(frozen=True, slots=True)
class Revised:
    """The fact log as it would be, had others been said; ticks as they are."""

    source: Session
    said: Mapping[tuple[FactKind, str], Mapping[str, Json]]

    def read_facts(
        self, after: int, until: int | None = None, kinds: Collection[FactKind] | None = None
    ) -> list[Fact]:
        """Return facts, with other bodies where they say prices."""
        return revised(self.source.read_facts(after, until, kinds), self.said)

    def ticks_from(self, serial: int, count: int) -> list[Tick]:
        """Return the rows of ticks."""
        return self.source.ticks_from(serial, count)


def find_candidate(session: Session, name: str) -> Candidate:
    """Return the candidate of a name.

    Raises:
        BadInput: there is none.

    """
    found = read_candidates(session, name)
    if not found:
        raise BadInput(f"there are no shadow prices {name}: `talea shadow list` shows all")
    return found[0]


def revisions_of(candidate: Candidate) -> list[NewFact]:
    """Return the facts that a candidate would write."""
    return [
        NewFact(
            FactKind(cast(str, each["kind"])),
            cast(str, each["subject"]),
            cast(Mapping[str, Json], each["body"]),
        )
        for each in candidate.revisions
    ]


@dataclass(slots=True)
class Issued:
    """Issued documents of payers, composed anew by other facts, at their cuts.

    `latest` is the catalog of all of these facts.
    """

    session: Session
    catalog_at: Callable[[int], Catalog]
    latest: Catalog
    _serials: dict[int, int] = field(default_factory=dict)

    def history(self, payer: str, documents: Sequence[Document]) -> History:
        """Return the documents of a payer, as these facts would have them."""
        return History(payer, [each.paper for each in documents], self._catalog_at_cut)

    def composed(self, history: History, paper: Paper, cut_serial: int) -> Composed:
        """Return an invoice with the usage below a cut."""
        anew = history.anew(paper)
        usage = self.session.read_usage(anew.requests, cut_serial)
        return anew.composed(history.payer, paper.currency, usage)

    def _catalog_at_cut(self, serial: int) -> Catalog:
        if serial not in self._serials:
            self._serials[serial] = self.session.fact_position(serial)
        catalog = self.catalog_at(self._serials[serial])
        return catalog.answered_by(self.latest).decided_by(self.latest)


class Beside:
    """Rates by one candidate, over a session that nobody else uses."""

    def __init__(self, session: Session, candidate: Candidate) -> None:
        """Start with nothing remembered."""
        self._session, self._name = session, candidate.name
        self._limits = candidate.limits
        said = {(each.kind, each.subject): each.body for each in revisions_of(candidate)}
        self._live, self._shadow = Knowledge(session), Knowledge(Revised(session, said))
        self._planners = Planner(), Planner()
        self._partitions = self._live.catalog(1).parameters.partitions

    def step(self) -> int:
        """Rate a bite of what changed; return how many payers there were."""
        session, name = self._session, self._name
        with session.snapshot():
            opened = payers_behind(session, name, BITE)
            if opened:
                keep_priced(session, name, opened, self._drafts(opened))
            closed = issued_beside(session, name, BITE)
            if closed:
                keep_priced(session, name, [], self._documents(closed))
        return len(opened) + len(closed)

    def look(self) -> tuple[list[Change], list[str]]:
        """Return what each customer comes to, and the limits that this breaks; note these."""
        customers = changes_beside(self._session, self._name)
        found = broken(self._limits, summed(customers), customers)
        if found:
            note_broken(self._session, self._name, found)
        return customers, found

    def _drafts(self, names: Sequence[str]) -> list[Priced]:
        live, shadow = (
            {
                each.id: each
                for each in would_be(
                    self._session, known.catalog, self._payers(known, names), planner
                )
            }
            for known, planner in zip((self._live, self._shadow), self._planners, strict=True)
        )
        return [*_beside(live, shadow)]

    def _payers(self, known: Knowledge, names: Sequence[str]) -> list[Payer]:
        """Return payers as one of the catalogs has them, where their books stand."""
        cursors, found = self._session.load_cursors(), []
        for name in names:
            cursor, _anchor = cursors[partition_of(name, self._partitions)]
            catalog = known.catalog(cursor.tick.fact_position)
            if name in catalog.customers:
                found.append(Payer(name, cursor, catalog, horizon_at(catalog, cursor.tick)))
        return found

    def _documents(self, payers: Sequence[str]) -> Iterator[Priced]:
        wanted = ids_beside(self._session, self._name, payers)
        issued = Issued(self._session, self._shadow.catalog, self._shadow.latest())
        for payer in payers:
            documents = self._session.read_documents(payer)
            history = issued.history(payer, documents)
            for each in documents:
                if each.id in wanted:
                    totals = _totals(issued, history, each)
                    yield Priced(each.id, payer, each.currency, True, -1, *totals)


def _totals(issued: Issued, history: History, document: Document) -> tuple[int, int]:
    """Return what an invoice comes to on both sides; one issued anew counts as it was first."""
    paper = document.paper
    if paper.replaces is not None:
        return 0, 0
    made = issued.composed(history, paper, document.cut_serial)
    return total_minor(document.content), total_minor(made.content)


def _beside(live: Mapping[str, Draft], shadow: Mapping[str, Draft]) -> Iterator[Priced]:
    for known in {**live, **shadow}:
        one = live.get(known) or shadow[known]
        minors = (total_minor(s[known].content) if known in s else 0 for s in (live, shadow))
        yield Priced(known, one.payer, one.currency, False, one.position.offset, *minors)


def total_minor(content: Mapping[str, Json]) -> int:
    """Return what a document comes to."""
    return cast(int, cast(Mapping[str, Json], content["totals"])["total_minor"])


def catch_up(beside: Beside) -> None:
    """Rate all that changed by now."""
    while beside.step():
        pass


def follow(
    session: Session,
    candidate: Candidate,
    tell: Callable[[Iterable[Change], Sequence[str]], bool],
) -> list[str]:
    """Rate each flush as it comes, until asked to stop or `tell` says that limits do.

    Return the limits that are broken then.
    """
    beside = Beside(session, candidate)
    while True:
        changed = beside.step()
        customers, found = beside.look()
        if tell(customers, found):
            return found
        if is_follower_asked(session, candidate.name):
            return []
        if not changed:
            sleep(_REST_S)
