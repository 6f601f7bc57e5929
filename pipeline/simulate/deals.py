"""Deals: what rates of exchange and codes make of a price, as the auditor reads facts.

Owns: which of them count for what falls due.  Does not own: what it comes to then (billing.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Iterator, Mapping
from typing import cast

from pipeline.core.calendar import Instant, parse_instant
from pipeline.core.identity import Json
from pipeline.simulate.agreements import Body
from pipeline.simulate.sold import Book, Period
from pipeline.simulate.stays import billed_in, stays, width_of


def dealt(book: Book, period: Period, card: Body, due: Instant | None = None) -> Body:
    """Return a card of a period with the `rate` it is billed at, and the percents taken `off`.

    `due`: when it falls due, where that is not the end of the period. Nothing is taken off what is
    committed to: what its prices come to is less.
    """
    subscription = book.latest["subscription", period.stay.subscription]
    billed, own = billed_in(book, subscription), book.latest["plan", period.stay.plan]["currency"]
    commits, end = "covers" in card, period.served[1] if due is None else due
    off: list[Json] = [] if commits else [*_percents(book, subscription, period, card)]
    if own == billed:
        return {**card, "off": off} if off else card
    return {**card, "off": off, "rate": _rate(book, str(own), billed, end - 1)}


def _rate(book: Book, own: str, billed: str, at: Instant) -> str:
    """Return the rate of the last day that had begun by an instant."""
    known = {
        str(body["date"]): str(body["rate"])
        for (kind, _), body in book.latest.items()
        if kind == "fx_rate" and (body["from"], body["to"]) == (own, billed)
        if parse_instant(f"{body['date']}T00:00:00Z") <= at
    }
    return known[max(known)]


def _percents(book: Book, subscription: Body, period: Period, card: Body) -> Iterator[str]:
    """Yield what each code of a subscription takes off a card in a period, first come first."""
    for (kind, _), told in book.latest.items():
        if kind != "redemption" or told["subscription"] != subscription["id"]:
            continue
        plans, prices = (cast(list[str], told[key]) for key in ("plans", "prices"))
        if plans and period.stay.plan not in plans:
            continue
        if prices and card["listed"] not in prices:
            continue
        discount = cast(Mapping[str, Json], told["discount"])
        if _covers(book, subscription, period, parse_instant(told["at"]), discount.get("cycles")):
            yield str(discount["percent"])


def _covers(book: Book, subscription: Body, period: Period, at: Instant, cycles: Json) -> bool:
    """Return whether a code of an instant holds in a period: in so many cycles from its own on."""
    own = (each for each in stays(book, subscription) if not each.add_on)
    first = next((each for each in own if each.end is None or each.end > at), None)
    if first is None:
        return False
    begun, width = max(at, first.start), width_of(book, first.plan)
    cycle = begun - (begun - first.anchor) % width
    holds = cycles is None or period.cycle[0] < cycle + int(str(cycles)) * width
    return holds and period.served[1] > begun
