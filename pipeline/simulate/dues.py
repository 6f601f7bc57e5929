"""Dues: what falls due of what is sold, by its card and its stretch, as the auditor works it out.

Owns: which periods and parts of them no document has, what was billed of them early.
Does not own: when a subscription runs (stays.py), what a line comes to (billing.py).
Law: it shares no step with the pipeline.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple, cast

from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json
from pipeline.simulate.agreements import Body
from pipeline.simulate.committed import Committed, committed
from pipeline.simulate.deals import dealt
from pipeline.simulate.sold import (
    DIGITS,
    Book,
    Parts,
    Period,
    Spans,
    agreed,
    cards,
    minor,
    named,
    parts,
)
from pipeline.simulate.stays import billed_in, periods, runs_on

Closing = tuple[str, Instant]
"""(currency, instant)."""


@dataclass(frozen=True, slots=True)
class ExpectedLine:
    """One line: what it bills, from when to when, how much of it, for how much.

    `due`: when it falls due; a subscription's is taxed by the instant before.
    """

    source: str
    start: str
    end: str
    quantity: Fraction | None
    total_minor: int
    due: Instant
    meter: str | None = None
    plan: str | None = None
    """None: an order's."""
    account: str | None = None
    """The sub-account that it is of."""
    taken_minor: int = 0
    """What codes take off usage: what they take off as a whole is a line all the same."""
    seller: Json = None
    """Whose it is, and what is kept of it."""
    tax: Json = None
    """What its price says of tax."""
    plain: "ExpectedLine | None" = None
    """What it was before somebody edited it."""
    is_whole: bool = False
    """Whether it says what it comes to as somebody edited it, without children."""

    @property
    def tax_point(self) -> Instant:
        """The instant by whose rates and credits it is billed."""
        return self.due if self.plan is None else self.due - 1


class Early(NamedTuple):
    """What was billed of a part of a period before its end."""

    end: Instant
    quantity: Fraction
    total: int
    taken: int
    last: ExpectedLine
    """The line that billed it last."""

    def given_back(self, instant: Instant) -> ExpectedLine:
        """Return the credit for it at a closing: it was served, and may be edited to a charge."""
        own = replace(self.last, quantity=-self.quantity, total_minor=-self.total)
        due = min(self.end, instant)
        return replace(own, due=due, taken_minor=0, plain=None, is_whole=False)


@dataclass(slots=True)
class Carried:
    """Up to where a price of a subscription was billed, and what of the period behind it early.

    By where a part of the period starts.
    """

    until: dict[tuple[str, str], Instant] = field(default_factory=dict)
    early: dict[tuple[str, str], dict[Instant, Early]] = field(default_factory=dict)

    def copy(self) -> "Carried":
        """Return the same, to be changed by itself."""
        return Carried(dict(self.until), {key: dict(told) for key, told in self.early.items()})

    def billed(self, source: tuple[str, str], end: Instant) -> None:
        """Note that all up to `end` is billed."""
        self.until[source] = max(end, self.until.get(source, -1))
        early = self.early.get(source, {})
        self.early[source] = {start: told for start, told in early.items() if start >= end}


@dataclass(frozen=True, slots=True)
class Due:
    """A line that falls due: whose, by which card, when, and what was billed of it early.

    Or one of what is `committed` to: by the last of its cards.
    """

    name: str
    customer: str
    card: Body
    spans: Spans
    early: Mapping[Instant, Early]
    committed: Committed | None = None


def due(book: Book, payer: str, closing: Closing, carried: Carried) -> list[Due | ExpectedLine]:
    """Return what falls due at a closing and nobody carries, credits as they are; carry it."""
    currency, instant = closing
    found: list[Due | ExpectedLine] = []
    for name, subscription in named(book, "subscription", payer):
        if billed_in(book, subscription) != currency:
            continue
        found += _given_back(book, name, subscription, carried, instant)
        for item, period, sold in billed_periods(book, subscription, instant):
            until = carried.until.get((name, item), -1)
            if until < period.served[1] <= instant:
                early, customer = carried.early.get((name, item), {}), str(subscription["customer"])
                if "covers" in sold[-1][1]:
                    for body, spans, told in committed(book, item, period, until):
                        found.append(Due(name, customer, body, spans, {}, told))
                else:
                    for body, spans in left_of(book, item, period, sold, carried):
                        found.append(Due(name, customer, body, spans, early))
                # It may have ended within, and come back some day: of all that lies behind.
                carried.billed((name, item), sold[-1][0][1])
    for name, order in named(book, "order", payer):
        at = parse_instant(order["at"])
        for line in cast(Sequence[Body], order["lines"]) if order["currency"] == currency else ():
            source, moment = (name, str(line["id"])), (at, at)
            if at <= instant and source not in carried.until:
                spans = Spans(moment, moment, moment, moment, moment, at)
                found.append(Due(name, str(order["customer"]), line, spans, {}))
                carried.billed(source, at)
    found += _by_hand(book, payer, closing, carried)
    return found


