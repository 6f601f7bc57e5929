"""Legs: a subscription as stretches, each on one plan, in one phase of it, served throughout.

Owns: what a trial, phases, changes of plan, pauses and add-ons make of a subscription's life;
which rate card is in force when within a leg.
Does not own: cycles within a leg (periods.py), what is billed (invoice).
Law: the legs of one item tile what is served of it: no gap but pauses, no overlap.

A leg's end is the end of a period, so it is cut there. Cycles are counted from the anchor: an
instant that the subscription names, or the calendar, or else the start, the end of its trial,
or the change to a plan of another cycle.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Customer, Plan
from pipeline.catalog.offers import offered
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.catalog.subscriptions import Alignment, Change, Subscription
from pipeline.core.calendar import Duration, Instant, aligned, cycle_edge

FOR_EVER: Instant = 1 << 62


DatedCard = tuple[Instant, Instant | None, PlanPrice]
"""From when to when a rate card is in force."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One stretch [start, end) of a subscription. `since`: what its discounts count cycles from.

    `phase` is a place among the plan's; `free`: a trial. `add_on` is empty for the subscription's
    own plan.
    """

    subscription: Subscription
    customer: Customer
    plan: Plan
    start: Instant
    end: Instant | None
    anchor: Instant
    since: Instant
    phase: int | None = None
    free: bool = False
    add_on: str = ""

    def item(self, price: str) -> str:
        """Return what a price is billed as: add-ons may have prices of the same ids."""
        return f"{self.add_on}/{price}" if self.add_on else price

    @property
    def prices(self) -> list[str]:
        """The ids of all prices in force at any time within the leg."""
        found = (revision.prices_in(self.phase) for _, _, revision in self._revisions())
        return list({card.id: None for cards in found for card in cards})

    @property
    def in_advance(self) -> bool:
        """Whether anything is due when a period starts."""
        if self.free:
            return False
        if not self._is_agreed:  # as most: every card is one of its plan
            listed = (revision.prices_in(self.phase) for _, _, revision in self._revisions())
            return any(card.in_advance for cards in listed for card in cards)
        return any(card.in_advance for price in self.prices for _, _, card in self.cards(price))

    def cards(self, price: str) -> Iterator[DatedCard]:
        """Yield the rate cards that a price has, in order of time."""
        if self._as_listed:
            yield from ((self.start, self.end, c) for c in self.plan.prices if c.id == price)
            return
        for start, end, revision in self._revisions():
            cards = revision.prices_in(self.phase)
            card = next((card for card in cards if card.id == price), None)
            if card is None:
                continue
            for since, until, agreed in self._agreed(start, end):
                yield since, until, self._changed(card, revision, agreed)

    @property
    def _as_listed(self) -> bool:
        """Whether the plan's prices hold throughout, as most do."""
        return self.plan.earlier is None and self.phase is None and not self._is_agreed

    @property
    def _is_agreed(self) -> bool:
        """Whether anything of its prices is the customer's own."""
        sold = self.subscription
        return bool(sold.changes or sold.quantities or sold.prices)

    def _revisions(self) -> Iterator[tuple[Instant, Instant | None, Plan]]:
        for since, until, revision in reversed([*self.plan.spans()]):
            start = self.start if since is None else max(self.start, since)
            end = _earlier(self.end, until)
            if end is None or start < end:
                yield start, end, revision

    def _agreed(
        self, start: Instant, end: Instant | None
    ) -> Iterator[tuple[Instant, Instant | None, Sequence[Change]]]:
        """Yield [start, end) in parts, each with what was agreed by then, the latest first."""
        known = list(self.subscription.agreed)
        ahead = [change.at for change in known if start < change.at < (end or FOR_EVER)]
        edges = [start, *ahead]
        for since, until in zip(edges, [*ahead, end], strict=True):
            yield since, until, [change for change in reversed(known) if change.at <= since]

    def _changed(self, card: PlanPrice, revision: Plan, agreed: Sequence[Change]) -> PlanPrice:
        """Return a rate card of the plan as it was agreed with the customer.

        What a phase takes off comes off a price of the customer's own too.
        """
        if not any(change.prices or change.quantities for change in agreed):
            return card
        if not self.add_on:
            own = (each for change in agreed for each in change.prices if each.id == card.id)
            agreed_card = next(own, None)
            if agreed_card is not None:
                plan = self.plan
                listed = agreed_card.told_as(card.tax, card.seller)
                card = listed.in_currency(plan.priced_in or plan.currency, plan.currency)
                phase = revision.phase(self.phase)
                card = card if phase is None else phase.reduced(card)
        item = self.item(card.id)
        told = (change.quantities[item] for change in agreed if item in change.quantities)
        quantity = next(told, None)
        return card if quantity is None else card.of_quantity(quantity)


