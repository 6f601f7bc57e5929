"""Limits of shadow prices: exact at the limit, a customer counts once."""

from fractions import Fraction

import pytest

from pipeline.replay.guarding import Limits, broken, summed
from pipeline.replay.what_if import Change


def changes(*told: str) -> list[Change]:
    """Customers from rows such as `acme 100 -> 110`, in EUR unless a currency follows."""
    found = []
    for row in told:
        name, before, _, after, *currency = row.split()
        found.append(Change(name, currency[0] if currency else "EUR", int(before), int(after)))
    return found


FIVE = Limits(total_max=Fraction(5))
FOUR = ("a 100 -> 111", "b 100 -> 110", "c 100 -> 90", "d 100 -> 100")


@pytest.mark.parametrize(
    ("limits", "customers", "told"),
    [
        # one of four pays more by over 10 %: the one who pays just 10 % more does not count
        (Limits(Fraction(10), Fraction(25)), FOUR, []),
        (Limits(Fraction(10), Fraction(24)), FOUR, ["25 % of the customers (1 of 4)"]),
        (Limits(Fraction(0), Fraction(25)), FOUR, ["50 % of the customers (2 of 4)"]),
        # whoever paid nothing and pays something pays more by over any percentage
        (Limits(Fraction(1000), Fraction(0)), ("a 0 -> 1",), ["100 % of the customers (1 of 1)"]),
        (Limits(Fraction(10), Fraction(0)), ("a -100 -> -80",), ["100 % of the customers"]),
        # a customer of two currencies is one
        (
            Limits(Fraction(10), Fraction(50)),
            ("a 100 -> 200", "a 100 -> 200 USD", "b 1 -> 1"),
            [],
        ),
        # all of a currency, either way, just at the limit or over it
        (FIVE, ("a 100 -> 110", "b 100 -> 100"), []),
        (
            FIVE,
            ("a 100 -> 111", "b 100 -> 100"),
            ["all in EUR differs by 5.5 %"],
        ),
        (
            FIVE,
            ("a 100 -> 89", "b 100 -> 100"),
            ["all in EUR differs by -5.5 %"],
        ),
        (
            FIVE,
            ("a 100 -> 100", "a 100 -> 106 USD"),
            ["all in USD differs by 6 %"],
        ),
        (FIVE, ("a 0 -> 1",), ["all in EUR differs from nothing"]),
        (Limits(total_max=Fraction(0)), ("a 0 -> 0", "b 7 -> 7"), []),
        # no limit, nobody, nothing
        (Limits(), FOUR, []),
        (Limits(Fraction(0), Fraction(0), Fraction(0)), (), []),
    ],
)
def test_what_breaks_which_limit(
    limits: Limits, customers: tuple[str, ...], told: list[str]
) -> None:
    found = changes(*customers)
    said = broken(limits, summed(found), found)
    assert len(said) == len(told)
    assert all(line.startswith(begin) for line, begin in zip(said, told, strict=True))


def test_limits_are_kept_exactly() -> None:
    for limits in (Limits(), Limits(Fraction(1, 3), Fraction("2.5"), Fraction(0))):
        assert Limits.of_json(limits.json()) == limits
