"""Cuts: which tick closes which period of whom.

Owns: when a period is due.  Does not own: booking (book), composing (invoice).
Law: a cut is the first tick with time >= period end + grace that also names the facts making
the period. It depends on two neighbouring ticks and their facts: any worker that starts
anywhere finds the same cuts. Nothing is left unbilled: what is over as soon as it is known, or is
not sold any more, is cut once more where no cut of its own would follow.
"""

from array import array
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.legs import FOR_EVER, Leg, legs
from pipeline.catalog.offers import billed_in, books_for
from pipeline.catalog.orders import Order
from pipeline.catalog.periods import Sold, closings, currency_of, sold_to, starts
from pipeline.core.calendar import EARLIEST, Instant
from pipeline.core.identity import partition_of
from pipeline.meter.ticks import Tick


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """A cut instant that a tick passed: whose, and in which currency.

    `fact` is the serial of the decision that caused it; 0: a period ended. `over`: it is the last
    of something sold, and what that owes is on no other document.
    """

    instant: Instant
    payer: str
    currency: str
    fact: int = 0
    over: bool = False


Closed = tuple[str, str, Instant]
"""(payer, currency, instant) of a cut."""


def instant_of(due: Due, cut: Mapping[Closed, int], serial: int) -> Instant | None:
    """Return the instant that the tick `serial` cuts; None where `cut` has it, by tick, already.

    No instant is cut twice: what is over and comes too late for its own has the next one free,
    unless the same tick cuts its own, for all that is due is billed there.
    """
    instant = due.instant
    while (known := cut.get((due.payer, due.currency, instant))) is not None:
        if not due.over or known == serial:
            return None
        instant += 1
    return instant


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
        self._ahead, self._starts = _Edges(), _Edges()
        self._touched: set[str] = set()
        for sold in self._own(catalog):
            self._push(sold, horizon_at(catalog, tick))
            self._push_start(sold, tick.time)

    def pass_tick(self, tick: Tick, catalog: Catalog) -> list[Due]:
        """Return the period ends that `tick` cuts, in order; `catalog` is at its position."""
        passed = horizon_at(self._catalog, self._tick)
        now = horizon_at(catalog, tick)
        due: set[Due] = set()
        if catalog.position != self._catalog.position:
            due |= self._decided(catalog) | self._changed(catalog, passed, now)
        while passed_now := self._ahead.pop(now):
            for instant, key in passed_now:
                sold = _found(catalog, key)
                due.add(_due(catalog, sold, instant))
                self._push(sold, instant)
        self._tick = tick
        return sorted(due)

    def started(self) -> list[str]:
        """Return whose drafts the last tick passed touched, once each.

        A period of theirs began, a subscription, its plan or its customer changed, or somebody
        wrote on a document of theirs by hand.
        """
        customers, self._touched = self._touched, set()
        while begun := self._starts.pop(self._tick.time):
            for instant, key in begun:
                sold = _found(self._catalog, key)
                customers.add(self._catalog.accounts.payer(sold.customer))
                self._push_start(sold, instant)
        return sorted(customers)

    def _decided(self, catalog: Catalog) -> set[Due]:
        """Return the cuts that new decisions cause."""
        new = catalog.deals.decisions.between(self._catalog.position, catalog.position)
        partitions = catalog.parameters.partitions
        return {
            Due(each.at, each.payer, each.currency, each.serial)
            for each in new
            if partition_of(each.payer, partitions) == self._partition
        }

    def _changed(self, catalog: Catalog, passed: Instant, now: Instant) -> set[Due]:
        """Take in new facts; return what is newly sold or changed and owed from the past."""
        due, moved, old = set[Due](), dict[_Key, Sold](), self._catalog
        for sold in self._own(catalog, catalog.touched.since(old.position)):
            before = _before(old, sold)
            if before == sold and _parties(catalog, sold) == _parties(old, before):
                continue
            self._touched.add(catalog.accounts.payer(sold.customer))
            if before and _rhythm(catalog, sold) == _rhythm(old, before):
                continue
            moved[_key(sold)] = sold
            due |= _owed(old, catalog, sold, passed, now)
        self._touched.update(
            customer
            for customer, position in catalog.by_hand.of_customers.items()
            if position > old.position
            and partition_of(customer, catalog.parameters.partitions) == self._partition
        )
        self._catalog = catalog
        if now < passed:  # a longer grace: what ended since is ahead again
            moved = {_key(sold): sold for sold in self._own(catalog)}
        self._ahead.drop(moved)
        self._starts.drop(moved)
        for sold in moved.values():
            self._push(sold, min(passed, now))
            self._push_start(sold, self._tick.time)
        return due

    def _own(self, catalog: Catalog, only: Iterable[str] | None = None) -> Iterable[Sold]:
        """Yield what the partition's customers have, or some customers of them."""
        partitions = catalog.parameters.partitions
        known: Iterable[Sold]
        if only is None:
            known = chain[Sold](catalog.subscriptions.values(), catalog.orders.by_id.values())
        else:
            known = (
                sold
                for payer in sorted({*map(catalog.accounts.payer, only)})
                for sold in sold_to(catalog, payer)
            )
        for sold in known:
            if partition_of(sold.customer, partitions) == self._partition:
                yield sold

    def _push(self, sold: Sold, after: Instant) -> None:
        for instant in closings(self._catalog, sold, after, FOR_EVER):
            self._ahead.push(instant, _key(sold))
            return

    def _push_start(self, sold: Sold, after: Instant) -> None:
        for instant in starts(self._catalog, sold, after):
            self._starts.push(instant, _key(sold))
            return


