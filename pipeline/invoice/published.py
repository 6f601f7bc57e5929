"""Published: drafts, their line items and issued documents as records of the billing topics.

Owns: the fields of each record, and reading them again; which records a changed draft makes.
Does not own: topics and partitions (topology, workers/publisher.py), content (compose.py).
Law: a record is canonical JSON and says all there is to say of its key: whoever reads the last
one of every key knows what stands, and a record read twice changes nothing. What is sealed
stands in it as text, so that the text's SHA-256 is the digest in whatever language.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from json.encoder import encode_basestring
from typing import cast

from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json, canonical
from pipeline.invoice.hollow import hollow_lines, lines_in

DRAFT_FORMAT = "talea.draft.1"
LINE_FORMAT = "talea.draft-line.1"
ISSUED_FORMAT = "talea.issued.1"


class Shelf(Enum):
    """Where a record belongs; each is a topic."""

    DRAFTS = "drafts"
    LINES = "lines"
    ISSUED = "issued"


@dataclass(frozen=True, slots=True)
class Record:
    """What is to stand under a key; no value: nothing any more.

    `owner` is the customer of a draft, the issuer of a document: theirs is the partition.
    """

    shelf: Shelf
    owner: str
    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class DraftPosition:
    """Where the books of a payer's partition stood when a draft was rated."""

    partition: int
    offset: int
    log_time: Instant

    def json(self) -> dict[str, Json]:
        """Return it as it is published."""
        return {
            "partition": self.partition,
            "offset": self.offset,
            "log_time": instant_text(self.log_time),
        }


@dataclass(frozen=True, slots=True)
class DraftInvoice:
    """A draft: the document that would be issued if the period closed now.

    With a critical issue among `issues` (JSON) it would not be issued.
    """

    position: DraftPosition
    content: Mapping[str, Json]
    issues: Sequence[Mapping[str, Json]] = ()

    @property
    def id(self) -> str:
        """The id that the document will have."""
        return cast(str, self.content["id"])

    @property
    def customer(self) -> str:
        """Who would be billed."""
        return cast(str, self.content["customer"])

    @property
    def lines(self) -> list[Mapping[str, Json]]:
        """Its line items, children inside their parents."""
        return cast(list[Mapping[str, Json]], self.content["lines"])

    @property
    def line_ids(self) -> frozenset[str]:
        """The ids of its line items."""
        return frozenset(cast(str, line["id"]) for line in self.lines)


@dataclass(frozen=True, slots=True)
class DraftLine:
    """A line item of a draft."""

    position: DraftPosition
    document: str
    customer: str
    line: Mapping[str, Json]

    @property
    def id(self) -> str:
        """The id that the line will have on the document."""
        return cast(str, self.line["id"])


@dataclass(frozen=True, slots=True)
class Issued:
    """An issued document: the bytes that were sealed, and where it stands in its chain.

    `ordinal` tells apart those of one cut and kind; what was published before says none.
    """

    issuer: str
    place: int
    number: str
    id: str
    customer: str
    content: bytes
    record: bytes
    seal: bytes
    ordinal: int | None = None


@dataclass(frozen=True, slots=True)
class DraftText:
    """A draft as it is kept, in canonical text: its records are cut from it, not made anew."""

    position: DraftPosition
    content: str
    issues: str
    lines: Mapping[str, str]
    """The text of each of its line items, by id."""

    @classmethod
    def kept(cls, position: DraftPosition, content: str, issues: str) -> "DraftText":
        """Return the draft of a content and its validation issues, both in canonical text.

        Raises:
            BrokenInvariant: it has no list of lines, or another of that name stands before it.

        """
        try:
            _, spans = lines_in(content)
        except ValueError as error:
            raise BrokenInvariant(f"a draft's content has {error}") from None
        lines = {cast(str, name): content[start:end] for name, start, end in spans}
        return cls(position, content, issues, lines)

    @classmethod
    def told(
        cls, position: DraftPosition, template: str, told: Sequence[str], issues: str
    ) -> "DraftText":
        """Return the draft of a text with names as gaps, and what is told in them."""
        content, lines = hollow_lines(template).filled(told)
        return cls(position, content, issues, lines)


NO_ISSUES = "[]"


