"""The documents a catalog is made of, and how a fact's body becomes one.

Owns: issuers, plans with their prices, customers, subscriptions, rules, log parameters,
gate passes.
Does not own: YAML (yaml.py), price models (rate), what is in force when (catalog.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from pipeline.collect.gate import Gate, GatePass
from pipeline.core.calendar import SECOND, Duration, Instant, parse_instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json
from pipeline.core.quantity import exact
from pipeline.meter.meters import Aggregation, Meter
from pipeline.meter.scope import EVERYTHING, Scope
from pipeline.rate import NO_TERMS, PaymentTerm, Price, Terms, parse_price, parse_terms

Body = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class LogParameters:
    """Fixed for the life of a log."""

    partitions: int
    gate: Gate


@dataclass(frozen=True, slots=True)
class Rules:
    """In force from a tick on. `grace_us`: how long after a period its usage is waited for."""

    grace_us: int
    rule_version: int
    tzdata_version: str


@dataclass(frozen=True, slots=True)
class Issuer:
    """The legal entity that issues invoices, under numbers `number_prefix`000001."""

    id: str
    name: str
    number_prefix: str


@dataclass(frozen=True, slots=True)
class PlanPrice:
    """One rate card of a plan. `meter` is None for a flat fee; `configured` is `price` as given.

    `scope` says which usage of the meter it bills: a line for each group of it.
    """

    id: str
    name: str
    meter: str | None
    price: Price
    configured: Mapping[str, Json]
    scope: Scope = EVERYTHING
    terms: Terms = NO_TERMS

    @property
    def in_advance(self) -> bool:
        """Whether it is due when a period starts."""
        return self.terms.payment_term is PaymentTerm.IN_ADVANCE

    def terms_json(self) -> Mapping[str, Json]:
        """Return the terms as facts and documents tell them: only what was given."""
        return cast(Body, self.terms.configured)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a subscription buys: prices billed every cycle.

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
    earlier: "Plan | None" = field(default=None, compare=False, repr=False)

    @property
    def in_advance(self) -> bool:
        """Whether anything is due when a period starts."""
        return any(price.in_advance for _, _, each in self.spans() for price in each.prices)

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

    def price(self, price_id: str) -> PlanPrice | None:
        """Return one of this revision's prices."""
        return next((price for price in self.prices if price.id == price_id), None)


def _precedes(revision: Plan, instant: Instant) -> bool:
    return revision.effective is None or revision.effective < instant


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer; `profile` holds commitments to personal values, never the values."""

    id: str
    time_zone: str
    profile: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Subscription:
    """A customer on a plan from `start` to `end` (None: until further notice)."""

    id: str
    customer: str
    plan: str
    start: Instant
    end: Instant | None


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
    return LogParameters(_whole(body, "partitions"), gate)


def rules(body: Body) -> Rules:
    """Return the rules of a fact."""
    return Rules(
        _whole(body, "grace_s") * SECOND,
        _whole(body, "rule_version"),
        _text(body, "tzdata_version"),
    )


def issuer(body: Body) -> Issuer:
    """Return the issuer of a fact."""
    return Issuer(_text(body, "id"), _text(body, "name"), _text(body, "number_prefix"))


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
        prices=tuple(_plan_price(entry) for entry in cast(list[Body], body["prices"])),
        effective=_moment(body, "effective"),
    )


def _plan_price(body: Body) -> PlanPrice:
    price = parse_price(body["price"])
    if isinstance(price, tuple):
        raise BrokenInvariant(f"a price that is no price stands in the fact log: {price[0]}")
    terms = parse_terms(body, price, "")
    if isinstance(terms, tuple):
        raise BrokenInvariant(f"terms that are none stand in the fact log: {terms[0]}")
    return PlanPrice(
        id=_text(body, "id"),
        name=_text(body, "name"),
        meter=cast("str | None", body["meter"]),
        price=price,
        configured=cast(Body, body["price"]),
        scope=_scope(body),
        terms=terms,
    )


def _scope(body: Body) -> Scope:
    where = cast(dict[str, list[str]], body.get("filter", {}))
    return Scope(
        tuple((name, tuple(values)) for name, values in sorted(where.items())),
        tuple(cast(list[str], body.get("group_by", []))),
    )


def customer(body: Body) -> Customer:
    """Return the customer of a fact."""
    return Customer(
        _text(body, "id"), _text(body, "time_zone"), cast(dict[str, str], body["profile"])
    )


def _moment(body: Body, name: str) -> Instant | None:
    value = body.get(name)
    return None if value is None else parse_instant(value)


def subscription(body: Body) -> Subscription:
    """Return the subscription of a fact."""
    return Subscription(
        id=_text(body, "id"),
        customer=_text(body, "customer"),
        plan=_text(body, "plan"),
        start=parse_instant(body["start"]),
        end=_moment(body, "end"),
    )
