"""The sheet: a catalog as people write it, in YAML.

Owns: the shape of the file, and every check that the file alone can answer.
Does not own: YAML (yaml.py), what is in force and so may still change (changes.py).
Law: a sheet, or every problem with it at once; no number is ever a float.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar
from unicodedata import category
from zoneinfo import ZoneInfo

from pipeline.catalog.documents import Issuer, Plan, PlanPrice, Subscription
from pipeline.catalog.yaml import (
    Entry,
    Items,
    Members,
    Problem,
    Scalar,
    Value,
    as_json,
    compose,
    joined,
    line_at,
    shown,
)
from pipeline.collect.limits import DIMENSION_CHARS_MAX, DIMENSIONS_MAX
from pipeline.core.calendar import DAY, EARLIEST, LATEST, SECOND, Duration, Instant, parse_instant
from pipeline.core.money import minor_digits
from pipeline.meter.meters import Aggregation, Meter
from pipeline.rate import FlatPrice, Price, parse_price

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
_PREFIX = re.compile(r"[A-Za-z0-9._:/-]+", re.ASCII)
_UNBOOKED = frozenset({"percentage", "graduated_percentage"})
_BOOKED = "flat, unit, graduated, volume or package"
_MONTHLY = Duration(1, 0, 0)


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
    if isinstance(root, Scalar) and root.text is None:
        root = Members(root.line, 1, 0, {}, {})
    top = Entry(root, "", problems)
    top.close("rules", "issuers", "meters", "plans", "customers", "subscriptions")
    meters = _read(top, "meters", _meter)
    sheet = Sheet(
        grace_us=_grace_us(top),
        issuers=_read(top, "issuers", _issuer),
        meters=meters,
        plans=_read(top, "plans", _plan),
        customers=_read(top, "customers", _customer),
        subscriptions=_read(top, "subscriptions", _subscription),
        root=root,
    )
    problems += window_problems(sheet, {meter.id: meter for meter in meters})
    return in_file_order(problems) if problems else sheet


def in_file_order(problems: list[Problem]) -> list[Problem]:
    """Return problems as a reader of the file meets them."""
    return sorted(problems, key=lambda problem: problem.line)


def window_problems(sheet: Sheet, meters: Mapping[str, Meter]) -> list[Problem]:
    """Return the prices whose meter's window does not divide the plan's cycle.

    Calendar cycles start and end with a window or snap to one; clock time must fit by itself,
    or a window belongs to two cycles again and again.
    """
    found = []
    for at, plan in enumerate(sheet.plans):
        for place, price in enumerate(plan.prices):
            meter = meters.get(price.meter or "")
            if meter and plan.cycle.seconds * SECOND % meter.window_us:
                window_s = meter.window_us // SECOND
                found.append(
                    sheet.problem(
                        f"plans[{at}].prices[{place}].meter",
                        f"the windows of {meter.id} ({window_s} s) do not divide the plan's cycle"
                        f" ({plan.cycle.seconds} s): choose a cycle of whole windows",
                    )
                )
    return found


def _read(top: Entry, key: str, read: Callable[[Entry, str], T]) -> tuple[T, ...]:
    """Read a list of entries, each under an id of its own."""
    found = []
    lines: dict[str, int] = {}
    for entry in top.items(key):
        name = entry.needed("id", parse_id, "")
        if name in lines:
            entry.note("id", f"{name} stands on line {lines[name]} already: rename or remove one")
        elif name:
            lines[name] = entry.line
        found.append(read(entry, name))
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
    dimensions = entry.texts("dimensions", parse_dimension)
    if len(dimensions) > DIMENSIONS_MAX:
        entry.note("dimensions", f"{len(dimensions)} dimensions: keep to {DIMENSIONS_MAX}")
    for twice in sorted({each for each in dimensions if dimensions.count(each) > 1}):
        entry.note("dimensions", f"{shown(twice)} stands here twice: remove one")
    return Meter(
        id=name,
        aggregation=entry.needed("aggregation", parse_aggregation, Aggregation.SUM),
        unit=entry.needed("unit", parse_text, ""),
        window_us=entry.optional("window", parse_window, DEFAULT_WINDOW_US),
        dimensions=tuple(sorted(dimensions)),
    )


def _plan(entry: Entry, name: str) -> Plan:
    entry.close("id", "name", "issuer", "currency", "cycle", "payment_days", "prices")
    return Plan(
        id=name,
        name=entry.needed("name", parse_text, ""),
        issuer=entry.needed("issuer", parse_id, ""),
        currency=entry.needed("currency", parse_currency, ""),
        cycle=entry.needed("cycle", parse_cycle, _MONTHLY),
        payment_days=entry.optional("payment_days", parse_payment_days, DEFAULT_PAYMENT_DAYS),
        prices=_read(entry, "prices", _plan_price),
    )


def _plan_price(entry: Entry, name: str) -> PlanPrice:
    entry.close("id", "name", "meter", "price")
    label = entry.needed("name", parse_text, "")
    meter = entry.optional("meter", parse_meter_id, None)
    value = entry.value("price")
    price = None
    if value is None:
        entry.note("price", "required, but absent or empty: add price")
    else:
        price = _price(entry, value)
    if isinstance(price, FlatPrice) and meter is not None:
        entry.note("meter", "a flat price bills no usage: remove meter, or choose another type")
    if price and not isinstance(price, FlatPrice) and entry.value("meter") is None:
        entry.note("meter", "required, because the price bills usage: add meter")
    configured = as_json(value) if value else None
    return PlanPrice(
        name,
        label,
        meter,
        price or FlatPrice(amount=_NOTHING),
        configured if isinstance(configured, dict) else {},
    )


def _price(entry: Entry, value: Value) -> Price | None:
    """Return a price of a kind that is booked; None beside its problems."""
    path = joined(entry.path, "price")
    given = as_json(value)
    kind = given.get("type") if isinstance(given, dict) else None
    if isinstance(kind, str) and kind in _UNBOOKED:
        message = f"{kind} prices are not booked by this version: use {_BOOKED}"
        place = f"{path}.type"
        entry.problems.append(Problem(place, line_at(entry.root, place), message))
        return None
    price = parse_price(given, path)
    if isinstance(price, tuple):
        entry.problems += [
            Problem(fault.path, line_at(value, fault.path.removeprefix(path)), fault.message)
            for fault in price
        ]
        return None
    return price


def _customer(entry: Entry, name: str) -> CustomerEntry:
    entry.close("id", "time_zone", "profile")
    profile = entry.inner("profile")
    values = {}
    if profile:
        for key in profile.keys():
            ...
    return CustomerEntry(name, entry.optional("time_zone", parse_zone, "UTC"), values)
