"""Proving: what is needed to show one document to whoever was billed.

Owns: load -> gather -> tell.  Does not own: what a proof holds (ledger/proof.py).
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, cast

from pipeline.catalog.catalog import Catalog
from pipeline.core.calendar import parse_instant, snap_up
from pipeline.core.errors import BadInput
from pipeline.core.identity import Json
from pipeline.invoice.notes import booked, lines_of
from pipeline.invoice.usage import UsageRequest
from pipeline.ledger.proof import Record, Window, line_usage, proof_of
from pipeline.meter.meters import Meter
from pipeline.stores.postgres.documents import Document
from pipeline.workers.checkpointing import Chains, Signing, checkpoint_behind
from pipeline.workers.correcting import Papers, history_of


class Proofs(Papers, Chains, Protocol):
    """What is issued, its chain, and the usage it rests on."""

    def find_document(self, number: str) -> Document | None: ...

    def evidence_of_usage(
        self, asked: Sequence[Iterable[UsageRequest]], below_cut: int
    ) -> list[list[list[Json]]]: ...

    def windows_of_usage(
        self, asked: Sequence[Sequence[UsageRequest]], below_cut: int
    ) -> list[list[list[Json]]]: ...


def proof_for(
    store: Proofs,
    catalog_at: Callable[[int], Catalog],
    number: str,
    signing: Signing,
    *,
    with_windows: bool,
) -> dict[str, Json]:
    """Return the proof of the document of a number.

    Raises:
        BadInput: there is none, or its content was removed.

    """
    document = store.find_document(number)
    if document is None:
        raise BadInput(f"no invoice {number}: `talea invoices list` shows all")
    if document.sealed.is_removed:
        left = "its record and seal are all that is left (`talea verify` proves the chain)"
        raise BadInput(f"{number} is beyond retention: {left}")
    content = document.content
    own = [
        other
        for other in store.read_documents(document.payer)
        if other.content.get("corrects") == document.id
    ]
    notes = [(other.sealed, other.content) for other in own]
    usage, windows = _usage(store, catalog_at, document)
    corrected = _corrected(store, catalog_at, document, own)
    place = document.sealed.place
    checkpoint = checkpoint_behind(store, document.issuer, place, signing)
    until = None if checkpoint is None else checkpoint.head.place
    following = store.chain_after(document.issuer, place, until)
    told: list[Json] | None = [*windows] if with_windows else None
    return proof_of(
        document.sealed, following, checkpoint, notes, content, (usage, corrected), told
    )


def _corrected(
    store: Proofs,
    catalog_at: Callable[[int], Catalog],
    document: Document,
    notes: Sequence[Document],
) -> list[Json]:
    """Return what each line's usage came to at the last note that usage made.

    Nothing where people corrected the document too: what of it is left no usage says.
    """
    if not notes or any(note.content.get("cause") is not None for note in notes):
        return []
    last = max(notes, key=lambda note: note.cut_serial)
    stands = booked(document.content, (note.content for note in notes))
    usage, _ = _usage_at(store, catalog_at, document, lines_of(stands), last.cut_serial)
    return [each for each in usage if cast(Record, each)["aggregation"] is not None]


def _usage(
    store: Proofs, catalog_at: Callable[[int], Catalog], document: Document
) -> tuple[list[Json], list[Json]]:
    """Return what each line's usage comes to, and all windows and points; none of a note."""
    lines = lines_of(document.content)
    return _usage_at(store, catalog_at, document, lines, document.cut_serial)


def _usage_at(
    store: Proofs,
    catalog_at: Callable[[int], Catalog],
    document: Document,
    lines: Iterable[Record],
    below_cut: int,
) -> tuple[list[Json], list[Json]]:
    requests = _requests(store, catalog_at, document)
    (windows,) = store.evidence_of_usage([requests], below_cut)
    catalog = catalog_at(store.fact_position(document.cut_serial))
    asked = {(request.customer, request.meter) for request in requests}
    usage: list[Json] = []
    for line in lines:
        customer, name = _used_by(document, line), str(line["meter"])
        if (customer, name) in asked:
            meter = catalog.meters[name]
            own = _windows_of(line, customer, meter, windows)
            usage.append(line_usage(line, meter, customer, own))
    return usage, [*windows]


def line_proof(
    store: Proofs, catalog_at: Callable[[int], Catalog], document: Document, line: Record
) -> Record | None:
    """Return what the usage of one line comes to; None of a line without any.

    It reads the windows of the line's meter alone: others may have millions, and points as many.
    """
    whose = _used_by(document, line), line["meter"]
    all_requests = _requests(store, catalog_at, document)
    requests = [each for each in all_requests if (each.customer, each.meter) == whose]
    if not requests:
        return None
    (windows,) = store.windows_of_usage([requests], document.cut_serial)
    meter = catalog_at(store.fact_position(document.cut_serial)).meters[requests[0].meter]
    own = _windows_of(line, requests[0].customer, meter, windows)
    return line_usage(line, meter, requests[0].customer, own)


def _used_by(document: Document, line: Record) -> str:
    """Return who used what a line bills: its document's customer, or a sub-account of it."""
    return str(line.get("sub_account") or document.payer)


def _requests(
    store: Proofs, catalog_at: Callable[[int], Catalog], document: Document
) -> Sequence[UsageRequest]:
    """Return the usage that a document asks for; a note's rests on that of others."""
    history = history_of(store, catalog_at, document.payer)
    paper = history.find(document.id)
    return [] if paper is None or paper.is_note else [*history.anew(paper).requests]


def _windows_of(
    line: Record, customer: str, meter: Meter, windows: Iterable[Window]
) -> Iterable[Window]:
    """Yield the windows that a line bills of a customer: of its period, filter and group."""
    start = snap_up(parse_instant(line["period_start"]), meter.window_us)
    end = snap_up(parse_instant(line["period_end"]), meter.window_us)
    card = cast(Record, line["rate_card"])
    wanted = cast(dict[str, list[str]], card.get("filter", {}))
    names = cast(list[str], card.get("group_by", []))
    group = cast(dict[str, str], card.get("group", {}))
    bills: dict[str, bool] = {}
    for window in windows:
        if window[0] != customer or window[1] != meter.id:
            continue
        dimensions = str(window[3])
        if dimensions not in bills:  # few series have many windows
            known: dict[str, str] = json.loads(dimensions)
            bills[dimensions] = all(
                known.get(name) in values for name, values in wanted.items()
            ) and all(known.get(name) == group.get(name) for name in names)
        if bills[dimensions] and start <= cast(int, window[4]) < end:
            yield window
