"""Fields: what one value of a sheet must look like.

Owns: the words, numbers and times of a sheet, one at a time, and what is told where one is wrong.
Does not own: which key holds which (sheet.py).
Law: a value, or a ValueError that says how to mend it.
"""

import re
from fractions import Fraction
from unicodedata import category
from zoneinfo import ZoneInfo

from pipeline.catalog.documents import Completeness, Payer
from pipeline.catalog.subscriptions import Alignment
from pipeline.catalog.yaml import shown
from pipeline.collect.limits import DIMENSION_CHARS_MAX
from pipeline.core.calendar import DAY, EARLIEST, LATEST, SECOND, Duration, Instant, parse_instant
from pipeline.core.money import minor_digits
from pipeline.core.quantity import parse_decimal
from pipeline.meter.meters import Aggregation

ID_CHARS_MAX = 128
"""Characters of an id."""
TEXT_CHARS_MAX = 256
"""Characters of a name, a unit or a personal value."""
PREFIX_CHARS_MAX = 32
"""Characters before an invoice's number."""
DEFAULT_PAYMENT_DAYS = 14
PAYMENT_DAYS_MAX = 3650
"""Days until an invoice is due."""
CYCLE_YEARS_MAX = 10
"""Length of a billing cycle."""
GRACE_DAYS_MAX = 366
"""How long usage may be waited for."""

ID_PATTERN = r"[A-Za-z0-9._:-]+"
ITEM_PATTERN = rf"{ID_PATTERN}(?:/{ID_PATTERN})?"
ZONE_PATTERN = r"[A-Z][A-Za-z0-9_+/-]*"
PREFIX_PATTERN = r"[A-Za-z0-9._:/-]+"

_ID = re.compile(ID_PATTERN, re.ASCII)
_ITEM = re.compile(ITEM_PATTERN, re.ASCII)
_ZONE = re.compile(ZONE_PATTERN, re.ASCII)
_PREFIX = re.compile(PREFIX_PATTERN, re.ASCII)


def is_id(text: str) -> bool:
    """Tell whether a text may be an id."""
    return len(text) <= ID_CHARS_MAX and _ID.fullmatch(text) is not None


def parse_id(text: str) -> str:
    """Return an id."""
    if not is_id(text):
        raise ValueError(f"{shown(text)} is no id: use 1 to {ID_CHARS_MAX} of A-Z a-z 0-9 . _ : -")
    return text


def parse_text(text: str) -> str:
    """Return a text that people read."""
    if not text.strip():
        raise ValueError("blank: write something")
    if len(text) > TEXT_CHARS_MAX:
        raise ValueError(f"{len(text)} characters: keep {TEXT_CHARS_MAX} at most")
    if not text.isprintable() and any(category(char) in ("Cc", "Cs") for char in text):
        raise ValueError(f"{shown(text)} holds a line break or control character: remove it")
    return text


def parse_prefix(text: str) -> str:
    """Return what stands before an invoice's number."""
    if len(text) > PREFIX_CHARS_MAX or not _PREFIX.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is no number prefix:"
            f" use 1 to {PREFIX_CHARS_MAX} of A-Z a-z 0-9 . _ : / -"
        )
    return text


def parse_aggregation(text: str) -> Aggregation:
    """Return an aggregation."""
    try:
        return Aggregation(text)
    except ValueError:
        words = ", ".join(Aggregation)
        raise ValueError(f"{shown(text)} is no aggregation: use one of {words}") from None


def parse_flag(text: str) -> bool:
    """Return yes or no."""
    if text not in ("true", "false"):
        raise ValueError(f"{shown(text)}: use true or false")
    return text == "true"


def parse_completeness(text: str) -> Completeness:
    """Return a policy of completeness."""
    try:
        return Completeness(text)
    except ValueError:
        words = ", ".join(Completeness)
        raise ValueError(f"{shown(text)} is no policy: use one of {words}") from None


def parse_payer(text: str) -> Payer:
    """Return who pays for a sub-account."""
    try:
        return Payer(text)
    except ValueError:
        raise ValueError(f"{shown(text)}: use one of {', '.join(Payer)}") from None


def parse_currency(text: str) -> str:
    """Return a currency that can be billed in."""
    try:
        minor_digits(text)
    except ValueError as error:
        raise ValueError(f"{error}: use one such as EUR") from None
    return text


def parse_payment_days(text: str) -> int:
    """Return a payment term in days."""
    days = int(text) if len(text) <= 4 and text.isascii() and text.isdigit() else None
    if days is None or days > PAYMENT_DAYS_MAX:
        raise ValueError(f"{shown(text)}: use a whole number of days, 0 to {PAYMENT_DAYS_MAX}")
    return days


def parse_date(text: str) -> str:
    """Return a day of the years that are billed."""
    parse_moment(f"{text}T00:00:00Z" if len(text) == len("2026-11-01") else text)
    if len(text) != len("2026-11-01"):
        raise ValueError(f"{shown(text)} is no day: write it like 2026-11-01")
    return text


