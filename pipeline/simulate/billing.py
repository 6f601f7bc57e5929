"""The billing of the auditor: what each document must say, from facts and counted events.

Owns: periods, cuts, lines and amounts, in fractions, from the bodies of facts.
Does not own: which events count (witness.py), quantities (quantities.py), comparing (auditor.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import cast

from pipeline.catalog.facts import Fact, FactKind
from pipeline.core.calendar import SECOND, Instant, instant_text, parse_instant
from pipeline.simulate.agreements import Body
from pipeline.simulate.quantities import Stretch, quantity
from pipeline.simulate.returns import Taken
from pipeline.simulate.sold import (
    Book,
    Revision,
    agreed,
    cards,
    minor,
    named,
    parts,
    printed,
    revised,
    usage_total,
)
from pipeline.simulate.stays import Period, billed_in, ends, over, periods, runs_on
from pipeline.simulate.witness import Counted, Witness

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


Inside = Callable[[int, int], bool]
"""Whether what stands at an offset of a partition is billed."""
Cut = tuple[str, str, Instant]
"""(payer, currency, instant)."""


@dataclass(slots=True)
class Carried:
    """Up to where a price of a subscription was billed, and what of the period behind it early.

    That is (end, quantity, total) by where a part of the period starts.
    """

    until: dict[tuple[str, str], Instant] = field(default_factory=dict)
    early: dict[tuple[str, str], dict[Instant, tuple[Instant, Fraction, int]]] = field(
        default_factory=dict
    )

    def copy(self) -> "Carried":
        """Return the same, to be changed by itself."""
        return Carried(dict(self.until), {key: dict(told) for key, told in self.early.items()})

    def billed(self, source: tuple[str, str], end: Instant) -> None:
        """Note that all up to `end` is billed."""
        self.until[source] = max(end, self.until.get(source, -1))
        early = self.early.get(source, {})
        self.early[source] = {start: told for start, told in early.items() if start >= end}


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
    cuts: dict[Cut, int] = field(default_factory=dict)
    """The serial that closed a payer's periods, or had them billed early."""
    early: dict[Cut, Body] = field(default_factory=dict)
    """What had a cut made early, as its fact tells it."""

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
            horizon = tick.time - grace
            for end in ends(book, horizon):
                self.cuts.setdefault(end, serial)
            before = self.witness.ticks.get(serial - 1)
            if before is not None and before.fact_position < tick.fact_position:
                known = self.book(before.fact_position)
                grace = cast(int, known.latest["rules", "rules"]["grace_s"]) * SECOND
                for end in over(known, book, before.time - grace, horizon):
                    self._cut_again(end, serial)
                self._cut_early(self.facts[before.fact_position : tick.fact_position], serial)

    def _cut_again(self, end: Cut, serial: int) -> None:
        """Cut what is over once more, at the next instant, where its last end was cut before."""
        while end in self.cuts and self.cuts[end] != serial:
            end = (*end[:2], end[2] + 1)
        self.cuts[end] = serial

    def _cut_early(self, news: Sequence[Fact], serial: int) -> None:
        for fact in news:
            if fact.kind in (FactKind.BILL_NOW, FactKind.THRESHOLD_REACHED):
                told = fact.body
                place = str(told["customer"]), str(told["currency"]), parse_instant(told["at"])
                self.cuts[place], self.early[place] = serial, told

    def book(self, position: int) -> Book:
        """Return what is in force at a fact position."""
        if position not in self._books:
            until = self.facts[:position]
            plans: dict[str, list[Revision]] = {}
            for fact in until:
                if fact.kind is FactKind.PLAN:
                    plans[fact.subject] = revised(plans.get(fact.subject, []), fact.body)
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
            known = Issued({}, Carried())
            for serial, instant in own:
                book = self.book(self.witness.ticks[serial].fact_position)
                inside = partial(self._before_tick, seen or serial)
                closing, early = (currency, instant), self.early.get((payer, currency, instant))
                if early:  # it is never corrected: its period's last document is
                    inside = partial(self._before_tick, serial)
                    lines = self._early_lines(book, early, currency, known.carried, inside)
                else:
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
            for _, currency, end in ends(book, 1 << 62, began=log_time, payer=payer)
            if (currency, end) not in cut
        }
        carried: dict[str, Carried] = {}
        found = {}
        for currency, instant in sorted(ahead, key=lambda closing: closing[1]):
            if currency not in carried:
                carried[currency] = self.issued(payer, currency, until).carried.copy()
            found[currency, instant] = carried[currency].copy()
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
        found = []
        for each in due(book, payer, closing, carried):
            if isinstance(each, ExpectedLine):
                found.append(each)
            else:
                whole = self._line(each.name, payer, each.card, closing[0], each.spans, inside)
                found.append(_without_early(whole, each.spans, each.early))
        return sorted(found, key=lambda line: (line.source, line.start, line.total_minor))

    def _early_lines(
        self, book: Book, told: Body, currency: str, carried: Carried, inside: Inside
    ) -> list[ExpectedLine]:
        """Return what a fact has billed of the periods that run; carry it."""
        name, at = str(told["subscription"]), parse_instant(told["running_at"])
        subscription, found = book.latest["subscription", name], []
        for item, period in _billed_periods(book, subscription, at):
            (start, end), stay = period.served, period.stay
            if not (start <= at < end and carried.until.get((name, item), -1) < end):
                continue
            if told["add_on"] not in (None, stay.add_on):
                continue
            early = carried.early.setdefault((name, item), {})
            for body, spans in _left(book, item, period, carried):
                if body["meter"] is None:
                    continue
                payer = str(subscription["customer"])
                whole = self._line(name, payer, body, currency, spans, inside)
                line = _without_early(whole, spans, early)
                if not (printed(line.quantity or Fraction(0)) or line.total_minor):
                    continue
                found.append(line)
                _, used, total = early.get(spans.left[0], (end, Fraction(0), 0))
                more = printed(line.quantity or Fraction(0))
                early[spans.left[0]] = (spans.left[1], used + more, total + line.total_minor)
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
            total = _fee_total(card, spans, digits)
        else:
            meter = str(card["meter"])
            counted = self._standing(payer, meter, inside)
            used = quantity(meter, counted, spans.whole)
            total = usage_total(price, used, digits)
            if spans.whole[0] != start:  # tiers carry over from the part that is billed already
                before = quantity(meter, counted, (spans.whole[0], start))
                total -= usage_total(price, before, digits)
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

    `left` is what of its part no document has: the end may have been moved since the last. What
    was billed early from `own` on is of it.
    """

    cycle: Stretch
    whole: Stretch
    part: Stretch
    left: Stretch
    own: Stretch


@dataclass(frozen=True, slots=True)
class Due:
    """A line that falls due: whose, by which card, when, and what was billed of it early."""

    name: str
    card: Body
    spans: _Spans
    early: Mapping[Instant, tuple[Instant, Fraction, int]]


def due(book: Book, payer: str, closing: Closing, carried: Carried) -> list[Due | ExpectedLine]:
    """Return what falls due at a closing and nobody carries, credits as they are; carry it."""
    currency, instant = closing
    found: list[Due | ExpectedLine] = []
    for name, subscription in named(book, "subscription", payer):
        if billed_in(book, subscription) != currency:
            continue
        found += _given_back(book, name, subscription, carried, instant)
        for item, period in _billed_periods(book, subscription, instant):
            if carried.until.get((name, item), -1) < period.served[1] <= instant:
                early = carried.early.get((name, item), {})
                for body, spans in _left(book, item, period, carried):
                    found.append(Due(name, body, spans, early))
                carried.billed((name, item), period.served[1])
    for name, order in named(book, "order", payer):
        at = parse_instant(order["at"])
        for line in cast(Sequence[Body], order["lines"]) if order["currency"] == currency else ():
            source, moment = (name, str(line["id"])), (at, at)
            if at <= instant and source not in carried.until:
                found.append(Due(name, line, _Spans(moment, moment, moment, moment, moment), {}))
                carried.billed(source, at)
    return found


def _fee_total(card: Body, spans: _Spans, digits: int) -> int:
    """Return a fee for the share of its cycle, less what was billed of it; an order's as it is."""
    price = Fraction(str(cast(Body, card["price"])["amount"]))
    amount, length = price * Fraction(str(card.get("quantity", 1))), spans.cycle[1] - spans.cycle[0]
    if not length:
        return minor(amount, digits)
    billed, total = (
        minor(amount * Fraction(until - spans.part[0], length), digits) for until in spans.left
    )
    return total - billed


