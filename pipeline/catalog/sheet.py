"""The sheet: a catalog as people write it, in YAML.

Owns: the shape of the file, and every check that the file alone can answer.
Does not own: YAML (yaml.py), what is in force and so may still change (changes.py).
Law: a sheet, or every problem with it at once; no number is ever a float.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import TypeVar
from unicodedata import category
from zoneinfo import ZoneInfo

from pipeline.catalog.documents import Issuer, Plan, PlanPrice, Subscription
from pipeline.catalog.yaml import (
    Entry,
    Problem,
    Scalar,
    Value,
    as_json,
    compose,
    empty,
    joined,
    line_at,
    shown,
)
from pipeline.collect.limits import DIMENSIONS_MAX
from pipeline.core.calendar import DAY, EARLIEST, LATEST, SECOND, Duration, Instant, parse_instant
from pipeline.core.identity import Json
from pipeline.core.money import minor_digits
from pipeline.meter.meters import Aggregation, Meter
from pipeline.rate import FaultCode, FlatPrice, Price, parse_price

ID_CHARS_MAX = 128
"""Characters of an id."""
TEXT_CHARS_MAX = 256
"""Characters of a name, a unit or a personal value."""
PREFIX_CHARS_MAX = 32
"""Characters before an invoice's number."""
PROFILE_MAX = 32
"""Personal values of one customer."""
PAYMENT_DAYS_MAX = 3650
"""Days until an invoice is due."""
CYCLE_YEARS_MAX = 10
"""Length of a billing cycle."""
GRACE_DAYS_MAX = 366
"""How long usage may be waited for."""
DEFAULT_WINDOW_US = 900 * SECOND
DEFAULT_PAYMENT_DAYS = 14

T = TypeVar("T")

_ID = re.compile(r"[A-Za-z0-9._:-]+", re.ASCII)
_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+/-]*", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9._:/-]+", re.ASCII)
_BOOKED = ("flat", "unit", "graduated", "volume", "package")
_UNBOOKED = ("percentage", "graduated_percentage")
_MEND = {
    FaultCode.MISSING: "add it",
    FaultCode.UNKNOWN_KEY: "remove it, or use another type",
    FaultCode.BAD_NUMBER: "write it like 0.25",
    FaultCode.BAD_CHOICE: "use one of these",
    FaultCode.WRONG_TYPE: "write the entries under it",
    FaultCode.TIER_ORDER: "sort the tiers, up_to of the last may be null",
    FaultCode.TIER_MIXED: "remove it, or the block",
}
_MONTHLY = Duration(1, 0, 0)
_FREE = FlatPrice(Fraction(0))


