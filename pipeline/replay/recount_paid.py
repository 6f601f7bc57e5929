"""Recount, what is paid for: a subscription told interval by interval, by somebody who has no legs.

Owns: which prices a subscription has from when to when, from the bodies of facts alone.
Law: between two edges nothing changes, so what holds at the first holds up to the second.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import cast

from pipeline.core.calendar import Duration, Instant, cycle_edge, parse_instant
from pipeline.core.identity import Json

Body = Mapping[str, Json]
FOR_EVER: Instant = 1 << 62


def prices_paid(
    subscription: Body, plans: Mapping[str, Body], zone: str
) -> Iterator[tuple[Instant, Instant, Body]]:
    """Yield from when to when which price is paid for; several stretches may touch."""
    start, end = _when(subscription, "start"), _when(subscription, "end")
    agreed = [{**subscription, "at": subscription["start"]}, *_bodies(subscription, "changes")]
    away = [(_when(p, "start"), _when(p, "end")) for p in _bodies(subscription, "pauses")]
    trial = _trial_end(subscription, plans, start, zone)
    stays = [(max(trial, _when(each, "at")), each) for each in agreed if each.get("plan")]
    phases = [edge for since, stay in stays for edge, _ in _phases(stay, plans, since, zone)]
    edges = {start, end, *phases, *(_when(each, "at") for each in agreed)}
    edges |= {edge for pair in away for edge in pair}
    for here, there in pairwise(sorted(edge for edge in edges if start <= edge <= end)):
        if not any(first <= here < last for first, last in away):
            yield from _plan_prices(agreed, plans, (here, there, trial), zone)
    for add_on in _bodies(subscription, "add_ons"):
        yield from _beside(add_on, plans[str(add_on["plan"])], away, (trial, end), zone)


def _plan_prices(
    agreed: Sequence[Body],
    plans: Mapping[str, Body],
    where: tuple[Instant, Instant, Instant],
    zone: str,
) -> Iterator[tuple[Instant, Instant, Body]]:
    here, there, trial = where
    known = [each for each in agreed if _when(each, "at") <= here]
    stay = [each for each in known if each.get("plan")][-1]
    prices = _bodies(plans[str(stay["plan"])], "prices")
    since = max(trial, _when(stay, "at"))
    for (begun, phase), (over, _) in pairwise(_phases(stay, plans, since, zone)):
        if begun <= here < over and phase.get("prices") is not None:
            prices = _bodies(phase, "prices")
    own = {price["id"]: price for each in known for price in _bodies(each, "prices")}
    for price in prices:
        yield here, there, own.get(price["id"], price)


def _beside(
    add_on: Body,
    plan: Body,
    away: Sequence[tuple[Instant, Instant]],
    own: tuple[Instant, Instant],
    zone: str,
) -> Iterator[tuple[Instant, Instant, Body]]:
    trial, over = own
    start, end = _when(add_on, "start"), min(over, _when(add_on, "end"))
    stay, since = {"plan": "own"}, max(start, trial)
    edges = {start, end, *(edge for edge, _ in _phases(stay, {"own": plan}, since, zone))}
    edges |= {edge for pair in away for edge in pair}
    for here, there in pairwise(sorted(edge for edge in edges if start <= edge <= end)):
        if not any(first <= here < last for first, last in away):
            told = [{**stay, "at": add_on["start"]}]
            yield from _plan_prices(told, {"own": plan}, (here, there, since), zone)


def _phases(
    stay: Body, plans: Mapping[str, Body], since: Instant, zone: str
) -> list[tuple[Instant, Body]]:
    """Return when each phase begins, and when the last is over."""
    found: list[tuple[Instant, Body]] = []
    for phase in _bodies(plans[str(stay["plan"])], "phases"):
        found.append((since, phase))
        since = cycle_edge(since, Duration.parse(str(phase["length"])), 1, zone)
    return [*found, (since, {})]


def _trial_end(subscription: Body, plans: Mapping[str, Body], start: Instant, zone: str) -> Instant:
    if subscription.get("trial_end") is not None:
        return _when(subscription, "trial_end")
    trial = plans[str(subscription["plan"])].get("trial")
    return start if trial is None else cycle_edge(start, Duration.parse(str(trial)), 1, zone)


def _when(body: Body, name: str) -> Instant:
    told = body.get(name)
    return FOR_EVER if told is None else parse_instant(told)


def _bodies(body: Body, name: str) -> list[Body]:
    return cast("list[Body] | None", body.get(name)) or []