def legs(catalog: Catalog, sold: Subscription) -> list[Leg]:
    """Return the legs of a subscription, add-ons last, each in order of time."""
    customer = catalog.customers[sold.customer]
    first = offered(catalog, sold.plan, sold)
    plain = not (sold.changes or sold.pauses or sold.add_ons or sold.trial_end or sold.anchor)
    if plain and first.trial is None and not first.phases:
        return [Leg(sold, customer, first, sold.start, sold.end, sold.start, sold.start)]
    whole = [*_own(catalog, sold, customer), *_add_ons(catalog, sold, customer)]
    return [leg for each in whole for leg in _served(each)]


def _own(catalog: Catalog, sold: Subscription, customer: Customer) -> Iterator[Leg]:
    """Yield the legs of the subscription's own plans, as if it were never paused."""
    first, zone = offered(catalog, sold.plan, sold), customer.time_zone
    stays = [(change.at, change.plan) for change in sold.agreed if change.plan is not None]
    ends: list[Instant | None] = [*(at for at, _ in stays[1:]), sold.end]
    trial = _trial_end(sold, first, zone)
    anchor, cycle = max(sold.start, trial), first.cycle
    for (start, name), end in zip(stays, ends, strict=True):
        plan = offered(catalog, name, sold)
        since = max(start, trial)
        if start < since:
            until = _earlier(since, end)
            yield Leg(sold, customer, plan, start, until, start, start, free=True)
        if plan.cycle != cycle:
            anchor, cycle = since, plan.cycle
        fixed = _anchor(sold, plan.cycle, since, zone)
        stay = Leg(sold, customer, plan, since, end, anchor if fixed is None else fixed, since)
        yield from _phases(stay, zone)


def _trial_end(sold: Subscription, plan: Plan, time_zone: str) -> Instant:
    if sold.trial_end is not None:
        return sold.trial_end
    return sold.start if plan.trial is None else cycle_edge(sold.start, plan.trial, 1, time_zone)


def _anchor(sold: Subscription, cycle: Duration, start: Instant, zone: str) -> Instant | None:
    """Return the anchor that a subscription names for cycles from `start` on."""
    match sold.anchor:
        case Alignment.CALENDAR:
            return aligned(start, cycle, zone)
        case named:
            return named


def _phases(stay: Leg, time_zone: str) -> Iterator[Leg]:
    start = stay.start
    for place, phase in enumerate(stay.plan.phases):
        end = cycle_edge(start, phase.length, 1, time_zone)
        yield replace(stay, start=start, end=_earlier(stay.end, end), phase=place)
        start = end
    yield stay if start == stay.start else replace(stay, start=start)


def _add_ons(catalog: Catalog, sold: Subscription, customer: Customer) -> Iterator[Leg]:
    first, zone = offered(catalog, sold.plan, sold), customer.time_zone
    trial = _trial_end(sold, first, zone)
    for add_on in sold.add_ons:
        plan, start, name = offered(catalog, add_on.plan, sold), add_on.start, add_on.id
        since = max(start, trial)
        if start < since:
            until = _earlier(since, add_on.end)
            yield Leg(sold, customer, plan, start, until, start, start, free=True, add_on=name)
        fixed = _anchor(sold, plan.cycle, since, zone)
        if fixed is None:
            fixed = max(sold.start, trial) if plan.cycle == first.cycle else since
        stay = Leg(sold, customer, plan, since, add_on.end, fixed, since, add_on=name)
        yield from _phases(stay, zone)


def _served(leg: Leg) -> Iterator[Leg]:
    """Yield what is left of a leg between pauses and before the subscription's end."""
    end = _earlier(leg.end, leg.subscription.end)
    start = leg.start
    for pause in leg.subscription.pauses:
        if end is not None and pause.start >= end:
            break
        if start < pause.start:
            yield replace(leg, start=start, end=pause.start)
        if pause.end is None:
            return
        start = max(start, pause.end)
    if end is None or start < end:
        as_it_was = (start, end) == (leg.start, leg.end)  # as most: never paused
        yield leg if as_it_was else replace(leg, start=start, end=end)


def _earlier(one: Instant | None, other: Instant | None) -> Instant | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
