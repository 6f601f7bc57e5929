"""Worked: what a planned line of usage comes to, group by group.

Owns: what is asked of rating for a line, what its bounds and fixed discounts know of other lines.
Does not own: which lines there are (parts.py), prices (rate), the fields of a line (lines.py).
Law: the lines of a period come to what its whole usage comes to, bounds and discounts once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.rate_cards import Exchange, PlanPrice
from pipeline.core.errors import BrokenInvariant
from pipeline.core.money import allocate, minor_digits
from pipeline.core.quantity import quantity_text, round_half_away
from pipeline.invoice.details import Detail, details_of, less, taken_off
from pipeline.invoice.parts import PlannedLine
from pipeline.invoice.totals import Totals
from pipeline.invoice.usage import Usage, events_for, groups, quantity
from pipeline.meter.meters import Meter
from pipeline.meter.scope import Pairs
from pipeline.rate import (
    ZERO,
    Events,
    Fault,
    FixedDiscount,
    MatrixPrice,
    Rated,
    RatingInput,
    Reduction,
    rate,
)


class Unrated(Exception):
    """A line cannot be rated: an issue of its document."""

    def __init__(self, fault: Fault) -> None:
        """Say why."""
        super().__init__(str(fault))
        self.fault = fault


@dataclass(slots=True)
class Period:
    """What the lines of a price and period came to so far, in the order of their parts.

    `net_minor` is what bounds look at (rule 30); `taken` what fixed discounts took of groups.
    """

    net_minor: int = 0
    taken: dict[Reduction, int] = field(default_factory=dict)

    def copy(self) -> "Period":
        """Return the same in another."""
        return Period(self.net_minor, dict(self.taken))


@dataclass(frozen=True, slots=True)
class Worked:
    """What a line comes to for one group of its usage, and what stood before it.

    `foreign` is the amount, before charges and discounts, in the currency its price is from.
    """

    quantity: Fraction
    before: Fraction
    details: Sequence[Detail]
    foreign: int | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether it bills no money and no usage, as it is printed."""
        money = any(each.amount_minor or each.discounts for each in self.details)
        return not money and quantity_text(self.quantity) == "0"

    @property
    def bills_nothing(self) -> bool:
        """Whether it comes to no money and no usage: what one price takes another may give."""
        money = Totals.sum(each.totals for each in self.details) != Totals()
        return not money and quantity_text(self.quantity) == "0"

    @property
    def net_minor(self) -> int:
        """What bounds look at."""
        return sum(detail.net_minor for detail in self.details)

    def less(self, past: "Worked") -> "Worked":
        """Return what is left of it once a part of it is billed."""
        known = self.foreign is not None or past.foreign is not None
        foreign = (self.foreign or 0) - (past.foreign or 0) if known else None
        used, before = self.quantity - past.quantity, past.before + past.quantity
        return Worked(used, before, less(self.details, past.details), foreign)


NOTHING = Worked(ZERO, ZERO, ())
"""What a line comes to for a group that has no usage any more."""


def meter_of(catalog: Catalog, line: PlannedLine) -> Meter:
    """Return the meter whose usage a line bills.

    Raises:
        BrokenInvariant: it bills none, nor a fee.

    """
    if line.card.meter is None or (line.request is None and not line.early):
        raise BrokenInvariant(f"{line.key} bills neither a fee nor usage")
    return catalog.meters[line.card.meter]


@dataclass(slots=True)
class Known:
    """What whole lines of a document came to: what a commitment counts, it bills as well.

    Of one catalog, currency and usage.
    """

    _found: dict[tuple[object, ...], tuple[PlanPrice, Period, dict[Pairs, Worked], Period]] = field(
        default_factory=dict
    )

    def of(self, line: PlannedLine, period: Period) -> dict[Pairs, Worked] | None:
        """Return what a line came to before, and add it to its `period`; None: not known."""
        card, before, found, after = self._found.get(_asks(line), (None, None, {}, period))
        if line.card != card or period != before:
            return None
        period.net_minor, period.taken = after.net_minor, dict(after.taken)
        return dict(found)

    def note(
        self, line: PlannedLine, before: Period, found: Mapping[Pairs, Worked], after: Period
    ) -> None:
        """Note what a line came to, and its period before and after."""
        self._found[_asks(line)] = (line.card, before, dict(found), after.copy())


def _asks(line: PlannedLine) -> tuple[object, ...]:
    """Return what a line's amount follows from, but for its card."""
    index = line.served.index
    return line.card.id, line.request, line.past, line.position, line.opens, index


def worked(
    catalog: Catalog,
    line: PlannedLine,
    currency: str,
    usage: Usage,
    period: Period,
    known: Known,
) -> dict[Pairs, Worked]:
    """Return what is left to bill of a line, group by group; add it to its `period`.

    Raises:
        Unrated: it has no price.

    """
    topped = [
        detail
        for each in line.earlier
        for past in _whole(catalog, each, currency, usage, period, known).values()
        for detail in past.details
        if detail.tops_up
    ]
    billed: Mapping[Pairs, Worked] = {}
    if line.billed is not None:
        billed = _whole(catalog, line.billed, currency, usage, period.copy(), known)
    found = _whole(catalog, line, currency, usage, period, known)
    for group, past in billed.items():
        if group in found or not past.is_nothing:  # nobody's is no group once there is usage
            found[group] = found.get(group, NOTHING).less(past)
    if topped and line.position.closes:
        (only,) = found  # what has groups has no minimum
        found[only] = replace(found[only], details=less(found[only].details, topped))
    for each in line.early:
        past = Worked(each.quantity, ZERO, each.details, each.foreign_minor)
        found[each.group] = found.get(each.group, NOTHING).less(past)
    return dict(sorted(found.items()))


