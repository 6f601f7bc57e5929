"""Corrected: what notes must make of documents, as the auditor works it out.

Owns: the sums of each document and its notes at every cut; who is corrected without a next invoice.
Does not own: what a document must say (billing.py), which usage counts (witness.py).
Law: it shares no step with the pipeline.
"""

from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pipeline.catalog.facts import FactKind
from pipeline.core.calendar import SECOND, Instant, parse_instant
from pipeline.simulate.agreements import Body
from pipeline.simulate.billing import Billing
from pipeline.simulate.edited import LAST
from pipeline.simulate.noted import Place, is_by_hand, place_of
from pipeline.simulate.since import Since, due_of
from pipeline.simulate.sold import Book, named, payer_of
from pipeline.simulate.stays import billed_in, runs_on
from pipeline.simulate.taxes import Taxes, tax_of_all, untaxed
from pipeline.simulate.witness import Witness
from pipeline.stores.postgres.documents import Document

Fault = tuple[str, str]
"""(law, detail)."""
Source = tuple[str, str]
"""(source, start) of a line."""


def correction_faults(
    documents: Collection[Document],
    billing: Billing,
    taxes: Taxes,
    known_at: int,
    removed: Container[tuple[str, int]],
    since: Mapping[str, Sequence[Since]],
) -> Iterator[Fault]:
    """Yield documents that do not come, with the notes of usage, to what all usage makes.

    At each cut, and in the end by what was `known_at` a tick long before. What people decided
    stands beside that; a line that too little is left of then is not corrected. Those whose
    contents are `removed`, by issuer and place, have no notes from some cut on. `since` diffs were
    applied, by document, usage is corrected by their prices.
    """
    notes: dict[str, list[Document]] = {}
    for document in documents:
        if document.kind != "invoice":
            notes.setdefault(str(document.content["corrects"]), []).append(document)
    for corrects, own in sorted(notes.items()):
        by_usage = [place_of(note) for note in own if not is_by_hand(note)]
        if len({*by_usage}) < len(by_usage):
            yield "corrected", f"two notes of {corrects} at one cut"
    for document in documents:
        if document.kind == "invoice":
            gone = (document.issuer, document.sealed.place) in removed
            mended, made = since.get(document.id, ()), notes.get(document.id, ())
            corrected = _Corrected(document, made, billing, taxes, mended, gone)
            yield from corrected.faults(known_at)
    yield from _uncalled_for(billing, billing.witness)


@dataclass(frozen=True, slots=True)
class _Corrected:
    """A document with its notes."""

    document: Document
    notes: Sequence[Document]
    billing: Billing
    taxes: Taxes
    since: Sequence[Since]
    gone: bool
    """Whether its content is removed: such notes as there are must be right."""

    def faults(self, known_at: int) -> Iterator[Fault]:
        """Yield each cut at which the note of usage is another than it must be."""
        payer, currency = self.document.payer, self.document.currency
        cuts = {
            (serial, place[2])
            for place, serial in self.billing.cuts.items()
            if place[:2] == (payer, currency)
        }
        if not cuts:
            yield "corrected", f"{self.document.sealed.number}: {payer} has no cut in {currency}"
            return
        last = last_of(self.billing)
        if max(cuts)[0] <= known_at and not _comes_again(self.billing, payer, currency, last):
            cuts.add((known_at, LAST))
        before = self.document.cut_serial
        for place in sorted(cuts):
            if place[0] <= self.document.cut_serial:
                continue
            due = self._due(place[0])
            own = (n for n in self.notes if place_of(n) == place and not is_by_hand(n))
            told = _sums(note.content for note in own)
            must = self._change(place, due)
            # It is looked at again where usage makes a difference, or may, or a diff is applied.
            moved = due != self._due(before, place[0]) or self._is_applied(place)
            if told != must and (told or (moved and not self.gone)):
                name = f"{self.document.sealed.number} at tick {place[0]}"
                yield "corrected", f"{name}: usage made {told}, and must {must}"
            before = place[0]
            yield from self._taxes(place)

    def _taxes(self, place: Place) -> Iterator[Fault]:
        """Yield what is told of tax up to a cut that does not go with what all lines come to."""
        of, serial = self.document, self.document.cut_serial
        made = [of.content, *(note.content for note in self.notes if place_of(note) <= place)]
        position = self.billing.witness.ticks[serial].fact_position
        for fault in tax_of_all(self.taxes, of.content, made, position):
            yield "taxed", f"{of.sealed.number} at tick {place[0]}: {fault}"

    def _due(self, serial: int, named: int | None = None) -> Counter[Source]:
        return due_of(self.billing, self.since, self.document, serial, named)

    def _is_applied(self, place: Place) -> bool:
        """Whether the diff of the document is applied at a cut."""
        cut = self.document.payer, self.document.currency, place[1]
        fact = self.billing.decided.get(cut)
        known = bool(fact and fact.kind is FactKind.REPRICING and self.since)
        return known and self.billing.cuts[cut] == place[0]

    def _change(self, place: Place, due: Counter[Source]) -> dict[Source, int]:
        """Return what usage makes of each line at a cut."""
        made = [note for note in self.notes if place_of(note) < place]
        by_hand = [note for note in made if is_by_hand(note)]
        if any(note.content["voids"] is True for note in by_hand):
            return {}
        by_usage = (note.content for note in made if not is_by_hand(note))
        stands = _sums([self.document.content, *by_usage])
        change = {
            source: due[source] - stands.get(source, 0) for source in due.keys() | stands.keys()
        }
        change = {source: minor for source, minor in change.items() if minor}
        position, to_come = self.billing.witness.ticks[place[0]].fact_position, self._to_come(place)
        beside = _sums([*(note.content for note in by_hand), *to_come])
        if any(each.fact <= position for each in self.since):
            # What is due has the notes of diffs in it: usage is corrected by their prices.
            beside = _sums(note.content for note in by_hand if not self._is_of_diff(note))
        if all(minor >= 0 for minor in beside.values()):
            return change
        left = _sums([self.document.content, *(note.content for note in made), *to_come])
        change = {
            source: minor
            for source, minor in change.items()
            if minor > 0 or beside.get(source, 0) >= 0 or left.get(source, 0) + minor >= 0
        }
        room = sum(left.values())
        held = sum(beside.values()) < 0 and room + sum(change.values()) < min(room, 0)
        return {} if held else change

    def _is_of_diff(self, note: Document) -> bool:
        fact = self.billing.decided.get((note.payer, note.currency, note.instant))
        return fact is not None and fact.kind is FactKind.REPRICING

    def _to_come(self, place: Place) -> list[Body]:
        """Return what diffs change of the document by notes that are still to come at a tick."""
        return [
            cast(Body, fact.body["change"])
            for cut, fact in self.billing.decided.items()
            if fact.kind is FactKind.REPRICING and fact.subject == self.document.id
            if self.billing.cuts[cut] == place[0] and cut[2] >= place[1]
        ]


