"""Coverage: which booked usage some subscription pays for.

Law: booked = covered + uncovered; usage is covered where a price of a subscription meters it.
"""

from collections.abc import Iterable
from itertools import chain

from pipeline.catalog.catalog import Catalog
from pipeline.catalog.legs import FOR_EVER, legs
from pipeline.core.calendar import snap_up
from pipeline.invoice.usage import UsageRequest, disjoint
from pipeline.meter.scope import Scope


def covered_stretches(
    catalog: Catalog, customers: Iterable[str] | None = None
) -> list[UsageRequest]:
    """Return the stretches of windows that are paid for, per customer and meter.

    Of some customers only, where all are too many to hold at once. Stretches are disjoint, but
    where a price has a filter: those of such a meter stand as they are.
    """
    stretches = set()
    whose = catalog.subscribers if customers is None else customers
    for subscription in chain.from_iterable(map(catalog.subscriptions_of, whose)):
        for start, end, card in (
            found
            for leg in legs(catalog, subscription)
            for price in leg.prices
            for found in leg.cards(price)
        ):
            if card.meter is None:
                continue
            window_us = catalog.meters[card.meter].window_us
            first = snap_up(start, window_us)
            last = FOR_EVER if end is None else snap_up(end, window_us)
            if first < last:
                scope = Scope(card.scope.where)
                stretches.add(
                    UsageRequest(subscription.customer, card.meter, first, last, scope=scope)
                )
    chosen = {_metered(stretch) for stretch in stretches if stretch.scope.where}
    plain = disjoint(stretch for stretch in stretches if _metered(stretch) not in chosen)
    return [*plain, *sorted(stretch for stretch in stretches if _metered(stretch) in chosen)]


def _metered(stretch: UsageRequest) -> tuple[str, str]:
    return stretch.customer, stretch.meter
