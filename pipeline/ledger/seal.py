"""Content, issue record, seal: what makes an issued document provable.

Owns: the bytes that are sealed and how each seal holds the one before.
Does not own: composing (invoice), keeping (stores/postgres/documents.py).
Law: an issued document never changes; whoever changes a byte of it, or takes one out of the
chain, is found.

    content -> digest --.
    evidence, number ---+--> issue record --SHA-256--> seal --> the next record's previous_seal
    previous seal ------'
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

from pipeline.core.calendar import DAY, Instant, instant_text
from pipeline.core.identity import Json, canonical, digest

RECORD_FORMAT = "talea.issue.1"
FIRST_SEAL = "0" * 64
"""What the first record of an issuer holds as its previous seal."""


def content_bytes(content: Mapping[str, Json]) -> bytes:
    """Return the canonical bytes of a document's content."""
    return canonical(dict(content))


@dataclass(frozen=True, slots=True)
class PartitionEvidence:
    """The stretch of one partition that a document rests on.

    Offsets after `from_offset` up to and with that of the cut's tick; the counts between.
    """

    partition: int
    from_offset: int
    to_offset: int
    cut_tick: int
    counts: Mapping[str, int]

    def json(self) -> dict[str, Json]:
        """Return it as it is sealed."""
        return {
            "partition": self.partition,
            "from_offset": self.from_offset,
            "to_offset": self.to_offset,
            "cut_tick": self.cut_tick,
            "counts": dict(self.counts),
        }


@dataclass(frozen=True, slots=True)
class Issue:
    """What registering adds to content: everything the issue record holds besides the digest."""

    number: str
    issuer: str
    issued_at: Instant
    payment_days: int
    fact_position_cut: int
    fact_position_last: int
    rule_version: int
    tzdata_version: str
    evidence: Mapping[str, Json]
    previous_seal: str
    settlement: Mapping[str, Json] | None = None
    """What prepaid credits paid; None where none did."""


def issue_record(content: bytes, issue: Issue) -> bytes:
    """Return the canonical bytes of an issue record."""
    return canonical(
        {
            "format": RECORD_FORMAT,
            "content_digest": digest(content),
            "number": issue.number,
            "issuer": issue.issuer,
            "issued_at": instant_text(issue.issued_at),
            "due_at": instant_text(issue.issued_at + issue.payment_days * DAY),
            "evidence": dict(issue.evidence),
            "fact_position_cut": issue.fact_position_cut,
            "fact_position_last": issue.fact_position_last,
            "settlement": None if issue.settlement is None else dict(issue.settlement),
            "rule_version": issue.rule_version,
            "tzdata_version": issue.tzdata_version,
            "previous_seal": issue.previous_seal,
        }
    )


def evidence_json(partitions: Sequence[PartitionEvidence], windows_digest: str) -> dict[str, Json]:
    """Return the evidence as it is sealed."""
    return {
        "partitions": [part.json() for part in partitions],
        "windows_digest": windows_digest,
    }


def point_evidence(
    series: Sequence[Json], time: Instant, key: bytes, mantissa: int, multiplicity: int
) -> list[Json]:
    """Return a point of a series [customer, meter, scale, dimensions] as evidence holds it."""
    return ["point", *series, time, key.hex(), mantissa, multiplicity]


def windows_digest(windows: Iterable[Sequence[Json]]) -> str:
    """Return the digest of windows [customer, meter, scale, dimensions, start, figures...].

    Where a meter keeps points, these stand among them.

    The order they come in does not matter.
    """
    return lines_digest(canonical(list(window)) for window in windows)


def window_lines(series: Sequence[Json], figures: Iterable[bytes]) -> list[bytes]:
    """Return windows of a series [customer, meter, scale, dimensions] as their digest holds them.

    `figures`: of each its start and figures, with a comma between them.
    """
    return _lines([*series], figures)


def point_lines(series: Sequence[Json], figures: Iterable[bytes]) -> list[bytes]:
    """Return points of a series as the digest holds them; `figures`: what follows the series."""
    return _lines(["point", *series], figures)


def _lines(series: list[Json], figures: Iterable[bytes]) -> list[bytes]:
    opened = canonical(series).removesuffix(b"]") + b","
    return [b"%b%b]" % (opened, each) for each in figures]


def lines_digest(lines: Iterable[bytes]) -> str:
    """Return the digest of windows and points that are canonical lines already."""
    return sha256(b"\n".join(sorted(lines))).hexdigest()


def seal_of(record: bytes) -> bytes:
    """Return the seal over an issue record: its SHA-256."""
    return sha256(record).digest()


@dataclass(frozen=True, slots=True)
class Sealed:
    """An issued document as it is kept."""

    place: int
    number: str
    content: bytes
    record: bytes
    seal: bytes

    @property
    def is_removed(self) -> bool:
        """Whether its content was removed: no content is of no bytes."""
        return not self.content


def chain_faults(documents: Sequence[Sealed], removed_to: int = 0) -> dict[str, str]:
    """Return what is wrong with an issuer's chain, by number; nothing where it holds.

    `documents` are those of one issuer, in the order of their places. Each is held against the
    one before it, so that a break is named where it is and not at all that follows. Contents up to
    the place `removed_to` may have been removed (ledger/retention.py): records and seals stay.
    """
    faults: dict[str, str] = {}
    place, previous = 0, FIRST_SEAL
    for document in documents:
        fault = link_fault(document, place + 1, previous, removed_to)
        if fault:
            faults.setdefault(document.number, fault)
        place, previous = document.place, document.seal.hex()
    return faults


def link_fault(document: Sealed, place: int, previous: str, removed_to: int = 0) -> str | None:
    """Return why a document does not stand at `place` behind the seal `previous`, or None."""
    if document.place != place:
        return f"stands at place {document.place} of its chain where {place} is expected"
    if seal_of(document.record) != document.seal:
        return "its issue record is not the one that was sealed"
    try:
        record = cast(Json, json.loads(document.record))
    except (ValueError, RecursionError):
        return "its issue record cannot be read"
    if not isinstance(record, dict):
        return "its issue record is none"
    beyond = document.is_removed and place <= removed_to
    if not beyond and record.get("content_digest") != digest(document.content):
        return "its content is not the one that was sealed"
    if record.get("number") != document.number:
        return f"it was sealed as number {record.get('number')}"
    if record.get("previous_seal") != previous:
        return "it does not follow the document before it: one was removed, added or moved"
    return None
