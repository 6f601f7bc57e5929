"""Corrected: what notes must make of documents, as the auditor works it out.

Owns: the sums of each document and its notes at every cut; who is corrected without a next invoice.
Does not own: what a document must say (billing.py), which usage counts (witness.py).
Law: it shares no step with the pipeline.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import cast

from pipeline.core.calendar import SECOND, Instant, parse_instant
from pipeline.core.identity import Json
from pipeline.simulate.agreements import Body
from pipeline.simulate.billing import Billing
from pipeline.simulate.sold import Book, named, payer_of
from pipeline.simulate.stays import billed_in, runs_on
from pipeline.simulate.witness import Witness
from pipeline.stores.postgres.documents import Document

Fault = tuple[str, str]
"""(law, detail)."""
Notes = Iterable[tuple[int, Mapping[str, Json]]]
"""(serial of its cut, content) of each note of a document."""


def correction_faults(
    documents: Collection[Document], billing: Billing, witness: Witness, known_at: int
) -> Iterator[Fault]:
    """Yield documents that do not come, with their notes, to what all usage makes.

    At each cut, and in the end by what was `known_at` a tick long before.
    """
    notes: dict[str, list[tuple[int, Mapping[str, Json]]]] = {}
    for document in documents:
        if document.kind != "invoice":
            corrects = str(document.content["corrects"])
            notes.setdefault(corrects, []).append((document.cut_serial, document.content))
    for corrects, own in sorted(notes.items()):
        if len({serial for serial, _ in own}) < len(own):
            yield "corrected", f"two notes of {corrects} at one cut"
    for document in documents:
        if document.kind == "invoice":
            yield from _of_document(document, notes.get(document.id, ()), billing, known_at)
    yield from _uncalled_for(billing, witness)


def _of_document(
    document: Document, notes: Notes, billing: Billing, known_at: int
) -> Iterator[Fault]:
    payer, currency = document.payer, document.currency
    cuts = {s for place, s in billing.cuts.items() if place[:2] == (payer, currency)}
    if max(cuts, default=0) <= known_at and not _comes_again(
        billing, payer, currency, last_of(billing)
    ):
        cuts.add(known_at)
    for serial in sorted(cuts):
        if serial <= document.cut_serial:
            continue
        lines = billing.issued(payer, currency, serial, serial).lines
        must = Counter[tuple[str, str]]()
        for line in lines.get(document.instant, ()):
            must[line.source, line.start] += line.total_minor
        made = [document.content, *(note for at, note in notes if at <= serial)]
        kept = Counter[tuple[str, str]]()
        for told in (each for content in made for each in cast(list[Body], content["lines"])):
            source = str(told["source_id"]), str(told["period_start"])
            kept[source] += cast(int, told["total_minor"])
        for place in sorted(kept.keys() | must.keys()):
            if kept[place] != must[place]:
                name = f"{document.sealed.number} at tick {serial}: {place}"
                yield "corrected", f"{name} comes to {kept[place]}, due are {must[place]}"


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
