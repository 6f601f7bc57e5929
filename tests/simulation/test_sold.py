"""What the auditor reads of prices: whoever says the same in other digits changes nothing."""

import pytest

from pipeline.core.identity import Json
from pipeline.simulate.agreements import Body
from pipeline.simulate.sold import parts


def _plan(amount: str, up_to: str) -> Body:
    tiers: list[Json] = [
        {"up_to": up_to, "unit_amount": amount},
        {"up_to": None, "unit_amount": "1"},
    ]
    return {"prices": [{"id": "calls", "price": {"type": "graduated", "tiers": tiers}}]}


@pytest.mark.parametrize(
    ("amount", "up_to", "found"),
    [
        ("0.5290", "7.5", 1),
        ("0.529", "7.50", 1),
        ("0.530", "7.5", 2),
        ("0.529", "8", 2),
        ("0.529", "7.5 ", 2),
    ],
)
def test_a_price_in_other_digits_is_no_other_price(amount: str, up_to: str, found: int) -> None:
    revisions = [(-1, _plan("0.529", "7.5")), (50, _plan(amount, up_to))]

    assert len(parts(revisions, "calls", (0, 100))) == found