def parse_rate(text: str) -> Fraction:
    """Return a rate of exchange: above 0."""
    try:
        rate = Fraction(parse_decimal(text))
    except ValueError:
        rate = Fraction(0)
    if rate <= 0:
        raise ValueError(f"{shown(text)} is no rate: write a decimal above 0")
    return rate


def parse_limit(text: str) -> int:
    """Return how often something may be done."""
    if len(text) > 9 or not (text.isascii() and text.isdigit()) or not int(text):
        raise ValueError(f"{shown(text)} is no limit: use a whole number above 0")
    return int(text)


def _duration(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise ValueError(f"{error}: P counts by the calendar, PT by the clock") from None


def parse_cycle(text: str) -> Duration:
    """Return a billing cycle."""
    cycle = _duration(text)
    years = max(cycle.months * 30, cycle.days, cycle.seconds * SECOND // DAY) // 366
    if cycle.months > 12 * CYCLE_YEARS_MAX or years >= CYCLE_YEARS_MAX:
        raise ValueError(f"{text!r} is too long a cycle: use {CYCLE_YEARS_MAX} years at most")
    return cycle


def _clock_s(text: str) -> int:
    """Return the seconds of a duration that no calendar stretches."""
    duration = _duration(text)
    if duration.months or duration.days:
        raise ValueError(f"{text!r} goes by the calendar: write clock time, PT24H for a day")
    return duration.seconds


def parse_window(text: str) -> int:
    """Return the length of a meter's windows in microseconds."""
    window_us = _clock_s(text) * SECOND
    if DAY % window_us:
        raise ValueError(f"{text!r} does not divide a day: use PT1M, PT15M, PT1H or the like")
    return window_us


def parse_grace(text: str) -> int:
    """Return a grace in microseconds; PT0S is one."""
    grace_us = 0 if text == "PT0S" else _clock_s(text) * SECOND
    if grace_us > GRACE_DAYS_MAX * DAY:
        raise ValueError(f"{text!r} is too long a grace: use {GRACE_DAYS_MAX} days at most")
    return grace_us


def parse_zone(text: str) -> str:
    """Return the name of a time zone.

    Lower-case names and Factory mean something else on each machine.
    """
    try:
        if not _ZONE.fullmatch(text) or text == "Factory":
            raise ValueError(text)
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"{shown(text)} is no time zone: use an IANA name such as Europe/Berlin"
        ) from None
    return text


def parse_moment(text: str) -> Instant:
    """Return an instant in the years that are billed."""
    try:
        instant = parse_instant(text)
    except ValueError as error:
        raise ValueError(f"{error}: write it like 2026-11-01T00:00:00Z") from None
    if not EARLIEST <= instant < LATEST:
        raise ValueError(f"{text!r} is outside the years 2000 to 2099: choose another")
    return instant


def parse_anchor(text: str) -> Instant | Alignment:
    """Return what cycles are counted from."""
    if text == Alignment.CALENDAR.value:
        return Alignment.CALENDAR
    return parse_moment(text)


def parse_item(text: str) -> str:
    """Return the name of a fee: a price, or an add-on and a price."""
    if _ITEM.fullmatch(text) is None:
        raise ValueError(f"{shown(text)} is no fee: write its id, or add-on/id")
    return text


def parse_amount(text: str) -> Fraction:
    """Return a decimal of 0 or more."""
    try:
        amount = Fraction(parse_decimal(text))
    except ValueError:
        amount = Fraction(-1)
    if amount < 0:
        raise ValueError(f"{shown(text)} is no quantity: write a decimal of 0 or more")
    return amount


def parse_spending(text: str) -> Fraction:
    """Return an amount above 0, at which something spent is billed."""
    try:
        amount = Fraction(parse_decimal(text))
    except ValueError:
        amount = Fraction(0)
    if amount <= 0:
        raise ValueError(f"{shown(text)} is no threshold: write a decimal above 0")
    return amount


def parse_percent(text: str) -> Fraction:
    """Return the percent of a percentile: above 0, at most 100."""
    try:
        percent = Fraction(parse_decimal(text))
    except ValueError:
        percent = Fraction(0)
    if not 0 < percent <= 100:
        raise ValueError(f"{shown(text)} is no percent: write a decimal above 0, up to 100")
    return percent


def parse_commission(text: str) -> Fraction:
    """Return the percent that a marketplace keeps: 0 to 100."""
    try:
        percent = Fraction(parse_decimal(text))
    except ValueError:
        percent = Fraction(-1)
    if not 0 <= percent <= 100:
        raise ValueError(f"{shown(text)} is no percent: write a decimal from 0 to 100")
    return percent


def parse_per(text: str) -> int:
    """Return the time that a level is counted in, in microseconds."""
    return _clock_s(text) * SECOND


def parse_value(text: str) -> str:
    """Return the value of a dimension, as events have it."""
    if len(text) > DIMENSION_CHARS_MAX:
        raise ValueError(f"{len(text)} characters: keep {DIMENSION_CHARS_MAX} at most")
    return text
