"""Fees: what a flat price comes to for a stretch of time, and what was billed of it ahead.

Owns: rating a fee, and the difference between what is due and what was billed in advance: credits
for time that is not served, charges for what is served instead.
Does not own: which stretches are served (catalog/legs.py), lines (lines.py).
Law: what was billed of a fee, less its credits, is what its stretches come to, each rounded once;
a credit is never above what was billed; a change and its undoing cost nothing.

A fee that was billed to the end of its period is held against what is due of that period until
the period after the next begins. Whatever changes later is a correction.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from typing import cast

from pipeline.catalog.periods import ServicePeriod
from pipeline.catalog.rate_cards import FX_AMOUNTS, Exchange, PlanPrice
from pipeline.catalog.tax_terms import NO_TAX_TERMS, tax_terms
from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import Json, canonical
from pipeline.core.money import minor_digits
from pipeline.core.quantity import exact, quantity_text
from pipeline.invoice.details import Early, Record, summed
from pipeline.rate import (
    Discount,
    Fault,
    FixedDiscount,
    FlatPrice,
    PaymentTerm,
    PercentageDiscount,
    RatingInput,
    Reduction,
    Terms,
    rate,
    reductions_in,
)


class Reason(Enum):
    """Why a fee is billed besides its period's own line; stands on the line."""

    UNUSED = "unused"
    """Billed in advance, and not served: a credit."""
    EXTENDED = "extended"
    """Served for longer than was billed."""


