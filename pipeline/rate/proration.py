"""Proration: the share of a period that was served (rules 34 to 37).

Owns: the period of a request, from strings to one exact factor.
Does not own: calendar and zones (core/calendar), what the factor touches (lines.py).
Law: the factors of services that tile a period sum to 1.
Readings: all four times are required; `time_zone` only where one of them is local (a date or a
bare date-time), yet a name that is given must exist; seconds may be left out of a time
(02:30), and nothing finer than a microsecond is read.
"""

import re
from datetime import datetime
from fractions import Fraction
from functools import lru_cache
from zoneinfo import ZoneInfo

from pipeline.core.calendar import Instant, localised, parse_instant, to_datetime
from pipeline.rate.faults import FaultCode
from pipeline.rate.fields import Fields, shown
from pipeline.rate.lines import ONE

_TIMES = ("period_start", "period_end", "service_start", "service_end")
_KEYS = frozenset({*_TIMES, "time_zone"})
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d(?:\.\d{1,9})?))?([Zz]|[+-]\d\d:\d\d)?)?",
    re.ASCII,
)


def factor(
    period_start: Instant, period_end: Instant, service_start: Instant, service_end: Instant
) -> Fraction:
    """Return elapsed time of service / of period (rule 34), both [start, end).

    Raises:
        ValueError: an empty or reversed period, or service reversed or outside it.

    """
    if not period_start <= service_start <= service_end <= period_end > period_start:
        raise ValueError("service must lie inside a period that lasts some time")
    return Fraction(service_end - service_start, period_end - period_start)


def read_factor(fields: Fields) -> Fraction:
    """Read `proration`: the factor, or a stand-in beside the faults noted."""
    if not fields.opened:
        return ONE
    fields.close(_KEYS)
    zone = _zone(fields)
    read = [_instant(fields, key, zone) for key in _TIMES]
    times = [instant for instant in read if instant is not None]
    if len(times) < len(_TIMES):
        return ONE
    period_start, period_end, service_start, service_end = times
    if period_end <= period_start:
        fields.note(FaultCode.BAD_PERIOD, "period_end", "must be after period_start")
    elif service_end < service_start:
        fields.note(FaultCode.BAD_PERIOD, "service_end", "must not be before service_start")
    elif service_start < period_start:
        fields.note(FaultCode.OUTSIDE_PERIOD, "service_start", "is before the period starts")
    elif service_end > period_end:
        fields.note(FaultCode.OUTSIDE_PERIOD, "service_end", "is after the period ends")
    else:
        return factor(period_start, period_end, service_start, service_end)
    return ONE


def _zone(fields: Fields) -> ZoneInfo | None:
    """Return the time zone; None where it is absent or there is no such zone."""
    if not fields.has("time_zone"):
        return None
    name = fields.text("time_zone")
    try:
        return None if name is None else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        fields.note(FaultCode.UNKNOWN_ZONE, "time_zone", f"{shown(name)} is no known time zone")
    return None


def _instant(fields: Fields, key: str, zone: ZoneInfo | None) -> Instant | None:
    """Return the instant a key names (rule 36); None beside the fault noted."""
    text = fields.text(key)
    if text is None:
        return None
    try:
        instant = _named(text, zone)
    except ValueError as error:
        fields.note(FaultCode.BAD_TIME, key, f"{shown(text)}{error}")
        return None
    if instant is None and not fields.has("time_zone"):
        message = "required, because a time here is local"
        fields.note(FaultCode.MISSING, "time_zone", message)
    return instant


@lru_cache(maxsize=1024)  # many lines have one period
def _named(text: str, zone: ZoneInfo | None) -> Instant | None:
    """Return the instant that a text names; None where it is local and no zone is known.

    Raises:
        ValueError: it names none; told so that it can stand behind the text.

    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(" is no date, local date-time or RFC 3339 instant")
    date, clock, seconds, offset = match.groups()
    stamp = f"{date}T{clock or '00:00'}:{seconds or '00'}"
    try:
        if offset is not None:
            return parse_instant(stamp + offset)
        wall = _naive(stamp)
        return None if zone is None else localised(wall, zone)
    except (ValueError, OverflowError) as error:
        raise ValueError(f": {error}") from error


def _naive(stamp: str) -> datetime:
    """Return the wall-clock time of a stamp without an offset."""
    return to_datetime(parse_instant(stamp + "Z")).replace(tzinfo=None)
