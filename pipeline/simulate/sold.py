"""Sold: what facts say is sold, as the auditor reads them: prices, from when on, what they come to.

Owns: the book at a fact position.  Does not own: periods (stays.py), documents (billing.py).
Law: it shares no step with the pipeline.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import cast

from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.identity import Json, derived_id
from pipeline.simulate.agreements import Body
from pipeline.simulate.quantities import Stretch

DIGITS = {"EUR": 2, "JPY": 0}
Revision = tuple[Instant, Body]
"""From when on a plan's prices are these."""


@dataclass(frozen=True, slots=True)
class Stay:
    """A stretch of a subscription on one plan, up to `end` (None: until further notice).

    Cycles are counted from `anchor`. `add_on` is empty for the subscription's own plan.
    """

    subscription: str
    plan: str
    start: Instant
    end: Instant | None
    anchor: Instant
    add_on: str = ""

    def item(self, card: str) -> str:
        """Return what a card of its plan is billed as."""
        return f"{self.add_on}/{card}" if self.add_on else card


@dataclass(frozen=True, slots=True)
class Spans:
    """The cycle a line is of, the stretch whose usage its tiers count, and what it bills.

    `left` is what of its part no document has: the end may have been moved since the last. What
    was billed early from `own` on is of it. All of its period falls `due` at once.
    """

    cycle: Stretch
    whole: Stretch
    part: Stretch
    left: Stretch
    own: Stretch
    due: Instant


@dataclass(frozen=True, slots=True)
class Period:
    """A whole cycle of a stay, and what was served of it."""

    stay: Stay
    cycle: Stretch
    served: Stretch


Parts = Sequence[tuple[Stretch, Body]]
"""The parts of a period in which a card says the same, and what it says there."""


@dataclass(frozen=True, slots=True)
class Book:
    """What is in force at a position: the latest body of every (kind, subject), plans' revisions.

    What follows from these alone is kept once it was asked for.
    """

    position: int
    latest: Mapping[tuple[str, str], Body]
    plans: Mapping[str, Sequence[Revision]]
    stays: dict[str, list[Stay]] = field(default_factory=dict)
    """Of each subscription that was asked for."""
    agreed: dict[Stay, list[Revision]] = field(default_factory=dict)
    """By each stay that was asked for."""
    owned: dict[tuple[str, str], list[tuple[str, Body]]] = field(default_factory=dict)
    """A payer's bodies by name, of each (kind, payer) that was asked for."""
    billed: dict[tuple[str, Instant], list[tuple[str, Period, Parts]]] = field(default_factory=dict)
    """What is billed of a subscription's periods, of each that was asked for up to an instant."""


def revised(before: Sequence[Revision], body: Body) -> list[Revision]:
    """Return a plan's revisions after one more: with a date it replaces what was to come then."""
    if not before or "effective" not in body:
        return [(_EVER, body)]
    since = parse_instant(body["effective"])
    return [before[0], *(each for each in before[1:] if each[0] < since), (since, body)]


def cards(plan: Body) -> Sequence[Body]:
    """Return the rate cards of a plan."""
    return cast(Sequence[Body], plan["prices"])


def parts(revisions: Sequence[Revision], card: str, served: Stretch) -> Parts:
    """Return the parts of a period in which a card says the same."""
    found: list[tuple[Stretch, Body]] = []
    ends = [since for since, _ in revisions[1:]] + [served[1]]
    for (since, plan), until in zip(revisions, ends, strict=True):
        start, end = max(since, served[0]), min(until, served[1])
        for body in cards(plan):
            if body["id"] != card or start >= end:
                continue
            if found and found[-1][0][1] == start and _alike(found[-1][1], body):
                start = found.pop()[0][0]
            found.append(((start, end), body))
    return found


def _alike(one: object, other: object) -> bool:
    """Return whether two bodies say the same: 0.5290 is 0.529, whoever wrote it."""
    match one, other:
        case Mapping(), Mapping():
            return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
        case [*these], [*those]:
            return len(these) == len(those) and all(map(_alike, these, those))
        case str(), str() if one != other:
            return bool(_NUMBER.fullmatch(one) and _NUMBER.fullmatch(other)) and (
                _exactly(one) == _exactly(other)
            )
    return one == other


_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_EVER: Instant = -1


_NOTHING = Fraction(0)


@lru_cache(maxsize=4096)
def _exactly(told: str) -> Fraction:
    return Fraction(told)


def minor(amount: Fraction, digits: int) -> int:
    """Return minor units, half away from zero."""
    over: int = abs(amount.numerator) * 10**digits
    under = amount.denominator
    return (2 * over + under) // (2 * under) * (1 if amount >= 0 else -1)


def printed(quantity: Fraction) -> Fraction:
    """Return a quantity as documents print it: to 12 decimals where it has no end."""
    rest = quantity.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return quantity if rest == 1 else Fraction(minor(quantity, 12), 10**12)