def owed_at_once(old: Catalog, catalog: Catalog, payer: str, tick: Tick) -> list[Due]:
    """Return what the next tick cuts of a payer because facts make `catalog` of `old`."""
    due, passed, now = set[Due](), horizon_at(old, tick), horizon_at(catalog, tick)
    for sold in sold_to(catalog, payer):
        before = _before(old, sold)
        if before is None or _rhythm(catalog, sold) != _rhythm(old, before):
            due |= _owed(old, catalog, sold, passed, now)
    return sorted(due)


def _owed(old: Catalog, catalog: Catalog, sold: Sold, passed: Instant, now: Instant) -> set[Due]:
    """Return what is owed from the past of something that is new, or has another rhythm."""
    before = _before(old, sold)
    due = {_due(catalog, sold, each) for each in _closed(catalog, sold, now)}
    if before is not None:
        due -= {_due(old, before, each) for each in _closed(old, before, passed)}
    last = _last_owed(catalog, sold, now, _is_ahead(old, before, passed))
    if last is not None:
        plain = _due(catalog, sold, last)
        due.discard(plain)
        due.add(replace(plain, over=True))
    return due


def _due(catalog: Catalog, sold: Sold, instant: Instant) -> Due:
    return Due(instant, catalog.accounts.payer(sold.customer), currency_of(catalog, sold))


def _before(old: Catalog, sold: Sold) -> Sold | None:
    """Return what was sold under the same name before."""
    return _all_like(old, isinstance(sold, Order)).get(sold.id)


_Key = tuple[bool, str]
"""(whether it is an order, its id)."""


class _Edges:
    """The next instant of each that has one ahead, in a few bytes: every customer has two."""

    __slots__ = ("_at", "_names", "_orders")

    def __init__(self) -> None:
        self._at = array("q")
        self._names: list[str] = []
        self._orders = bytearray()

    def push(self, instant: Instant, key: _Key) -> None:
        self._at.append(instant)
        self._names.append(key[1])
        self._orders.append(key[0])

    def pop(self, until: Instant) -> list[tuple[Instant, _Key]]:
        """Return those up to an instant, in no order, and keep them no longer."""
        return self._take(np.flatnonzero(np.asarray(self._at) <= until).tolist())

    def drop(self, keys: Collection[_Key]) -> None:
        """Keep those of some no longer."""
        if keys:
            whose = zip(map(bool, self._orders), self._names, strict=True)
            self._take([place for place, key in enumerate(whose) if key in keys])

    def _take(self, places: list[int]) -> list[tuple[Instant, _Key]]:
        found = []
        for place in reversed(places):  # the last one moves to where each was
            last = self._at.pop(), (bool(self._orders.pop()), self._names.pop())
            if place == len(self._at):
                found.append(last)
                continue
            found.append((self._at[place], (bool(self._orders[place]), self._names[place])))
            self._at[place], (self._orders[place], self._names[place]) = last
        return found


def _key(sold: Sold) -> _Key:
    return isinstance(sold, Order), sold.id


def _all_like(catalog: Catalog, is_order: bool) -> Mapping[str, Sold]:
    return catalog.orders.by_id if is_order else catalog.subscriptions


def _found(catalog: Catalog, key: _Key) -> Sold:
    is_order, name = key
    return _all_like(catalog, is_order)[name]


def _parties(catalog: Catalog, sold: Sold) -> tuple[object, ...]:
    """Return what decides what is billed of something sold, besides itself."""
    customer, deals = catalog.customers[sold.customer], catalog.deals
    payer = catalog.customers[catalog.accounts.payer(sold.customer)]
    answers = deals.tax_answers.of(payer.id)
    if isinstance(sold, Order):
        return (customer, payer, catalog.issuers.get(sold.issuer), answers)
    plans = [catalog.plans[name] for name in sorted(sold.plans)]
    currency = billed_in(catalog, sold)
    return (
        customer,
        payer,
        plans,
        books_for(catalog, sold.customer),
        deals.redemptions.get(sold.id, ()),
        [deals.rates.get((plan.currency, currency)) for plan in plans],
        [catalog.issuers.get(plan.issuer) for plan in plans],
        answers,
    )


def _rhythm(catalog: Catalog, sold: Sold) -> list[tuple[Hashable, ...]]:
    """Return what decides the cuts of something sold."""
    if isinstance(sold, Order):
        return [(sold.at, sold.customer, sold.currency)]
    return [_rhythm_of(leg) for leg in legs(catalog, sold)]


def _rhythm_of(leg: Leg) -> tuple[Hashable, ...]:
    plan, customer = leg.plan, leg.customer
    whose = customer.id, customer.time_zone, plan.currency
    return leg.start, leg.end, leg.anchor, plan.cycle, leg.in_advance, *whose


def _last_owed(catalog: Catalog, sold: Sold, now: Instant, ran: bool | None) -> Instant | None:
    """Return the last cut instant of something that is over; None where others follow.

    `ran`: whether cuts were ahead of it as it was known before, None: it is new. A subscription
    that was taken back as a whole may have been billed ahead, or early, from its start on.
    """
    if ran is False or _is_ahead(catalog, sold, now):
        return None
    last = max(_closed(catalog, sold, now), default=None)
    if last is None and ran and not isinstance(sold, Order) and sold.start <= now:
        return sold.start
    return last


def _is_ahead(catalog: Catalog, sold: Sold | None, after: Instant) -> bool | None:
    """Whether something sold has a cut after an instant; None where it is not sold."""
    if sold is None:
        return None
    return next(iter(closings(catalog, sold, after, FOR_EVER)), None) is not None


def _closed(catalog: Catalog, sold: Sold, until: Instant) -> Iterable[Instant]:
    """Yield the cut instants of something sold at or before `until`."""
    for instant in closings(catalog, sold, EARLIEST - 1, until + 1):
        if instant <= until:
            yield instant
