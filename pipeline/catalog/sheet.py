"""The sheet: a catalog as people write it, in YAML.

Owns: the shape of the file, and every check that the file alone can answer.
Does not own: YAML (yaml.py), what is in force and so may still change (changes.py).
Law: a sheet, or every problem with it at once; no number is ever a float.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import TypeVar

from pipeline.catalog import shape
from pipeline.catalog.documents import Issuer, Plan, PlanPrice, Subscription
from pipeline.catalog.fields import (
    parse_aggregation,
    parse_currency,
    parse_cycle,
    parse_grace,
    parse_id,
    parse_moment,
    parse_payment_days,
    parse_per,
    parse_percent,
    parse_prefix,
    parse_text,
    parse_value,
    parse_window,
    parse_zone,
)
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
from pipeline.core.calendar import EARLIEST, SECOND, Duration
from pipeline.core.identity import Json
from pipeline.core.quantity import quantity_text
from pipeline.meter.meters import Aggregation, Meter
from pipeline.meter.scope import Scope
from pipeline.rate import FaultCode, FlatPrice, Price, parse_price
from pipeline.rate.price import quantity_max

DEFAULT_WINDOW_US = 900 * SECOND
DEFAULT_PAYMENT_DAYS = 14

T = TypeVar("T")

_PARAMETERS = ("of", "percent", "per")
_UNBOOKED = ("percentage", "graduated_percentage")
_MEND = {
    FaultCode.MISSING: "add it",
    FaultCode.UNKNOWN_KEY: "remove it, or use another type",
    FaultCode.BAD_NUMBER: "write it like 0.25",
    FaultCode.BAD_CHOICE: "use one of these",
    FaultCode.WRONG_TYPE: "write the entries under it",
    FaultCode.TIER_ORDER: "sort the tiers, up_to of the last may be null",
    FaultCode.TIER_MIXED: "remove it, or the block",
    FaultCode.NOT_POSITIVE: "write a number above 0",
    FaultCode.NEGATIVE: "write 0 or more",
    FaultCode.TOO_LARGE: "keep fewer",
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
    places: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False, compare=False)
    """The path of each entry by its list and id, those that are left out for a problem too."""

    def problem(self, path: str, message: str) -> Problem:
        """Return a problem at a path of this file."""
        return Problem(path, line_at(self.root, path), message)


def parse_sheet(text: str) -> Sheet | list[Problem]:
    """Return the sheet that a text is, or every problem with it in the order of the file."""
    sheet, problems = read_sound(text)
    return problems or sheet


def read_sound(text: str) -> tuple[Sheet, list[Problem]]:
    """Return the sheet of the entries that have no problem of their own, and every problem."""
    root, problems = compose(text)
    unread = len(problems)
    if isinstance(root, Scalar) and root.text is None:
        root = empty(root.line)
    top = Entry(root, "", problems)
    top.close(*shape.SHEET.keys)
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
        places={key: _places(root, key) for key in shape.SHEET.keys if key != "rules"},
    )
    broken = {problem.path for problem in problems[:unread]}
    follow = [problem for problem in problems[unread:] if problem.path not in broken]
    return sheet, in_file_order(problems[:unread] + follow)


def in_file_order(problems: list[Problem]) -> list[Problem]:
    """Return problems as a reader of the file meets them."""
    return sorted(problems, key=lambda problem: problem.line)


def meter_faults(meter: Meter | None, cycle: Duration, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield what of a price does not fit its meter, by key; nothing where no meter is known."""
    if meter is None:
        return
    fault = window_fault(meter, cycle)
    if fault:
        yield "meter", fault
    kept = ", ".join(meter.dimensions) or "none"
    for key, names in (("filter", [name for name, _ in scope.where]), ("group_by", scope.group_by)):
        for name in names:
            if name not in meter.dimensions:
                told = f"{meter.id} does not keep dimension {shown(name)}, it keeps {kept}"
                yield key, f"{told}: use one of these, or make a new meter"


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


