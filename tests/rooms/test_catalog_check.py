"""`talea catalog check` before it prints: all that is wrong at once, with and without a log."""

import pytest

from pipeline.catalog.checking import check
from pipeline.catalog.sheet import parse_sheet
from rooms.test_sheet_changes import REFUSED, Desk
from rooms.test_sheet_problems import SHEET, cases, edited
from rooms.test_sheet_yaml import EXAMPLE

# After *: what stands in SHEET => what stands there instead. Below: the problems that makes.
BY_ITSELF = r"""
* issuer: talea-cloud => issuer: talea
  line 13: plans[0].issuer: no issuer talea, in this file: add it under issuers, or mend the id
* meter: cpu => meter: gpu
  line 21: plans[0].prices[1].meter: no meter gpu, in this file: add it under meters, or mend the id
* customer: acme => customer: initech
  line 33: subscriptions[0].customer: no customer initech, in this file: add it under customers, or
      mend the id
* plan: standard => plan: premium
  line 34: subscriptions[0].plan: no plan premium, in this file: add it under plans, or mend the id
* id: talea-cloud, => id: other,
  line 13: plans[0].issuer: no issuer talea-cloud, in this file: add it under issuers, or mend the
      id
* {type: flat => {type: flat, tax: 1
  line 18: plans[0].prices[0].price.tax: nobody reads this key: remove it, or use another type
* price: {type: flat => currency: USD, price: {type: flat
  line 18: plans[0].prices[0].currency: USD is not the plan's currency EUR, and a plan bills in
      one: remove it, or make a plan in USD
* price: {type: flat => currency: usd, price: {type: flat
  line 18: plans[0].prices[0].currency: 'usd' is no ISO 4217 currency: use one such as EUR
* {up_to: null, unit_amount: 0.005} => {up_to: 1000, unit_amount: 0.005}
  line 26: plans[0].prices[1].price.tiers[1].up_to: a quantity above 1000 has no price: make up_to
      of the last tier null
* {up_to: null, unit_amount: 0.005} => {up_to: 50, unit_amount: 0.005}
  line 26: plans[0].prices[1].price.tiers[1].up_to: not above the bound of the tier before: sort
      the tiers, up_to of the last may be null
* up_to: null => from: 200, up_to: null
  line 26: plans[0].prices[1].price.tiers[1].from: nobody reads this key: remove it, or use another
      type
* {up_to: "100" => {up_to: "-5"
  line 25: plans[0].prices[1].price.tiers[0].up_to: '-5' is not above zero: write a number above 0
* cycle: P1M => cycle: P1M\n    effective: soon
  line 16: plans[0].effective: 'soon' is not an RFC 3339 instant with a zone: write it like
      2026-11-01T00:00:00Z
* - id: acme\n => - id: acme\n  - id: acme\n
  line 29: customers[1].id: acme stands on line 28 already: rename or remove one
"""


def told(text: str) -> list[str]:
    """The problems of a text that stands by itself."""
    return [str(problem) for problem in check(text, None)[1]]


@pytest.mark.parametrize(("old", "new", "expected"), cases(BY_ITSELF))
def test_a_catalog_that_does_not_stand_by_itself(old: str, new: str, expected: list[str]) -> None:
    assert told(edited((old, new))) == expected


def test_more_than_forty_documents_are_broken_in_ways_of_their_own() -> None:
    every = [problem for row in [*cases(), *cases(BY_ITSELF)] for problem in row[2]]

    assert len({(old, new) for old, new, _ in [*cases(), *cases(BY_ITSELF)]}) + len(REFUSED) >= 140
    assert all(": " in problem.partition(": ")[2] for problem in every)


@pytest.mark.parametrize(("old", "new", "expected"), cases())
def test_a_broken_file_has_its_own_problems_first_of_all(
    old: str, new: str, expected: list[str]
) -> None:
    """What leans on an entry that is broken is not told to lean on nothing."""
    assert set(expected) <= set(told(edited((old, new))))


@pytest.mark.parametrize("text", [SHEET, EXAMPLE.read_text(), ""])
def test_a_good_catalog_stands_by_itself(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize(("edits", "problem"), REFUSED)
def test_what_is_in_force_is_looked_at_where_there_is_a_log(
    edits: list[tuple[str, str]], problem: str
) -> None:
    desk = Desk()
    desk.apply(SHEET)

    assert [str(found) for found in check(edited(*edits), desk.catalog)[1]] == [problem]


def test_broken_entries_unknown_names_and_refused_edits_come_at_once() -> None:
    desk = Desk()
    desk.apply(SHEET)
    text = edited(
        ("unit: s", "unit: min"),
        ("issuer: talea-cloud", "issuer: talea"),
        ("payment_days: 14", "payment_days: soon"),
        ("Europe/Berlin", "UTC"),
        ("plan: standard", "plan: premium"),
    )

    found = [(problem.line, problem.path) for problem in check(text, desk.catalog)[1]]

    assert found == [
        (5, "meters[0]"),
        (13, "plans[0].issuer"),
        (16, "plans[0].payment_days"),
        (29, "customers[0].time_zone"),
        (34, "subscriptions[0].plan"),
        (34, "subscriptions[0].plan"),
    ]


def test_paths_count_the_entries_of_the_file_broken_ones_too() -> None:
    desk = Desk()
    desk.apply(SHEET)
    text = edited(("meters:\n", "meters:\n  - {id: broken}\n"), ("unit: s", "unit: min"))

    assert [problem.path for problem in check(text, desk.catalog)[1]] == [
        "meters[0].aggregation",
        "meters[0].unit",
        "meters[1]",
    ]


@pytest.mark.parametrize("text", [SHEET, EXAMPLE.read_text()])
def test_what_checks_can_be_applied(text: str) -> None:
    desk = Desk()
    assert check(text, desk.catalog)[1] == []
    desk.apply(text)
    assert check(text, desk.catalog)[1] == []
    assert isinstance(parse_sheet(text), type(check(text, None)[0]))
