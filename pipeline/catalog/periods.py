"""Service periods of a subscription: its cycles, cut off at its end.

Owns: which periods a subscription has and when their lines fall due.
Law: the periods of a subscription tile [start, end).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Customer, Plan, Subscription
from pipeline.core.calendar import Instant, Period, cycle_at, cycle_index


@dataclass(frozen=True, slots=True)
class ServicePeriod:
    """One cycle of one subscription. `cycle` is the whole cycle, `period` what was served.

    `due`: when its lines fall due, also those of a part of it. `index`: cycles of the subscription
    before this one.
    """

    subscription: Subscription
    plan: Plan
    customer: Customer
    cycle: Period
    period: Period
    due: Instant
    index: int

    def in_advance(self) -> "ServicePeriod":
        """Return the period, due when it starts."""
        return replace(self, due=self.period.start)

    def since(self, instant: Instant) -> "ServicePeriod":
        """Return the part of the period from `instant` on."""
        if instant <= self.period.start:
            return self
        return self.part(instant, self.period.end)

    def part(self, start: Instant, end: Instant) -> "ServicePeriod":
        """Return a part of the period, due when all of it is."""
        period = Period(start, end)
        return self if period == self.period else replace(self, period=period)


def parties(catalog: Catalog, subscription: Subscription) -> tuple[Plan, Customer]:
    """Return the plan and customer of a subscription."""
    return catalog.plans[subscription.plan], catalog.customers[subscription.customer]


def periods(
    catalog: Catalog, subscription: Subscription, after: Instant, until: Instant
) -> Iterator[ServicePeriod]:
    """Yield the periods that end after `after` and start before `until`, in order."""
    plan, customer = parties(catalog, subscription)
    last = until if subscription.end is None else min(until, subscription.end)
    anchor, zone = subscription.start, customer.time_zone
    index = max(0, cycle_index(after, anchor, plan.cycle, zone))
    while True:
        cycle = cycle_at(anchor, plan.cycle, index, zone)
        if cycle.start >= last:
            return
        end = cycle.end if subscription.end is None else min(cycle.end, subscription.end)
        if end > max(after, cycle.start):  # a day the zone never had (Apia, 2011) is no period
            period = Period(cycle.start, end)
            yield ServicePeriod(subscription, plan, customer, cycle, period, end, index)
        index += 1


def closings(
    catalog: Catalog, subscription: Subscription, after: Instant, until: Instant
) -> Iterator[Instant]:
    """Yield the cut instants after `after` of the periods that start before `until`, in order.

    Each end of a period; also the first start, where a plan has fees in advance. A later start is
    an end, or close behind one (a day that the zone never had).
    """
    plan, _ = parties(catalog, subscription)
    for served in periods(catalog, subscription, after, until):
        start = served.period.start
        if plan.in_advance and start == subscription.start and start > after:
            yield start
        yield served.period.end
