"""What the auditor says falls due: usage that was billed early and is not sold any more, fees."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest

from pipeline.core.calendar import SECOND, Instant, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.simulate.agreements import Body
from pipeline.simulate.dues import Carried, Due, Early, ExpectedLine, due
from pipeline.simulate.settled import Credit, paid_by_credits
from pipeline.simulate.sold import Book, Revision

START = parse_instant("2026-03-01T00:00:00Z")
END = START + 30 * SECOND
BILLED = ExpectedLine(
    "sub-1/calls",
    instant_text(START),
    instant_text(END),
    Fraction(4),
    1536,
    START + 10 * SECOND,
    "calls",
    "gold",
    account="acme-labs",
    taken_minor=20,
    is_whole=True,
)
"""As an early document has it."""
TERMS: Body = {"priority": 1, "starts": instant_text(START), "meters": [], "plans": []}


def given_back(instant: Instant) -> ExpectedLine:
    """Return the credit at a closing: its subscription never was, as it says now."""
    moment = instant_text(START)
    subscription: Body = {
        "id": "sub-1",
        "customer": "acme",
        "plan": "gold",
        "start": moment,
        "end": moment,
    }
    latest: dict[tuple[str, str], Body] = {
        ("customer", "acme"): {"currency": "EUR"},
        ("plan", "gold"): {"currency": "EUR", "cycle": "PT60S"},
        ("subscription", "sub-1"): subscription,
    }
    early = {START: Early(END, Fraction(4), 1536, 20, BILLED)}
    carried = Carried(early={("sub-1", "calls"): early})
    (line,) = due(Book(3, latest, {}), "acme", ("EUR", instant), carried)
    assert isinstance(line, ExpectedLine)
    assert carried.early == {("sub-1", "calls"): {}}
    return line


@pytest.mark.parametrize("closes_s", [12, 60])
def test_a_credit_is_what_was_billed_and_falls_due_with_it(closes_s: int) -> None:
    line = given_back(START + closes_s * SECOND)

    assert (line.total_minor, line.quantity) == (-1536, Fraction(-4))
    assert line.due == min(END, START + closes_s * SECOND)
    same = replace(BILLED, quantity=line.quantity, total_minor=line.total_minor, due=line.due)
    assert line == replace(same, taken_minor=0, is_whole=False)


@pytest.mark.parametrize(
    ("terms", "pays"),
    [
        ({"expires": None}, True),
        ({"expires": instant_text(END)}, True),
        ({"expires": instant_text(END - 1)}, False),
        ({"starts": instant_text(END)}, False),
        ({"meters": ["calls"], "plans": ["gold"]}, True),
        ({"meters": ["bytes"]}, False),
        ({"plans": ["silver"]}, False),
    ],
)
def test_a_credit_that_was_edited_to_a_charge_is_paid_as_one(
    terms: dict[str, Json], *, pays: bool
) -> None:
    line = replace(given_back(START + 60 * SECOND), total_minor=700)

    grant = Credit("c1", {"expires": None, **TERMS, **terms}, 500)
    assert paid_by_credits([grant], [line], Counter()) == ([("c1", 500)] if pays else [])


def fees_due(prices: list[Revision], closes_s: int, carried: Carried) -> list[tuple[int, int]]:
    """Return from when to when a fee falls due at a closing, in seconds, by what a plan says."""
    moment = instant_text(START)
    latest: dict[tuple[str, str], Body] = {
        ("customer", "acme"): {"currency": "EUR"},
        ("plan", "gold"): {"currency": "EUR", "cycle": "PT60S"},
        ("subscription", "s"): {
            "id": "s", "customer": "acme", "plan": "gold", "start": moment, "end": None
        },
    }  # fmt: skip
    book, closing = Book(3, latest, {"gold": prices}), ("EUR", START + closes_s * SECOND)
    found = [each for each in due(book, "acme", closing, carried) if isinstance(each, Due)]
    return [
        ((start - START) // SECOND, (end - START) // SECOND)
        for start, end in (each.spans.left for each in found)
    ]


def test_what_was_billed_of_a_price_that_ended_is_up_to_there_and_no_farther() -> None:
    """It came back for all time: what no document has of it is due with the next."""
    fee: Body = {"prices": [{"id": "base", "meter": None, "price": {"amount": "9"}}]}
    ended: list[Revision] = [(-1, fee), (START + 38 * SECOND, {"prices": []})]
    carried = Carried()

    assert fees_due(ended, 60, carried) == [(0, 38)]
    assert fees_due(ended, 120, carried) == []
    assert fees_due([(-1, fee)], 120, carried) == [(38, 60), (60, 120)]
