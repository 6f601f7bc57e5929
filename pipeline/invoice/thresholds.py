"""Thresholds: which amounts of spending the running periods of a payer came to.

Owns: what counts as spent in a period, and what is told of it.
Does not own: the amounts (catalog/early.py), writing (workers/drafting.py).
Law: what was billed early counts with what is left, so that an early document moves no threshold.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import cast

from pipeline.catalog.corrections import Decision
from pipeline.catalog.early import EarlyUsage, PeriodKey, Thresholds
from pipeline.catalog.facts import FactKind
from pipeline.catalog.legs import Leg
from pipeline.core.identity import Json
from pipeline.core.money import minor_digits
from pipeline.core.quantity import quantity_text
from pipeline.invoice.details import Detail
from pipeline.invoice.lines import Line, LineKey
from pipeline.invoice.parts import PlannedLine

Content = Mapping[str, Json]


def thresholds_reached(
    lines: Sequence[PlannedLine],
    contents: Iterable[Content],
    currency: str,
    known: Mapping[PeriodKey, int],
) -> list[Decision]:
    """Return what is to be told of the periods of a payer's draft; `known` was told already."""
    watched = [line for line in lines if line.request is not None and _of(line.served.leg)]
    if not watched:
        return []
    spent: dict[PeriodKey, int] = {}
    legs: dict[PeriodKey, Leg] = {}
    periods: dict[tuple[str, str, int], PeriodKey] = {}
    for line in watched:
        key, leg = _period(line), line.served.leg
        legs[key] = leg
        periods[line.key.subscription, line.key.price, line.key.start] = key
        billed = sum(detail.net_minor for each in line.early for detail in each.details)
        spent[key] = spent.get(key, 0) + billed
    for told in (line for content in contents for line in cast(list[Line], content["lines"])):
        at = LineKey.of_line(told)
        period = periods.get((at.subscription, at.price, at.start))
        if period is not None:
            children = map(Detail.of_child, cast(list[Line], told["children"]))
            spent[period] += sum(detail.net_minor for detail in children)
    scale, found = 10 ** minor_digits(currency), []
    for key, minor in sorted(spent.items()):
        thresholds = _of(legs[key])
        ordinal = 0 if thresholds is None else thresholds.reached(Fraction(minor, scale))
        if thresholds is not None and ordinal > known.get(key, 0):
            subscription, add_on, start = key
            amount = quantity_text(thresholds.amount(ordinal))
            early = EarlyUsage(subscription, start, add_on, ordinal, amount)
            payer = legs[key].customer.payer
            found.append(Decision(FactKind.THRESHOLD_REACHED, payer, currency, 0, early=early))
    return found


def _of(leg: Leg) -> Thresholds | None:
    """Return the thresholds of a leg.

    Those of a plan hold where it is billed in its own currency.
    """
    own = leg.subscription.thresholds
    if own is not None and not leg.add_on:
        return own
    return None if leg.plan.priced_in else leg.plan.thresholds


def _period(line: PlannedLine) -> PeriodKey:
    leg = line.served.leg
    return leg.subscription.id, leg.add_on, max(line.served.cycle.start, leg.start)