def _places(root: Value, key: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in Entry(root, "", []).items(key):
        found.setdefault(entry.word("id"), entry.path)
    return found


def _grace_us(top: Entry) -> int | None:
    rules = top.inner("rules")
    if rules is None:
        return None
    rules.close(*shape.RULES.keys)
    return rules.needed("grace", parse_grace, 0)


def _issuer(entry: Entry, name: str) -> Issuer:
    entry.close(*shape.ISSUER.keys)
    return Issuer(
        name,
        entry.needed("name", parse_text, ""),
        entry.needed("number_prefix", parse_prefix, ""),
    )


def _meter(entry: Entry, name: str) -> Meter:
    entry.close(*shape.METER.keys)
    dimensions = entry.texts("dimensions", parse_text)
    if len(dimensions) > DIMENSIONS_MAX:
        entry.note("dimensions", f"{len(dimensions)} dimensions: keep {DIMENSIONS_MAX} at most")
    _once(entry, "dimensions", dimensions)
    aggregation = entry.needed("aggregation", parse_aggregation, None)
    if aggregation is not None:
        _check_parameters(entry, aggregation)
    of = entry.optional("of", parse_text, None)
    if of is not None and of in dimensions:
        entry.note("of", f"{shown(of)} is counted, so it tells no usage apart: remove one of them")
    return Meter(
        id=name,
        aggregation=aggregation or Aggregation.SUM,
        unit=entry.needed("unit", parse_text, ""),
        window_us=entry.optional("window", parse_window, DEFAULT_WINDOW_US),
        dimensions=tuple(sorted(dimensions)),
        of=of,
        percent=entry.optional("percent", parse_percent, None),
        per_us=entry.optional("per", parse_per, None),
    )


def _check_parameters(entry: Entry, aggregation: Aggregation) -> None:
    """Note a parameter that the aggregation has no use for, and one it needs and lacks."""
    for key in _PARAMETERS:
        given = entry.value(key) is not None
        if given and key not in (aggregation.parameter, aggregation.option):
            users = " and ".join(a for a in Aggregation if key in (a.parameter, a.option))
            entry.note(key, f"{aggregation} has no use for it, only {users}: remove {key}")
        elif not given and key == aggregation.parameter:
            entry.missing(key)


def _once(entry: Entry, key: str, texts: Sequence[str]) -> None:
    for twice in sorted({each for each in texts if texts.count(each) > 1}):
        entry.note(key, f"{shown(twice)} stands here twice: remove one")


def _plan(entry: Entry, name: str, meters: Mapping[str, Meter]) -> Plan:
    entry.close(*shape.PLAN.keys)
    currency = entry.needed("currency", parse_currency, "")
    cycle = entry.needed("cycle", parse_cycle, _MONTHLY)
    return Plan(
        id=name,
        name=entry.needed("name", parse_text, ""),
        issuer=entry.needed("issuer", parse_id, ""),
        currency=currency,
        cycle=cycle,
        payment_days=entry.optional("payment_days", parse_payment_days, DEFAULT_PAYMENT_DAYS),
        effective=entry.optional("effective", parse_moment, None),
        prices=_read(entry, "prices", partial(_plan_price, terms=(currency, cycle), meters=meters)),
    )


def _plan_price(
    entry: Entry, name: str, terms: tuple[str, Duration], meters: Mapping[str, Meter]
) -> PlanPrice:
    """Read a price of a plan; `terms` are the plan's currency and cycle."""
    entry.close(*shape.PLAN_PRICE.keys)
    label = entry.needed("name", parse_text, "")
    _check_currency(entry, terms[0])
    meter = entry.optional("meter", parse_id, None)
    scope = _scope(entry)
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
    for key, fault in meter_faults(meters.get(meter or ""), terms[1], scope):
        entry.note(key, fault)
    return PlanPrice(name, label, meter, price or _FREE, configured, scope)


def _check_currency(entry: Entry, currency: str) -> None:
    told = entry.optional("currency", parse_currency, currency)
    if told != currency and currency:
        message = f"{told} is not the plan's currency {currency}, and a plan bills in one"
        entry.note("currency", f"{message}: remove it, or make a plan in {told}")


def _scope(entry: Entry) -> Scope:
    """Return which usage of its meter a price bills, and by what it is told apart."""
    chosen = entry.inner("filter")
    where = [] if chosen is None else [_choice(chosen, key) for key in sorted(chosen.filled())]
    group_by = entry.texts("group_by", parse_text)
    _once(entry, "group_by", group_by)
    for key in ("filter", "group_by"):
        if entry.value(key) is not None and entry.value("meter") is None:
            entry.note(key, f"there is no usage to tell apart: add meter, or remove {key}")
    return Scope(tuple(where), tuple(sorted(group_by)))


def _choice(chosen: Entry, key: str) -> tuple[str, tuple[str, ...]]:
    before = len(chosen.problems)
    values = chosen.texts(key, parse_value)
    _once(chosen, key, values)
    if not values and len(chosen.problems) == before:
        chosen.note(key, "holds no value: name one, or remove it")
    return key, tuple(sorted(values))


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
    bound = quantity_max(price)
    if bound is not None:
        last = f"tiers[{len(opened.items('tiers')) - 1}].up_to"
        message = f"a quantity above {quantity_text(bound)} has no price"
        opened.note(last, f"{message}: make up_to of the last tier null")
    return price, given


def _price_type(text: str) -> str:
    if text in shape.PRICES:
        return text
    is_none = "is not booked by this version" if text in _UNBOOKED else "is no type of price"
    raise ValueError(f"{shown(text)} {is_none}: use one of {', '.join(shape.PRICES)}")


def _customer(entry: Entry, name: str) -> CustomerEntry:
    entry.close(*shape.CUSTOMER.keys)
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
    if len(values) > shape.PROFILE_MAX:
        entry.note("profile", f"{len(values)} values: keep {shape.PROFILE_MAX} at most")
    return CustomerEntry(name, time_zone, values)


def _subscription(entry: Entry, name: str) -> Subscription:
    entry.close(*shape.SUBSCRIPTION.keys)
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
