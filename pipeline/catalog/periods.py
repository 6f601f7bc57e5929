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
    """One cycle of one subscription. `cycle` is the whole cycle, `period` what was served."""

    subscription: Subscription
    plan: Plan
    customer: Customer
    cycle: Period
    period: Period

    def since(self, instant: Instant) -> "ServicePeriod":
        """Return the part of the period from `instant` on."""
        if instant <= self.period.start:
            return self
        return replace(self, period=Period(instant, self.period.end))


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
            yield ServicePeriod(subscription, plan, customer, cycle, period)
        index += 1
