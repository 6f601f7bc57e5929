"""Subscriptions: who buys which plan from when to when, and all that was agreed beside it.

Owns: the records, and how a fact's body becomes one and one a body.
Does not own: what follows for billing (legs.py), YAML (sheet_subscriptions.py).
Law: a body holds only what was agreed, so that a plain subscription has the bytes it always had.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from sys import intern
from types import MappingProxyType
from typing import TypeAlias, cast

from pipeline.catalog.documents import moment, moment_in
from pipeline.catalog.early import Thresholds, thresholds
from pipeline.catalog.rate_cards import Body, PlanPrice, card_body, plan_price
from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.core.quantity import exact, quantity_text

Quantities: TypeAlias = Mapping[str, Fraction]
"""Of flat fees, by item: `seats`, or `support/seats` of the add-on `support`."""


class Alignment(Enum):
    """Where cycles begin, if not at an instant."""

    CALENDAR = "calendar"


@dataclass(frozen=True, slots=True)
class Change:
    """What is agreed anew from `at` on; whatever it does not name stays."""

    at: Instant
    plan: str | None = None
    quantities: Quantities = field(default_factory=dict)
    prices: tuple[PlanPrice, ...] = ()


@dataclass(frozen=True, slots=True)
class Pause:
    """From `start` to `end` (None: until further notice) nothing is served, nothing is billed."""

    start: Instant
    end: Instant | None


@dataclass(frozen=True, slots=True)
class AddOn:
    """Another plan beside the subscription's own, from `start` to `end`."""

    id: str
    plan: str
    start: Instant
    end: Instant | None


@dataclass(frozen=True, slots=True)
class Subscription:
    """A customer on a plan from `start` to `end` (None: until further notice).

    `anchor`: what cycles are counted from; None: its start. `trial_end` instead of the plan's own
    trial. `prices` stand instead of those of the plan under the same ids.
    """

    id: str
    customer: str
    plan: str
    start: Instant
    end: Instant | None
    anchor: Instant | Alignment | None = None
    trial_end: Instant | None = None
    quantities: Quantities = field(default_factory=dict)
    prices: tuple[PlanPrice, ...] = ()
    changes: tuple[Change, ...] = ()
    pauses: tuple[Pause, ...] = ()
    add_ons: tuple[AddOn, ...] = ()
    currency: str | None = None
    """What it is billed in, whatever its customer and plans say."""
    thresholds: Thresholds | None = None
    """Of what its own plans bill, instead of theirs."""

    @property
    def agreed(self) -> Iterator[Change]:
        """All that is agreed, in the order of time: what its start says, then each change."""
        yield Change(self.start, self.plan, self.quantities, self.prices)
        yield from self.changes

    @property
    def plans(self) -> frozenset[str]:
        """Every plan it is on at any time."""
        changed = {change.plan for change in self.changes if change.plan is not None}
        return frozenset({self.plan, *changed, *(add_on.plan for add_on in self.add_ons)})


def subscription(body: Body) -> Subscription:
    """Return the subscription of a fact."""
    return Subscription(
        id=cast(str, body["id"]),
        customer=intern(cast(str, body["customer"])),
        plan=intern(cast(str, body["plan"])),
        start=moment(cast(str, body["start"])),
        end=moment_in(body, "end"),
        anchor=_anchor(body.get("anchor")),
        trial_end=moment_in(body, "trial_end"),
        quantities=_quantities(body),
        prices=_prices(body),
        changes=tuple(
            Change(
                parse_instant(each["at"]),
                cast("str | None", each.get("plan")),
                _quantities(each),
                _prices(each),
            )
            for each in _list(body, "changes")
        ),
        pauses=tuple(
            Pause(parse_instant(each["start"]), moment_in(each, "end"))
            for each in _list(body, "pauses")
        ),
        add_ons=tuple(
            AddOn(
                cast(str, each["id"]),
                cast(str, each["plan"]),
                parse_instant(each["start"]),
                moment_in(each, "end"),
            )
            for each in _list(body, "add_ons")
        ),
        currency=cast("str | None", body.get("currency")),
        thresholds=thresholds(cast("Body | None", body.get("thresholds"))),
    )


def subscription_body(sold: Subscription) -> dict[str, Json]:
    """Return what a fact says of a subscription."""
    body: dict[str, Json] = {
        "id": sold.id,
        "customer": sold.customer,
        "plan": sold.plan,
        "start": instant_text(sold.start),
        "end": _text(sold.end),
    }
    match sold.anchor:
        case Alignment():
            body["anchor"] = sold.anchor.value
        case int():
            body["anchor"] = instant_text(sold.anchor)
        case None:
            pass
    if sold.currency is not None:
        body["currency"] = sold.currency
    if sold.trial_end is not None:
        body["trial_end"] = instant_text(sold.trial_end)
    body |= _agreed_body(Change(sold.start, None, sold.quantities, sold.prices))
    if sold.changes:
        body["changes"] = [{"at": instant_text(c.at), **_agreed_body(c)} for c in sold.changes]
    if sold.pauses:
        body["pauses"] = [
            {"start": instant_text(p.start), "end": _text(p.end)} for p in sold.pauses
        ]
    if sold.add_ons:
        body["add_ons"] = [
            {"id": a.id, "plan": a.plan, "start": instant_text(a.start), "end": _text(a.end)}
            for a in sold.add_ons
        ]
    if sold.thresholds is not None:
        body["thresholds"] = sold.thresholds.body()
    return body


def _agreed_body(change: Change) -> dict[str, Json]:
    body: dict[str, Json] = {}
    if change.plan is not None:
        body["plan"] = change.plan
    if change.quantities:
        told = sorted(change.quantities.items())
        body["quantities"] = {item: quantity_text(quantity) for item, quantity in told}
    if change.prices:
        body["prices"] = [card_body(price) for price in change.prices]
    return body


def _text(instant: Instant | None) -> str | None:
    return None if instant is None else instant_text(instant)


def _anchor(told: Json) -> Instant | Alignment | None:
    if told is None:
        return None
    return Alignment.CALENDAR if told == Alignment.CALENDAR.value else parse_instant(told)


def _list(body: Body, name: str) -> list[Body]:
    return cast(list[Body], body.get(name, []))


_NO_QUANTITIES: Quantities = MappingProxyType({})


def _quantities(body: Body) -> Quantities:
    told = cast(dict[str, str], body.get("quantities", {}))
    return {item: exact(quantity) for item, quantity in told.items()} if told else _NO_QUANTITIES


def _prices(body: Body) -> tuple[PlanPrice, ...]:
    return tuple(plan_price(entry) for entry in _list(body, "prices"))
