"""Retold: the text of a draft of which nothing changed but who it is of, and how much was used.

Owns: the text of a document as another on equal terms was composed, with its own names and figures.
Does not own: what a document says (compose.py, lines.py), where figures stand (hollow.py), when
its lines change (drafting).
Law: the text of what is retold is `canonical` of what `compose` makes of the same lines and usage.

Composing is most of what a draft costs, and most drafts are made again and again: untaxed
quantities at plain prices, beside fees, on terms that many have. Such a document is taken as a
mould of all on its terms. Other figures than it was taken with it tells once it has foretold some,
to the byte, and of others than whom it was taken of once it has foretold one of theirs: when a
period begins, all are of nothing. What is not plain is composed; what is particular to one payer
has a mould of its own.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from fractions import Fraction
from json.encoder import encode_basestring
from typing import NamedTuple, cast
from weakref import WeakValueDictionary

from pipeline.catalog.catalog import Catalog
from pipeline.core.calendar import Instant, instant_text
from pipeline.core.money import minor_digits
from pipeline.core.quantity import quantity_text
from pipeline.invoice.compose import Composed, service_period
from pipeline.invoice.fees import Fee
from pipeline.invoice.hollow import MARK, Filled, Hollow, Told, hollow
from pipeline.invoice.lines import card_told, document_id_of, id_of_fee, ids_of_usage
from pipeline.invoice.parts import PlannedLine
from pipeline.invoice.usage import Usage, UsageRequest, quantity
from pipeline.meter.meters import Meter
from pipeline.rate import Component, PercentagePrice, Price, Rated, looks_at_events, rate_bare

_Shape = tuple[tuple[Component, Fraction], ...]
"""The components and unit amounts of a line's details."""
_Shapes = tuple[_Shape | None, ...]
"""Those of each line; None: it is a fee."""


class Moulds:
    """The moulds of documents, as long as anybody is on their terms."""

    def __init__(self) -> None:
        """Start with none."""
        self._shared: WeakValueDictionary[Hashable, _Terms] = WeakValueDictionary()

    def retelling(
        self,
        catalog: Catalog,
        payer: str,
        currency: str,
        instant: Instant,
        lines: Sequence[PlannedLine],
        like: "Retelling | None" = None,
    ) -> "Retelling":
        """Return the retelling of a document with these lines.

        `like`: that of another payer's, from which they differ in names alone.
        """
        issuers = {line.served.plan.issuer for line in lines}
        issuer = min(issuers, default="")
        name = document_id_of(payer, currency, instant_text(instant), issuer)
        if like is not None and like.shared and not _is_by_hand(catalog, name):
            return Retelling(name, payer, instant, lines, like._terms)
        plain = None
        if len(issuers) == 1 and catalog.issuers[issuer].tax is None:
            plain = _plain_lines(catalog, lines)
        if plain is None:
            return Retelling(name, payer, instant, lines, None)
        alike = _alike(catalog, payer, name, lines)
        if alike is None:
            return Retelling(name, payer, instant, lines, _Terms(currency, plain))
        held, key = alike
        terms = self._shared.get((issuer, currency, key))
        if terms is None:
            terms = _Terms(currency, plain, held)
            self._shared[issuer, currency, key] = terms
        return Retelling(name, payer, instant, lines, terms)


