"""Coverage: which stretches of windows some price pays for."""

import pytest

from builders import (
    Decision,
    catalog_of,
    customer_of,
    flat,
    instant,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    subscription_of,
)
from pipeline.catalog.legs import FOR_EVER
from pipeline.core.identity import Json
from pipeline.invoice.usage import UsageRequest, disjoint
from pipeline.meter.scope import EVERYTHING, Scope
from pipeline.replay.coverage import covered_stretches

JAN, FEB, MAR = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")
EU = Scope(where=(("region", ("eu",)),))
FILTER: dict[str, Json] = {"region": ["eu"]}


def stretches(*subscriptions: Decision) -> list[tuple[str, str, int, Scope]]:
    """Customer, meter, length in days (0: for ever), scope of what is paid for."""
    catalog = catalog_of(
        log_of(),
        meter_of("calls", dimensions=["region"]),
        plan_of("all", price_of("a", per_unit("1"), "calls"), price_of("fee", flat("1"))),
        plan_of("eu", price_of("a", per_unit("1"), "calls", filter=FILTER, group_by=["region"])),
        customer_of("acme"),
        customer_of("globex"),
        *subscriptions,
    )
    found = []
    by_customer = [*covered_stretches(catalog, ["acme"]), *covered_stretches(catalog, ["globex"])]
    assert sorted(by_customer) == sorted(covered_stretches(catalog))
    for each in covered_stretches(catalog):
        days = 0 if each.end == FOR_EVER else (each.end - each.start) // (86_400 * 10**6)
        found.append((each.customer, each.meter, days, each.scope))
    return found


@pytest.mark.parametrize(
    ("subscriptions", "expected"),
    [
        ([], []),
        (
            [subscription_of("s", "acme", "all", JAN, FEB)],
            [("acme", "calls", 31, EVERYTHING)],
        ),
        # what meets or overlaps is one
        (
            [
                subscription_of("s", "acme", "all", JAN, FEB),
                subscription_of("t", "acme", "all", FEB, MAR),
                subscription_of("u", "acme", "all", "2026-02-15T00:00:00Z", MAR),
            ],
            [("acme", "calls", 59, EVERYTHING)],
        ),
        ([subscription_of("s", "acme", "all", JAN)], [("acme", "calls", 0, EVERYTHING)]),
        ([subscription_of("s", "acme", "all", JAN, JAN)], []),
        # a filter pays for what it lets through; groups make no difference
        (
            [subscription_of("s", "acme", "eu", JAN, FEB)],
            [("acme", "calls", 31, EU)],
        ),
        # of a meter with a filter every stretch stands by itself, whatever the others do
        (
            [
                subscription_of("s", "acme", "eu", JAN, FEB),
                subscription_of("t", "acme", "all", JAN, FEB),
                subscription_of("u", "globex", "all", JAN, FEB),
            ],
            [
                ("globex", "calls", 31, EVERYTHING),
                ("acme", "calls", 31, EVERYTHING),
                ("acme", "calls", 31, EU),
            ],
        ),
    ],
)
def test_what_is_paid_for(
    subscriptions: list[Decision], expected: list[tuple[str, str, int, Scope]]
) -> None:
    assert stretches(*subscriptions) == expected


def test_disjoint_stretches_hold_each_window_once() -> None:
    def asked(start: str, end: str, meter: str = "calls") -> UsageRequest:
        return UsageRequest("acme", meter, instant(start), instant(end))

    overlapping = [asked(JAN, MAR), asked(JAN, FEB), asked(FEB, MAR), asked(JAN, FEB, "bytes")]

    assert disjoint(overlapping) == [asked(JAN, FEB, "bytes"), asked(JAN, MAR)]
