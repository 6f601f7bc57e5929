"""A fact touches its customer, everybody or nobody; others notice nothing of it."""

import pytest

from builders import (
    MINUTE,
    T0,
    Decision,
    catalog_of,
    credit_of,
    customer_of,
    facts,
    issuer_of,
    log_of,
    meter_of,
    per_unit,
    plan_of,
    price_of,
    rules_of,
    subscription_of,
    void_of,
)
from pipeline.catalog.catalog import extend
from pipeline.catalog.cuts import CutSchedule
from pipeline.catalog.facts import FactKind
from pipeline.catalog.mends import NOTHING_MENDED
from pipeline.meter.ticks import Tick

BEGUN = (
    log_of(),
    rules_of(),
    issuer_of(),
    meter_of("calls"),
    plan_of("pro", price_of("calls", per_unit("1"), "calls"), cycle="PT1M"),
    customer_of("acme"),
    customer_of("globex"),
    subscription_of("a", "acme", "pro", "2026-03-01T00:00:00Z"),
    subscription_of("g", "globex", "pro", "2026-03-01T00:00:00Z"),
)
ORDER: Decision = (
    FactKind.ORDER,
    "o",
    {
        "id": "o",
        "customer": "acme",
        "issuer": "talea",
        "currency": "EUR",
        "at": "2026-03-01T00:00:00Z",
        "payment_days": 14,
        "lines": [],
    },
)
CORRECTION: Decision = (
    FactKind.CORRECTION,
    "acme",
    {"customer": "acme", "currency": "EUR", "at": "2026-03-01T00:00:00Z"},
)
TOUCHED: list[tuple[Decision, frozenset[str] | None]] = [
    (customer_of("acme", "Europe/Berlin"), frozenset({"acme"})),
    (subscription_of("b", "acme", "pro", "2026-03-02T00:00:00Z"), frozenset({"acme"})),
    (ORDER, frozenset({"acme"})),
    (credit_of("c", "acme", "5"), frozenset({"acme"})),
    (CORRECTION, frozenset({"acme"})),
    (rules_of(60), None),
    (issuer_of("other"), None),
    (plan_of("new", price_of("calls", per_unit("2"), "calls")), None),
    ((FactKind.WAIVER, "w", {}), None),
    ((FactKind.SKIP, "0/7", {"partition": 0, "offset": 7}), frozenset()),
    ((FactKind.MENDED, "diff_1", {**NOTHING_MENDED, "documents": {"inv_1": [3, 2]}}), frozenset()),
]


@pytest.mark.parametrize(("decision", "whom"), TOUCHED, ids=[str(d[0]) for d, _ in TOUCHED])
def test_a_fact_touches(decision: Decision, whom: frozenset[str] | None) -> None:
    before = catalog_of(*BEGUN)
    after = extend(before, facts(*BEGUN, decision)[len(BEGUN) :])

    assert after.touched.since(before.position) == whom
    assert after.touched.since(after.position) == frozenset()
    for customer in ("acme", "globex"):
        hit = whom is None or customer in whom
        assert (after.touched.at(customer) > before.touched.at(customer)) == hit
    assert catalog_of(*BEGUN, decision).touched == after.touched


def test_several_facts_touch_all_of_theirs() -> None:
    voided = (*BEGUN, credit_of("c", "acme", "5"), customer_of("globex", "Asia/Tokyo"))
    catalog = catalog_of(*voided, void_of("c", "acme"))

    assert catalog.touched.since(len(BEGUN)) == frozenset({"acme", "globex"})
    assert catalog.touched.since(len(BEGUN) + 1) == frozenset({"acme", "globex"})
    assert catalog.touched.since(len(BEGUN) + 2) == frozenset({"acme"})


def test_the_periods_of_others_end_when_they_would_have() -> None:
    """Whatever touches acme, once a minute: globex is cut as by a schedule that begins anew."""
    decided = list(BEGUN)
    schedule = CutSchedule(0, catalog_of(*decided), Tick(1, T0, len(decided)))
    for minute in range(1, 6):
        ended = f"2026-03-0{minute + 1}T00:00:00Z"
        decided.append(subscription_of("a", "acme", "pro", "2026-03-01T00:00:00Z", ended))
        catalog, tick = catalog_of(*decided), Tick(minute + 1, T0 + minute * MINUTE, len(decided))
        anew = CutSchedule(0, catalog_of(*decided[:-1]), Tick(1, T0 + (minute - 1) * MINUTE, 1))

        due = schedule.pass_tick(tick, catalog)

        assert due == anew.pass_tick(tick, catalog)
        assert "globex" in {each.payer for each in due}
