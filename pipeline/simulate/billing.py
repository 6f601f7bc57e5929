"""The billing of the auditor: what each document must say, from facts and counted events.

Owns: periods, cuts, lines and amounts, in fractions, from the bodies of facts.
Does not own: which events count (witness.py), quantities (quantities.py), comparing (auditor.py).
Law: it shares no step with the pipeline.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, partial
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import SECOND, Instant, instant_text, parse_instant
from pipeline.simulate.decisions import Body
from pipeline.simulate.quantities import Stretch, quantity
from pipeline.simulate.returns import Taken
from pipeline.simulate.witness import Counted, Witness

Revision = tuple[Instant, Body]
"""From when on a plan's prices are these."""
Closing = tuple[str, Instant]
"""(currency, instant)."""
DIGITS = {"EUR": 2, "JPY": 0}


@dataclass(frozen=True, slots=True)
class Book:
    """What is in force: the latest body of every (kind, subject), each plan's revisions."""

    latest: Mapping[tuple[str, str], Body]
    plans: Mapping[str, Sequence[Revision]]


@dataclass(frozen=True, slots=True)
class ExpectedLine:
    """One line: what it bills, from when to when, how much of it, for how much."""

    source: str
    start: str
    end: str
    quantity: Fraction | None
    total_minor: int


Inside = Callable[[int, int], bool]
"""Whether what stands at an offset of a partition is billed."""
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
    taken: Sequence[Taken]
    _books: dict[int, Book] = field(default_factory=dict)
    _used: dict[tuple[str, str], list[Counted]] = field(default_factory=dict)
    _gone: dict[tuple[str, str], list[Taken]] = field(default_factory=dict)
    _issued: dict[tuple[str, str, int, int | None], Issued] = field(default_factory=dict)
    cuts: dict[tuple[str, str, Instant], int] = field(default_factory=dict)
    """The serial that closed a payer's periods, by (payer, currency, instant)."""

    def __post_init__(self) -> None:
        """Sort usage, find every cut."""
        for each in self.witness.counted:
            self._used.setdefault((each.event.customer, each.event.meter), []).append(each)
        for gone in self.taken:
            place = (gone.usage.event.customer, gone.usage.event.meter)
            self._gone.setdefault(place, []).append(gone)
        for serial, tick in sorted(self.witness.ticks.items()):
            book = self.book(tick.fact_position)
            grace = cast(int, book.latest["rules", "rules"]["grace_s"]) * SECOND
            for payer, currency, end in _ends(book, tick.time - grace):
                self.cuts.setdefault((payer, currency, end), serial)

    def book(self, position: int) -> Book:
        """Return what is in force at a fact position."""
        if position not in self._books:
            until = self.facts[:position]
            plans: dict[str, list[Revision]] = {}
            for fact in until:
                if fact.kind is FactKind.PLAN:
                    plans[fact.subject] = _revised(plans.get(fact.subject, []), fact.body)
            latest = {(str(f.kind.value), f.subject): f.body for f in until}
            self._books[position] = Book(latest, plans)
        return self._books[position]

    def issued(self, payer: str, currency: str, until: int, seen: int | None = None) -> "Issued":
        """Return every document up to a tick, by usage before its cut.

        Or, to be corrected, by all usage before the tick `seen`.
        """
        own = sorted(
            (serial, instant)
            for (who, which, instant), serial in self.cuts.items()
            if (who, which) == (payer, currency) and serial <= until
        )
        known = self._issued.get((payer, currency, len(own), seen))
        if known is None:
            known = Issued({}, {})
            for serial, instant in own:
                book = self.book(self.witness.ticks[serial].fact_position)
                inside = partial(self._before_tick, seen or serial)
                closing = (currency, instant)
                lines = self.lines(book, payer, closing, known.carried, inside)
                if lines:
                    known.lines[instant] = lines
            self._issued[payer, currency, len(own), seen] = known
        return known

    def _before_tick(self, serial: int, partition: int, offset: int) -> bool:
        """Return whether something stands before a tick, or is the tick."""
        return offset <= self.witness.tick_places[partition, serial]

    def open(self, book: Book, payer: str, log_time: Instant, until: int) -> dict[Closing, Carried]:
        """Return the closings still ahead at a log time, with what is carried before each."""
        cut = {k[1:] for k, serial in self.cuts.items() if k[0] == payer and serial <= until}
        ahead = {
            (currency, end)
            for _, currency, end in _ends(book, 1 << 62, began=log_time, payer=payer)
            if (currency, end) not in cut
        }
        carried: dict[str, Carried] = {}
        found = {}
        for currency, instant in sorted(ahead, key=lambda closing: closing[1]):
            if currency not in carried:
                carried[currency] = dict(self.issued(payer, currency, until).carried)
            found[currency, instant] = dict(carried[currency])
            due(book, payer, (currency, instant), carried[currency])
        return found

    def lines(
        self,
        book: Book,
        payer: str,
        closing: Closing,
        carried: Carried,
        inside: Inside,
    ) -> list[ExpectedLine]:
        """Return the lines that fall due at a closing and nobody carries; carry them."""
        found = [
            self._line(name, payer, body, closing[0], spans, inside)
            for name, body, spans in due(book, payer, closing, carried)
        ]
        return sorted(found, key=lambda line: (line.source, line.start))

    def _line(
        self,
        subscription: str,
        payer: str,
        card: Body,
        currency: str,
        spans: "_Spans",
        inside: Inside,
    ) -> ExpectedLine:
        price, digits = cast(Body, card["price"]), DIGITS[currency]
        (start, end), used = spans.left, None
        if card["meter"] is None:
            length, amount = spans.cycle[1] - spans.cycle[0], Fraction(str(price["amount"]))
            total, billed = (
                minor(amount * Fraction(until - spans.part[0], length), digits)
                for until in (end, start)
            )
            total -= billed
        else:
            meter = str(card["meter"])
            counted = self._standing(payer, meter, inside)
            used = quantity(meter, counted, spans.whole)
            total = _usage_total(price, used, digits)
            if spans.whole[0] != start:  # tiers carry over from the part that is billed already
                before = quantity(meter, counted, (spans.whole[0], start))
                total -= _usage_total(price, before, digits)
                used -= before
        source = f"{subscription}/{card['id']}"
        return ExpectedLine(source, instant_text(start), instant_text(end), used, total)

    def _standing(self, payer: str, meter: str, inside: Inside) -> list[Counted]:
        """Return the usage of a meter that is inside, but for what was taken off inside."""
        taken = self._gone.get((payer, meter), ())
        gone = {id(each.usage) for each in taken if inside(each.usage.partition, each.offset)}
        used = self._used.get((payer, meter), ())
        return [e for e in used if inside(e.partition, e.offset) and id(e) not in gone]


