"""Rates: the VAT rates of the European Union, Great Britain and Switzerland, dated.

Owns: which rate a country had on a day.  Does not own: which country taxes what (deciding.py).
Law: a rate that was in force on a day never changes here; a new one is a new row. The table
begins on 2016-01-01; of a day before it nothing is known.

Sources: European Commission, Taxes in Europe Database and "VAT rates applied in the Member States
of the European Union"; gov.uk, "VAT rates"; Eidgenoessische Steuerverwaltung, "Steuersaetze".
Mainland rates; where a country has more reduced ones than stand here, a price that needs one of
them must be left to an outside engine. Held against two packages in tests/rooms/test_tax_rates.py.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from pipeline.core.quantity import exact

BEGINS = "2016-01-01"
"""The first day of the table."""

_TABLE = """
AT  standard  20
AT  reduced  10
AT  second_reduced  13
BE  standard  21
BE  reduced  12
BE  second_reduced  6
BG  standard  20
BG  reduced  9
CH  standard  8  7.7@2018-01-01  8.1@2024-01-01
CH  reduced  2.5  2.6@2024-01-01
CH  second_reduced  3.8  3.7@2018-01-01  3.8@2024-01-01
CY  standard  19
CY  reduced  9
CY  second_reduced  5
CZ  standard  21
CZ  reduced  15  12@2024-01-01
CZ  second_reduced  10  -@2024-01-01
DE  standard  19  16@2020-07-01  19@2021-01-01
DE  reduced  7  5@2020-07-01  7@2021-01-01
DK  standard  25
EE  standard  20  22@2024-01-01  24@2025-07-01
EE  reduced  9
EE  second_reduced  -  13@2025-01-01
ES  standard  21
ES  reduced  10
ES  super_reduced  4
FI  standard  24  25.5@2024-09-01
FI  reduced  14  13.5@2026-01-01
FI  second_reduced  10
FR  standard  20
FR  reduced  10
FR  second_reduced  5.5
FR  super_reduced  2.1
GB  standard  20
GB  reduced  5
GR  standard  23  24@2016-06-01
GR  reduced  13
GR  second_reduced  6
HR  standard  25
HR  reduced  13
HR  second_reduced  5
HU  standard  27
HU  reduced  18
HU  second_reduced  5
IE  standard  23  21@2020-09-01  23@2021-03-01
IE  reduced  13.5
IE  second_reduced  9
IT  standard  22
IT  reduced  10
IT  second_reduced  5
IT  super_reduced  4
LT  standard  21
LT  reduced  9  12@2026-01-01
LT  second_reduced  5
LU  standard  17  16@2023-01-01  17@2024-01-01
LU  reduced  8  7@2023-01-01  8@2024-01-01
LU  super_reduced  3
LV  standard  21
LV  reduced  12
LV  second_reduced  -  5@2018-01-01
MT  standard  18
MT  reduced  7
MT  second_reduced  5
NL  standard  21
NL  reduced  6  9@2019-01-01
PL  standard  23
PL  reduced  8
PL  second_reduced  5
PT  standard  23
PT  reduced  13
PT  second_reduced  6
RO  standard  20  19@2017-01-01  21@2025-08-01
RO  reduced  9  11@2025-08-01
RO  second_reduced  5  -@2025-08-01
SE  standard  25
SE  reduced  12
SE  second_reduced  6
SI  standard  22
SI  reduced  9.5
SI  second_reduced  -  5@2020-01-01
SK  standard  20  23@2025-01-01
SK  reduced  10  19@2025-01-01
SK  second_reduced  -  5@2025-01-01
"""
"""Country, code, the rate in percent as the table begins, then rate@day; `-`: there is none."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate in percent, and the day that it is in force from."""

    percent: Fraction
    since: str


def _read() -> Mapping[tuple[str, str], tuple[tuple[str, ...], tuple[Rate | None, ...]]]:
    found = {}
    for row in _TABLE.split("\n")[1:-1]:
        country, code, first, *later = row.split()
        dated = [(BEGINS, first), *((day, rate) for rate, day in (x.split("@") for x in later))]
        days = tuple(day for day, _ in dated)
        rates = tuple(None if told == "-" else Rate(exact(told), day) for day, told in dated)
        found[country, code] = days, rates
    return found


_RATES = _read()

COUNTRIES = frozenset(country for country, _ in _RATES)
"""The countries of the table."""


def rate_on(country: str, code: str, day: str) -> Rate | None:
    """Return a country's rate of a code on a day (2026-11-01); None where it has none."""
    days, rates = _RATES.get((country, code), ((), ()))
    place = bisect_right(days, day)
    return rates[place - 1] if place else None


def changes_of(country: str, code: str) -> list[Rate | None]:
    """Return every rate that a country had of a code, in order of time."""
    return [*_RATES.get((country, code), ((), ()))[1]]