def draft_records(
    document_id: str, customer: str, standing: Iterable[str], draft: DraftText | None
) -> list[Record]:
    """Return what a changed draft makes of its keys; `standing` are line ids that may be there."""
    gone = sorted(set(standing) - (draft.lines.keys() if draft else set()))
    taken_off = [Record(Shelf.LINES, customer, line_id, None) for line_id in gone]
    if draft is None:
        return [*taken_off, Record(Shelf.DRAFTS, customer, document_id, None)]
    return [
        *taken_off,
        *(
            Record(Shelf.LINES, customer, line_id, value)
            for line_id, value in line_values(document_id, customer, draft)
        ),
        Record(Shelf.DRAFTS, customer, document_id, draft_value(draft)),
    ]


def draft_value(draft: DraftText) -> bytes:
    """Return a draft as it is published: canonical JSON, the content as it is kept."""
    position = _position_text(draft.position)
    told = f'{{"content":{draft.content},"format":"{DRAFT_FORMAT}","position":{position}'
    issues = "" if draft.issues == NO_ISSUES else f',"validation_issues":{draft.issues}'
    return f"{told}{issues}}}".encode()


def line_values(document_id: str, customer: str, draft: DraftText) -> Iterator[tuple[str, bytes]]:
    """Yield (id, value) of a draft's line items as they are published: canonical JSON."""
    owner, document = encode_basestring(customer), encode_basestring(document_id)
    before = f'{{"customer":{owner},"document":{document},"format":"{LINE_FORMAT}","line":'
    after = f',"position":{_position_text(draft.position)}}}'
    for line_id, line in draft.lines.items():
        yield line_id, f"{before}{line}{after}".encode()


@lru_cache  # drafts that were rated together have one
def _position_text(position: DraftPosition) -> str:
    return canonical(position.json()).decode()


def issued_value(issued: Issued) -> bytes:
    """Return an issued document as it is published."""
    return canonical(
        {
            "format": ISSUED_FORMAT,
            "issuer": issued.issuer,
            "place": issued.place,
            "number": issued.number,
            "id": issued.id,
            "customer": issued.customer,
            **({} if issued.ordinal is None else {"ordinal": issued.ordinal}),
            "content": issued.content.decode(),
            "issue_record": issued.record.decode(),
            "seal": issued.seal.hex(),
        }
    )


def read_draft(value: bytes) -> DraftInvoice:
    """Return a published draft.

    Raises:
        ValueError: it is none.

    """
    fields = _fields(value, DRAFT_FORMAT, ("content",))
    issues = fields.get("validation_issues", [])
    if not isinstance(issues, list) or not all(isinstance(each, dict) for each in issues):
        raise ValueError("validation_issues is no list of objects")
    told = cast(list[Mapping[str, Json]], issues)
    return DraftInvoice(_position(fields), _object(fields, "content"), tuple(told))


def read_line(value: bytes) -> DraftLine:
    """Return a published line item.

    Raises:
        ValueError: it is none.

    """
    fields = _fields(value, LINE_FORMAT, ("document", "customer", "line"))
    return DraftLine(
        _position(fields),
        str(fields["document"]),
        str(fields["customer"]),
        _object(fields, "line"),
    )


def read_issued(value: bytes) -> Issued:
    """Return a published document.

    Raises:
        ValueError: it is none.

    """
    texts = ("issuer", "number", "id", "customer", "content", "issue_record", "seal")
    fields = _fields(value, ISSUED_FORMAT, ("place", *texts))
    issuer, number, document_id, customer, content, record, seal = (
        str(fields[name]) for name in texts
    )
    return Issued(
        issuer,
        _whole(fields, "place"),
        number,
        document_id,
        customer,
        content.encode(),
        record.encode(),
        bytes.fromhex(seal),
        _whole(fields, "ordinal") if "ordinal" in fields else None,
    )


def _fields(value: bytes, expected: str, names: Iterable[str]) -> Mapping[str, Json]:
    found = cast(Json, json.loads(value))
    if not isinstance(found, dict) or found.get("format") != expected:
        raise ValueError(f"not a record of format {expected}")
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"a record of format {expected} without {missing[0]}")
    return found


def _object(fields: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    found = fields.get(name)
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no object")
    return found


def _whole(fields: Mapping[str, Json], name: str) -> int:
    found = fields.get(name)
    if not isinstance(found, int):
        raise ValueError(f"{name} is no whole number")
    return found


def _position(fields: Mapping[str, Json]) -> DraftPosition:
    position = _object(fields, "position")
    return DraftPosition(
        _whole(position, "partition"),
        _whole(position, "offset"),
        parse_instant(position.get("log_time")),
    )