def usage_total(card: Body, used: Fraction, digits: int) -> int:
    """Return what usage comes to, in minor units, less what is taken off."""
    price, rate = cast(Body, card["price"]), rate_of(card)
    used = max(used, _NOTHING)
    if price["type"] == "unit":
        return less(card, minor(used * _exactly(str(price["unit_amount"])) * rate, digits))
    total, below = 0, _NOTHING
    for place, tier in enumerate(cast(Sequence[Body], price["tiers"])):
        top = tier["up_to"]
        end = used if top is None else min(used, _exactly(str(top)))
        if place and end <= below:
            break
        total += minor((end - below) * _exactly(str(tier["unit_amount"])) * rate, digits)
        total += minor(_exactly(str(tier["flat_amount"])) * rate, digits)
        below = end
    return less(card, total)


def fee_total(card: Body, spans: Spans, digits: int) -> int:
    """Return a fee for the share of its cycle, less what was billed of it; an order's as it is."""
    price = Fraction(str(cast(Body, card["price"])["amount"])) * rate_of(card)
    amount, length = price * Fraction(str(card.get("quantity", 1))), spans.cycle[1] - spans.cycle[0]
    if not length:
        return less(card, minor(amount, digits))
    billed, total = (
        less(card, minor(amount * Fraction(until - spans.part[0], length), digits))
        for until in spans.left
    )
    return total - billed


def usage_totals(card: Body, used: Fraction, digits: int) -> tuple[int, int]:
    """Return what usage comes to, and what was taken off before."""
    total = usage_total(card, used, digits)
    whole = usage_total({**card, "off": []}, used, digits) if card.get("off") else total
    return total, whole - total


def rate_of(card: Body) -> Fraction:
    """Return what one of the currency of a card is billed as."""
    return _exactly(str(card.get("rate", 1)))


def less(card: Body, total: int) -> int:
    """Return a total less each percentage that is taken off what the others leave."""
    for percent in cast(Sequence[str], card.get("off", ())):
        total -= minor(total * _exactly(percent) / 100, 0)
    return total


def agreed(book: Book, stay: Stay) -> list[Revision]:
    """Return a plan's revisions with what was agreed with a customer; cards have their items."""
    known = book.agreed.get(stay)
    if known is None:
        known = book.agreed[stay] = _agreed(book, stay)
    return known


def _agreed(book: Book, stay: Stay) -> list[Revision]:
    subscription, revisions = book.latest["subscription", stay.subscription], book.plans[stay.plan]
    priced = booked_cards(book, str(subscription["customer"]), stay.plan)
    told = [(_EVER, cast(Body, subscription.get("quantities", {})))]
    told += [
        (parse_instant(change["at"]), cast(Body, change.get("quantities", {})))
        for change in cast(Sequence[Body], subscription.get("changes", ()))
    ]
    found: list[Revision] = []
    for edge in sorted({since for since, _ in [*revisions, *told]}):
        plan = [body for since, body in revisions if since <= edge][-1]
        known = {of: many for since, own in told if since <= edge for of, many in own.items()}
        prices: list[Json] = []
        for card in cards(plan):
            name = str(card["id"])
            item = stay.item(name)
            seats = {"quantity": known[item]} if item in known else {}
            whose = {"id": item, "listed": name, "plan": stay.plan}
            listed = {key: card[key] for key in ("seller", "tax") if key in card}
            prices.append(_plain({**listed, **priced.get(name, card), **whose, **seats}))
        found.append((edge, {**plan, "prices": prices}))
    return found


def _plain(card: dict[str, Json]) -> dict[str, Json]:
    """Return a card without the quantity of one: said or not, it is the same card."""
    one = Fraction(str(card.get("quantity", 1))) == 1
    return {name: told for name, told in card.items() if not (one and name == "quantity")}


def booked_cards(book: Book, customer: str, plan: str) -> dict[str, Body]:
    """Return the cards that books have for a customer instead of a plan's: of two the last on."""
    found: dict[str, Body] = {}
    for (kind, name), switch in book.latest.items():  # in the order of the latest facts
        if kind != "book_switch" or not switch["on"]:
            continue
        drawn = derived_id("place", name, customer).rpartition("_")[2]
        place = Fraction(100 * int(drawn, 16), 16 ** len(drawn))
        listed = customer in cast(list[str], switch["customers"])
        if not listed and place >= Fraction(str(switch["share"])):
            continue
        for told in cast(list[Body], book.latest["price_book", name]["plans"]):
            if told["id"] == plan:
                found |= {str(card["id"]): card for card in cast(list[Body], told["prices"])}
    return found


def payer_of(book: Book, customer: Json) -> str:
    """Return who is invoiced for a customer."""
    body = book.latest["customer", str(customer)]
    return str(body["parent"] if body.get("payer") == "parent" else customer)


def named(book: Book, wanted: str, payer: str) -> Sequence[tuple[str, Body]]:
    """Return a payer's subscriptions, or orders, by name."""
    known = book.owned.get((wanted, payer))
    if known is None:
        latest = sorted(book.latest.items(), key=lambda entry: entry[0])
        known = book.owned[wanted, payer] = [
            (name, body)
            for (kind, name), body in latest
            if kind == wanted and payer_of(book, body["customer"]) == payer
        ]
    return known
