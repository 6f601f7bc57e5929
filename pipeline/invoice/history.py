"""History: a payer's documents in order, and each of them as it would be now.

Owns: what came before a document, which notes it has, how to compose it anew.
Does not own: reading documents (stores), usage (stores, replay), when one is corrected.
Law: a document is composed anew by the catalog of its own cut, or the prices of a diff of it that
was applied, and what was carried then, so only usage makes a difference. One issued again in
another's place bills what that one billed, by the prices it was corrected by, less what is carried
as these put it right, to the customer as it is known by then, and keeps what people did by hand,
unless they say otherwise.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from itertools import groupby
from operator import itemgetter
from typing import cast

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.corrections import Decision, Decisions
from pipeline.catalog.early import EarlyUsage
from pipeline.catalog.facts import FactKind
from pipeline.catalog.mending import priced_by
from pipeline.catalog.mends import Mend
from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json
from pipeline.invoice.compose import Composed, compose
from pipeline.invoice.notes import Change, Record, is_note, lines_of, lines_with, zero
from pipeline.invoice.parts import PlannedLine
from pipeline.invoice.planned import (
    Carried,
    billed_farther,
    billed_since,
    carried_by_all,
    is_ahead,
    is_early,
    planned_lines,
    put_right,
    requests_of,
    until_of,
    with_documents,
)
from pipeline.invoice.usage import Usage, UsageRequest

CatalogAtCut = Callable[[int], Catalog]
"""The catalog at the tick of a serial."""


@dataclass(frozen=True, slots=True)
class Paper:
    """A document, sealed or about to be: at which cut it was made, and what it says."""

    cut_serial: int
    instant: Instant
    kind: str
    ordinal: int
    content: Record

    @property
    def id(self) -> str:
        """The document's id."""
        return cast(str, self.content["id"])

    @property
    def currency(self) -> str:
        """What it bills in."""
        return cast(str, self.content["currency"])

    @property
    def order(self) -> tuple[int, Instant, int, str]:
        """Where it stands among the documents of its payer."""
        return self.cut_serial, self.instant, self.ordinal, self.kind

    @property
    def is_note(self) -> bool:
        """Whether it corrects another."""
        return is_note(self.content)

    def holds(self, window_start: Instant) -> bool:
        """Whether usage from a window on may make a difference to it."""
        if self.is_removed:
            return False
        return not self.is_early and window_start < parse_instant(self.content["period_end"])

    @property
    def is_removed(self) -> bool:
        """Whether it is beyond retention: nothing of its lines is known any more."""
        return self.content.get("beyond_retention") is True

    @property
    def is_early(self) -> bool:
        """Whether it bills usage of periods that run on: the last document bills the rest."""
        return not self.is_note and is_early(self.content)

    @property
    def replaces(self) -> str | None:
        """The id of the document in whose place it was issued."""
        return cast("str | None", self.content.get("replaces"))


def with_cut(
    carried: Carried,
    beside: Sequence[Record],
    repricing_of: Callable[[Record], Decision | None],
) -> Carried:
    """Return what is carried once the documents of one cut are there, with the notes of diffs.

    What is issued in the place of another bills what that did, so nothing more is carried.
    """
    billing = [each for each in beside if not is_note(each) and each.get("replaces") is None]
    reached = with_documents(carried, billing) if billing else carried
    for note in filter(is_note, beside):
        repricing = repricing_of(note)
        if repricing is not None:
            reached = put_right(reached, note, repricing.change)
    return reached


