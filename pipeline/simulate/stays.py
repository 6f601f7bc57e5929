"""Stays: when a subscription is on which plan, as the auditor reads facts; periods, their ends.

Owns: changes of plan, pauses, add-ons, and which instants are cut because of all that.
Does not own: what a period comes to (billing.py), prices (sold.py).
Law: it shares no step with the pipeline.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import cast

from pipeline.core.calendar import SECOND, Instant, parse_instant
from pipeline.core.identity import Json
from pipeline.simulate.agreements import Body
from pipeline.simulate.sold import Book, Period, Stay, payer_of

End = tuple[str, str, Instant]
"""(payer, currency, instant) at which something sold is due."""


def stays(book: Book, subscription: Body) -> list[Stay]:
    """Return the stays of a subscription, each of its own plans in order, then each add-on."""
    name = str(subscription["id"])
    known = book.stays.get(name)
    if known is None:
        stop = _moment(subscription["end"])
        whole = [*_own(book, subscription, name), *_added(book, subscription, name)]
        told = [replace(each, end=_earlier(each.end, stop)) for each in whole]
        known = book.stays[name] = [left for each in told for left in _unpaused(subscription, each)]
    return known


def _own(book: Book, subscription: Body, name: str) -> Iterator[Stay]:
    """Yield the stays on its own plans; another cycle is counted from its change."""
    start = anchor = parse_instant(subscription["start"])
    plan = str(subscription["plan"])
    changes = cast(Sequence[Body], subscription.get("changes", ()))
    for at, other in [(parse_instant(c["at"]), str(c["plan"])) for c in changes if "plan" in c]:
        yield Stay(name, plan, start, at, anchor)
        if width_of(book, other) != width_of(book, plan):
            anchor = at
        start, plan = at, other
    yield Stay(name, plan, start, None, anchor)


def _added(book: Book, subscription: Body, name: str) -> Iterator[Stay]:
    """Yield the add-ons: in step with the subscription where their cycles are as long."""
    begun, own = parse_instant(subscription["start"]), width_of(book, str(subscription["plan"]))
    for each in cast(Sequence[Body], subscription.get("add_ons", ())):
        start, plan = parse_instant(each["start"]), str(each["plan"])
        anchor = begun if width_of(book, plan) == own else start
        yield Stay(name, plan, start, _moment(each["end"]), anchor, str(each["id"]))


def _unpaused(subscription: Body, stay: Stay) -> Iterator[Stay]:
    """Yield what pauses leave of a stay."""
    left: list[Stay] = [stay]
    for pause in cast(Sequence[Body], subscription.get("pauses", ())):
        since, until = parse_instant(pause["start"]), _moment(pause["end"])
        before = [replace(each, end=_earlier(each.end, since)) for each in left]
        after = [] if until is None else [replace(e, start=max(e.start, until)) for e in left]
        left = [*before, *after]
    served = [each for each in left if each.end is None or each.start < each.end]
    yield from sorted(served, key=lambda each: each.start)


def _moment(told: Json) -> Instant | None:
    return None if told is None else parse_instant(told)


def _earlier(one: Instant | None, other: Instant | None) -> Instant | None:
    return min((each for each in (one, other) if each is not None), default=None)


def billed_in(book: Book, subscription: Body) -> str:
    """Return the currency of a subscription's documents: its payer's own, if there is one."""
    agreed = book.latest["customer", payer_of(book, subscription["customer"])].get("currency")
    return str(agreed or book.latest["plan", str(subscription["plan"])]["currency"])


def periods(book: Book, subscription: Body, until: Instant) -> Iterator[Period]:
    """Yield each period that begins by `until`, stay by stay."""
    for stay in stays(book, subscription):
        width = width_of(book, stay.plan)
        start = stay.anchor + (stay.start - stay.anchor) // width * width
        while max(start, stay.start) <= until and (stay.end is None or start < stay.end):
            end = start + width
            served = max(start, stay.start), end if stay.end is None else min(end, stay.end)
            yield Period(stay, (start, end), served)
            start = end


def runs_on(book: Book, subscription: Body, at: Instant) -> bool:
    """Return whether any period ends behind an instant."""
    return any(stay.end is None or stay.end > at for stay in stays(book, subscription))


def ends(
    book: Book, until: Instant, began: Instant | None = None, payer: str | None = None
) -> set[End]:
    """Return (payer, currency, end) of periods that end by `until` and began by `began`.

    Of one payer, or of all.
    """
    found = set()
    for (kind, _), body in book.latest.items():
        if kind == "subscription" and payer in (None, payer_of(book, body["customer"])):
            whose = payer_of(book, body["customer"]), billed_in(book, body)
            known = periods(book, body, until if began is None else began)
            found |= {(*whose, each.served[1]) for each in known if each.served[1] <= until}
        elif kind == "order" and payer in (None, payer_of(book, body["customer"])):
            at = parse_instant(body["at"])
            if at <= until and (began is None or at <= began):
                found.add((payer_of(book, body["customer"]), str(body["currency"]), at))
    return found


def over(before: Book, book: Book, passed: Instant, now: Instant) -> Iterator[End]:
    """Yield the last end of each subscription that facts between two ticks brought to its end.

    All up to `passed` was cut by the first, all up to `now` by the second.
    """
    for (kind, name), body in sorted(book.latest.items(), key=lambda each: each[0]):
        old = before.latest.get((kind, name))
        if kind != "subscription" or runs_on(book, body, now):
            continue
        if old is not None and (stays(before, old) == stays(book, body)):
            continue
        ran = old is not None and runs_on(before, old, passed)
        last = max((each.served[1] for each in periods(book, body, now)), default=None)
        start = parse_instant(body["start"])
        if last is None and ran and start <= now:
            last = start
        if last is not None and (ran or old is None):
            yield payer_of(book, body["customer"]), billed_in(book, body), last


@cache
def _seconds(cycle: str) -> int:
    minutes, seconds = re.fullmatch(r"PT(?:(\d+)M)?(?:(\d+)S)?", cycle).groups()  # type: ignore[union-attr]
    return 60 * int(minutes or 0) + int(seconds or 0)


def width_of(book: Book, plan: str) -> Instant:
    """Return how long a plan's cycles are."""
    return _seconds(str(book.latest["plan", plan]["cycle"])) * SECOND