@dataclass(frozen=True, slots=True)
class CustomerEntry:
    """A customer as the sheet has it: `profile` holds the personal values themselves."""

    id: str
    time_zone: str
    profile: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A catalog as written, in the order of the file. `grace_us` None: the rules stay."""

    grace_us: int | None
    issuers: tuple[Issuer, ...]
    meters: tuple[Meter, ...]
    plans: tuple[Plan, ...]
    customers: tuple[CustomerEntry, ...]
    subscriptions: tuple[Subscription, ...]
    root: Value = field(repr=False, compare=False)

    def problem(self, path: str, message: str) -> Problem:
        """Return a problem at a path of this file."""
        return Problem(path, line_at(self.root, path), message)


def parse_sheet(text: str) -> Sheet | list[Problem]:
    """Return the sheet that a text is, or every problem with it in the order of the file."""
    root, problems = compose(text)
    unread = len(problems)
    if isinstance(root, Scalar) and root.text is None:
        root = empty(root.line)
    top = Entry(root, "", problems)
    top.close("rules", "issuers", "meters", "plans", "customers", "subscriptions")
    meters = _read(top, "meters", _meter)
    by_id = {meter.id: meter for meter in meters}
    sheet = Sheet(
        grace_us=_grace_us(top),
        issuers=_read(top, "issuers", _issuer),
        meters=meters,
        plans=_read(top, "plans", partial(_plan, meters=by_id)),
        customers=_read(top, "customers", _customer),
        subscriptions=_read(top, "subscriptions", _subscription),
        root=root,
    )
    broken = {problem.path for problem in problems[:unread]}
    follow = [problem for problem in problems[unread:] if problem.path not in broken]
    return in_file_order(problems[:unread] + follow) if problems else sheet


def in_file_order(problems: list[Problem]) -> list[Problem]:
    """Return problems as a reader of the file meets them."""
    return sorted(problems, key=lambda problem: problem.line)


def window_fault(meter: Meter, cycle: Duration) -> str | None:
    """Return why a meter's windows do not fit a cycle; None where they do.

    A calendar cycle snaps its edges to windows. Clock time must fit by itself, or cycles would
    differ by a window from one to the next.
    """
    if cycle.seconds * SECOND % meter.window_us == 0:
        return None
    return (
        f"the windows of {meter.id} ({meter.window_us // SECOND} s) do not divide the plan's"
        f" cycle ({cycle.seconds} s of clock time): choose a cycle of whole windows"
    )


def _read(top: Entry, key: str, read: Callable[[Entry, str], T]) -> tuple[T, ...]:
    """Read a list of entries, each under an id of its own; those with a problem are left out."""
    found = []
    lines: dict[str, int] = {}
    for entry in top.items(key):
        before = len(entry.problems)
        name = entry.needed("id", parse_id, "")
        if name in lines:
            entry.note("id", f"{name} stands on line {lines[name]} already: rename or remove one")
        elif name:
            lines[name] = entry.line
        item = read(entry, name)
        if len(entry.problems) == before:
            found.append(item)
    return tuple(found)


def _grace_us(top: Entry) -> int | None:
    rules = top.inner("rules")
    if rules is None:
        return None
    rules.close("grace")
    return rules.needed("grace", parse_grace, 0)


def _issuer(entry: Entry, name: str) -> Issuer:
    entry.close("id", "name", "number_prefix")
    return Issuer(
        name,
        entry.needed("name", parse_text, ""),
        entry.needed("number_prefix", parse_prefix, ""),
    )


def _meter(entry: Entry, name: str) -> Meter:
    entry.close("id", "aggregation", "unit", "window", "dimensions")
    dimensions = entry.texts("dimensions", parse_text)
    if len(dimensions) > DIMENSIONS_MAX:
        entry.note("dimensions", f"{len(dimensions)} dimensions: keep {DIMENSIONS_MAX} at most")
    for twice in sorted({each for each in dimensions if dimensions.count(each) > 1}):
        entry.note("dimensions", f"{shown(twice)} stands here twice: remove one")
    return Meter(
        id=name,
        aggregation=entry.needed("aggregation", parse_aggregation, Aggregation.SUM),
        unit=entry.needed("unit", parse_text, ""),
        window_us=entry.optional("window", parse_window, DEFAULT_WINDOW_US),
        dimensions=tuple(sorted(dimensions)),
    )


def _plan(entry: Entry, name: str, meters: Mapping[str, Meter]) -> Plan:
    entry.close("id", "name", "issuer", "currency", "cycle", "payment_days", "prices")
    cycle = entry.needed("cycle", parse_cycle, _MONTHLY)
    return Plan(
        id=name,
        name=entry.needed("name", parse_text, ""),
        issuer=entry.needed("issuer", parse_id, ""),
        currency=entry.needed("currency", parse_currency, ""),
        cycle=cycle,
        payment_days=entry.optional("payment_days", parse_payment_days, DEFAULT_PAYMENT_DAYS),
        prices=_read(entry, "prices", partial(_plan_price, cycle=cycle, meters=meters)),
    )


def _plan_price(entry: Entry, name: str, cycle: Duration, meters: Mapping[str, Meter]) -> PlanPrice:
    entry.close("id", "name", "meter", "price")
    label = entry.needed("name", parse_text, "")
    meter = entry.optional("meter", parse_id, None)
    value = entry.value("price")
    if value is None:
        entry.missing("price")
        return PlanPrice(name, label, meter, _FREE, {})
    price, configured = _price(entry, value)
    metered = entry.value("meter") is not None
    if isinstance(price, FlatPrice) and metered:
        entry.note("meter", "a flat price bills no usage: remove meter, or use another type")
    elif price and not isinstance(price, FlatPrice) and not metered:
        entry.note("meter", "required, because this type of price bills usage: add meter")
    fault = window_fault(meters[meter], cycle) if meter and meter in meters else None
    if fault:
        entry.note("meter", fault)
    return PlanPrice(name, label, meter, price or _FREE, configured)


def _price(entry: Entry, value: Value) -> tuple[Price | None, dict[str, Json]]:
    """Return a price of a type that is booked, and as given; None beside its problems."""
    path = joined(entry.path, "price")
    opened = Entry(value, path, entry.problems)
    given = as_json(value)
    if not isinstance(given, dict):
        return None, {}
    if not opened.needed("type", _price_type, ""):
        return None, given
    price = parse_price(given, path)
    if isinstance(price, tuple):
        for fault in price:
            line = line_at(value, fault.path.removeprefix(path))
            message = f"{fault.message}: {_MEND[fault.code]}" if fault.code in _MEND else ""
            entry.problems.append(Problem(fault.path, line, message or fault.message))
        return None, given
    return price, given


def _price_type(text: str) -> str:
    if text in _BOOKED:
        return text
    is_none = "is not booked by this version" if text in _UNBOOKED else "is no type of price"
    raise ValueError(f"{shown(text)} {is_none}: use one of {', '.join(_BOOKED)}")


def _customer(entry: Entry, name: str) -> CustomerEntry:
    entry.close("id", "time_zone", "profile")
    time_zone = entry.optional("time_zone", parse_zone, "UTC")
    profile = entry.inner("profile")
    if profile is None:
        return CustomerEntry(name, time_zone, {})
    values = {}
    for key in profile.filled():
        try:
            values[parse_id(key)] = profile.needed(key, parse_text, "")
        except ValueError as error:
            profile.note(key, str(error))
    if len(values) > PROFILE_MAX:
        entry.note("profile", f"{len(values)} values: keep {PROFILE_MAX} at most")
    return CustomerEntry(name, time_zone, values)


def _subscription(entry: Entry, name: str) -> Subscription:
    entry.close("id", "customer", "plan", "start", "end")
    start = entry.needed("start", parse_moment, EARLIEST)
    end = entry.optional("end", parse_moment, None)
    if end is not None and end < start:
        entry.note(
            "end", "lies before the start: choose a later end, or the start itself to void it"
        )
    return Subscription(
        id=name,
        customer=entry.needed("customer", parse_id, ""),
        plan=entry.needed("plan", parse_id, ""),
        start=start,
        end=end,
    )


def parse_id(text: str) -> str:
    """Return an id."""
    if len(text) > ID_CHARS_MAX or not _ID.fullmatch(text):
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


def parse_cycle(text: str) -> Duration:
    """Return a billing cycle."""
    cycle = Duration.parse(text)
    years = max(cycle.months * 30, cycle.days, cycle.seconds * SECOND // DAY) // 366
    if cycle.months > 12 * CYCLE_YEARS_MAX or years >= CYCLE_YEARS_MAX:
        raise ValueError(f"{text!r} is too long a cycle: use {CYCLE_YEARS_MAX} years at most")
    return cycle


def _clock_s(text: str) -> int:
    """Return the seconds of a duration that no calendar stretches."""
    duration = Duration.parse(text)
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