@dataclass(frozen=True, slots=True)
class _Spans:
    """The cycle a line is of, the stretch whose usage its tiers count, and what it bills.

    `left` is what of its part no document has: the end may have been moved since the last.
    """

    cycle: Stretch
    whole: Stretch
    part: Stretch
    left: Stretch


Due = tuple[str, Body, _Spans]
"""(subscription, rate card, when) of a line."""


def due(book: Book, payer: str, closing: Closing, carried: Carried) -> list[Due]:
    """Return what falls due at a closing and nobody carries; carry it."""
    currency, instant = closing
    found: list[Due] = []
    for name, subscription in _subscriptions(book, payer):
        plan = str(subscription["plan"])
        if book.latest["plan", plan]["currency"] != currency:
            continue
        revisions = book.plans[plan]
        periods = list(_periods(book, subscription, instant))
        for card in sorted({str(card["id"]) for _, body in revisions for card in _cards(body)}):
            until = carried.get((name, card), -1)
            for cycle, end in periods:
                if cycle[0] >= instant or end > instant or end <= until:
                    continue
                parts = _parts(revisions, card, (cycle[0], end))
                for part, body in parts:
                    if part[1] <= until:
                        continue
                    whole, left = (parts[0][0][0], part[1]), (max(part[0], until), part[1])
                    found.append((name, body, _Spans(cycle, whole, part, left)))
                    carried[name, card] = part[1]
    return found


def _revised(before: Sequence[Revision], body: Body) -> list[Revision]:
    """Return a plan's revisions after one more: with a date it replaces what was to come then."""
    if not before or "effective" not in body:
        return [(_EVER, body)]
    since = parse_instant(body["effective"])
    return [before[0], *(each for each in before[1:] if each[0] < since), (since, body)]


def _cards(plan: Body) -> Sequence[Body]:
    return cast(Sequence[Body], plan["prices"])


def _parts(revisions: Sequence[Revision], card: str, served: Stretch) -> list[tuple[Stretch, Body]]:
    """Return the parts of a period in which a card says the same, and what it says there."""
    found: list[tuple[Stretch, Body]] = []
    ends = [since for since, _ in revisions[1:]] + [served[1]]
    for (since, plan), until in zip(revisions, ends, strict=True):
        start, end = max(since, served[0]), min(until, served[1])
        for body in _cards(plan):
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


def _usage_total(price: Body, used: Fraction, digits: int) -> int:
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


def _subscriptions(book: Book, payer: str) -> Iterator[tuple[str, Body]]:
    for (kind, name), body in sorted(book.latest.items(), key=lambda entry: entry[0]):
        if kind == "subscription" and body["customer"] == payer:
            yield name, body


def _periods(
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


def _ends(
    book: Book, until: Instant, began: Instant | None = None, payer: str | None = None
) -> set[tuple[str, str, Instant]]:
    """Return (payer, currency, end) of periods that end by `until` and began by `began`.

    Of one payer, or of all.
    """
    found = set()
    for (kind, _), body in book.latest.items():
        if kind == "subscription" and payer in (None, body["customer"]):
            plan = book.latest["plan", str(body["plan"])]
            for cycle, end in _periods(book, body, until if began is None else began):
                if end <= until and (began is None or cycle[0] <= began):
                    found.add((str(body["customer"]), str(plan["currency"]), end))
    return found


@cache
def _seconds(cycle: str) -> int:
    minutes, seconds = re.fullmatch(r"PT(?:(\d+)M)?(?:(\d+)S)?", cycle).groups()  # type: ignore[union-attr]
    return 60 * int(minutes or 0) + int(seconds or 0)
