"""Verifying: hold every document against the books, or against the log folded again.

Owns: how deep to look, where to start reading, which documents rest on which partition.
Does not own: refolding and comparing (replay), the chain (ledger).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import takewhile
from typing import Protocol, cast

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import Fact, FactKind, Skips
from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import partition_of
from pipeline.invoice.history import History
from pipeline.invoice.usage import UsageRequest
from pipeline.ledger.checkpoint import Checkpoint, checkpoint_fault
from pipeline.ledger.retention import removal_faults, removals, removed_to
from pipeline.ledger.seal import chain_faults
from pipeline.meter.meters import Grain
from pipeline.replay.proof import Fold, content_fault, settlement_fault
from pipeline.stores.postgres.documents import Document
from pipeline.stores.signing import signature_holds
from pipeline.workers.booked import Booked, BookFold, ReadAhead
from pipeline.workers.catchup import BookSource
from pipeline.workers.refolding import Refolder
from pipeline.workers.seams import Log
from pipeline.workers.surroundings import Surroundings

Progress = Callable[[int, int], None]
"""Called with (records read, records to read)."""

_BITE = 250
"""Documents whose usage is read at once."""
_CATALOGS_KEPT = 32
"""Of the cuts that were asked for last: a document and its notes are asked together."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at and what did not hold: fault by number."""

    checked: int
    faults: Mapping[str, str]
    depth: "Depth"
    keys: Mapping[str, int]
    """How many checkpoints hold under each public key, in hex."""
    beyond: int = 0
    """How many of them are beyond retention: seal and chain hold, the content was removed."""
    removals: Sequence[Fact] = ()
    """The facts that tell of it."""


