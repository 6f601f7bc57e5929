"""Service periods of a subscription: the cycles of each of its legs, cut off at the leg's end.

Owns: which periods a subscription has and when their lines fall due.
Law: the periods of a leg tile [start, end).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import merge
from itertools import groupby
from typing import TypeAlias

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Customer, Plan
from pipeline.catalog.legs import FOR_EVER, Leg, legs
from pipeline.catalog.offers import billed_in
from pipeline.catalog.orders import Order
from pipeline.catalog.subscriptions import Subscription
from pipeline.core.calendar import Duration, Instant, Period, cycle_at, cycle_index

_AT_ONCE = Duration(0, 0, 1)
"""The cycle of what has none."""


@dataclass(frozen=True, slots=True)
class ServicePeriod:
    """One cycle of one leg. `cycle` is the whole cycle, `period` what was served.

    `due`: when its lines fall due, also those of a part of it. `index`: cycles before this one,
    for discounts.
    """

    leg: Leg
    cycle: Period
    period: Period
    due: Instant
    index: int

    @property
    def plan(self) -> Plan:
        """The plan it is billed by."""
        return self.leg.plan

    @property
    def customer(self) -> Customer:
        """Who is billed."""
        return self.leg.customer

    @property
    def subscription(self) -> Subscription:
        """What is billed."""
        return self.leg.subscription

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


def leg_periods(leg: Leg, after: Instant, until: Instant) -> Iterator[ServicePeriod]:
    """Yield the periods of a leg that end after `after` and start before `until`, in order."""
    cycle, zone = leg.plan.cycle, leg.customer.time_zone
    last = until if leg.end is None else min(until, leg.end)
    counted_from = 0 if leg.since == leg.anchor else cycle_index(leg.since, leg.anchor, cycle, zone)
    index = cycle_index(max(after, leg.start), leg.anchor, cycle, zone)
    while True:
        whole = cycle_at(leg.anchor, cycle, index, zone)
        start = max(whole.start, leg.start)
        if start >= last:
            return
        end = whole.end if leg.end is None else min(whole.end, leg.end)
        if end > max(after, start):  # a day the zone never had (Apia, 2011) is no period
            yield ServicePeriod(leg, whole, Period(start, end), end, index - counted_from)
        index += 1


def periods(
    catalog: Catalog, subscription: Subscription, after: Instant, until: Instant
) -> Iterator[ServicePeriod]:
    """Yield the periods of every leg that end after `after` and start before `until`, by start."""
    found = [leg_periods(leg, after, until) for leg in legs(catalog, subscription)]
    yield from merge(*found, key=lambda served: served.period.start)


Sold: TypeAlias = Subscription | Order


def ordered(order: Order, customer: Customer) -> ServicePeriod:
    """Return when an order is served: at its instant, by prices of its own."""
    plan = Plan(
        order.id, order.id, order.issuer, order.currency, _AT_ONCE, order.payment_days, order.lines
    )
    sold = Subscription("", order.customer, order.id, order.at, order.at)
    leg = Leg(sold, customer, plan, order.at, order.at, order.at, order.at, add_on=order.id)
    moment = Period(order.at, order.at)
    return ServicePeriod(leg, moment, moment, order.at, 0)


def sold_to(catalog: Catalog, payer: str) -> list[Sold]:
    """Return all that a payer is invoiced for, by account."""
    return [*catalog.subscriptions_paid_by(payer), *catalog.orders_paid_by(payer)]


def starts(catalog: Catalog, sold: Sold, after: Instant) -> Iterator[Instant]:
    """Yield the starts of periods after an instant."""
    if isinstance(sold, Order):
        if after < sold.at:
            yield sold.at
        return
    for served in periods(catalog, sold, after, FOR_EVER):
        if served.period.start > after:
            yield served.period.start


def currency_of(catalog: Catalog, sold: Sold) -> str:
    """Return the currency that something sold is billed in."""
    return sold.currency if isinstance(sold, Order) else billed_in(catalog, sold)


def closings(catalog: Catalog, sold: Sold, after: Instant, until: Instant) -> Iterator[Instant]:
    """Yield the cut instants after `after` of the periods that start before `until`, in order.

    Each end of a period; also a leg's first start, where it has fees in advance. A later start is
    an end, or close behind one (a day that the zone never had). An order has its instant.
    """
    if isinstance(sold, Order):
        if after < sold.at < until:
            yield sold.at
        return
    found = [_closings(leg, after, until) for leg in legs(catalog, sold)]
    yield from (instant for instant, _ in groupby(merge(*found)))


def _closings(leg: Leg, after: Instant, until: Instant) -> Iterator[Instant]:
    if after < leg.start < until and leg.in_advance:
        yield leg.start
    for served in leg_periods(leg, after, until):
        yield served.period.end


def last_closing(catalog: Catalog, subscription: Subscription, until: Instant) -> Instant | None:
    """Return the last cut instant of a subscription at or before `until`; None: there is none."""
    found: list[Instant] = []
    for leg in legs(catalog, subscription):
        last = until if leg.end is None else min(until, leg.end)
        near = _closings(leg, last - 2 * leg.plan.cycle.nominal_us, until + 1)
        found += [instant for instant in near if instant <= until]
    return max(found, default=None)
