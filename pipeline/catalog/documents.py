"""The documents a catalog is made of, and how a fact's body becomes one.

Owns: issuers, plans with their prices and phases, customers, rules, log parameters, gate passes.
Does not own: YAML (yaml.py), price models (rate), subscriptions (subscriptions.py), what is in
force when (catalog.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from sys import intern
from types import MappingProxyType
from typing import cast

from pipeline.catalog.early import Thresholds, thresholds
from pipeline.catalog.rate_cards import Body, PlanPrice, card_body, plan_price
from pipeline.catalog.tax_terms import (
    CustomerTax,
    IssuerTax,
    customer_tax,
    dated_after,
    issuer_tax,
)
from pipeline.collect.gate import Gate, GatePass
from pipeline.core.calendar import SECOND, Duration, Instant, parse_instant
from pipeline.core.identity import Json
from pipeline.core.quantity import exact, quantity_text
from pipeline.meter.meters import Aggregation, Meter
from pipeline.rate import (
    PercentageDiscount,
    Reduction,
)


@dataclass(frozen=True, slots=True)
class LogParameters:
    """Fixed for the life of a log."""

    partitions: int
    gate: Gate
    test_clock: Instant | None = None
    """When its test clock started; None: it lives by the wall's."""
    copied: bool = False
    """Whether it was copied from a log with other partitions."""


@dataclass(frozen=True, slots=True)
class Rules:
    """In force from a tick on. `grace_us`: how long after a period its usage is waited for."""

    grace_us: int
    rule_version: int
    tzdata_version: str


class Completeness(StrEnum):
    """What becomes of a document while events of its customer's partition are missing."""

    HOLD = "hold"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Issuer:
    """The legal entity that issues invoices, under numbers `number_prefix`000001."""

    id: str
    name: str
    number_prefix: str
    tax: IssuerTax | None = None
    """Where it is taxed; None: what it issues says nothing of tax."""
    approval: bool = False
    """Whether somebody must approve each document."""
    completeness: Completeness | None = None
    """What becomes of documents while producers miss events; None: nobody asks."""
    notes_from: Fraction = Fraction(0)
    """The least that usage after a cut makes a note of; what comes to less is carried."""
    note_prefix: str | None = None
    """Stands before the numbers of notes, where they have numbers of their own."""

    def after(self, before: "Issuer | None") -> "Issuer":
        """Return it on top of what was in force: taxes that have a day leave those before it."""
        return self if before is None else replace(self, tax=dated_after(self.tax, before.tax))