class Depth(StrEnum):
    """What documents are held against, besides seals and chain."""

    BOOKS = "books"
    """The windows and points that the books hold: what was booked is believed."""
    LOG = "log"
    """The log, folded again from two claim generations before: nothing is believed."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    partition: int
    start: int
    end: int
    documents: Sequence[Document]


class Archive(BookSource, Booked, Protocol):
    """What is issued, the usage it rests on, and where its ticks stand."""

    def read_documents(self, payer: str | None = None) -> list[Document]: ...

    def read_checkpoints(self, issuer: str | None = None) -> list[Checkpoint]: ...

    def last_tick_offset(self, partition: int, serial: int) -> int: ...

    def read_skips(self) -> Skips: ...


class Verifier:
    """Verifies documents over one session."""

    def __init__(self, around: Surroundings, log: Log, archive: Archive) -> None:
        """Read facts, ticks and documents."""
        self._around, self._archive = around, archive
        self._refolder = Refolder(around, log, archive)
        self._known, self._rows = self._refolder.known, self._refolder.rows
        self._latest = self._known.latest()
        facts = self._refolder.facts
        self._told = [fact for fact in facts if fact.kind is FactKind.RETENTION]
        self._removals = removals(self._told)
        self._documents = archive.read_documents()
        self._of_payer = defaultdict[str, list[Document]](list)
        for document in self._documents:
            self._of_payer[document.payer].append(document)
        self._histories: dict[str, History] = {}
        self._columns: dict[tuple[str, int], str | None] = {}
        self._asked_since: dict[str, Instant] = {}
        self._catalog_at_cut = lru_cache(_CATALOGS_KEPT)(self._decided_at)

    @property
    def numbers(self) -> frozenset[str]:
        """The numbers of everything issued."""
        return frozenset(document.sealed.number for document in self._documents)

    def verify(
        self, numbers: Sequence[str] | None, progress: Progress, depth: Depth = Depth.LOG
    ) -> Verified:
        """Verify the documents of these numbers (None: all) and every issuer's chain."""
        faults = dict(self._chain_faults())
        wanted = [d for d in self._documents if numbers is None or d.sealed.number in numbers]
        readable = []
        for document in wanted:
            fault = self._column_fault(document)
            if fault:
                faults.setdefault(document.sealed.number, fault)
            else:
                readable.append(document)
        readable = [each for each in readable if not self._is_beyond(each)]
        look = self._against_log if depth is Depth.LOG else self._against_books
        for number, fault in look(readable, progress):
            faults.setdefault(number, fault)
        checkpoints = self._archive.read_checkpoints()
        keys = Counter(each.key.hex() for each in checkpoints if signature_holds(each))
        for number, fault in self._checkpoint_faults(checkpoints):
            faults.setdefault(number, fault)
        if numbers is not None:
            wanted_numbers = {document.sealed.number for document in wanted}
            faults = {n: f for n, f in faults.items() if n in wanted_numbers}
        beyond = sum(each.sealed.is_removed for each in wanted)
        return Verified(len(wanted), faults, depth, keys, beyond, self._told)

    def _is_beyond(self, document: Document) -> bool:
        """Whether it cannot be recomputed: its content, or what it corrects, is gone."""
        if document.sealed.is_removed or document.kind == "invoice":
            return document.sealed.is_removed
        corrects = document.content.get("corrects")
        corrected = self._history(document.payer).find(str(corrects))
        return corrected is not None and corrected.is_removed

    def _against_books(
        self, documents: Sequence[Document], progress: Progress
    ) -> Iterator[tuple[str, str]]:
        ahead, read_to = ReadAhead(), 0
        for done, document in enumerate(documents):
            if done == read_to:
                alike = takewhile(_of_cut(document.cut_serial), documents[done : done + _BITE])
                asked = [*map(self._asked, alike)]
                ahead.read(self._archive, asked, document.cut_serial)
                read_to += len(asked)
            partition = partition_of(document.payer, self._around.partitions)
            fault = self._fault(document, BookFold(partition, self._archive, ahead))
            if fault:
                yield document.sealed.number, fault
            progress(done + 1, len(documents))

    def _asked(self, document: Document) -> list[UsageRequest]:
        """Return the usage that a document most likely rests on; nothing where others decide."""
        history = self._history(document.payer)
        paper = history.find(document.id)
        if paper is None or paper.is_note or paper.replaces is not None:
            return []
        return history.anew(paper).requests

    def _against_log(
        self, documents: Sequence[Document], progress: Progress
    ) -> Iterator[tuple[str, str]]:
        """Read each partition's stretch once, whatever number of documents rest on it."""
        stretches = self._stretches(documents)
        total, done = sum(stretch.end - stretch.start for stretch in stretches), 0
        for stretch in stretches:
            yield from self._refold(stretch, done, total, progress).items()
            done += stretch.end - stretch.start

    def _chain_faults(self) -> Mapping[str, str]:
        by_issuer = defaultdict[str, list[Document]](list)
        for document in self._documents:
            by_issuer[document.issuer].append(document)
        faults: dict[str, str] = {}
        for issuer, chain in by_issuer.items():
            known, sealed = self._removals.get(issuer, []), [each.sealed for each in chain]
            kept = {each.sealed.place: each.kept for each in chain}
            faults |= removal_faults(known, sealed, kept) | chain_faults(sealed, removed_to(known))
        return faults

    def _checkpoint_faults(self, checkpoints: Iterable[Checkpoint]) -> Iterator[tuple[str, str]]:
        """Yield what is not as it was signed; an end of a chain that was cut off is not there."""
        at_place = {(each.issuer, each.sealed.place): each.sealed for each in self._documents}
        for checkpoint in checkpoints:
            where = checkpoint.head.issuer, checkpoint.head.place
            document = at_place.get(where)
            fault = checkpoint_fault(checkpoint, document)
            if not signature_holds(checkpoint):
                fault = "the signature of its checkpoint does not hold"
            if fault:
                yield document.number if document else "place {1} of {0}".format(*where), fault

    def _stretches(self, documents: Sequence[Document]) -> list[_Stretch]:
        by_partition = defaultdict(list)
        for document in documents:
            by_partition[partition_of(document.payer, self._around.partitions)].append(document)
        return [self._stretch(partition, own) for partition, own in sorted(by_partition.items())]

    def _stretch(self, partition: int, documents: Sequence[Document]) -> _Stretch:
        """Return the offsets to refold, for the usage of some documents up to their last cut."""
        earliest = min(map(self._asked_from, documents))
        serial = max(document.cut_serial for document in documents)
        levels = any(map(self._has_levels, documents))
        start = self._refolder.start(partition, earliest, serial, levels=levels)
        end = self._archive.last_tick_offset(partition, serial)
        return _Stretch(partition, start, end + 1, documents)

    def _asked_from(self, document: Document) -> Instant:
        """Return since when usage makes a difference to a document.

        What is left of a period asks for the usage of all of it.
        """
        begun = parse_instant(document.content["period_start"])
        history = self._history(document.payer)
        corrects = document.content.get("corrects")
        paper = history.find(document.id if corrects is None else str(corrects))
        if paper is None:
            return begun
        if paper.id not in self._asked_since:  # a document and each of its notes ask for the same
            mends = (None, *self._latest.deals.mends.get(paper.id, ()))
            requests = [each for mend in mends for each in history.anew(paper, mend).requests]
            own = parse_instant(paper.content["period_start"])
            self._asked_since[paper.id] = min((each.start for each in requests), default=own)
        return self._asked_since[paper.id]

    def _has_levels(self, document: Document) -> bool:
        """Whether a document rests on what held before its period."""
        tick = self._rows.get(document.cut_serial)
        meters = self._known.catalog(tick.fact_position).meters if tick else {}
        lines = cast(list[dict[str, str | None]], document.content["lines"])
        metered = (meters.get(line["meter"] or "") for line in lines)
        return any(meter and meter.aggregation.grain is Grain.LEVELS for meter in metered)

    def _refold(
        self, stretch: _Stretch, done: int, total: int, progress: Progress
    ) -> dict[str, str]:
        refold = self._refolder.refold(
            stretch.partition,
            stretch.start,
            stretch.end,
            lambda read: progress(done + read, total),
        )
        faults = {}
        for document in stretch.documents:
            fault = self._fault(document, refold)
            if fault:
                faults[document.sealed.number] = fault
        return faults

    def _fault(self, document: Document, fold: Fold) -> str | None:
        tick = self._rows.get(document.cut_serial)
        if tick is None:
            return f"its cut tick {document.cut_serial} has no row"
        catalog = self._known.catalog(tick.fact_position)
        catalog = catalog.decided_by(self._latest)
        if "tax" in document.content:
            last = cast(int, document.record["fact_position_last"])
            catalog = catalog.answered_by(self._known.catalog(last))
        history = self._history(document.payer)
        fault = content_fault(document.paper, document.sealed, catalog, history, fold)
        return fault or self._settlement_fault(document, catalog)

    def _history(self, payer: str) -> History:
        """Return the documents of a payer that can be read."""
        known = self._histories.get(payer)
        if known is None:
            papers = [each.paper for each in self._of_payer[payer] if self._readable(each)]
            known = self._histories[payer] = History(payer, papers, self._catalog_at_cut)
        return known

    def _readable(self, document: Document) -> bool:
        return document.cut_serial in self._rows and self._column_fault(document) is None

    def _column_fault(self, document: Document) -> str | None:
        """Return what is wrong with the columns of a document, looked at once."""
        where = document.issuer, document.sealed.place
        if where not in self._columns:
            self._columns[where] = _column_fault(document)
        return self._columns[where]

    def _decided_at(self, serial: int) -> Catalog:
        """Return the catalog at a cut, with what may still enter documents since."""
        tick = self._rows.get(serial)
        if tick is None:
            raise BrokenInvariant(f"tick {serial}, which cut a document, has no row")
        told = self._known.catalog(tick.fact_position)
        return told.answered_by(self._latest).decided_by(self._latest)

    def _settlement_fault(self, document: Document, catalog: Catalog) -> str | None:
        grants = catalog.deals.credits.get(document.payer, {}).values()
        before = (
            other.sealed
            for other in self._of_payer[document.payer]
            if (other.issuer, other.currency) == (document.issuer, document.currency)
            and other.sealed.place < document.sealed.place
        )
        return settlement_fault(document.sealed, grants, before)


def _of_cut(serial: int) -> Callable[[Document], bool]:
    return lambda document: document.cut_serial == serial


def _column_fault(document: Document) -> str | None:
    """Return where a column and what was sealed differ."""
    try:
        content, record = document.content, document.record
    except ValueError:
        return "its content or issue record cannot be read"
    pairs = (
        ("id", document.id, content.get("id")),
        ("kind", document.kind, content.get("kind")),
        ("payer", document.payer, content.get("customer")),
        ("currency", document.currency, content.get("currency")),
        ("issuer", document.issuer, record.get("issuer")),
        ("number", document.sealed.number, record.get("number")),
    )
    if document.kept is not None and not document.sealed.is_removed:
        return "column kept says something, and its content is there"
    for name, column, sealed in pairs:
        if column != sealed:
            return f"column {name} says {column!r}, sealed is {sealed!r}"
    if document.instant != parse_instant(content.get("cut_instant")):
        return "column instant_us is not the sealed cut instant"
    return None