class Retelling:
    """One draft, made again and again of the same lines."""

    __slots__ = ("_instant", "_lines", "_mould", "_names", "_payer", "_terms", "id")

    def __init__(
        self,
        name: str,
        payer: str,
        instant: Instant,
        lines: Sequence[PlannedLine],
        terms: "_Terms | None",
    ) -> None:
        """Start with nothing heard; `id` is the document's. Without `terms` it is composed."""
        self.id = name
        self._payer, self._instant, self._lines, self._terms = payer, instant, lines, terms
        self._mould: _Mould | None = None
        self._names = ""

    @property
    def shared(self) -> bool:
        """Whether others may have the text of what is retold."""
        return self._terms is not None and self._terms.shared

    def told(self, usage: Usage) -> Filled | None:
        """Return the document with this usage; None where it must be composed."""
        terms = self._terms
        if terms is None or not terms.moulds:
            return None
        figures = terms.figures(self._lines, usage)
        if figures is None:
            return None
        mould = self._mould
        if mould is None or mould.shapes != figures.shapes:
            mould = terms.moulds.get(figures.shapes)
            if mould is None:
                return None
            self._mould, self._names = mould, "\n".join(self._names_in(figures.shapes))
        told = mould.foretold or figures.told == mould.first
        if not told or not (mould.foretold_others or mould.taken_of == self.id):
            return None
        # Kept as one text: a dozen of them for each payer that is remembered is a kilobyte.
        names = self._names.split("\n") if self._names else []
        return mould.filled(names, figures)

    def hear(self, usage: Usage, composed: Sequence[Composed], texts: Sequence[str]) -> None:
        """Learn from what was composed, and its texts; at first it may not be made again at all."""
        terms = self._terms
        if terms is None or terms.hopeless:
            return
        if not terms.heard or len(composed) != 1 or composed[0].issues:
            terms.heard = True
            return
        figures = terms.figures(self._lines, usage)
        if figures is None:
            return
        names, mould = self._names_in(figures.shapes), terms.moulds.get(figures.shapes)
        if mould is None:
            terms.keep(_taken(self.id, terms, names, figures, composed[0], texts[0]))
        elif mould.filled(names, figures).text != texts[0]:
            terms.keep(None)
        else:
            mould.foretold |= figures.told != mould.first
            mould.foretold_others |= mould.taken_of != self.id

    def _names_in(self, shapes: _Shapes) -> Told:
        """Return the names as they stand in the text, in the order that a hollow one takes them."""
        if self._terms is None or not self._terms.shared:
            return []
        period = cast(Mapping[str, str], service_period(self._lines, None))
        told = [self.id, self._payer, instant_text(self._instant)]
        told += [period["period_start"], period["period_end"]]
        for line, shape in zip(self._lines, shapes, strict=True):
            key, served = line.key, line.served
            own, *children = (
                [id_of_fee(self.id, key)] if shape is None else ids_of_usage(self.id, key, shape)
            )
            told += [own, key.subscription, key.source_id, instant_text(served.due)]
            told += [instant_text(served.period.start), instant_text(served.period.end), *children]
        return [*map(encode_basestring, told)]


class _Figures(NamedTuple):
    """The figures of a document's usage as they are told, and what that comes to."""

    shapes: _Shapes
    told: Told
    amount: int


@dataclass(frozen=True, slots=True)
class _Plain:
    """What plain usage is metered and priced by."""

    meter: Meter
    price: Price

    def rated(
        self, currency: str, request: UsageRequest, usage: Usage
    ) -> tuple[Fraction, Rated] | None:
        """Return how much was used and what that comes to."""
        used = quantity(self.meter, request, usage.get(request, ()))
        rated = rate_bare(currency, self.price, used)
        return None if rated is None else (used, rated)


@dataclass(slots=True, weakref_slot=True)
class _Terms:
    """What documents on equal terms have in common: their moulds, by their shapes.

    `held` are the objects by which others are known to be on the same; none: they are one's own.
    """

    currency: str
    plain: Sequence[_Plain | None]
    """Of each line; None: it is a fee."""
    held: Sequence[object] = ()
    moulds: dict[_Shapes, "_Mould"] = field(default_factory=dict)
    heard: bool = False
    hopeless: bool = False

    @property
    def shared(self) -> bool:
        """Whether others may be on them."""
        return bool(self.held)

    def keep(self, mould: "_Mould | None") -> None:
        """Keep a mould; where none could be taken, or one was wrong, none is used again."""
        if mould is None:
            self.hopeless = True
            self.moulds.clear()
            return
        if len(self.moulds) >= _SHAPES_MAX:
            self.moulds.clear()
        self.moulds[mould.shapes] = mould

    def figures(self, lines: Sequence[PlannedLine], usage: Usage) -> _Figures | None:
        """Return all figures with this usage; None where only `compose` can tell.

        Of each line first what was used and what that comes to, where it has several details what
        one comes to, then of each detail how much and what that comes to.
        """
        shapes, told, total = list[_Shape | None](), list[str](), 0
        for line, plain in zip(lines, self.plain, strict=True):
            if plain is None or line.request is None:
                shapes.append(None)
                continue
            found = plain.rated(self.currency, line.request, usage)
            if found is None:
                return None
            used, rated = found
            amount = rated.amount_minor
            told += (quantity_text(used), str(amount))
            if len(rated.lines) != 1:
                told += _unit_figures(self.currency, used, amount)
            for each in rated.lines:
                told += (quantity_text(each.quantity), str(each.amount_minor))
            shapes.append(tuple((each.component, each.unit_amount) for each in rated.lines))
            total += amount
        return _Figures(tuple(shapes), told, total)