@dataclass(frozen=True, slots=True)
class Phase:
    """A first stretch of a plan, `length` long, with `prices` of its own (None: the plan's).

    `percent_off` comes off all that is billed in it.
    """

    id: str
    length: Duration
    prices: tuple[PlanPrice, ...] | None = None
    percent_off: Fraction | None = None

    def priced(self, prices: tuple[PlanPrice, ...]) -> tuple[PlanPrice, ...]:
        """Return what is billed in it, where `prices` are the plan's."""
        return tuple(map(self.reduced, prices if self.prices is None else self.prices))

    def reduced(self, price: PlanPrice) -> PlanPrice:
        """Return a rate card as it is in the phase."""
        if self.percent_off is None:
            return price
        off = Reduction(PercentageDiscount(self.percent_off), reason=self.id)
        return replace(price, terms=price.terms.less(off))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a subscription buys: prices billed every cycle.

    It may begin with a `trial`, in which nothing is charged, and with phases, one after another.

    The prices are in force from `effective` on, those of `earlier` before; without a date they
    are in force throughout. All else of the plan is in force at once.
    """

    id: str
    name: str
    issuer: str
    currency: str
    cycle: Duration
    payment_days: int
    prices: tuple[PlanPrice, ...]
    effective: Instant | None = None
    trial: Duration | None = None
    phases: tuple[Phase, ...] = ()
    earlier: "Plan | None" = field(default=None, compare=False, repr=False)
    thresholds: Thresholds | None = None
    priced_in: str = ""
    """What its amounts are in, where that is not `currency`."""

    def in_currency(self, billed: str) -> "Plan":
        """Return the plan as it is billed in a currency."""
        if billed == self.currency:
            return self

        def all_of(prices: tuple[PlanPrice, ...]) -> tuple[PlanPrice, ...]:
            return tuple(price.in_currency(self.currency, billed) for price in prices)

        return replace(
            self,
            currency=billed,
            priced_in=self.currency,
            prices=all_of(self.prices),
            phases=tuple(
                replace(each, prices=None if each.prices is None else all_of(each.prices))
                for each in self.phases
            ),
            earlier=None if self.earlier is None else self.earlier.in_currency(billed),
        )

    def after(self, before: "Plan | None") -> "Plan":
        """Return this revision on top of what was in force before.

        A revision without a date replaces everything, and so does one that bills otherwise. One
        with a date replaces what was to come at that date or later. The first has no before.
        """
        if self.effective is None or before is None:
            return self
        if (before.currency, before.cycle) != (self.currency, self.cycle):
            return self
        while before.earlier is not None and not _precedes(before, self.effective):
            before = before.earlier
        return replace(self, earlier=before)

    def spans(self) -> Iterator[tuple[Instant | None, Instant | None, "Plan"]]:
        """Yield from when to when which revision's prices are in force, the last first."""
        end, revision = None, self
        while revision.earlier is not None:
            yield revision.effective, end, revision
            end, revision = revision.effective, revision.earlier
        yield None, end, revision

    def at(self, instant: Instant) -> "Plan":
        """Return the revision whose prices are in force at an instant."""
        return next(
            revision for start, _, revision in self.spans() if start is None or start <= instant
        )

    def prices_in(self, phase: int | None) -> tuple[PlanPrice, ...]:
        """Return this revision's prices, in a phase of it (by place) or behind them all."""
        own = self.phase(phase)
        return self.prices if own is None else own.priced(self.prices)

    def phase(self, place: int | None) -> Phase | None:
        """Return a phase by its place; None: behind them all."""
        return None if place is None or place >= len(self.phases) else self.phases[place]


def _precedes(revision: Plan, instant: Instant) -> bool:
    return revision.effective is None or revision.effective < instant


class Payer(StrEnum):
    """Who is invoiced for a sub-account."""

    OWN = "own"
    PARENT = "parent"


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer; `profile` holds commitments to personal values, never the values."""

    id: str
    time_zone: str
    profile: Mapping[str, str]
    currency: str | None = None
    """What it is billed in, whatever its plans are in."""
    tax: CustomerTax | None = None
    approval: bool = False
    """Whether somebody must approve each document."""
    empty_invoices: bool = False
    """Whether it wants a document of each period, also where that bills nothing."""
    parent: str | None = None
    """The customer that it is a sub-account of."""
    parent_pays: bool = False
    """Whether what is sold to it stands on its parent's documents."""

    @property
    def payer(self) -> str:
        """Who is invoiced for it."""
        return self.parent if self.parent is not None and self.parent_pays else self.id

    def after(self, before: "Customer | None") -> "Customer":
        """Return it on top of what was in force: taxes that have a day leave those before it."""
        return self if before is None else replace(self, tax=dated_after(self.tax, before.tax))


def gate_pass(body: Body) -> GatePass:
    """Return the gate pass of a fact."""
    batches = cast(list[str], body["batches"])
    return GatePass(parse_instant(body["until"]), frozenset(batches))


def _text(body: Body, name: str) -> str:
    return cast(str, body[name])


def _whole(body: Body, name: str) -> int:
    return cast(int, body[name])


def log_parameters(body: Body) -> LogParameters:
    """Return the log parameters of a fact."""
    gate = Gate(_whole(body, "horizon_s") * SECOND, _whole(body, "tolerance_s") * SECOND)
    started = body.get("test_clock")
    test_clock = None if started is None else parse_instant(started)
    return LogParameters(_whole(body, "partitions"), gate, test_clock, bool(body.get("copied")))


