"""Retold: the text of a draft of which nothing changed but how much was used.

Owns: the text of a document as it was composed before, with other figures in it.
Does not own: what a document says (compose.py, lines.py), when its lines change (drafting).
Law: what is retold is `canonical` of what `compose` makes of the same lines and usage.

Composing is most of what a draft costs, and most drafts are made again and again: untaxed
quantities at plain prices, beside fees. Such a document is taken as a mould, and the mould is used
once it has foretold, to the byte, a document with other figures. What is not plain is composed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from fractions import Fraction
from itertools import count
from typing import cast

from pipeline.catalog.catalog import Catalog
from pipeline.core.identity import Json, canonical
from pipeline.core.money import minor_digits
from pipeline.core.quantity import quantity_text
from pipeline.invoice.compose import Composed
from pipeline.invoice.fees import Fee
from pipeline.invoice.lines import Line
from pipeline.invoice.parts import PlannedLine
from pipeline.invoice.usage import Usage, UsageRequest, quantity
from pipeline.meter.meters import Meter
from pipeline.rate import Component, PercentagePrice, Price, Rated, rate_bare

Figures = list[str]
"""The figures of a document as they are told."""


class Retelling:
    """One draft, made again and again of the same lines."""

    def __init__(self) -> None:
        """Start with nothing heard; `id` is the document's."""
        self.id = ""
        self._mould: _Mould | None = None
        self._foretold = False
        self._heard = False

    def text(self, usage: Usage) -> str | None:
        """Return the canonical text with this usage; None where it must be composed."""
        if self._mould is None or not self._foretold:
            return None
        figures = self._mould.figures(usage)
        return None if figures is None else self._mould.text(figures)

    def hear(
        self,
        catalog: Catalog,
        lines: Sequence[PlannedLine],
        usage: Usage,
        composed: Sequence[Composed],
        texts: Sequence[str],
    ) -> None:
        """Learn from what was composed, and its texts; at first it may not be made again at all."""
        if not self._heard or len(composed) != 1:
            self._heard = True
            return
        self.id, (text,), mould = cast(str, composed[0].content["id"]), texts, self._mould
        figures = None if mould is None else mould.figures(usage)
        if mould is None or figures is None or mould.text(figures) != text:
            self._mould, self._foretold = _taken(catalog, lines, usage, composed[0], text), False
        elif figures != mould.first:
            self._foretold = True


@dataclass(frozen=True, slots=True)
class _Plain:
    """A line of plain usage, and the components and unit amounts of its details."""

    request: UsageRequest
    meter: Meter
    price: Price
    shape: tuple[tuple[Component, Fraction], ...]

    def figures(self, currency: str, usage: Usage) -> tuple[Figures, int] | None:
        """Return its figures, and what it comes to; None where its details are others.

        First what was used and what that comes to, where it has several details what one comes
        to, then of each detail how much and what that comes to.
        """
        used = quantity(self.meter, self.request, usage.get(self.request, ()))
        rated = rate_bare(currency, self.price, used)
        if rated is None or _shape(rated) != self.shape:
            return None
        amount = rated.amount_minor
        told = [quantity_text(used), str(amount)]
        if len(self.shape) != 1:
            told += _unit_figures(currency, used, amount)
        for each in rated.lines:
            told += (quantity_text(each.quantity), str(each.amount_minor))
        return told, amount


@dataclass(frozen=True, slots=True)
class _Mould:
    """A document without its figures: `template` takes those that `order` names, in turn."""

    currency: str
    lines: tuple[_Plain, ...]
    rest: tuple[int, int]
    """What its other lines add to the document's amount and to its total."""
    template: str
    order: tuple[int, ...]
    first: Figures
    """The figures it was taken with."""

    def figures(self, usage: Usage) -> Figures | None:
        """Return all figures with this usage, those of the document last."""
        return _figures(self.currency, self.lines, self.rest, usage)

    def text(self, figures: Figures) -> str:
        """Return the document's text with these figures."""
        return self.template % tuple(map(figures.__getitem__, self.order))


def _figures(
    currency: str, lines: Sequence[_Plain], rest: tuple[int, int], usage: Usage
) -> Figures | None:
    told, total = list[str](), 0
    for line in lines:
        found = line.figures(currency, usage)
        if found is None:
            return None
        told += found[0]
        total += found[1]
    return [*told, str(rest[0] + total), str(rest[1] + total)]


