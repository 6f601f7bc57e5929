"""What other prices would have come to: revenue, customers, shocks."""

from typing import Any, cast

from builders import T0
from pipeline.core.identity import Json
from pipeline.invoice.totals import Totals
from pipeline.replay.diff import Pair, Selection
from pipeline.replay.what_if import what_if

Content = dict[str, Json]


def bill(*lines: tuple[str, int], currency: str = "EUR") -> Content:
    """A document with lines of (plan, minor units)."""
    told: list[Json] = [
        {
            "id": f"line_{number}",
            "meter": None,
            "currency": currency,
            "rate_card": {"plan": plan} if plan else None,
            "totals": Totals.of(amount=minor).json(),
        }
        for number, (plan, minor) in enumerate(lines)
    ]
    return {"id": "inv", "lines": told}


def pair(customer: str, before: Content | None, after: Content | None) -> Pair:
    return Pair("S-1", customer, T0, 1, before == after, before, after)


PAIRS = [
    pair("ann", bill(("basic", 100)), bill(("basic", 140))),
    pair("ann", bill(("", 60)), bill(("", 60))),
    pair("bob", bill(("basic", 100), ("pro", 900)), bill(("basic", 50), ("pro", 900))),
    pair("cy", bill(("pro", 500)), bill(("pro", 500))),
    pair("dee", None, bill(("pro", 7))),
    pair("eve", bill(("basic", 10), currency="USD"), bill(("basic", 12), currency="USD")),
]


def told(pairs: list[Pair], selection: Selection | None = None) -> Any:
    return cast(Any, what_if(pairs, selection or Selection()).json())


def test_revenue_is_by_currency_and_plan() -> None:
    found = told(PAIRS)
    assert [
        (e["currency"], e["before_minor"], e["after_minor"], e["percent"]) for e in found["revenue"]
    ] == [("EUR", 1660, 1657, "-0.2"), ("USD", 10, 12, "20.0")]
    assert [(e["plan"], e["currency"], e["difference_minor"]) for e in found["plans"]] == [
        ("", "EUR", 0),
        ("basic", "EUR", -10),
        ("basic", "USD", 2),
        ("pro", "EUR", 7),
    ]


def test_customers_win_or_lose_and_the_largest_shock_is_first() -> None:
    """Ann pays 25 % more, Eve 20, Bob 5 less; Dee paid nothing, which is no percentage."""
    found = told(PAIRS)
    assert found["customers"] == {"more": 3, "less": 1, "same": 1}
    assert [(e["customer"], e["difference_minor"], e["percent"]) for e in found["shocks"]] == [
        ("ann", 40, "25.0"),
        ("dee", 7, None),
        ("eve", 2, "20.0"),
    ]
    moved = [(e["from_percent"], e["to_percent"]) for e in found["distribution"] if e["customers"]]
    assert moved == [(-5, 0), (20, 50)]


def test_nobody_is_shocked_where_nothing_differs() -> None:
    same = [pair("ann", bill(("basic", 100)), bill(("basic", 100)))]
    found = told(same)
    assert (found["shocks"], found["customers"]) == ([], {"more": 0, "less": 0, "same": 1})
    assert not any(each["customers"] for each in found["distribution"])


def test_only_what_is_selected_counts() -> None:
    found = told(PAIRS, Selection(customers=frozenset(["cy"])))
    assert [each["before_minor"] for each in found["revenue"]] == [500]
