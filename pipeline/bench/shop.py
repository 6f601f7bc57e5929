"""The bench's shop: one meter, one plan at a unit price, as many customers as series.

Owns: names, the catalog, what a quantity costs (worked out apart from `rate`).
Does not own: who uses what (load.py).
"""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.catalog.sheet import CustomerEntry, Sheet, parse_sheet
from pipeline.catalog.subscriptions import Subscription
from pipeline.core.calendar import SECOND, Instant
from pipeline.core.errors import BrokenInvariant

METER = "requests"
WINDOW_US = 900 * SECOND
_PLAN = "by-request"
_CATALOG = f"""
issuers: [{{id: bench, name: Bench, number_prefix: B-}}]
meters: [{{id: {METER}, aggregation: sum, unit: request, window: PT15M}}]
plans:
  - id: {_PLAN}
    name: By request
    issuer: bench
    currency: EUR
    cycle: P1M
    prices:
      - id: {METER}
        name: Requests
        meter: {METER}
        price: {{type: unit, unit_amount: "UNIT_AMOUNT"}}
"""


def customer_names(count: int) -> list[str]:
    """Return the customers, one a series."""
    return [f"customer-{number:06d}" for number in range(count)]


def sheet(customers: Sequence[str], start: Instant, unit_amount: str = "0.0001") -> Sheet:
    """Return the catalog in which every customer is on the plan from `start` on."""
    found = parse_sheet(_CATALOG.replace("UNIT_AMOUNT", unit_amount))
    if not isinstance(found, Sheet):
        raise BrokenInvariant(f"the bench's own catalog: {found[0]}")
    subscriptions = tuple(
        Subscription(f"of-{name}", name, _PLAN, start, None) for name in customers
    )
    places = {  # as if they stood in the file, which would take a minute to read
        "customers": {name: f"customers[{place}]" for place, name in enumerate(customers)},
        "subscriptions": {one.id: f"subscriptions[{i}]" for i, one in enumerate(subscriptions)},
    }
    return replace(
        found,
        customers=tuple(CustomerEntry(name, "UTC", {}) for name in customers),
        subscriptions=subscriptions,
        places={**found.places, **places},
    )


def cost_minor(quantity: int) -> int:
    """Return the cents of a quantity at 0.0001 EUR, half a cent rounded up."""
    return (quantity + 50) // 100