def _given_back(
    book: Book, name: str, subscription: Body, carried: Carried, instant: Instant
) -> list[ExpectedLine]:
    """Return credits for what was billed early of periods that no price bills any more."""
    found = []
    is_over = not runs_on(book, subscription, instant)
    for (of, item), early in carried.early.items():
        for start, (end, used, total) in list(early.items()) if of == name else ():
            known = [each.served for _, each in _billed_periods(book, subscription, start, item)]
            if (is_over or start < instant) and not any(s <= start < e for s, e in known):
                del early[start]
                span = instant_text(start), instant_text(end)
                found.append(ExpectedLine(f"{name}/{item}", *span, -used, -total))
    return found


def _billed_periods(
    book: Book, subscription: Body, until: Instant, only: str = ""
) -> Iterator[tuple[str, Period]]:
    """Yield (item, period) of every period that begins by `until` and has a card of the item."""
    known = [(each, agreed(book, each.stay)) for each in periods(book, subscription, until)]
    told = (body for _, revisions in known for _, body in revisions)
    for item in sorted({str(card["id"]) for body in told for card in cards(body)}):
        if only in ("", item):
            for period, revisions in known:
                if parts(revisions, item, period.served):
                    yield item, period


def _left(book: Book, item: str, period: Period, carried: Carried) -> Iterator[tuple[Body, _Spans]]:
    """Yield what of a period's parts no document has, each with its card."""
    until = carried.until.get((period.stay.subscription, item), -1)
    sold = parts(agreed(book, period.stay), item, period.served)
    left = [(part, body, max(part[0], until)) for part, body in sold if part[1] > until]
    if not left:  # the price ended within the period, and was billed up to there
        return
    stops = [start for _, _, start in left[1:]] + [period.served[1]]
    for place, ((part, body, start), stop) in enumerate(zip(left, stops, strict=True)):
        own = (start if place else period.served[0], stop)
        yield body, _Spans(period.cycle, (sold[0][0][0], part[1]), part, (start, part[1]), own)


def _without_early(
    line: ExpectedLine, spans: _Spans, early: Mapping[Instant, tuple[Instant, Fraction, int]] | None
) -> ExpectedLine:
    """Return a line of usage less what was billed of it before its period ended."""
    if line.quantity is None or not early:
        return line
    told = [each for start, each in early.items() if spans.own[0] <= start < spans.own[1]]
    used = line.quantity - sum(each[1] for each in told)
    return replace(line, quantity=used, total_minor=line.total_minor - sum(e[2] for e in told))
