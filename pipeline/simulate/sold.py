"""Sold: what facts say is sold, as the auditor reads them: periods, parts of them, what they cost.

Owns: the book at a fact position.  Does not own: documents (billing.py).
Law: it shares no step with the pipeline.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import cast

from pipeline.core.calendar import SECOND, Instant, parse_instant
from pipeline.core.identity import Json
from pipeline.simulate.decisions import Body
from pipeline.simulate.quantities import Stretch

Revision = tuple[Instant, Body]
"""From when on a plan's prices are these."""


@dataclass(frozen=True, slots=True)
class Book:
    """What is in force: the latest body of every (kind, subject), each plan's revisions."""

    latest: Mapping[tuple[str, str], Body]
    plans: Mapping[str, Sequence[Revision]]


def revised(before: Sequence[Revision], body: Body) -> list[Revision]:
    """Return a plan's revisions after one more: with a date it replaces what was to come then."""
    if not before or "effective" not in body:
        return [(_EVER, body)]
    since = parse_instant(body["effective"])
    return [before[0], *(each for each in before[1:] if each[0] < since), (since, body)]


def cards(plan: Body) -> Sequence[Body]:
    """Return the rate cards of a plan."""
    return cast(Sequence[Body], plan["prices"])


def parts(revisions: Sequence[Revision], card: str, served: Stretch) -> list[tuple[Stretch, Body]]:
    """Return the parts of a period in which a card says the same, and what it says there."""
    found: list[tuple[Stretch, Body]] = []
    ends = [since for since, _ in revisions[1:]] + [served[1]]
    for (since, plan), until in zip(revisions, ends, strict=True):
        start, end = max(since, served[0]), min(until, served[1])
        for body in cards(plan):
            if body["id"] != card or start >= end:
                continue
            if found and found[-1][1] == body and found[-1][0][1] == start:
                start = found.pop()[0][0]
            found.append(((start, end), body))
    return found


_EVER: Instant = -1


def minor(amount: Fraction, digits: int) -> int:
    """Return minor units, half away from zero."""
    return int(abs(amount) * 10**digits + Fraction(1, 2)) * (1 if amount >= 0 else -1)


def printed(quantity: Fraction) -> Fraction:
    """Return a quantity as documents print it: to 12 decimals where it has no end."""
    rest = quantity.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return quantity if rest == 1 else Fraction(minor(quantity, 12), 10**12)


def usage_total(price: Body, used: Fraction, digits: int) -> int:
    """Return what usage comes to, in minor units."""
    if price["type"] == "unit":
        return minor(max(used, Fraction(0)) * Fraction(str(price["unit_amount"])), digits)
    total, below, used = 0, Fraction(0), max(used, Fraction(0))
    for place, tier in enumerate(cast(Sequence[Body], price["tiers"])):
        top = tier["up_to"]
        end = used if top is None else min(used, Fraction(str(top)))
        if place and end <= below:
            break
        total += minor((end - below) * Fraction(str(tier["unit_amount"])), digits)
        total += minor(Fraction(str(tier["flat_amount"])), digits)
        below = end
    return total


def agreed(book: Book, subscription: Body) -> list[Revision]:
    """Return a plan's revisions with the quantities that were agreed with a customer."""
    revisions = book.plans[str(subscription["plan"])]
    told = [(_EVER, cast(Body, subscription.get("quantities", {})))]
    told += [
        (parse_instant(change["at"]), cast(Body, change["quantities"]))
        for change in cast(Sequence[Body], subscription.get("changes", ()))
    ]
    found: list[Revision] = []
    for edge in sorted({since for since, _ in [*revisions, *told]}):
        plan = [body for since, body in revisions if since <= edge][-1]
        known = {of: many for since, own in told if since <= edge for of, many in own.items()}
        prices: list[Json] = [
            {**card, **({"quantity": known[of]} if (of := str(card["id"])) in known else {})}
            for card in cards(plan)
        ]
        found.append((edge, {**plan, "prices": prices}))
    return found


def named(book: Book, wanted: str, payer: str) -> Iterator[tuple[str, Body]]:
    """Yield a payer's subscriptions, or orders, by name."""
    for (kind, name), body in sorted(book.latest.items(), key=lambda entry: entry[0]):
        if kind == wanted and body["customer"] == payer:
            yield name, body


def periods(
    book: Book, subscription: Body, until: Instant
) -> Iterator[tuple[tuple[Instant, Instant], Instant]]:
    """Yield each cycle that begins by `until`, and where it is cut off."""
    plan = book.latest["plan", str(subscription["plan"])]
    width = _seconds(str(plan["cycle"])) * SECOND
    start = parse_instant(subscription["start"])
    stop = subscription["end"]
    last = None if stop is None else parse_instant(stop)
    while start <= until and (last is None or start < last):
        end = start + width
        yield (start, end), end if last is None else min(end, last)
        start = end


def ends(
    book: Book, until: Instant, began: Instant | None = None, payer: str | None = None
) -> set[tuple[str, str, Instant]]:
    """Return (payer, currency, end) of periods that end by `until` and began by `began`.

    Of one payer, or of all.
    """
    found = set()
    for (kind, _), body in book.latest.items():
        if kind == "subscription" and payer in (None, body["customer"]):
            plan = book.latest["plan", str(body["plan"])]
            for cycle, end in periods(book, body, until if began is None else began):
                if end <= until and (began is None or cycle[0] <= began):
                    found.add((str(body["customer"]), str(plan["currency"]), end))
        elif kind == "order" and payer in (None, body["customer"]):
            at = parse_instant(body["at"])
            if at <= until and (began is None or at <= began):
                found.add((str(body["customer"]), str(body["currency"]), at))
    return found


@cache
def _seconds(cycle: str) -> int:
    minutes, seconds = re.fullmatch(r"PT(?:(\d+)M)?(?:(\d+)S)?", cycle).groups()  # type: ignore[union-attr]
    return 60 * int(minutes or 0) + int(seconds or 0)
