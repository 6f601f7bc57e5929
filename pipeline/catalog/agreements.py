"""Agreements: what a subscription says, held against the plans that it names.

Owns: fees and prices that no plan of it has, plans that cannot stand beside each other.
Does not own: the entry alone (subscription_entries.py), what was billed already (edits.py).
Law: a subscription without a fault here is billed whatever becomes of it.
"""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.catalog.cards import meter_faults
from pipeline.catalog.commitments import agreed_faults
from pipeline.catalog.documents import Plan
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.subscriptions import Alignment, Change, Subscription
from pipeline.catalog.yaml import shown
from pipeline.meter.meters import Meter


def agreement_faults(
    sold: Subscription, plans: Mapping[str, Plan], meters: Mapping[str, Meter]
) -> Iterator[tuple[str, str]]:
    """Yield (path below the subscription, what is wrong); nothing of plans nobody knows."""
    if not plans.keys() >= sold.plans:
        return
    yield from _plan_faults(sold, plans)
    own = [plans[change.plan] for change in sold.agreed if change.plan is not None]
    fees = _fees(sold, own, plans)
    for place, change in enumerate(sold.agreed):
        where = f"changes[{place - 1}]." if place else ""
        for item in sorted(change.quantities.keys() - fees):
            told = f"no flat fee {shown(item)} in its plans: use {_one_of(sorted(fees))}"
            yield f"{where}quantities.{item}", told
        yield from _price_faults(where, change, own, meters)


def _plan_faults(sold: Subscription, plans: Mapping[str, Plan]) -> Iterator[tuple[str, str]]:
    first = plans[sold.plan]
    named = [("plan", first)]
    named += [
        (f"changes[{place}].plan", plans[change.plan])
        for place, change in enumerate(sold.changes)
        if change.plan is not None
    ]
    named += [(f"add_ons[{place}].plan", plans[a.plan]) for place, a in enumerate(sold.add_ons)]
    for path, plan in named:
        if plan.currency != first.currency:
            told = f"{plan.id} is in {plan.currency} and {first.id} in {first.currency}"
            yield path, f"{told}: a subscription bills in one currency, make another subscription"
        cycle = plan.cycle
        mixed = sum(map(bool, (cycle.months, cycle.days, cycle.seconds))) > 1
        if sold.anchor is Alignment.CALENDAR and mixed:
            told = f"{plan.id} has a cycle of {cycle.text}, which no calendar shows"
            yield "anchor", f"{told}: remove it, or name an instant"


def _price_faults(
    where: str, change: Change, own: Sequence[Plan], meters: Mapping[str, Meter]
) -> Iterator[tuple[str, str]]:
    for place, card in enumerate(change.prices):
        path = f"{where}prices[{place}]"
        standing = [plan for plan in own if card.id in {each.id for each in _cards(plan)}]
        if not standing:
            ids = sorted({each.id for plan in own for each in _cards(plan)})
            yield f"{path}.id", f"its plans have no price {card.id}: use {_one_of(ids)}"
        for plan in standing:
            meter = meters.get(card.meter) if card.meter is not None else None
            for key, fault in meter_faults(meter, plan.cycle, plan.currency, card):
                yield f"{path}.{key}", fault
            beside = [*_cards(plan)]
            faults = {
                fault: None  # each once: a phase may have the price too
                for before in beside
                if before.id == card.id
                for fault in agreed_faults(card, before, beside)
            }
            for fault in faults:
                yield f"{path}.covers", fault


def _fees(sold: Subscription, own: Sequence[Plan], plans: Mapping[str, Plan]) -> set[str]:
    """Return the items that can have a quantity."""
    found = {card.id for plan in own for card in _cards(plan) if card.meter is None}
    for add_on in sold.add_ons:
        cards = _cards(plans[add_on.plan])
        found |= {f"{add_on.id}/{card.id}" for card in cards if card.meter is None}
    return found


def _cards(plan: Plan) -> Iterator[PlanPrice]:
    for _, _, revision in plan.spans():
        yield from revision.prices
        for phase in revision.phases:
            yield from phase.prices or ()


def _one_of(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)}" if names else "a plan that has one"