def _sums(contents: Iterable[Body]) -> dict[Source, int]:
    """Return what each line comes to in all of some documents, but for those of nothing."""
    found = Counter[Source]()
    for line in (each for one in contents for each in cast(list[Body], one["lines"])):
        source = str(line["source_id"]), str(line["period_start"])
        found[source] += untaxed(line)
    return {source: minor for source, minor in found.items() if minor}


def last_of(billing: Billing) -> int:
    """Return the serial of the last tick."""
    return max(billing.witness.ticks)


def _comes_again(
    billing: Billing, payer: str, currency: str, serial: int, position: int | None = None
) -> bool:
    """Return whether a cut of a payer lies ahead of a tick, by facts up to a position."""
    tick = billing.witness.ticks[serial]
    rules = billing.book(tick.fact_position).latest["rules", "rules"]
    horizon = tick.time - cast(int, rules["grace_s"]) * SECOND
    book = billing.book(tick.fact_position if position is None else position)
    return _is_ahead(book, payer, currency, horizon)


def _is_ahead(book: Book, payer: str, currency: str, horizon: Instant) -> bool:
    subscribed = (body for _, body in named(book, "subscription", payer))
    bought = (body for _, body in named(book, "order", payer) if body["currency"] == currency)
    return any(
        runs_on(book, body, horizon) for body in subscribed if billed_in(book, body) == currency
    ) or any(parse_instant(body["at"]) > horizon for body in bought)


def _uncalled_for(billing: Billing, witness: Witness) -> Iterator[Fault]:
    """Yield who was corrected though a cut was to come, or twice though nothing came between.

    A cut that the books had not reached may have made the notes before.
    """
    last: dict[tuple[str, str], int] = {}
    for (payer, currency, instant), fact in billing.corrections.items():
        serial = billing.cuts[payer, currency, instant]
        if _comes_again(billing, payer, currency, serial - 1, fact.serial - 1):
            yield "corrected", f"{payer} {currency} is corrected, and a cut was to come"
        before, last[payer, currency] = last.get((payer, currency)), serial
        if before is not None and not _came(billing, witness, payer, before, serial):
            yield "once", f"{payer} {currency} is corrected at {serial}, as at {before}"


def _came(billing: Billing, witness: Witness, payer: str, before: int, serial: int) -> bool:
    """Return whether any usage came, or went, between two ticks."""
    home, book = witness.home(payer), billing.book(len(billing.facts))
    since, until = (witness.tick_places[home, each] for each in (before, serial))
    own = {
        name for kind, name in book.latest if kind == "customer" and payer_of(book, name) == payer
    }
    came = [each.offset for each in witness.counted if each.event.customer in own]
    went = [each.offset for each in billing.taken if each.usage.event.customer in own]
    return any(since <= offset < until for offset in [*came, *went])