@dataclass(frozen=True)
class History:
    """The documents of one payer."""

    payer: str
    papers: Sequence[Paper]
    catalog_at_cut: CatalogAtCut

    @cached_property
    def _by_id(self) -> Mapping[str, Paper]:
        return {paper.id: paper for paper in self.papers}

    def find(self, document: str) -> Paper | None:
        """Return the document of an id."""
        return self._by_id.get(document)

    def before(self, serial: int, instant: Instant) -> "History":
        """Return the documents of all cuts before one."""
        papers = [paper for paper in self.papers if paper.order[:2] < (serial, instant)]
        return History(self.payer, papers, self.catalog_at_cut)

    def notes_of(self, document: str) -> list[Record]:
        """Return the notes of a document, in order."""
        own = [paper for paper in self.papers if paper.content.get("corrects") == document]
        return [paper.content for paper in sorted(own, key=lambda paper: paper.order)]

    def invoices(self, currency: str) -> list[Paper]:
        """Return the documents in a currency that bill something: all but notes."""
        own = [paper for paper in self.papers if paper.currency == currency and not paper.is_note]
        return sorted(own, key=lambda paper: paper.order)

    def carried_before(self, paper: Paper) -> Carried:
        """Return what the payer's documents before one carry."""
        known = self._carried.get(paper.currency, [])
        before = bisect_left(known, paper.order[:2], key=itemgetter(0))
        return known[before - 1][1] if before else {}

    def carried(self, currency: str) -> Carried:
        """Return what the payer's documents in a currency carry."""
        return next((carried for _, carried in reversed(self._carried.get(currency, []))), {})

    @cached_property
    def _carried(self) -> Mapping[str, list[tuple[tuple[int, Instant], Carried]]]:
        """What is carried with the documents of each cut, in their order, by currency."""
        found: dict[str, list[tuple[tuple[int, Instant], Carried]]] = {}
        papers = sorted(self.papers, key=lambda paper: (paper.currency, *paper.order))
        for currency, own in groupby(papers, key=lambda paper: paper.currency):
            carried: Carried = {}
            reached = found.setdefault(currency, [])
            for place, cut in groupby(own, key=lambda paper: paper.order[:2]):
                beside = [paper.content for paper in cut]
                carried = with_cut(carried, beside, partial(self._repricing_of, place[0]))
                reached.append((place, carried))
        return found

    def _repricing_of(self, serial: int, note: Record) -> Decision | None:
        """Return what decided a note of a cut, where it is that of a diff."""
        cause = note.get("cause")
        if cause is None:
            return None
        document = cast(str, note["corrects"])
        known = self.catalog_at_cut(serial).deals.decisions.about(document)
        own = (each for each in known if each.fact == cause and each.kind is FactKind.REPRICING)
        return next(own, None)

    def anew(self, paper: Paper, mend: Mend | None = None) -> "Anew":
        """Return how a document is composed anew, perhaps by the prices of an applied diff."""
        cause = cast("str | None", paper.content.get("cause"))
        return self._anew(paper, paper.cut_serial, paper.instant, cause, mend=mend)

    def reissue(self, paper: Paper, serial: int, instant: Instant, cause: str) -> "Anew":
        """Return how a document is issued again, at a cut that a decision caused."""
        return self._anew(paper, serial, instant, cause, in_place_of=paper.id)

    def _anew(
        self,
        paper: Paper,
        serial: int,
        instant: Instant,
        cause: str | None,
        in_place_of: str | None = None,
        mend: Mend | None = None,
    ) -> "Anew":
        first = self._first(paper)
        last, carried = in_place_of or paper.replaces, self.carried_before(first)
        if (mend is None or not mend.prices) and (since := self._mended_since(last, serial)):
            mend, carried = since, self.before(serial, instant)._carried_put_right(first, serial)
        catalog = self.catalog_at_cut(first.cut_serial)
        if mend is not None:
            catalog = priced_by(catalog, mend.prices)
            carried = billed_since(billed_farther(carried, mend.until), mend.since)
        if serial != first.cut_serial:
            now = self.catalog_at_cut(serial).customers[self.payer]
            known = catalog.customers[self.payer]
            changed = replace(known, profile=now.profile, tax=now.tax)
            catalog = replace(catalog, customers={**catalog.customers, self.payer: changed})
        lines = planned_lines(
            catalog,
            self.payer,
            paper.currency,
            first.instant,
            carried,
            early_of(catalog, cause) if paper.is_early else None,
        )
        issuer = cast(str, paper.content["issuer"])
        own = [line for line in lines if line.served.plan.issuer == issuer]
        kept, as_composed = self._by_hand(last, serial, cause)
        if as_composed:
            own = [line for line in own if line.hand is None]
        return Anew(catalog, issuer, own, instant, cause, last, kept)

    def _mended_since(self, last: str | None, serial: int) -> Mend | None:
        """Return the diff that documents were corrected by, from `last` back, up to a cut."""
        while last is not None:
            known = self.catalog_at_cut(serial).deals.mends.get(last, ())
            whole = [each for each in known if each.meters is None]
            if whole:
                return whole[-1] if whole[-1].prices and not whole[-1].gone else None
            last = self._by_id[last].replaces
        return None

    def _carried_put_right(self, first: Paper, serial: int) -> Carried:
        """Return what documents before one carry as they stand with the notes of diffs by a cut.

        What is issued anew by the prices of a diff takes off, and gives back, no more than that
        diff left of them.
        """
        decisions = self.catalog_at_cut(serial).deals.decisions
        billing = (each for each in self.invoices(first.currency) if each.replaces is None)
        before = [each for each in billing if each.order[:2] < first.order[:2]]
        carried = carried_by_all(self._put_right(each, decisions) for each in before)
        changes = (each for paper in before for each in self._changes(paper, decisions)[1])
        return reduce(billed_farther, map(until_of, changes), carried)

    def _changes(self, paper: Paper, decisions: Decisions) -> tuple[Paper, Sequence[Record]]:
        """Return what was issued in a document's place last, and what diffs made of that."""
        last, in_place = paper, {each.replaces: each for each in self.papers if each.replaces}
        while last.id in in_place:
            last = in_place[last.id]
        known = decisions.about(last.id)
        made = {note["cause"] for note in self.notes_of(last.id)}
        diffs = [each for each in known if each.kind is FactKind.REPRICING and each.fact in made]
        return last, [each.change for each in diffs if each.change is not None]

    def _put_right(self, paper: Paper, decisions: Decisions) -> Record:
        """Return a document, or what was issued in its place last, with the notes of diffs of it.

        A line of which they left nothing says up to when it was billed.
        """
        last, changes = self._changes(paper, decisions)
        if paper.is_removed or (last is paper and not changes):
            return paper.content
        stands = lines_with(last.content, map(Change.of_json, changes))
        left = {line["id"] for line in stands}
        gone = (line for line in lines_of(last.content) if line["id"] not in left)
        ended = (zero(line) for line in gone if not is_ahead(line))
        lines: list[Json] = [*stands, *ended]
        return {**last.content, "cut_instant": paper.content["cut_instant"], "lines": lines}

    def _by_hand(
        self, last: str | None, serial: int, cause: str | None
    ) -> tuple[tuple[str, ...], bool]:
        """Return on which documents, from `last` back, edits still count; and whether all do not.

        A decision may have dropped those, and the lines by hand, of the ones before it.
        """
        kept: list[str] = []
        while last is not None:
            known = self.catalog_at_cut(serial).deals.decisions.about(last)
            if any(each.fact == cause and not each.keeps_by_hand for each in known):
                return tuple(reversed(kept)), True
            kept.append(last)
            paper = self._by_id[last]
            last, serial = paper.replaces, paper.cut_serial
            cause = cast("str | None", paper.content.get("cause"))
        return tuple(reversed(kept)), False

    def _first(self, paper: Paper) -> Paper:
        """Return the document that a chain of those issued in each other's place began with."""
        while paper.replaces is not None:
            before = self.find(paper.replaces)
            if before is None:
                raise BrokenInvariant(f"{paper.id} was issued in place of none that is known")
            paper = before
        return paper


def early_of(catalog: Catalog, cause: str | None) -> EarlyUsage | None:
    """Return what a fact has billed early."""
    known = (each for each in catalog.deals.decisions.known if each.fact == cause)
    return next((each.early for each in known), None)


@dataclass(frozen=True, slots=True)
class Anew:
    """A document that is composed anew: `lines` ask for their usage."""

    catalog: Catalog
    issuer: str
    lines: Sequence[PlannedLine]
    instant: Instant
    cause: str | None
    replaces: str | None
    edited_as: Sequence[str] = ()
    """The documents that it stands for, and whose edits it keeps, from the first to the last."""

    @property
    def requests(self) -> list[UsageRequest]:
        """The usage it asks for."""
        return requests_of(self.lines)

    def composed(self, payer: str, currency: str, usage: Usage) -> Composed:
        """Return it with this usage."""
        made = compose(
            self.catalog,
            payer,
            currency,
            self.instant,
            self.lines,
            usage,
            self.cause,
            self.edited_as,
        )
        (document,) = (each for each in made if each.issuer == self.issuer)
        if self.replaces is None:
            return document
        content: dict[str, Json] = {**document.content, "replaces": self.replaces}
        return replace(document, content=content)