def _shape(rated: Rated) -> tuple[tuple[Component, Fraction], ...]:
    return tuple((each.component, each.unit_amount) for each in rated.lines)


def _unit_figures(currency: str, used: Fraction, amount_minor: int) -> Figures:
    """Return what one unit of a line with several details comes to, major and minor."""
    scale: int = 10 ** minor_digits(currency)
    unit = Fraction(amount_minor, scale) / used if used else Fraction(0)
    minor, rest = divmod(unit.numerator * scale, unit.denominator)
    return [quantity_text(unit), "null" if rest else str(minor)]


def _taken(
    catalog: Catalog,
    lines: Sequence[PlannedLine],
    usage: Usage,
    composed: Composed,
    text: str,
) -> _Mould | None:
    """Return the mould of a document; None where it is not plain."""
    content, told = composed.content, cast(list[Line], composed.content["lines"])
    if composed.issues or len(told) != len(lines) or _MARK in text:
        return None
    if catalog.issuers[composed.issuer].tax is not None:
        return None
    currency, plain, hollow, places = cast(str, content["currency"]), [], [], count()
    for line, own in zip(lines, told, strict=True):
        if isinstance(line.fee, Fee):
            hollow.append(own)
            continue
        found = _plain(catalog, line, currency, usage)
        if found is None:
            return None
        plain.append(found)
        hollow.append(_hollow_line(own, found.meter, places))
    figures = _figures(currency, plain, (0, 0), usage)
    if figures is None:
        return None
    totals = cast(dict[str, int], content["totals"])
    rest = (totals["amount_minor"] - int(figures[-1]), totals["total_minor"] - int(figures[-1]))
    first = [*figures[:-2], str(totals["amount_minor"]), str(totals["total_minor"])]
    outside = _hollow_totals(totals, _bare(places), _bare(places))
    template, order = _template({**content, "totals": outside, "lines": [*hollow]})
    mould = _Mould(currency, tuple(plain), rest, template, order, first)
    return mould if mould.text(first) == text else None


def _plain(catalog: Catalog, line: PlannedLine, currency: str, usage: Usage) -> _Plain | None:
    """Return a line as plain usage; None where more than a quantity and a price makes it."""
    card, request = line.card, line.request
    if request is None or card.meter is None or not request.scope.whole:
        return None
    if any(getattr(line, each.name) != each.default for each in _SELDOM):
        return None
    if card.terms.configured or card.fx is not None or isinstance(card.price, PercentagePrice):
        return None
    meter = catalog.meters[card.meter]
    rated = rate_bare(currency, card.price, quantity(meter, request, usage.get(request, ())))
    return None if rated is None else _Plain(request, meter, card.price, _shape(rated))


_SELDOM = [each for each in fields(PlannedLine) if each.default is not MISSING]
"""What of a line is not as it mostly is only where it is not plain."""


_MARK = "\ue000"
"""Around the number of a figure, where it stands in a text: a private character."""


def _bare(places: Iterator[int]) -> str:
    """Return the mark of a figure that is no string, though a mark stands in one."""
    return f"{_MARK}-{next(places)}{_MARK}"


def _within(places: Iterator[int]) -> str:
    return f"{_MARK}{next(places)}{_MARK}"


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
    totals = _hollow_totals(cast(dict[str, int], line["totals"]), amount, amount)
    amounts: Line = {"subtotal_minor": amount, "total_minor": amount, "totals": totals}
    return {**line, "quantity": quantity, **amounts}


def _hollow_totals(totals: Mapping[str, int], amount: str, total: str) -> Line:
    return {**totals, "amount_minor": amount, "total_minor": total}


def _template(hollow: dict[str, Json]) -> tuple[str, tuple[int, ...]]:
    """Return a text that takes figures where marks are, and which figure it takes where."""
    first, *rest = canonical(hollow).decode().replace("%", "%%").split(_MARK)
    pieces, order = [first], list[int]()
    for mark, text in zip(rest[::2], rest[1::2], strict=True):
        number, bare = mark.removeprefix("-"), mark.startswith("-")
        if bare:
            pieces[-1] = pieces[-1][:-1]  # the quotes of the string go
        pieces.append(text[1:] if bare else text)
        order.append(int(number))
    return "%s".join(pieces), tuple(order)
