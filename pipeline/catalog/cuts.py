"""Cuts: which tick closes which period of whom.

Owns: when a period is due.  Does not own: booking (book), composing (invoice).
Law: a cut is the first tick with time >= period end + grace that also names the facts making
the period. It depends on two neighbouring ticks and their facts: any worker that starts
anywhere finds the same cuts.
"""

import heapq
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.legs import FOR_EVER, Leg, legs
from pipeline.catalog.offers import billed_in, books_for
from pipeline.catalog.periods import closings, periods
from pipeline.catalog.subscriptions import Subscription
from pipeline.core.calendar import EARLIEST, Instant
from pipeline.core.identity import partition_of
from pipeline.meter.ticks import Tick


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """A cut instant that a tick passed: whose, and in which currency."""

    instant: Instant
    payer: str
    currency: str


def horizon_at(catalog: Catalog, tick: Tick) -> Instant:
    """Return the last period end that is due at a tick: all up to it are cut."""
    return tick.time - (catalog.rules.grace_us if catalog.rules else 0)


class CutSchedule:
    """The period ends still ahead of a partition's customers.

    `pass_tick` must see every tick in order; made anew from any tick, it goes on alike.
    """

    def __init__(self, partition: int, catalog: Catalog, tick: Tick) -> None:
        """Stand at `tick`: what it or an earlier one cut is not cut again."""
        self._partition = partition
        self._catalog = catalog
        self._tick = tick
        self._ahead: list[tuple[Instant, str]] = []
        self._starts: list[tuple[Instant, str]] = []
        self._touched: set[str] = set()
        for subscription in self._own(catalog):
            self._push(subscription, horizon_at(catalog, tick))
            self._push_start(subscription, tick.time)

    def pass_tick(self, tick: Tick, catalog: Catalog) -> list[Due]:
        """Return the period ends that `tick` cuts, in order; `catalog` is at its position."""
        passed = horizon_at(self._catalog, self._tick)
        now = horizon_at(catalog, tick)
        due: set[Due] = set()
        if catalog.position != self._catalog.position:
            due |= self._changed(catalog, passed, now)
        while self._ahead and self._ahead[0][0] <= now:
            instant, subscription_id = heapq.heappop(self._ahead)
            subscription = catalog.subscriptions[subscription_id]
            due.add(self._due(catalog, subscription, instant))
            self._push(subscription, instant)
        self._tick = tick
        return sorted(due)

    def started(self) -> list[str]:
        """Return whose drafts the last tick passed touched, once each.

        A period of theirs began, or a subscription, its plan or its customer changed.
        """
        customers, self._touched = self._touched, set()
        while self._starts and self._starts[0][0] <= self._tick.time:
            instant, subscription_id = heapq.heappop(self._starts)
            subscription = self._catalog.subscriptions[subscription_id]
            customers.add(subscription.customer)
            self._push_start(subscription, instant)
        return sorted(customers)

    def _changed(self, catalog: Catalog, passed: Instant, now: Instant) -> set[Due]:
        """Take in new facts; return what new or changed subscriptions owe from the past."""
        due: set[Due] = set()
        old = self._catalog
        for subscription in self._own(catalog):
            before = old.subscriptions.get(subscription.id)
            if before == subscription and _parties(catalog, subscription) == _parties(old, before):
                continue
            self._touched.add(subscription.customer)
            if before and _rhythm(catalog, subscription) == _rhythm(old, before):
                continue
            known = (
                {self._due(old, before, each) for each in _closed(old, before, passed)}
                if before
                else ()
            )
            owed = {
                self._due(catalog, subscription, e) for e in _closed(catalog, subscription, now)
            }
            due |= owed.difference(known)
        self._catalog = catalog
        self._ahead, self._starts = [], []
        for subscription in self._own(catalog):
            self._push(subscription, min(passed, now))
            self._push_start(subscription, self._tick.time)
        return due

    def _own(self, catalog: Catalog) -> Iterable[Subscription]:
        partitions = catalog.parameters.partitions
        for subscription in catalog.subscriptions.values():
            if partition_of(subscription.customer, partitions) == self._partition:
                yield subscription

    def _push(self, subscription: Subscription, after: Instant) -> None:
        for instant in closings(self._catalog, subscription, after, FOR_EVER):
            heapq.heappush(self._ahead, (instant, subscription.id))
            return

    def _push_start(self, subscription: Subscription, after: Instant) -> None:
        for served in periods(self._catalog, subscription, after, FOR_EVER):
            if served.period.start > after:
                heapq.heappush(self._starts, (served.period.start, subscription.id))
                return

    @staticmethod
    def _due(catalog: Catalog, subscription: Subscription, instant: Instant) -> Due:
        return Due(instant, subscription.customer, billed_in(catalog, subscription))


def _parties(catalog: Catalog, subscription: Subscription) -> tuple[object, ...]:
    """Return what decides what a subscription is billed, besides itself."""
    plans = [catalog.plans[name] for name in sorted(subscription.plans)]
    currency, deals = billed_in(catalog, subscription), catalog.deals
    return (
        catalog.customers[subscription.customer],
        plans,
        books_for(catalog, subscription.customer),
        deals.redemptions.get(subscription.id, ()),
        [deals.rates.get((plan.currency, currency)) for plan in plans],
    )


def _rhythm(catalog: Catalog, subscription: Subscription) -> list[tuple[Hashable, ...]]:
    """Return what decides the cuts of a subscription."""
    return [_rhythm_of(leg) for leg in legs(catalog, subscription)]


def _rhythm_of(leg: Leg) -> tuple[Hashable, ...]:
    plan, customer = leg.plan, leg.customer
    whose = customer.id, customer.time_zone, plan.currency
    return leg.start, leg.end, leg.anchor, plan.cycle, leg.in_advance, *whose


def _closed(catalog: Catalog, subscription: Subscription, until: Instant) -> Iterable[Instant]:
    """Yield the cut instants of a subscription at or before `until`."""
    for instant in closings(catalog, subscription, EARLIEST - 1, until + 1):
        if instant <= until:
            yield instant
