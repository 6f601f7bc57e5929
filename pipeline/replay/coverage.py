"""Coverage: which booked usage some subscription pays for.

Law: booked = covered + uncovered; usage is covered where a price of a subscription meters it.
"""

from collections.abc import Iterable

from pipeline.catalog.catalog import Catalog
from pipeline.core.calendar import Instant, snap_up
from pipeline.invoice.usage import UsageRequest

FOR_EVER: Instant = 1 << 62


def covered_stretches(catalog: Catalog) -> list[UsageRequest]:
    """Return, per customer and meter, the disjoint stretches of windows that are paid for."""
    stretches = []
    for subscription in catalog.subscriptions.values():
        plan = catalog.plans[subscription.plan]
        for meter_id in {card.meter for card in plan.prices if card.meter}:
            window_us = catalog.meters[meter_id].window_us
            end = FOR_EVER if subscription.end is None else snap_up(subscription.end, window_us)
            start = snap_up(subscription.start, window_us)
            if start < end:
                stretches.append(UsageRequest(subscription.customer, meter_id, start, end))
    return _merged(sorted(stretches))


def _merged(stretches: Iterable[UsageRequest]) -> list[UsageRequest]:
    merged: list[UsageRequest] = []
    for stretch in stretches:
        last = merged[-1] if merged else None
        if (
            last
            and (last.customer, last.meter) == (stretch.customer, stretch.meter)
            and stretch.start <= last.end
        ):
            merged[-1] = UsageRequest(
                last.customer, last.meter, last.start, max(last.end, stretch.end)
            )
        else:
            merged.append(stretch)
    return merged
