"""Hollow: the text of a document with gaps where its figures are, and its names.

Owns: where on plain lines and fees figures and names stand, in which order they are told.
Does not own: which documents are plain, what figures come to (retold.py), fields (lines.py).
Law: filled with what it was taken from, a hollow text is `canonical` of that document.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import cast

from pipeline.core.identity import Json, canonical
from pipeline.invoice.lines import Line
from pipeline.meter.meters import Meter

Told = list[str]
"""Names, then figures, as they stand in a text."""

LINE_NAMES = ("id", "subscription", "source_id", "invoice_at", "period_start", "period_end")
"""What tells a line, and its children, from that of another payer on equal terms; no child's id."""
DOCUMENT_NAMES = ("id", "customer", "cut_instant", "period_start", "period_end")

MARK = "\ue000"
"""Around the number of a gap, where it stands in a text: a private character."""


@dataclass(frozen=True, slots=True)
class Hollow:
    """A text whose gaps take what `order` names of all that is told, in turn."""

    template: str
    order: tuple[int, ...]

    def filled(self, told: Sequence[str]) -> str:
        """Return the text with what is told."""
        return self.template % tuple(map(told.__getitem__, self.order))


def hollow(content: Mapping[str, Json], meters: Sequence[Meter | None], *, named: bool) -> Hollow:
    """Return a document without figures, and where it is `named` without names.

    `meters` are those of its lines, None of a fee. Names are told first: the document's, then
    those of each line, the ids of its children behind them; then the figures of each line in
    order, at last the amount and the total of the document.
    """
    places = count()
    told = cast(list[Line], content["lines"])
    document = {name: _bare(places) for name in DOCUMENT_NAMES} if named else {}
    lines = [_unnamed(line, places) for line in told] if named else told
    lines = [
        line if meter is None else _hollow_line(line, meter, places)
        for line, meter in zip(lines, meters, strict=True)
    ]
    totals = _hollow_totals(cast(Line, content["totals"]), _bare(places), _bare(places))
    return _parted({**content, **document, "totals": totals, "lines": [*lines]})


def _unnamed(line: Line, places: Iterator[int]) -> Line:
    names = {name: _bare(places) for name in LINE_NAMES}
    children = [
        {**child, **names, "id": _bare(places)} for child in cast(list[Line], line["children"])
    ]
    return {**line, **names, "children": [*children]}


def _bare(places: Iterator[int]) -> str:
    """Return the mark of what is told with its quotes, or is no string, though it stands in one."""
    return f"{MARK}-{next(places)}{MARK}"


def _within(places: Iterator[int]) -> str:
    return f"{MARK}{next(places)}{MARK}"


def _hollow_line(line: Line, meter: Meter, places: Iterator[int]) -> Line:
    """Return a line with marks where its figures are, in their order."""
    used, amount = _within(places), _bare(places)
    children = cast(list[Line], line["children"])
    several: Line = {}
    if len(children) != 1:
        several = {"unit_amount": _within(places), "amount_minor": _bare(places)}
    return {
        **_hollow_amounts(line, used, amount),
        **several,
        "metered_quantity": used,
        "description": f"{line['name']}, {used} {meter.unit}",
        "children": [_hollow_amounts(each, _within(places), _bare(places)) for each in children],
    }


def _hollow_amounts(line: Line, quantity: str, amount: str) -> Line:
    totals = _hollow_totals(cast(Line, line["totals"]), amount, amount)
    amounts: Line = {"subtotal_minor": amount, "total_minor": amount, "totals": totals}
    return {**line, "quantity": quantity, **amounts}


def _hollow_totals(totals: Mapping[str, Json], amount: str, total: str) -> Line:
    return {**totals, "amount_minor": amount, "total_minor": total}


def _parted(marked: dict[str, Json]) -> Hollow:
    first, *rest = canonical(marked).decode().replace("%", "%%").split(MARK)
    pieces, order = [first], list[int]()
    for mark, text in zip(rest[::2], rest[1::2], strict=True):
        number, bare = mark.removeprefix("-"), mark.startswith("-")
        if bare:
            pieces[-1] = pieces[-1][:-1]  # the quotes of the string go
        pieces.append(text[1:] if bare else text)
        order.append(int(number))
    return Hollow("%s".join(pieces), tuple(order))
