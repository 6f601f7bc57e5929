"""Calendar: instants, windows, ISO 8601 durations, billing cycles in a time zone.

Owns: the one text form of an instant, window edges, period edges.
Does not own: the clock (stores/clock.py); nothing here knows what time it is.
Law: cycles tile time: no gap, no overlap, and edge k depends on the anchor and k alone.
"""

import re
import zoneinfo
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

zoneinfo.reset_tzpath(())  # the pinned package decides, not whatever the machine has

Instant = int
"""Microseconds since 1970-01-01T00:00:00Z."""

SECOND = 1_000_000
DAY = 86_400 * SECOND
EARLIEST: Instant = 946_684_800 * SECOND
"""2000-01-01: event times before it are refused."""
LATEST: Instant = 4_102_444_800 * SECOND
"""2100-01-01: event times from it on are refused."""

_LONGEST = 36_525 * DAY
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_PLAIN = re.compile(r"....-..-..T(?:[01].|2[0-3]):..:..(?:\.\d{1,6})?Z", re.ASCII)
"""The commonest form: only the shape, since `fromisoformat` reads the digits, and fast."""
_DURATION = re.compile(
    r"P(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,5})D)?"
    r"(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,8})S)?)?",
    re.ASCII,
)


def parse_instant(text: object) -> Instant:
    """Return the instant of an RFC 3339 date-time with a zone; digits below 1 us must be 0.

    Raises:
        ValueError: another form, no zone, no such day or hour, or finer than a microsecond.

    """
    if type(text) is str and _PLAIN.fullmatch(text):
        try:
            return from_datetime(datetime.fromisoformat(text))
        except ValueError:
            pass  # said in our own words below
    match = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{str(text)[:50]!r} is not an RFC 3339 instant with a zone")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    decimals = (match[7] or "").ljust(9, "0")
    if decimals[6:] != "000":
        raise ValueError(f"{text!r} is finer than a microsecond")
    zone = match[8].upper()
    offset_s = 0
    if zone != "Z":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 23 or minutes > 59:
            raise ValueError(f"{text!r} has no such zone offset")
        offset_s = (hours * 3600 + minutes * 60) * (-1 if zone[0] == "-" else 1)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"{text!r} is no instant: {error}") from None
    return from_datetime(moment) + int(decimals[:6]) - offset_s * SECOND


def from_datetime(moment: datetime) -> Instant:
    """Return the instant of an aware datetime."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


def to_datetime(instant: Instant) -> datetime:
    """Return the aware UTC datetime of an instant."""
    return _EPOCH + timedelta(microseconds=instant)


@lru_cache(maxsize=1 << 14)  # the same few edges stand on every line
def instant_text(instant: Instant) -> str:
    """Return the one text form: UTC with Z, a fraction only where there is one."""
    return to_datetime(instant).isoformat().replace("+00:00", "Z")


def window_start(instant: Instant, window_us: int) -> Instant:
    """Return the start of the window [start, start + window_us) that holds the instant."""
    return instant - instant % window_us


def snap_up(instant: Instant, window_us: int) -> Instant:
    """Return the first window edge at or after the instant."""
    return -(-instant // window_us) * window_us


class Duration(NamedTuple):
    """An ISO 8601 duration: months and days by the calendar, seconds by the clock."""

    months: int
    days: int
    seconds: int

    @property
    def nominal_us(self) -> int:
        """About how long it lasts, in microseconds: a month as 30 days."""
        return (self.months * 30 + self.days) * DAY + self.seconds * SECOND

    @property
    def text(self) -> str:
        """The one text form: `parse` gives it back."""
        minutes, seconds = divmod(self.seconds, 60)
        hours, minutes = divmod(minutes, 60)
        days = _units((self.months, "M"), (self.days, "D"))
        clock = _units((hours, "H"), (minutes, "M"), (seconds, "S"))
        return f"P{days}T{clock}" if clock else f"P{days}"

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Parse PnYnMnWnDTnHnMnS (whole numbers only).

        Raises:
            ValueError: another form, a duration of nothing, or one of more than 100 years.

        """
        match = _DURATION.fullmatch(text)
        if match is None or text.endswith("T"):
            raise ValueError(f"{text[:50]!r} is not an ISO 8601 duration such as P1M or PT1M")
        years, months, weeks, days, hours, minutes, seconds = (int(g or 0) for g in match.groups())
        duration = cls(12 * years + months, 7 * weeks + days, 3600 * hours + 60 * minutes + seconds)
        if duration == cls(0, 0, 0):
            raise ValueError(f"{text!r} lasts no time")
        if duration.nominal_us > _LONGEST:
            raise ValueError(f"{text!r} lasts more than 100 years")
        return duration


