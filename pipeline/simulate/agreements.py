"""Agreements: what is agreed anew with a customer in the story of one seed.

Owns: ends, seats, changes of plan, pauses, add-ons of subscriptions that there are.
Does not own: what is sold (decisions.py), when anybody agrees (play.py).
Law: but for an end all of it lies ahead, as what was billed is never agreed otherwise.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import cast

from pipeline.catalog.facts import FactKind, NewFact
from pipeline.core.calendar import SECOND, Instant, instant_text, parse_instant
from pipeline.core.identity import Json

Body = Mapping[str, Json]
Latest = Mapping[tuple[FactKind, str], Body]
"""The latest body of each (kind, subject)."""

AGREED: Mapping[str, float] = {
    "ends": 30,
    "seats": 40,
    "moves": 20,
    "pauses": 20,
    "add-ons": 30,
    "leavings": 15,
}
"""What is agreed, and about how many seconds go by before the next such agreement."""
SELDOM = ("moves", "pauses", "add-ons", "leavings")
"""What is agreed in some seeds alone."""
_AHEAD_S = 5
"""No tick is written meanwhile that does not name what was decided."""


def agreed(kind: str, random: Random, latest: Latest, now: Instant) -> list[NewFact]:
    """Return subscriptions as somebody agrees on them next; nothing where that cannot be."""
    subscribed = [body for (kind, _), body in latest.items() if kind is FactKind.SUBSCRIPTION]
    if kind == "leavings":
        return _left(random, subscribed, now)
    body = dict(random.choice(subscribed))
    found: Body | None
    match kind:
        case "ends":
            found = _ended(random, body, now)
        case "seats":
            found = _reseated(random, latest, body, now)
        case "moves":
            found = _moved(random, latest, body, now)
        case "pauses":
            found = _paused(random, latest, body, now)
        case _:
            found = _added(random, latest, body, now)
    return [] if found is None else [NewFact(FactKind.SUBSCRIPTION, str(body["id"]), found)]


def _ended(random: Random, body: Body, now: Instant) -> Body:
    """Return a subscription that ends some time, or not any more."""
    end = instant_text(now + random.randint(-40, 60) * SECOND)
    on = random.random() < 0.2 or end <= cast(str, body["start"])
    return {**body, "end": None if on else end}


def _left(random: Random, subscribed: Sequence[Body], now: Instant) -> list[NewFact]:
    """Return all that a customer had until about now: usage of it may still come."""
    customer = random.choice(subscribed)["customer"]
    end = instant_text(now + random.randint(-20, 5) * SECOND)
    return [
        NewFact(FactKind.SUBSCRIPTION, str(body["id"]), {**body, "end": end})
        for body in subscribed
        if body["customer"] == customer and cast(str, body["start"]) < end
    ]


def _reseated(random: Random, latest: Latest, body: Body, now: Instant) -> Body:
    """Return a subscription to whose fee another quantity is agreed, from some instant ahead on.

    So much a seat is to be spent, where anything is.
    """
    at = instant_text(now + random.randint(_AHEAD_S * SECOND, 40 * SECOND))
    seats: dict[str, Json] = {"base": random.choice(["0", "1", "2", "3.5", "12"])}
    cards = cast(list[Body], latest[FactKind.PLAN, str(body["plan"])]["prices"])
    seats |= {str(card["id"]): seats["base"] for card in cards if "covers" in card}
    return _changed(body, {"at": at, "quantities": seats})


def _changed(body: Body, change: dict[str, Json]) -> Body:
    """Return a subscription with a change, instead of all that was to follow it."""
    at = cast(str, change["at"])
    if at <= cast(str, body["start"]):
        return body
    before = [each for each in _list(body, "changes") if cast(str, each["at"]) < at]
    return {**body, "changes": [*map(dict, before), change]}


def _moved(random: Random, latest: Latest, body: Body, now: Instant) -> Body | None:
    """Return a subscription that goes over to another plan, now and then where a cycle ends."""
    others = _plans(latest, body)
    at = _ahead(random, latest, body, now, 40)
    return _changed(body, {"at": instant_text(at), "plan": random.choice(others)})


def _paused(random: Random, latest: Latest, body: Body, now: Instant) -> Body | None:
    """Return a subscription that pauses some time, or goes on again."""
    pauses = [dict(each) for each in _list(body, "pauses")]
    soonest = now + _AHEAD_S * SECOND
    if pauses and pauses[-1]["end"] is None:
        since = max(soonest, parse_instant(pauses[-1]["start"]) + 1)
        pauses[-1]["end"] = instant_text(since + random.randint(0, 20 * SECOND))
        return {**body, "pauses": [*pauses]}
    start = _ahead(random, latest, body, now, 20)
    last = parse_instant(pauses[-1]["end"]) if pauses else parse_instant(body["start"])
    if start < last:
        return None
    length = random.choice([None, random.randint(1, 40 * SECOND)])
    end = None if length is None else instant_text(start + length)
    pause: Json = {"start": instant_text(start), "end": end}
    return {**body, "pauses": [*pauses, pause]}


def _added(random: Random, latest: Latest, body: Body, now: Instant) -> Body | None:
    """Return a subscription with an add-on, or one whose add-on ends."""
    known = [dict(each) for each in _list(body, "add_ons")]
    at = instant_text(_ahead(random, latest, body, now, 30))
    if known and known[-1]["end"] is None:
        known[-1]["end"] = max(at, cast(str, known[-1]["start"]))
        return {**body, "add_ons": [*known]}
    if at < cast(str, body["start"]):
        return None
    plan = random.choice(_plans(latest, body))
    more: Json = {"id": f"more-{len(known) + 1}", "plan": plan, "start": at, "end": None}
    return {**body, "add_ons": [*known, more]}


def _plans(latest: Latest, body: Body) -> list[str]:
    """Return the plans in the currency of a subscription's: one at least."""
    plans = {name: plan for (kind, name), plan in latest.items() if kind is FactKind.PLAN}
    own = plans[str(body["plan"])]["currency"]
    return sorted(name for name, plan in plans.items() if plan["currency"] == own)


def _ahead(random: Random, latest: Latest, body: Body, now: Instant, most_s: int) -> Instant:
    """Return an instant ahead: now and then the end of a cycle of the first plan."""
    at = now + random.randint(_AHEAD_S * SECOND, most_s * SECOND)
    if random.random() < 0.6:
        return at
    cycle = str(latest[FactKind.PLAN, str(body["plan"])]["cycle"])
    width, start = CYCLES[cycle] * SECOND, parse_instant(body["start"])
    return start - (start - at) // width * width


CYCLES: Mapping[str, int] = {"PT30S": 30, "PT45S": 45, "PT1M": 60}
"""The seconds of every cycle that plans have."""


def _list(body: Body, key: str) -> Sequence[Body]:
    return cast(Sequence[Body], body.get(key, ()))