_SHAPES_MAX = 64
"""Each is a text of some kilobytes."""


def _unit_figures(currency: str, used: Fraction, amount_minor: int) -> Told:
    """Return what one unit of a line with several details comes to, major and minor."""
    scale: int = 10 ** minor_digits(currency)
    unit = Fraction(amount_minor, scale) / used if used else Fraction(0)
    minor, rest = divmod(unit.numerator * scale, unit.denominator)
    return [quantity_text(unit), "null" if rest else str(minor)]


@dataclass(slots=True)
class _Mould:
    """A document without its names and figures, and of what it was taken."""

    taken_of: str
    shapes: _Shapes
    hollow: Hollow
    rest: tuple[int, int]
    """What its fees add to the document's amount and to its total."""
    first: Told
    """The figures it was taken with."""
    foretold: bool = False
    """Whether it told a document with other figures before that was composed."""
    foretold_others: bool = False
    """Whether it did so of a document with other names."""

    def filled(self, names: Told, figures: _Figures) -> Filled:
        """Return the document with these names and figures."""
        totals = [str(rest + figures.amount) for rest in self.rest]
        return Filled(self.hollow, [*names, *figures.told, *totals])


def _taken(
    name: str, terms: _Terms, names: Told, figures: _Figures, composed: Composed, text: str
) -> _Mould | None:
    """Return the mould of a document; None where it is not plain."""
    content = composed.content
    children = [0 if shape is None else len(shape) for shape in figures.shapes]
    told = cast(list[Mapping[str, list[object]]], content["lines"])
    if MARK in text or [len(line["children"]) for line in told] != children:
        return None
    meters = [None if plain is None else plain.meter for plain in terms.plain]
    totals = cast(Mapping[str, int], content["totals"])
    rest = (totals["amount_minor"] - figures.amount, totals["total_minor"] - figures.amount)
    empty = hollow(content, meters, named=terms.shared)
    mould = _Mould(name, figures.shapes, empty, rest, figures.told)
    return mould if mould.filled(names, figures).text == text else None


def _plain_lines(catalog: Catalog, lines: Sequence[PlannedLine]) -> Sequence[_Plain | None] | None:
    """Return how each line is metered and priced; None where more than that makes one of them."""
    found: list[_Plain | None] = []
    for line in lines:
        if line.covered is not None:
            return None  # what it tops up follows from what others come to
        if isinstance(line.fee, Fee):
            found.append(None)
            continue
        card, request = line.card, line.request
        if request is None or card.meter is None or not request.scope.whole or _is_seldom(line):
            return None
        if card.terms.configured or card.fx is not None or isinstance(card.price, PercentagePrice):
            return None
        if looks_at_events(card.price):
            return None
        found.append(_Plain(catalog.meters[card.meter], card.price))
    return found


_SELDOM = [each for each in fields(PlannedLine) if each.default is not MISSING]
"""What of a line is not as it mostly is only where it is not plain."""


def _is_seldom(line: PlannedLine, but: str = "") -> bool:
    return any(getattr(line, each.name) != each.default for each in _SELDOM if each.name != but)


def _is_by_hand(catalog: Catalog, name: str) -> bool:
    return name in catalog.by_hand.edits or name in catalog.by_hand.documents


def _alike(
    catalog: Catalog, payer: str, name: str, lines: Sequence[PlannedLine]
) -> tuple[Sequence[object], Hashable] | None:
    """Return what says that documents of plain lines are alike but for names and figures.

    As long as the objects that come first live, another of the same key is on the same terms.
    None where something is particular to the payer or the document.
    """
    customer = catalog.customers[payer]
    if customer.empty_invoices or _is_by_hand(catalog, name):
        return None
    held, key = list[object](), list[Hashable]()
    for line in lines:
        if line.served.customer.id != payer or not line.key.subscription:
            return None
        if isinstance(line.fee, Fee):
            fee = line.fee
            particular = fee.discounts or fee.fx or fee.billed_from is not None
            if particular or _is_seldom(line, but="fee"):
                return None
            if fee.card != card_told(line.key, line.served, line.card):
                return None
            key += (fee.name, fee.quantity, fee.unit_amount, fee.amount_minor)
        meter = None if line.card.meter is None else catalog.meters[line.card.meter]
        held += (line.card, meter)
        key += (line.served.plan.id, id(line.card), id(meter))
    return held, (tuple(sorted(customer.profile.items())), tuple(key))
