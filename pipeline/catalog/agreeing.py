"""Agreeing: one more thing agreed with a customer, on top of what is.

Owns: where a change, a pause or an end goes among what was agreed before.
Does not own: whether it may (agreements.py, edits.py), who decides (cli).
Law: what is not named stays as it was agreed; a ValueError says how to mend.
"""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.legs import legs
from pipeline.catalog.periods import leg_periods
from pipeline.catalog.subscriptions import Change, Pause, Subscription
from pipeline.core.calendar import Instant, instant_text


def changed(
    sold: Subscription, at: Instant, plan: str | None, quantities: Mapping[str, Fraction]
) -> Subscription:
    """Return it with another plan or other quantities from an instant on."""
    if plan is None and not quantities:
        raise ValueError(f"nothing to change of {sold.id}: name a plan or a quantity")
    rest = [each for each in sold.changes if each.at != at]
    before = next((each for each in sold.changes if each.at == at), Change(at))
    told = replace(before, plan=plan or before.plan, quantities={**before.quantities, **quantities})
    return replace(sold, changes=tuple(sorted([*rest, told], key=lambda each: each.at)))


def paused(sold: Subscription, start: Instant, end: Instant | None) -> Subscription:
    """Return it with a pause."""
    pauses = sorted([*sold.pauses, Pause(start, end)], key=lambda each: each.start)
    return replace(sold, pauses=tuple(pauses))


def resumed(sold: Subscription, at: Instant) -> Subscription:
    """Return it with the pause that holds an instant ended there."""
    held = next(
        (each for each in sold.pauses if each.start < at and (each.end is None or at < each.end)),
        None,
    )
    if held is None:
        raise ValueError(f"{sold.id} is not paused at {instant_text(at)}: choose another instant")
    pauses = (replace(each, end=at) if each == held else each for each in sold.pauses)
    return replace(sold, pauses=tuple(pauses))


def ended(sold: Subscription, at: Instant) -> Subscription:
    """Return it with an end."""
    return replace(sold, end=at)


def period_end(catalog: Catalog, sold: Subscription, at: Instant) -> Instant:
    """Return the end of the period of its own plan that holds an instant."""
    for leg in legs(catalog, sold):
        if leg.add_on or at < leg.start or (leg.end is not None and leg.end <= at):
            continue
        return next(served.period.end for served in leg_periods(leg, at, at + 1))
    raise ValueError(f"{sold.id} is not served at {instant_text(at)}: name an instant with --at")