def _units(*parts: tuple[int, str]) -> str:
    return "".join(f"{count}{unit}" for count, unit in parts if count)


class Period(NamedTuple):
    """A stretch of time [start, end)."""

    start: Instant
    end: Instant


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def localised(local: datetime, zone: ZoneInfo) -> Instant:
    """Return the instant of a wall-clock time.

    A repeated time is the earlier one; a skipped one takes the offset before the gap
    (RATING rule 36): fold=0 means both.
    """
    return from_datetime(local.replace(tzinfo=zone, fold=0).astimezone(UTC))


@lru_cache(maxsize=1 << 14)
def cycle_edge(anchor: Instant, cycle: Duration, count: int, time_zone: str) -> Instant:
    """Return edge `count` of the cycles anchored at `anchor`, counted from the anchor itself.

    Months and days are added on the customer's wall clock (a day the month lacks becomes its
    last one, without drift: Jan 31, Feb 28, Mar 31); seconds are added as elapsed time.
    """
    elapsed = cycle.seconds * count * SECOND
    if count == 0 or not (cycle.months or cycle.days):
        return anchor + elapsed  # edge 0 is the anchor, even in an hour the clock shows twice
    zone = _zone(time_zone)
    local = _wall(anchor, zone)
    year, month0 = divmod(local.year * 12 + local.month - 1 + cycle.months * count, 12)
    day = min(local.day, monthrange(year, month0 + 1)[1])
    moved = local.replace(year=year, month=month0 + 1, day=day)
    return localised(moved + timedelta(days=cycle.days * count), zone) + elapsed


def cycle_index(instant: Instant, anchor: Instant, cycle: Duration, time_zone: str) -> int:
    """Return k with edge k <= instant < edge k + 1 (negative before the anchor)."""
    index = (instant - anchor) // cycle.nominal_us
    while cycle_edge(anchor, cycle, index, time_zone) > instant:
        index -= 1
    while cycle_edge(anchor, cycle, index + 1, time_zone) <= instant:
        index += 1
    return index


@lru_cache(maxsize=1 << 12)  # many begin at the same instant
def cycle_at(anchor: Instant, cycle: Duration, index: int, time_zone: str) -> Period:
    """Return period `index`: [edge index, edge index + 1)."""
    return Period(
        cycle_edge(anchor, cycle, index, time_zone),
        cycle_edge(anchor, cycle, index + 1, time_zone),
    )


def aligned(instant: Instant, cycle: Duration, time_zone: str) -> Instant:
    """Return the start of the calendar's cycle that holds the instant: an anchor for others.

    Months from January on, days from midnight (weeks from Monday), clock time from 1970 on, in
    the customer's zone. Only where `cycle` is one of these. Where the clock skipped that midnight
    it is the start of the last cycle that had one: others would begin when that one did.
    """
    if not (cycle.months or cycle.days):
        return window_start(instant, cycle.seconds * SECOND)
    zone = _zone(time_zone)
    midnight = _wall(instant, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    if cycle.months:
        months = midnight.year * 12 + midnight.month - 1
        year, month0 = divmod(months - months % cycle.months, 12)
        midnight = midnight.replace(year=year, month=month0 + 1, day=1)
    else:
        since_a_monday = midnight.toordinal() - 1
        midnight -= timedelta(days=since_a_monday % cycle.days)
    edge = localised(midnight, zone)
    return edge if _wall(edge, zone) == midnight else aligned(edge - 1, cycle, time_zone)


@lru_cache(maxsize=1 << 12)  # the same few tax points stand on every line
def day_of(instant: Instant, time_zone: str) -> str:
    """Return the day that an instant falls on in a zone, like 2026-11-01."""
    return _wall(instant, _zone(time_zone)).date().isoformat()


def _wall(instant: Instant, zone: ZoneInfo) -> datetime:
    """Return what the clock of a zone shows."""
    return to_datetime(instant).astimezone(zone).replace(tzinfo=None)
