"""The table of VAT rates, held against two packages that others keep."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import duty27_eu_vat
import eu_vat_rates_data
import pytest

from pipeline.catalog.tax_places import EU
from pipeline.tax.rates import BEGINS, COUNTRIES, changes_of, rate_on

REDUCED = ("reduced", "second_reduced", "super_reduced")


def percent(country: str, code: str, day: str) -> Fraction | None:
    rate = rate_on(country, code, day)
    return None if rate is None else rate.percent


def test_it_has_the_union_great_britain_and_switzerland() -> None:
    assert EU | {"GB", "CH"} == COUNTRIES
    assert len(EU) == 27


@pytest.mark.parametrize("country", sorted(EU))
def test_standard_rates_change_when_the_dated_package_says(country: str) -> None:
    theirs = [
        (window.effective_from.isoformat(), Fraction(window.rate))
        for window in duty27_eu_vat.get_rate_history(country)
    ]
    ours = [(rate.since, rate.percent) for rate in changes_of(country, "standard") if rate]

    assert ours == theirs
    for day, rate in theirs:
        before = (date.fromisoformat(day) - timedelta(days=1)).isoformat()
        assert percent(country, "standard", day) == rate
        assert percent(country, "standard", before) != rate


@pytest.mark.parametrize("country", sorted(COUNTRIES))
def test_rates_of_today_are_those_of_the_other_package(country: str) -> None:
    data = eu_vat_rates_data.get_rate(country)
    assert data is not None
    others = [data["super_reduced"], data["parking"], *data["reduced"]]
    theirs = {Fraction(Decimal(str(rate))) for rate in others if rate is not None}
    day = eu_vat_rates_data.data_version
    ours = {percent(country, code, day) for code in REDUCED} - {None}

    assert percent(country, "standard", day) == Fraction(Decimal(str(data["standard"])))
    assert ours <= theirs
    assert bool(ours) is (country != "DK")


@pytest.mark.parametrize(
    ("country", "code", "day", "expected"),
    [
        ("CH", "standard", "2017-12-31", "8"),
        ("CH", "standard", "2018-01-01", "7.7"),
        ("CH", "standard", "2023-12-31", "7.7"),
        ("CH", "standard", "2024-01-01", "8.1"),
        ("GB", "standard", "2016-01-01", "20"),
        ("DE", "reduced", "2020-12-31", "5"),
        ("DE", "reduced", "2021-01-01", "7"),
        ("CZ", "second_reduced", "2023-12-31", "10"),
        ("CZ", "second_reduced", "2024-01-01", None),
        ("SK", "second_reduced", "2024-12-31", None),
        ("SK", "second_reduced", "2025-01-01", "5"),
        ("DE", "standard", "2015-12-31", None),
        ("DE", "super_reduced", "2026-01-01", None),
        ("US", "standard", "2026-01-01", None),
    ],
)
def test_a_rate_on_a_day(country: str, code: str, day: str, expected: str | None) -> None:
    found = percent(country, code, day)
    assert found == (None if expected is None else Fraction(expected))


def test_nothing_is_known_of_before_the_table() -> None:
    assert all(percent(country, "standard", BEGINS) for country in COUNTRIES)
    assert not any(percent(country, "standard", "2015-12-31") for country in COUNTRIES)
