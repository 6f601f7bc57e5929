"""What the tests' shop sells: three meters, one plan; as a catalog, and as the oracle bills it."""

from collections.abc import Iterable
from fractions import Fraction

from oracle import Oracle, Tier, flat, graduated, per_unit
from pipeline.core.calendar import SECOND, Instant, instant_text

METERS = {"requests": "count", "gigabytes": "sum", "seats": "max"}

_BASE = "10.00"
_REQUESTS: list[Tier] = [("100", "0.05", "0"), ("1000", "0.031", "1.00"), (None, "0.0125", "0")]
_GIGABYTES = "0.1275"
_SEATS = "2.50"

_METERS = """
meters:
  - {id: requests, aggregation: count, unit: request, window: PT1S}
  - {id: gigabytes, aggregation: sum, unit: GB, window: PT1S}
  - {id: seats, aggregation: max, unit: seat, window: PT1S}
"""


def meters(grace: str = "PT1S") -> str:
    """Return the catalog of a shop that counts and sells nothing yet."""
    return f"rules: {{grace: {grace}}}{_METERS}"


def _tiers() -> str:
    return "".join(
        f"\n            - {{up_to: {up_to or 'null'}, unit_amount: '{unit}', flat_amount: '{fee}'}}"
        for up_to, unit, fee in _REQUESTS
    )


def catalog(
    customers: Iterable[str],
    start: Instant,
    end: Instant | None,
    cycle: str = "PT1H",
    *,
    grace: str = "PT1S",
) -> str:
    """Return the catalog in which customers are on the plan for [start, end)."""
    names = list(customers)
    until = "null" if end is None else instant_text(end)
    profiles = "".join(f"\n  - {{id: {name}, profile: {{name: Ms {name}}}}}" for name in names)
    subscriptions = "".join(
        f"\n  - {{id: s-{name}, customer: {name}, plan: shop,"
        f" start: {instant_text(start)}, end: {until}}}"
        for name in names
    )
    return f"""{meters(grace)}
issuers: [{{id: shop, name: The Shop, number_prefix: S-}}]
plans:
  - id: shop
    name: Everything
    issuer: shop
    currency: EUR
    cycle: {cycle}
    prices:
      - {{id: base, name: Base fee, price: {{type: flat, amount: "{_BASE}"}}}}
      - id: requests
        name: Requests
        meter: requests
        price:
          type: graduated
          tiers:{_tiers()}
      - {{id: gigabytes, name: Traffic, meter: gigabytes,
         price: {{type: unit, unit_amount: "{_GIGABYTES}"}}}}
      - {{id: seats, name: Seats, meter: seats,
         price: {{type: unit, unit_amount: "{_SEATS}"}}}}
customers:{profiles}
subscriptions:{subscriptions}
"""


def bill(oracle: Oracle, customer: str, start: Instant, end: Instant, cycle_s: int = 3600) -> int:
    """Return what one customer owes for [start, end) of a cycle, in cents."""

    def used(meter: str) -> Fraction:
        return oracle.quantity(customer, meter, start, end)

    return (
        flat(_BASE, Fraction(end - start, cycle_s * SECOND))
        + graduated(_REQUESTS, used("requests"))
        + per_unit(_GIGABYTES, used("gigabytes"))
        + per_unit(_SEATS, used("seats"))
    )


def bills(
    oracle: Oracle, customers: Iterable[str], start: Instant, end: Instant, cycle_s: int = 3600
) -> dict[str, int]:
    """Return what every customer owes."""
    return {name: bill(oracle, name, start, end, cycle_s) for name in customers}