@dataclass(frozen=True, slots=True)
class Fee:
    """A fee for [start, end): as it is due, as it was billed, or the difference of two.

    `discounts` and `card` are those of the line; amounts are before discounts.
    """

    start: Instant
    end: Instant
    name: str
    quantity: str
    unit_amount: str
    amount_minor: int
    discounts: tuple[Record, ...]
    card: Record
    fx: Record | None = None
    billed_from: Instant | None = None
    """Of a credit: from when on what it gives back was billed, and so its tax point."""

    @property
    def discount_minor(self) -> int:
        """What all its discounts took off."""
        return sum(cast(int, each["amount_minor"]) for each in self.discounts)

    @property
    def net_minor(self) -> int:
        """Its amount less its discounts."""
        return self.amount_minor - self.discount_minor

    @property
    def kind(self) -> tuple[Hashable, ...]:
        """What two fees have in common that differ in time alone, however their cards say it."""
        rest = {key: told for key, told in self.card.items() if key not in _SAID_VARIOUSLY}
        return (
            canonical(rest),
            exact(str(cast(Record, self.card["price"])["amount"])),
            exact(str(self.card.get("quantity", "1"))),  # its own may be edited by hand
            reductions_in(self.card),
            tax_terms(self.card.get("tax")) or NO_TAX_TERMS,
        )

    @property
    def price(self) -> PlanPrice:
        """Return what of its rate card a credit asks for.

        What was billed is not read anew: promotions, phases and seats make terms of it that no
        rate card could begin with.
        """
        return PlanPrice(
            str(self.card["id"]),
            self.name,
            None,
            FlatPrice(exact(self.unit_amount)),
            cast(Record, self.card["price"]),
            terms=Terms(payment_term=PaymentTerm.IN_ADVANCE),
        )

    def plus(self, other: "Fee", sign: int = 1) -> "Fee":
        """Return it with amount and discounts of another added, or taken off (-1)."""
        return replace(
            self,
            amount_minor=self.amount_minor + sign * other.amount_minor,
            discounts=summed(self.discounts, other.discounts, sign),
            fx=_fx_sum(self.fx, other.fx, sign),
        )

    def credited(self, start: Instant, left: "Fee | None") -> "Fee":
        """Return the credit for [start, its end), where `left` is what is due of it."""
        kept = left or replace(self, amount_minor=0, discounts=(), fx=None)
        back = kept.plus(self, -1)
        quantity = _negative(self.quantity)
        return replace(back, start=start, end=self.end, quantity=quantity, billed_from=self.start)

    def json(self) -> dict[str, Json]:
        """Return it as it is kept."""
        return {
            "start": instant_text(self.start),
            "end": instant_text(self.end),
            "name": self.name,
            "quantity": self.quantity,
            "unit_amount": self.unit_amount,
            "amount_minor": self.amount_minor,
            "discounts": [dict(each) for each in self.discounts],
            "card": dict(self.card),
            **({} if self.fx is None else {"fx": dict(self.fx)}),
        }

    @classmethod
    def of_json(cls, kept: Record) -> "Fee":
        """Return a fee that was kept."""
        return cls(
            parse_instant(kept["start"]),
            parse_instant(kept["end"]),
            str(kept["name"]),
            str(kept["quantity"]),
            str(kept["unit_amount"]),
            cast(int, kept["amount_minor"]),
            tuple(cast(list[Record], kept["discounts"])),
            cast(Record, kept["card"]),
            cast("Record | None", kept.get("fx")),
        )

    @classmethod
    def of_line(cls, line: Record) -> "Fee":
        """Return what a line bills."""
        return cls(
            parse_instant(line["period_start"]),
            parse_instant(line["period_end"]),
            str(line["name"]),
            str(line["quantity"]),
            str(line["unit_amount"]),
            cast(int, line["subtotal_minor"]),
            tuple(cast(list[Record], line["discounts"])),
            cast(Record, line["rate_card"]),
            cast("Record | None", line["fx"]),
        )


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a price of a subscription was billed: all before `until`, and fees ahead of it.

    `opened`: where the last period began that was billed in advance; 0 where nothing is ahead.
    `early`: what was billed of the running period before its end.
    """

    until: Instant = 0
    opened: Instant = 0
    ahead: tuple[Fee, ...] = ()
    early: tuple[Early, ...] = ()

    def json(self) -> Json:
        """Return the fees ahead, and what was billed early, as they are kept; null: neither."""
        if not self.ahead and not self.early:
            return None
        return {
            "opened": instant_text(self.opened),
            "fees": [fee.json() for fee in self.ahead],
            **({"early": [each.json() for each in self.early]} if self.early else {}),
        }

    @classmethod
    def of_json(cls, until: Instant, kept: Json) -> "Reach":
        """Return what was kept beside `until`."""
        if kept is None:
            return cls(until)
        told = cast(Record, kept)
        fees, early = cast(list[Record], told["fees"]), cast(list[Record], told.get("early", []))
        return cls(
            until,
            parse_instant(told["opened"]),
            tuple(map(Fee.of_json, fees)),
            tuple(map(Early.of_json, early)),
        )

    @property
    def end(self) -> Instant:
        """The end of all that was billed."""
        return max(self.until, *(fee.end for fee in self.ahead)) if self.ahead else self.until

    def served(self, end: Instant) -> "Reach":
        """Return it once all up to `end` is billed in arrears."""
        until = max(self.until, end)
        ahead = tuple(fee for fee in self.ahead if fee.end > until)
        early = tuple(each for each in self.early if each.start >= until)
        return Reach(until, self.opened if ahead else 0, ahead, early)

    def billed_early(self, more: Early) -> "Reach":
        """Return it once an early document bills more of the running period."""
        known = {(each.start, each.group): each for each in self.early}
        place = (more.start, more.group)
        known[place] = known[place].plus(more) if place in known else more
        return replace(self, early=tuple(each for _, each in sorted(known.items())))

    def put_right(self, change: Fee) -> "Reach":
        """Return it once a diff changed what was billed ahead for a stretch by so much."""
        stretch = (fee for fee in reversed(self.ahead) if fee.start <= change.start <= fee.end)
        of = next(stretch, None)
        return replace(
            self, ahead=tuple(fee.plus(change) if fee is of else fee for fee in self.ahead)
        )

    def given_back(self, start: Instant) -> "Reach":
        """Return it once what was billed early from `start` on is given back."""
        return replace(self, early=tuple(each for each in self.early if each.start != start))

    def billed(self, fees: Iterable[tuple[Reason | None, Fee]]) -> "Reach":
        """Return it once the lines of one document bill fees ahead, and give some back."""
        ahead = {fee.start: fee for fee in self.ahead}
        told = list(fees)
        for _, given in (each for each in told if each[0] is Reason.UNUSED):
            fee = next((f for f in ahead.values() if f.end == given.end), None)
            if fee is not None and fee.start < given.start:
                ahead[fee.start] = replace(fee.plus(given), end=given.start)
            elif fee is not None:
                del ahead[fee.start]
        for _, more in (each for each in told if each[0] is Reason.EXTENDED):
            fee = next((f for f in ahead.values() if f.end == more.start), None)
            if fee is not None:
                ahead[fee.start] = replace(fee.plus(more), end=more.end)
        until = self.until
        inside = (fee.start for fee in ahead.values() if fee.start < self.opened < fee.end)
        opened = next(inside, self.opened)  # a leg began there, and is billed as none now
        new = [fee for reason, fee in told if reason is None]
        begun = min((fee.start for fee in new if fee.start >= self.end), default=None)
        if begun is not None:
            until, opened = max(until, opened), begun
        ahead |= {fee.start: fee for fee in new}
        kept = sorted((fee for fee in ahead.values() if fee.end > until), key=lambda f: f.start)
        return replace(self, until=until, opened=opened if kept else 0, ahead=tuple(kept))


NOWHERE = Reach()

_SAID_VARIOUSLY = ("price", "quantity", "discounts", "tax")
"""What of a card may be given in several ways, or not at all, and mean the same."""


def due_fee(
    served: ServicePeriod, card: PlanPrice, told: Record, currency: str, taken: dict[Reduction, int]
) -> Fee | Fault:
    """Return what a card of a flat price comes to for a part of a period.

    `taken`: what fixed discounts took off earlier parts of the period; the rest of them is taken
    here, for they count once a period.
    """
    scale, reductions = 10 ** minor_digits(currency), card.terms.reductions(served.index)
    asked = RatingInput(
        currency,
        card.price,
        card.terms.quantity,
        proration=_share(served),
        discounts=tuple(_left(each, Fraction(taken.get(each, 0), scale)) for each in reductions),
    )
    rated = rate(asked)
    if isinstance(rated, Fault):
        return rated
    shares = rated.lines[0].shares if rated.lines else ()
    for reduction, minor in zip(reductions, shares, strict=bool(shares)):
        if reduction.is_fixed:
            taken[reduction] = taken.get(reduction, 0) + minor
    told_shares = zip(reductions, shares, strict=bool(shares))
    unit = card.price.amount if isinstance(card.price, FlatPrice) else Fraction(0)
    amount_minor = sum(line.amount_minor for line in rated.lines)
    return Fee(
        served.period.start,
        served.period.end,
        card.name,
        quantity_text(card.terms.quantity),
        quantity_text(unit),
        amount_minor,
        tuple({**each.json(), "amount_minor": minor} for each, minor in told_shares if minor),
        told,
        None if card.fx is None else _fx(card.fx, asked, amount_minor),
    )


def _share(served: ServicePeriod) -> Fraction | None:
    """Return which part of its cycle a period is; None: all of it, or what is bought once."""
    period, cycle = served.period, served.cycle
    if period == cycle:
        return None
    return Fraction(period.end - period.start, cycle.end - cycle.start)


def _fx(exchange: Exchange, asked: RatingInput, amount_minor: int) -> Record | None:
    """Return how a fee came to its amount, with what it is where the price is from."""
    base = exchange.rate.base
    rated = rate(replace(asked, currency=base, price=exchange.before.price, discounts=()))
    if isinstance(rated, Fault):
        raise BrokenInvariant(f"a fee in {base} that cannot be rated: {rated}")
    return exchange.json(sum(line.amount_minor for line in rated.lines), amount_minor)


def _fx_sum(one: Record | None, other: Record | None, sign: int) -> Record | None:
    """Return the exchange of two fees together."""
    if one is None or other is None:
        factor = 1 if other is None else sign
        alone = one or other
        return None if alone is None else _fx_times(alone, factor)
    sums = {key: cast(int, one[key]) + sign * cast(int, other[key]) for key in FX_AMOUNTS}
    return {**one, **sums}


def _fx_times(one: Record, factor: int) -> Record:
    return {**one, **{key: factor * cast(int, one[key]) for key in FX_AMOUNTS}}


def _left(reduction: Reduction, taken: Fraction) -> Discount:
    match reduction.discount:
        case FixedDiscount(amount):
            return FixedDiscount(max(Fraction(0), amount - taken))
        case PercentageDiscount():
            return reduction.discount


def differences(
    reach: Reach, due: Sequence[Fee], instant: Instant
) -> list[tuple[Reason | None, Fee]]:
    """Return what a document at `instant` bills, so that what was billed becomes what is due.

    What begins behind the instant, and was billed otherwise, waits: it may be thought over. So the
    last document of a subscription, that none follows, is asked for at the end of time.
    """
    wanted = {fee.start: fee for fee in due}
    found: list[tuple[Reason | None, Fee]] = []
    for fee in reach.ahead:
        now = wanted.get(fee.start)
        if now is None or now.kind != fee.kind:
            found.append((Reason.UNUSED, fee.credited(fee.start, None)))
            continue
        del wanted[fee.start]
        if now.end < fee.end:
            found.append((Reason.UNUSED, fee.credited(now.end, now)))
        elif now.end > fee.end:
            found.append((Reason.EXTENDED, replace(now.plus(fee, -1), start=fee.end)))
    found += [(None, fee) for fee in wanted.values()]
    end = reach.end
    return [each for each in found if not instant < each[1].start < end]


def _negative(quantity: str) -> str:
    return quantity_text(-exact(quantity))
