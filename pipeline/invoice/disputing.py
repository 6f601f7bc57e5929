"""Disputing: a customer contests an issued document, and how that ends.

Owns: the facts of a dispute, what they show of the document, why one is refused.
Does not own: the note of one that is accepted (crediting.py), states (lifecycle.py).
Law: a document has one dispute at a time; whoever ends it says why.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import cast

from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.identity import Json
from pipeline.invoice.history import Paper
from pipeline.invoice.lines import Line
from pipeline.invoice.notes import lines_of

_SHOWN = (
    "id",
    "name",
    "quantity",
    "unit_amount",
    "total_minor",
    "meter",
    "period_start",
    "period_end",
)


class Ruling(StrEnum):
    """Where a dispute stands."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


def open_dispute(known: Iterable[Fact], document: str) -> Fact | None:
    """Return the fact that opened the dispute of a document; None where none is open."""
    told = [f for f in known if f.kind is FactKind.DISPUTE and f.subject == document]
    return told[-1] if told and told[-1].body["state"] == Ruling.OPEN else None


def opening(
    known: Iterable[Fact],
    paper: Paper,
    lines: Sequence[str],
    evidence: Mapping[str, Json],
    number: str,
) -> NewFact:
    """Return the fact that opens a dispute, of some lines or all, with what they rest on.

    Raises:
        ValueError: there is one already, or no such line.

    """
    if open_dispute(known, paper.id) is not None:
        raise ValueError(f"{number} is disputed already: --accept or --reject ends that")
    if paper.is_removed:
        raise ValueError(f"{number} is beyond retention: its lines are not known any more")
    missing = {*lines} - {str(line["id"]) for line in lines_of(paper.content)}
    if missing:
        told = f"{number} has no line {min(missing)}"
        raise ValueError(f"{told}: `talea invoices show {number} --json` lists their ids")
    body = {**_body(paper, Ruling.OPEN), "evidence": shown(paper.content, lines, evidence)}
    return NewFact(FactKind.DISPUTE, paper.id, body)


def ending(
    known: Iterable[Fact], paper: Paper, ruling: Ruling, number: str
) -> tuple[NewFact, Fact]:
    """Return the fact that ends a dispute, and the one that opened it.

    Raises:
        ValueError: none is open.

    """
    opened = open_dispute(known, paper.id)
    if opened is None:
        raise ValueError(f"{number} is not disputed: `talea invoices dispute {number}` opens one")
    body: dict[str, Json] = {**_body(paper, ruling), "dispute": opened.id}
    return NewFact(FactKind.DISPUTE, paper.id, body), opened


def lines_disputed(opened: Fact) -> list[str]:
    """Return the ids of the lines that a dispute is about."""
    evidence = cast(Mapping[str, list[Line]], opened.body["evidence"])
    return [str(line["id"]) for line in evidence["lines"]]


def shown(
    content: Mapping[str, Json], lines: Sequence[str], evidence: Mapping[str, Json]
) -> dict[str, Json]:
    """Return what disputed lines (none: all) say, and the log that they rest on."""
    told: list[Json] = [
        {name: line[name] for name in _SHOWN}
        for line in lines_of(content)
        if not lines or line["id"] in lines
    ]
    return {**evidence, "lines": told}


def _body(paper: Paper, ruling: Ruling) -> dict[str, Json]:
    return {
        "customer": paper.content["customer"],
        "document": paper.id,
        "state": ruling.value,
    }
