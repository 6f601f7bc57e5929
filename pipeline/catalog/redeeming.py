"""Redeeming: whether a subscription may have a promotion code, and for which cycles it has it.

Owns: limits, and the stretch of time that a redemption covers.
Does not own: promotions themselves (promotions.py), discounts on lines (invoice/planned.py).
Law: the stretch follows from the subscription and the moment it was redeemed: it begins with the
cycle of that moment, for a fee in advance with the next one to begin, and counts served cycles.
"""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.catalog.legs import Leg, legs
from pipeline.catalog.periods import ServicePeriod
from pipeline.catalog.promotions import Promotion, Redemption
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.subscriptions import Subscription
from pipeline.core.calendar import Instant, cycle_edge, cycle_index, instant_text
from pipeline.rate import FixedDiscount


def redeeming(catalog: Catalog, code: str, subscription: str, at: Instant) -> list[NewFact]:
    """Return the fact that redeems a code; none where the subscription has it already.

    Raises:
        ValueError: there is no such code or subscription, or it may not have it: why.

    """
    found, sold = catalog.deals.promotions.get(code), catalog.subscriptions.get(subscription)
    if found is None:
        raise ValueError(f"no promotion {code}: `talea promotion list` shows all")
    if sold is None:
        raise ValueError(
            f"no subscription {subscription}: `talea catalog show subscription` lists all"
        )
    if any(each.promotion == code for each in catalog.deals.redemptions.get(subscription, ())):
        return []
    for refusal in _refusals(catalog, found, sold, at):
        raise ValueError(refusal)
    new = Redemption(
        code,
        sold.customer,
        subscription,
        at,
        found.reduction,
        found.discount,
        found.plans,
        found.prices,
    )
    return [NewFact(FactKind.REDEMPTION, f"{code}/{subscription}", new.body())]


def _refusals(catalog: Catalog, code: Promotion, sold: Subscription, at: Instant) -> Iterator[str]:
    if code.starts is not None and at < code.starts:
        yield f"{code.id} may be redeemed from {instant_text(code.starts)} on"
    if code.ends is not None and at >= code.ends:
        yield f"{code.id} could be redeemed before {instant_text(code.ends)}: it is over"
    if sold.end is not None and at >= sold.end:
        yield f"{sold.id} ended at {instant_text(sold.end)}"
    if code.plans and sold.plans.isdisjoint(code.plans):
        yield f"{code.id} is for {', '.join(code.plans)}, and {sold.id} is on neither"
    used = [r for own in catalog.deals.redemptions.values() for r in own if r.promotion == code.id]
    if code.redemptions_max is not None and len(used) >= code.redemptions_max:
        yield f"{code.id} was redeemed {len(used)} times, and that is all: make another code"
    own = sum(each.customer == sold.customer for each in used)
    if code.per_customer_max is not None and own >= code.per_customer_max:
        yield f"{sold.customer} redeemed {code.id} {own} times, and that is all for a customer"
    yield from _unfit(catalog, code, sold)


def _unfit(catalog: Catalog, code: Promotion, sold: Subscription) -> Iterator[str]:
    """Yield why a code can take nothing off a subscription, or not as it says."""
    found = [
        leg
        for leg in legs(catalog, sold)
        if not code.plans or leg.plan.id in code.plans
        for price in leg.prices
        if not code.prices or price in code.prices
        if any(card.covers is None for _, _, card in leg.cards(price))
    ]
    if not found:
        names = ", ".join(code.prices) or "any price"
        yield f"{code.id} takes something off {names}, and {sold.id} has none such"
    if not isinstance(code.reduction.discount, FixedDiscount):
        return
    for billed in sorted({leg.plan.currency for leg in found} - {code.currency}):
        yield f"{code.id} is in {code.currency}, and {sold.id} is billed in {billed}"


def promoted(catalog: Catalog, served: ServicePeriod, card: PlanPrice) -> PlanPrice:
    """Return a rate card with what promotion codes take off it in a period."""
    if card.covers is not None:  # its prices are what is promoted, and come to less
        return card
    for each in catalog.deals.redemptions.get(served.subscription.id, ()):
        if each.falls_on(served.plan.id, card.id) and _covers(catalog, each, served, card):
            terms = card.terms.less(replace(each.reduction, cycles=None))
            card = replace(card, terms=terms)
    return card


def _covers(catalog: Catalog, each: Redemption, served: ServicePeriod, card: PlanPrice) -> bool:
    first = next((leg for leg in legs(catalog, served.subscription) if _paid(leg, each.at)), None)
    if first is None:
        return False
    begun = max(each.at, first.start)
    index = cycle_index(begun, first.anchor, first.plan.cycle, first.customer.time_zone)
    if card.in_advance:
        if max(served.cycle.start, served.leg.start) < begun:
            return False
        index += begun not in (_edge(first, index), first.start)
    elif served.period.end <= begun:
        return False
    cycles = each.reduction.cycles
    return cycles is None or served.cycle.start < _edge(first, index + cycles)


def _paid(leg: Leg, at: Instant) -> bool:
    """Whether a leg of the subscription's own plans charges anything after an instant."""
    return not leg.add_on and not leg.free and (leg.end is None or leg.end > at)


def _edge(leg: Leg, index: int) -> Instant:
    return cycle_edge(leg.anchor, leg.plan.cycle, index, leg.customer.time_zone)
