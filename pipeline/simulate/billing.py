"""The billing of the auditor: what each document must say, from facts and counted events.

Owns: periods, cuts, lines and amounts, in fractions, from the bodies of facts.
Does not own: which events count (witness.py), comparing (auditor.py).
Law: it shares no step with the pipeline.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, partial
from typing import cast

from pipeline.catalog.facts import Fact
from pipeline.core.calendar import SECOND, Instant, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.simulate.story import METERS
from pipeline.simulate.witness import Counted, Witness

Body = Mapping[str, Json]
Book = Mapping[tuple[str, str], Body]
"""The latest body of every subject, by (kind, subject)."""
Closing = tuple[str, Instant]
"""(currency, instant)."""
DIGITS = {"EUR": 2, "JPY": 0}


@dataclass(frozen=True, slots=True)
class ExpectedLine:
    """One line: what it bills, from when to when, how much of it, for how much."""

    source: str
    start: str
    end: str
    quantity: Fraction | None
    total_minor: int


Carried = dict[tuple[str, str], Instant]
"""Up to where a price of a subscription was billed."""


@dataclass(frozen=True, slots=True)
class Issued:
    """The lines of a payer's documents in one currency, by instant, and what they carry."""

    lines: dict[Instant, list[ExpectedLine]]
    carried: Carried


@dataclass(slots=True)
class Billing:
    """Facts, ticks and counted events of one finished world."""

    facts: Sequence[Fact]
    witness: Witness
    _books: dict[int, Book] = field(default_factory=dict)
    _used: dict[tuple[str, str], list[Counted]] = field(default_factory=dict)
    _issued: dict[tuple[str, str, int], Issued] = field(default_factory=dict)
    cuts: dict[tuple[str, str, Instant], int] = field(default_factory=dict)
    """The serial that closed a payer's periods, by (payer, currency, instant)."""

    def __post_init__(self) -> None:
        """Sort usage, find every cut."""
        for each in self.witness.counted:
            self._used.setdefault((each.event.customer, each.event.meter), []).append(each)
        for serial, tick in sorted(self.witness.ticks.items()):
            book = self.book(tick.fact_position)
            grace = cast(int, book["rules", "rules"]["grace_s"]) * SECOND
            for payer, currency, end in _ends(book, tick.time - grace):
                self.cuts.setdefault((payer, currency, end), serial)

    def book(self, position: int) -> Book:
        """Return what is in force at a fact position."""
        if position not in self._books:
            until = self.facts[:position]
            self._books[position] = {(str(f.kind.value), f.subject): f.body for f in until}
        return self._books[position]

    def issued(self, payer: str, currency: str, until: int) -> "Issued":
        """Return every document up to a tick."""
        own = sorted(
            (serial, instant)
            for (who, which, instant), serial in self.cuts.items()
            if (who, which) == (payer, currency) and serial <= until
        )
        known = self._issued.get((payer, currency, len(own)))
        if known is None:
            known = Issued({}, {})
            for serial, instant in own:
                book = self.book(self.witness.ticks[serial].fact_position)
                inside = partial(self._before_tick, serial)
                closing = (currency, instant)
                lines = self.lines(book, payer, closing, known.carried, inside)
                if lines:
                    known.lines[instant] = lines
            self._issued[payer, currency, len(own)] = known
        return known

    def _before_tick(self, serial: int, counted: Counted) -> bool:
        return counted.offset < self.witness.tick_places[counted.partition, serial]

    def open(self, book: Book, payer: str, log_time: Instant, until: int) -> dict[Closing, Carried]:
        """Return the closings still ahead at a log time, with what is carried before each."""
        cut = {k[1:] for k, serial in self.cuts.items() if k[0] == payer and serial <= until}
        ahead = {
            (currency, end)
            for who, currency, end in _ends(book, 1 << 62, began=log_time)
            if who == payer and (currency, end) not in cut
        }
        carried: dict[str, Carried] = {}
        found = {}
        for currency, instant in sorted(ahead, key=lambda closing: closing[1]):
            if currency not in carried:
                carried[currency] = dict(self.issued(payer, currency, until).carried)
            found[currency, instant] = dict(carried[currency])
            self.lines(book, payer, (currency, instant), carried[currency], lambda _: False)
        return found

    def lines(
        self,
        book: Book,
        payer: str,
        closing: Closing,
        carried: Carried,
        inside: Callable[[Counted], bool],
    ) -> list[ExpectedLine]:
        """Return the lines that fall due at a closing and nobody carries; carry them."""
        currency, instant = closing
        found = []
        for name, subscription in _subscriptions(book, payer):
            plan = book["plan", str(subscription["plan"])]
            if plan["currency"] != currency:
                continue
            for card in cast(Sequence[Body], plan["prices"]):
                until = carried.get((name, str(card["id"])), -1)
                for cycle, end in _periods(plan, subscription, instant):
                    if cycle[0] >= instant or end > instant or end <= until:
                        continue
                    served = (max(cycle[0], until), end)
                    share = Fraction(served[1] - served[0], cycle[1] - cycle[0])
                    found.append(self._line(name, payer, card, currency, served, share, inside))
                    carried[name, str(card["id"])] = end
        return sorted(found, key=lambda line: (line.source, line.start))

    def _line(
        self,
        subscription: str,
        payer: str,
        card: Body,
        currency: str,
        served: tuple[Instant, Instant],
        share: Fraction,
        inside: Callable[[Counted], bool],
    ) -> ExpectedLine:
        price, digits = cast(Body, card["price"]), DIGITS[currency]
        used = None
        if card["meter"] is None:
            total = minor(Fraction(str(price["amount"])) * share, digits)
        else:
            used = self._quantity(payer, str(card["meter"]), served, inside)
            total = _usage_total(price, used, digits)
        source, (start, end) = f"{subscription}/{card['id']}", served
        return ExpectedLine(source, instant_text(start), instant_text(end), used, total)

    def _quantity(
        self,
        payer: str,
        meter: str,
        served: tuple[Instant, Instant],
        inside: Callable[[Counted], bool],
    ) -> Fraction:
        """Return what was used in the windows that begin in a period."""
        aggregation, window_s = METERS[meter]
        width = window_s * SECOND
        values = [
            Fraction(each.event.value)
            for each in self._used.get((payer, meter), ())
            if served[0] <= each.event.time // width * width < served[1] and inside(each)
        ]
        match aggregation:
            case "count":
                return Fraction(len(values))
            case "sum":
                return sum(values, Fraction(0))
            case _:
                return max(values, default=Fraction(0))


