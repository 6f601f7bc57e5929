"""Hollow: the text of a document with gaps where its figures are, and its names.

Owns: where on plain lines and fees figures and names stand, in which order they are told; where
the line items of a text are.
Does not own: which documents are plain, what figures come to (retold.py), fields (lines.py).
Law: filled with what it was taken from, a hollow text is `canonical` of that document.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import cast

from pipeline.core.identity import Json, canonical, digest
from pipeline.meter.meters import Meter

Line = dict[str, Json]
"""As in lines.py, which is not imported: clients that read drafts load no catalog, nor numpy."""

Told = list[str]
"""Names, then figures, as they stand in a text."""

LINE_NAMES = ("id", "subscription", "source_id", "invoice_at", "period_start", "period_end")
"""What tells a line, and its children, from that of another payer on equal terms; no child's id."""
DOCUMENT_NAMES = ("id", "customer", "cut_instant", "period_start", "period_end")

MARK = "\ue000"
"""Around the number of a gap, where it stands in a text: a private character."""


@dataclass(frozen=True, slots=True)
class Hollow:
    """A text with gaps: `%3$s` takes the third of what is told, `%%` is a percent sign.

    So it is told to Postgres too, whose `format` fills it alike.
    """

    template: str
    digest: str
    _plain: str
    _order: tuple[int, ...]

    @classmethod
    def of(cls, template: str) -> "Hollow":
        """Return the text of a template."""
        order = [int(number) - 1 for number in _GAP.findall(template) if number]
        plain = _GAP.sub(lambda gap: "%s" if gap[1] else "%%", template)
        return cls(template, digest(template.encode()), plain, tuple(order))

    def filled(self, told: Sequence[str]) -> str:
        """Return the text with what is told."""
        return self._plain % tuple(map(told.__getitem__, self._order))


_GAP = re.compile(r"%(?:%|([0-9]+)\$s)")


@dataclass(frozen=True, slots=True)
class Filled:
    """A hollow text, and what is told in its gaps: names and figures, none with a line break."""

    hollow: Hollow
    told: Sequence[str]

    @property
    def text(self) -> str:
        """The whole text."""
        return self.hollow.filled(self.told)


@dataclass(frozen=True, slots=True)
class HollowLines:
    """A hollow document cut where its line items are; each with the gap that its id is in."""

    before: Hollow
    lines: Sequence[tuple[int, Hollow]]
    after: Hollow

    def filled(self, told: Sequence[str]) -> tuple[str, dict[str, str]]:
        """Return the document's text, and that of each line item by its id."""
        lines = {told[place][1:-1]: line.filled(told) for place, line in self.lines}
        text = f"{self.before.filled(told)}{','.join(lines.values())}{self.after.filled(told)}"
        return text, lines


@lru_cache(maxsize=1 << 10)
def hollow_lines(template: str) -> HollowLines:
    """Return a document with names as gaps, cut where its line items are.

    Raises:
        ValueError: it has no list of lines, or the id of one is no gap.

    """
    # As long as its gap, each is a number, which may stand in a string and outside.
    told = _GAP.sub(lambda gap: f"1{int(gap[1]):0{len(gap[0]) - 1}}" if gap[1] else "..", template)
    start, spans = lines_in(told)
    lines = [
        (int(str(name)[1:]) - 1, Hollow.of(template[first:last])) for name, first, last in spans
    ]
    end = spans[-1][2] if spans else start
    return HollowLines(Hollow.of(template[:start]), lines, Hollow.of(template[end:]))


def lines_in(content: str) -> tuple[int, list[tuple[Json, int, int]]]:
    """Return where the line items of a canonical content begin, and the id, start, end of each.

    Raises:
        ValueError: none of its own stands first.

    """
    before, found, _ = content.partition(_LINES)  # within a string its quotes would be escaped
    if not found or not _is_object(f"{before}{_LINES}]}}"):
        raise ValueError(f"not one list of lines: {content[:200]}")
    at = first = len(before) + len(_LINES)
    spans = []
    while content[at] != "]":
        start = at + (content[at] == ",")
        line, at = _JSON.raw_decode(content, start)
        spans.append((line["id"], start, at))
    return first, spans


def _is_object(text: str) -> bool:
    """Whether a text is JSON: a list of lines within another value would leave that one open."""
    try:
        _JSON.decode(text)
    except ValueError:
        return False
    return True


_LINES = '"lines":['
_JSON = json.JSONDecoder()


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
    pieces = [first]
    for mark, text in zip(rest[::2], rest[1::2], strict=True):
        number, bare = int(mark.removeprefix("-")), mark.startswith("-")
        if bare:
            pieces[-1] = pieces[-1][:-1]  # the quotes of the string go
        pieces += [f"%{number + 1}$s", text[1:] if bare else text]
    return Hollow.of("".join(pieces))