def _whole(
    catalog: Catalog,
    line: PlannedLine,
    currency: str,
    usage: Usage,
    period: Period,
    known: Known,
) -> dict[Pairs, Worked]:
    """Return what a line comes to, whatever documents have it; add it to its `period`."""
    if isinstance(line.fee, Fault):
        raise Unrated(
            line.fee
        )  # another document has it, priced by hand, or a commitment counts it
    found = known.of(line, period)
    if found is None:
        before = period.copy()
        found = _rated_whole(catalog, line, currency, usage, period)
        known.note(line, before, found, period)
    return found


def _rated_whole(
    catalog: Catalog, line: PlannedLine, currency: str, usage: Usage, period: Period
) -> dict[Pairs, Worked]:
    card, meter, request = line.card, meter_of(catalog, line), line.request
    if request is None:
        return {}
    reductions = card.terms.reductions(line.served.index)
    once = [each for each in reductions if each.is_fixed] if card.scope.group_by else []
    alike = reductions[: len(reductions) - len(once)]
    past = dict(groups(line.past, usage.get(line.past, ()))) if line.past else {}
    found = {}
    for group, rows in groups(request, usage.get(request, ())):
        total = quantity(meter, request, rows)
        before = quantity(meter, line.past, past.get(group, ())) if line.past else ZERO
        asked = _asked(line, currency, group, (total, before), events_for(card.price, rows))
        if not line.opens and card.terms.bounded:
            earlier = Fraction(period.net_minor, 10 ** minor_digits(currency))
            asked = replace(asked, previously_billed_amount=earlier)
        asked = card.terms.added(asked, line.served.index)
        if once:
            asked = replace(asked, discounts=tuple(each.discount for each in alike))
        details = details_of(_rated(asked), card, alike)
        foreign = None if card.fx is None else _foreign_minor(card.fx, asked)
        used = total - before if before else total
        found[group] = Worked(used, before, details, foreign)
    if once:
        found = _discounted_once(found, once, currency, period)
    period.net_minor += sum(each.net_minor for each in found.values())
    return found


def _discounted_once(
    found: Mapping[Pairs, Worked], once: Sequence[Reduction], currency: str, period: Period
) -> dict[Pairs, Worked]:
    """Take fixed discounts off all groups together: each counts once a period, not once a group."""
    left = dict(found)
    for reduction in once:
        nets = [Fraction(max(0, each.net_minor)) for each in left.values()]
        rest = _minor_of(reduction, currency) - period.taken.get(reduction, 0)
        taken = max(0, min(rest, int(sum(nets))))
        if not taken:
            continue
        period.taken[reduction] = period.taken.get(reduction, 0) + taken
        for (group, each), share in zip(list(left.items()), allocate(taken, nets), strict=True):
            left[group] = replace(each, details=taken_off(each.details, reduction, share))
    return left


def _minor_of(reduction: Reduction, currency: str) -> int:
    if not isinstance(reduction.discount, FixedDiscount):
        raise BrokenInvariant(f"{reduction} takes no fixed amount")
    return round_half_away(reduction.discount.amount * 10 ** minor_digits(currency))


def _asked(
    line: PlannedLine,
    currency: str,
    group: Pairs,
    totals: tuple[Fraction, Fraction],
    events: Events,
) -> RatingInput:
    """Return what is asked of rating for a total, less what was rated of it before.

    A total below zero was rated as zero (rule 9).
    """
    total, before = totals
    position = line.position
    if events.known:
        quantity = None if events.amounts is not None else max(ZERO, total)
        return RatingInput(
            currency,
            line.card.price,
            quantity,
            line_position=position,
            event_count=events.count,
            per_event_amounts=events.amounts,
        )
    rest = max(ZERO, before)
    return RatingInput(
        currency,
        line.card.price,
        total - rest if rest else total,
        pre_line_quantity=rest,
        line_position=position,
        dimensions=dict(group) if isinstance(line.card.price, MatrixPrice) else {},
    )


def _foreign_minor(exchange: Exchange, asked: RatingInput) -> int:
    """Return what usage comes to, before charges and discounts, where the price is from."""
    terms = exchange.before.terms
    plain = replace(
        asked,
        currency=exchange.rate.base,
        price=exchange.before.price,
        unit_conversion=terms.unit_conversion,
        usage_discount=terms.usage_discount,
        discounts=(),
        maximum=None,
        minimum=None,
        previously_billed_amount=None,
    )
    return sum(each.amount_minor for each in _rated(plain).lines)


def _rated(asked: RatingInput) -> Rated:
    rated = rate(asked)
    if isinstance(rated, Fault):
        raise Unrated(rated)
    return rated
