"""Alike: what was planned of one payer, said of others whose documents differ in names alone.

Owns: who is alike, the names on planned lines.
Does not own: which lines there are (planned.py), which closings are open (drafts.py), texts
(retold.py).
Law: it gives what would be planned of each by itself.

A change of price makes everybody's lines anew, and so does the first usage of everybody. Most
payers have one subscription as its plan lists it: who began at the same instant, on the same plan,
has the same lines under another name.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from operator import attrgetter
from typing import NamedTuple, TypeVar

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.documents import Customer
from pipeline.catalog.legs import Leg
from pipeline.catalog.periods import ServicePeriod
from pipeline.catalog.subscriptions import Subscription
from pipeline.core.calendar import Instant
from pipeline.invoice.drafts import Closing, open_closings
from pipeline.invoice.fees import Reach
from pipeline.invoice.lines import LineKey
from pipeline.invoice.parts import PlannedLine
from pipeline.invoice.planned import Carried
from pipeline.invoice.retold import Moulds, Retelling
from pipeline.invoice.usage import UsageRequest

K = TypeVar("K")
V = TypeVar("V")

Planned = tuple[Closing, Sequence[PlannedLine], Retelling]
"""A document to come: which, its lines, how its text is told."""


class Alike(NamedTuple):
    """A payer of one plain subscription, and all that its lines follow from beside its names."""

    sold: Subscription
    customer: Customer
    terms: Hashable


def alike(catalog: Catalog, payer: str) -> Alike | None:
    """Return what tells who is like a payer; None where something is particular to it."""
    bought = catalog.subscriptions_paid_by(payer)
    if len(bought) != 1 or catalog.deals.switches or payer in catalog.by_hand.lines:
        return None
    sold, customer = bought[0], catalog.customers[payer]
    if sold.customer != payer or sold.id in catalog.deals.redemptions:
        return None
    if _agreed(sold) != _NOTHING_AGREED or customer.tax is not None:
        return None
    if catalog.orders_paid_by(payer):
        return None
    bills = (customer.time_zone, customer.currency, customer.empty_invoices)
    profile = tuple(sorted(customer.profile.items()))
    terms = (sold.plan, sold.start, sold.end, sold.anchor, sold.currency, *bills, profile)
    return Alike(sold, customer, terms)


def _usual(of: type, *but: str) -> tuple[Callable[[object], tuple[object, ...]], object]:
    """Return what takes out of a record the fields that have a default, and those defaults."""
    usual = {
        each.name: each.default if each.default_factory is MISSING else each.default_factory()
        for each in fields(of)
        if each.name not in but
        and not (each.default is MISSING and each.default_factory is MISSING)
    }
    return attrgetter(*usual), tuple(usual.values())


_agreed, _NOTHING_AGREED = _usual(Subscription, "anchor", "currency")
_seldom, _NOTHING_SELDOM = _usual(PlannedLine, "past", "position", "opens", "fee")
"""What of a planned line may hold names that `_named` does not say anew."""


def _named(lines: Iterable[PlannedLine], one: Alike) -> list[PlannedLine]:
    """Return lines of another as those of this payer."""
    served_by_id: dict[int, ServicePeriod] = {}
    found = []
    for line in lines:
        served = served_by_id.get(id(line.served))
        if served is None:
            served = served_by_id[id(line.served)] = _served(line.served, one)
        key = LineKey(one.sold.id, line.key.price, line.key.start, line.key.group)
        request, past = _request(line.request, one), _request(line.past, one)
        found.append(
            PlannedLine(key, served, line.card, request, past, line.position, line.opens, line.fee)
        )
    return found


def _served(served: ServicePeriod, one: Alike) -> ServicePeriod:
    leg = served.leg
    own = Leg(
        one.sold,
        one.customer,
        leg.plan,
        leg.start,
        leg.end,
        leg.anchor,
        leg.since,
        leg.phase,
        leg.free,
        leg.add_on,
    )
    return ServicePeriod(own, served.cycle, served.period, served.due, served.index)


def _request(asked: UsageRequest | None, one: Alike) -> UsageRequest | None:
    if asked is None:
        return None
    return UsageRequest(
        one.customer.id, asked.meter, asked.start, asked.end, asked.grain, asked.scope
    )


def _plainly_reached(carried: Mapping[str, Carried], sold: str) -> Hashable | None:
    """Return how far documents billed a subscription; None where they say more than that."""
    told = []
    for currency, reaches in carried.items():
        for (subscription, item), reach in reaches.items():
            if subscription != sold or reach != Reach(reach.until):
                return None
            told.append((currency, item, reach.until))
    return tuple(sorted(told))


@dataclass(slots=True)
class _Patterns:
    """What was worked out by one catalog: the first of those who are alike stands for all."""

    catalog: Catalog
    open: dict[Hashable, Sequence[Closing]] = field(default_factory=dict)
    planned: dict[Hashable, Sequence[Planned]] = field(default_factory=dict)
    """Nothing where more than names is particular to it."""


class Patterns:
    """Closings and lines of payers that are alike, each worked out once a catalog."""

    def __init__(self, moulds: Moulds) -> None:
        """Start with nothing worked out."""
        self._moulds = moulds
        self._by_position: dict[int, _Patterns] = {}
        self._last: tuple[Catalog, str, Alike | None] | None = None

    def open(
        self,
        catalog: Catalog,
        payer: str,
        passed: Instant,
        log_time: Instant,
        cut: Collection[Closing],
        more: Collection[Closing] = (),
    ) -> Sequence[Closing]:
        """Return what `open_closings` would."""
        one = None if cut or more else self._alike(catalog, payer)
        if one is None:
            return open_closings(catalog, payer, passed, log_time, cut, more)
        known, key = self._of(catalog).open, (one.terms, passed, log_time)
        found = known.get(key)
        if found is None:
            found = open_closings(catalog, payer, passed, log_time, cut, more)
            _keep(known, key, found)
        return found

    def planned(
        self,
        catalog: Catalog,
        payer: str,
        still_open: Sequence[Closing],
        carried: Mapping[str, Carried],
        work_out: Callable[[], Sequence[Planned]],
    ) -> Sequence[Planned]:
        """Return what is planned of the open closings of a payer, as `work_out` would."""
        one = self._alike(catalog, payer)
        reached = None if one is None else _plainly_reached(carried, one.sold.id)
        if one is None or reached is None:
            return work_out()
        known, key = self._of(catalog).planned, (one.terms, reached, tuple(still_open))
        pattern = known.get(key)
        if pattern is None:
            planned = work_out()
            _keep(known, key, planned if all(map(_is_nameless, planned)) else ())
            return planned
        if not pattern:
            return work_out()
        return [self._like(catalog, payer, one, each) for each in pattern]

    def _like(self, catalog: Catalog, payer: str, one: Alike, other: Planned) -> Planned:
        closing, lines, retelling = other
        own = _named(lines, one)
        return closing, own, self._moulds.retelling(catalog, payer, *closing, own, retelling)

    def _alike(self, catalog: Catalog, payer: str) -> Alike | None:
        """Return `alike`, of whom was asked for last without looking again."""
        last = self._last
        if last is None or last[0] is not catalog or last[1] != payer:
            last = self._last = catalog, payer, alike(catalog, payer)
        return last[2]

    def _of(self, catalog: Catalog) -> _Patterns:
        known = self._by_position.get(catalog.position)
        if known is None or known.catalog is not catalog:
            known = _Patterns(catalog)
            _keep(self._by_position, catalog.position, known, _CATALOGS_MAX)
        return known


def _is_nameless(planned: Planned) -> bool:
    """Whether its lines are those of any who is alike."""
    _, lines, _ = planned
    return all(_seldom(line) == _NOTHING_SELDOM for line in lines)


_CATALOGS_MAX = 4
"""Partitions stand near each other."""
_PATTERNS_MAX = 1_000


def _keep(known: dict[K, V], key: K, value: V, count_max: int = _PATTERNS_MAX) -> None:
    if len(known) >= count_max:
        known.clear()
    known[key] = value
