"""Coverage: which booked usage some subscription pays for.

Law: booked = covered + uncovered; usage is covered where a price of a subscription meters it.
"""

from pipeline.catalog.catalog import Catalog
from pipeline.core.calendar import Instant, snap_up
from pipeline.invoice.usage import UsageRequest, disjoint
from pipeline.meter.scope import Scope

FOR_EVER: Instant = 1 << 62


def covered_stretches(catalog: Catalog) -> list[UsageRequest]:
    """Return the stretches of windows that are paid for, per customer and meter.

    Disjoint, but where a price has a filter: those of such a meter stand as they are.
    """
    stretches = set()
    for subscription in catalog.subscriptions.values():
        plan = catalog.plans[subscription.plan]
        for card in plan.prices:
            if card.meter is None:
                continue
            window_us = catalog.meters[card.meter].window_us
            end = FOR_EVER if subscription.end is None else snap_up(subscription.end, window_us)
            start = snap_up(subscription.start, window_us)
            if start < end:
                stretches.add(
                    UsageRequest(
                        subscription.customer,
                        card.meter,
                        start,
                        end,
                        scope=Scope(card.scope.where),
                    )
                )
    chosen = {_metered(stretch) for stretch in stretches if stretch.scope.where}
    plain = disjoint(stretch for stretch in stretches if _metered(stretch) not in chosen)
    return [*plain, *sorted(stretch for stretch in stretches if _metered(stretch) in chosen)]


def _metered(stretch: UsageRequest) -> tuple[str, str]:
    return stretch.customer, stretch.meter