def minor(amount: Fraction, digits: int) -> int:
    """Return minor units, half away from zero."""
    return int(abs(amount) * 10**digits + Fraction(1, 2)) * (1 if amount >= 0 else -1)


def _usage_total(price: Body, used: Fraction, digits: int) -> int:
    if price["type"] == "unit":
        return minor(used * Fraction(str(price["unit_amount"])), digits)
    total, below = 0, Fraction(0)
    for place, tier in enumerate(cast(Sequence[Body], price["tiers"])):
        top = tier["up_to"]
        end = used if top is None else min(used, Fraction(str(top)))
        if place and end <= below:
            break
        total += minor((end - below) * Fraction(str(tier["unit_amount"])), digits)
        total += minor(Fraction(str(tier["flat_amount"])), digits)
        below = end
    return total


def _subscriptions(book: Book, payer: str) -> Iterator[tuple[str, Body]]:
    for (kind, name), body in sorted(book.items(), key=lambda entry: entry[0]):
        if kind == "subscription" and body["customer"] == payer:
            yield name, body


def _periods(
    plan: Body, subscription: Body, until: Instant
) -> Iterator[tuple[tuple[Instant, Instant], Instant]]:
    """Yield each cycle that begins by `until`, and where it is cut off."""
    width = _seconds(str(plan["cycle"])) * SECOND
    start = parse_instant(subscription["start"])
    stop = subscription["end"]
    last = None if stop is None else parse_instant(stop)
    while start <= until and (last is None or start < last):
        end = start + width
        yield (start, end), end if last is None else min(end, last)
        start = end


def _ends(
    book: Book, until: Instant, began: Instant | None = None
) -> set[tuple[str, str, Instant]]:
    """Return (payer, currency, end) of periods that end by `until` and began by `began`."""
    found = set()
    for (kind, _), body in book.items():
        if kind == "subscription":
            plan = book["plan", str(body["plan"])]
            for cycle, end in _periods(plan, body, until if began is None else began):
                if end <= until and (began is None or cycle[0] <= began):
                    found.add((str(body["customer"]), str(plan["currency"]), end))
    return found


@cache
def _seconds(cycle: str) -> int:
    minutes, seconds = re.fullmatch(r"PT(?:(\d+)M)?(?:(\d+)S)?", cycle).groups()  # type: ignore[union-attr]
    return 60 * int(minutes or 0) + int(seconds or 0)