def _by_hand(book: Book, payer: str, closing: Closing, carried: Carried) -> Iterator[ExpectedLine]:
    """Yield the lines that people added, each on the first document behind its instant."""
    for name, body in named(book, "hand_line", payer):
        at, source = parse_instant(body["at"]), ("", name)
        if body["currency"] != closing[0] or at > closing[1] or source in carried.until:
            continue
        unit = Fraction(str(cast(Body, cast(Body, body["card"])["price"])["amount"]))
        total = minor(unit * Fraction(str(body["quantity"])), DIGITS[closing[0]])
        moment = instant_text(at)
        yield ExpectedLine(name, moment, moment, None, total, at)
        carried.billed(source, at)


def _given_back(
    book: Book, name: str, subscription: Body, carried: Carried, instant: Instant
) -> list[ExpectedLine]:
    """Return credits for what was billed early of periods that no price bills any more."""
    found = []
    is_over = not runs_on(book, subscription, instant)
    for (of, item), early in carried.early.items():
        for start, told in list(early.items()) if of == name else ():
            known = [p.served for i, p, _ in billed_periods(book, subscription, start) if i == item]
            if (is_over or start < instant) and not any(s <= start < e for s, e in known):
                del early[start]
                found.append(told.given_back(instant))
    return found


def billed_periods(
    book: Book, subscription: Body, until: Instant
) -> list[tuple[str, Period, Parts]]:
    """Return (item, period, its parts) of every period that begins by `until` and has the item."""
    name = str(subscription["id"])
    known = book.billed.get((name, until))
    if known is None:
        known = book.billed[name, until] = [*_billed(book, subscription, until)]
    return known


def _billed(book: Book, subscription: Body, until: Instant) -> Iterator[tuple[str, Period, Parts]]:
    known = [(each, agreed(book, each.stay)) for each in periods(book, subscription, until)]
    told = (body for _, revisions in known for _, body in revisions)
    for item in sorted({str(card["id"]) for body in told for card in cards(body)}):
        for period, revisions in known:
            sold = parts(revisions, item, period.served)
            if sold:
                yield item, period, sold


def left_of(
    book: Book, item: str, period: Period, sold: Parts, carried: Carried
) -> Iterator[tuple[Body, Spans]]:
    """Yield what of a period's parts no document has, each with its card."""
    until = carried.until.get((period.stay.subscription, item), -1)
    left = [(part, body, max(part[0], until)) for part, body in sold if part[1] > until]
    if not left:  # the price ended within the period, and was billed up to there
        return
    stops = [start for _, _, start in left[1:]] + [period.served[1]]
    whole = sold[0][0][0]
    for place, ((part, body, start), stop) in enumerate(zip(left, stops, strict=True)):
        own = (start if place else period.served[0], stop)
        card, spans = dealt(book, period, body), ((whole, part[1]), part, (start, part[1]), own)
        yield card, Spans(period.cycle, *spans, period.served[1])


def without_early(
    line: ExpectedLine, spans: Spans, early: Mapping[Instant, Early] | None
) -> ExpectedLine:
    """Return a line of usage less what was billed of it before its period ended."""
    if line.quantity is None or not early:
        return line
    told = [each for start, each in early.items() if spans.own[0] <= start < spans.own[1]]
    used = line.quantity - sum(each.quantity for each in told)
    total, taken = sum(each.total for each in told), sum(each.taken for each in told)
    total, taken = line.total_minor - total, line.taken_minor - taken
    return replace(line, quantity=used, total_minor=total, taken_minor=taken)
