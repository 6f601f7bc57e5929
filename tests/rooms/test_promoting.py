"""When a candidate's prices may come into force, so that they can be taken back whole."""

import pytest

from builders import catalog_of, instant, issuer_of, log_of, meter_of, per_unit, plan_of, price_of
from pipeline.core.calendar import Instant
from pipeline.core.errors import BadInput
from pipeline.replay.guarding import Limits
from pipeline.stores.postgres.shadow_prices import Candidate
from pipeline.workers.promoting import dated
from rooms.test_sheet_yaml import sheet

JUN, JUL, AUG = (f"2026-0{month}-01T00:00:00Z" for month in (6, 7, 8))
DEARER = """\
issuers: [{id: talea, name: Talea, number_prefix: T-}]
meters: [{id: calls, aggregation: sum, unit: call}]
plans:
  - id: pro
    name: Pro
    issuer: talea
    currency: EUR
    cycle: P1M
    prices: [{id: calls, name: Calls, meter: calls, price: {type: unit, unit_amount: "3"}}]
"""


def promoted(edge: str, to_come: str | None) -> Instant | None:
    """From when on the candidate's plan holds, where a revision stood already from a day on."""
    plans = [plan_of("pro", price_of("calls", per_unit("1"), "calls"))]
    if to_come is not None:
        plans.append(plan_of("pro", price_of("calls", per_unit("2"), "calls"), effective=to_come))
    known = catalog_of(log_of(), issuer_of(), meter_of("calls"), *plans)
    kind, subject, body = plan_of("pro", price_of("calls", per_unit("3"), "calls"))
    revisions = [{"kind": kind.value, "subject": subject, "body": body}]
    candidate = Candidate("dearer", DEARER, revisions, Limits(), 0, 0)
    (plan,) = dated(candidate, sheet(DEARER), instant(edge), known.plans).plans
    return plan.effective


@pytest.mark.parametrize("to_come", [None, JUN, JUL])
def test_prices_come_at_the_edge_or_instead_of_what_was_to_come_then(to_come: str | None) -> None:
    assert promoted(JUL, to_come) == instant(JUL)


def test_prices_do_not_come_before_a_day_that_others_have_already() -> None:
    """They would take that revision away; said again, it would leave them in force till then."""
    with pytest.raises(BadInput, match=f"pro changes at {AUG} .*say --at {AUG} or later"):
        promoted(JUL, AUG)