def rules(body: Body) -> Rules:
    """Return the rules of a fact."""
    return Rules(
        _whole(body, "grace_s") * SECOND,
        _whole(body, "rule_version"),
        _text(body, "tzdata_version"),
    )


def issuer(body: Body) -> Issuer:
    """Return the issuer of a fact."""
    return Issuer(
        _text(body, "id"),
        _text(body, "name"),
        _text(body, "number_prefix"),
        issuer_tax(body.get("tax")),
        body.get("approval") is True,
        None if (policy := body.get("completeness")) is None else Completeness(cast(str, policy)),
        exact(cast(str, body.get("notes_from", "0"))),
        cast("str | None", body.get("note_prefix")),
    )


def meter(body: Body) -> Meter:
    """Return the meter of a fact; one of before a parameter was known has none."""
    percent, per_s = body.get("percent"), body.get("per_s")
    return Meter(
        id=_text(body, "id"),
        aggregation=Aggregation(_text(body, "aggregation")),
        unit=_text(body, "unit"),
        window_us=_whole(body, "window_s") * SECOND,
        dimensions=tuple(cast(list[str], body["dimensions"])),
        of=cast("str | None", body.get("of")),
        percent=None if percent is None else exact(cast(str, percent)),
        per_us=None if per_s is None else cast(int, per_s) * SECOND,
        points=body.get("points") is True,
    )


def plan(body: Body) -> Plan:
    """Return the plan of a fact."""
    return Plan(
        id=_text(body, "id"),
        name=_text(body, "name"),
        issuer=_text(body, "issuer"),
        currency=_text(body, "currency"),
        cycle=Duration.parse(_text(body, "cycle")),
        payment_days=_whole(body, "payment_days"),
        prices=tuple(plan_price(entry) for entry in cast(list[Body], body["prices"])),
        effective=moment_in(body, "effective"),
        trial=None if (trial := body.get("trial")) is None else Duration.parse(cast(str, trial)),
        phases=tuple(_phase(entry) for entry in cast(list[Body], body.get("phases", []))),
        thresholds=thresholds(cast("Body | None", body.get("thresholds"))),
    )


def _phase(body: Body) -> Phase:
    prices, off = cast("list[Body] | None", body.get("prices")), body.get("percent_off")
    return Phase(
        id=_text(body, "id"),
        length=Duration.parse(_text(body, "length")),
        prices=None if prices is None else tuple(plan_price(entry) for entry in prices),
        percent_off=None if off is None else exact(cast(str, off)),
    )


def phase_body(phase: Phase) -> dict[str, Json]:
    """Return a phase as facts tell it."""
    body: dict[str, Json] = {"id": phase.id, "length": phase.length.text}
    if phase.prices is not None:
        body["prices"] = [card_body(price) for price in phase.prices]
    if phase.percent_off is not None:
        body["percent_off"] = quantity_text(phase.percent_off)
    return body


_NO_PROFILE: Mapping[str, str] = MappingProxyType({})


def customer(body: Body) -> Customer:
    """Return the customer of a fact."""
    return Customer(  # of whom there are many: what they say alike is in memory once
        intern(_text(body, "id")),
        intern(_text(body, "time_zone")),
        cast(dict[str, str], body["profile"]) or _NO_PROFILE,
        cast("str | None", body.get("currency")),
        customer_tax(body.get("tax")),
        body.get("approval") is True,
        body.get("empty_invoices") is True,
        cast("str | None", body.get("parent")),
        body.get("payer") == Payer.PARENT.value,
    )


@lru_cache(maxsize=1 << 12)
def moment(text: str) -> Instant:
    """Return the instant of a text: the same few stand in very many facts."""
    return parse_instant(text)


def moment_in(body: Body, name: str) -> Instant | None:
    """Return the instant under a name; None where there is none."""
    value = body.get(name)
    return None if value is None else moment(cast(str, value))
