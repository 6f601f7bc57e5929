"""Details: what a usage-based line is made of, and how much of it is left to bill.

Owns: detailed lines as values, what one amount of them is less another.
Does not own: what usage comes to (rate), the fields of a line in content (lines.py).
Law: what was billed and what is left sum to the whole, in quantity, amount and each discount.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias, cast

from pipeline.catalog.rate_cards import PlanPrice
from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json, canonical
from pipeline.core.money import allocate
from pipeline.core.quantity import exact, quantity_text
from pipeline.invoice.totals import Totals
from pipeline.meter.scope import Pairs
from pipeline.rate import Component, Kind, Rated, RatedLine, Reduction, UnitPrice

Record: TypeAlias = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Detail:
    """One charge of a line: a tier, a flat amount, a minimum; `discounts` say what each took."""

    component: Component
    quantity: Fraction
    unit_amount: Fraction
    amount_minor: int
    discounts: tuple[Record, ...] = ()

    @property
    def key(self) -> tuple[Component, str]:
        """What it is matched by (rule 14): as it is printed, for so documents tell it."""
        return self.component, quantity_text(self.unit_amount)

    @property
    def discount_minor(self) -> int:
        """What all its discounts took off."""
        return sum(cast(int, each["amount_minor"]) for each in self.discounts)

    @property
    def net_minor(self) -> int:
        """Its amount less its discounts; of a minimum's top-up nothing (rule 30)."""
        return 0 if self.tops_up else self.amount_minor - self.discount_minor

    @property
    def is_nothing(self) -> bool:
        """Whether it bills nothing of nothing, as it is printed."""
        bills = self.amount_minor or self.discounts
        return not bills and quantity_text(self.quantity) == "0"

    @property
    def tops_up(self) -> bool:
        """Whether it is what a minimum lacked."""
        return self.component.kind is Kind.MINIMUM

    @property
    def totals(self) -> Totals:
        """Its totals: a minimum's top-up is a charge, the rest an amount."""
        if self.tops_up:
            return Totals.of(charges=self.amount_minor, discounts=self.discount_minor)
        return Totals.of(amount=self.amount_minor, discounts=self.discount_minor)

    def plus(self, other: "Detail", sign: int = 1) -> "Detail":
        """Return it with another added, or taken off (-1)."""
        return replace(
            self,
            quantity=self.quantity + sign * other.quantity,
            amount_minor=self.amount_minor + sign * other.amount_minor,
            discounts=summed(self.discounts, other.discounts, sign),
        )

    def json(self) -> dict[str, Json]:
        """Return it as it is kept."""
        return {
            "component": self.component.text,
            "quantity": quantity_text(self.quantity),
            "unit_amount": quantity_text(self.unit_amount),
            "amount_minor": self.amount_minor,
            "discounts": [dict(each) for each in self.discounts],
        }

    @classmethod
    def of_json(cls, kept: Record) -> "Detail":
        """Return a detail that was kept."""
        return cls(
            Component.of_text(str(kept["component"])),
            exact(str(kept["quantity"])),
            exact(str(kept["unit_amount"])),
            cast(int, kept["amount_minor"]),
            tuple(cast(list[Record], kept["discounts"])),
        )

    @classmethod
    def of_child(cls, child: Record) -> "Detail":
        """Return what a child of a line bills; the end of its name is its component."""
        return cls(
            Component.of_text(str(child["name"]).rpartition(": ")[2]),
            exact(str(child["quantity"])),
            exact(str(child["unit_amount"])),
            cast(int, child["subtotal_minor"]),
            tuple(cast(list[Record], child["discounts"])),
        )

    @classmethod
    def of_edited(cls, line: Record) -> "Detail":
        """Return what a line bills whose amount was edited, as a whole: it has no children."""
        return cls(
            Component(Kind.USAGE),
            exact(str(line["quantity"])),
            exact(str(line["unit_amount"])),
            cast(int, line["subtotal_minor"]),
        )


@dataclass(frozen=True, slots=True)
class Early:
    """What early documents billed of one stretch of a running period, of one group of its usage.

    `card` is that of the line. `foreign_minor` is the amount in the currency its price is from,
    where that is another.
    """

    start: Instant
    end: Instant
    group: Pairs
    name: str
    card: Record
    quantity: Fraction
    details: tuple[Detail, ...]
    foreign_minor: int | None = None

    @property
    def price(self) -> PlanPrice:
        """Return what of its rate card a credit asks for; what was billed is not read anew."""
        return PlanPrice(
            str(self.card["id"]),
            self.name,
            str(self.card["meter"]),
            UnitPrice(Fraction(0)),
            cast(Record, self.card["price"]),
        )

    def plus(self, other: "Early") -> "Early":
        """Return what both billed."""
        foreign = [each.foreign_minor for each in (self, other) if each.foreign_minor is not None]
        return replace(
            other,
            quantity=self.quantity + other.quantity,
            details=tuple(merged([*self.details, *other.details]).values()),
            foreign_minor=sum(foreign) if foreign else None,
        )

    def json(self) -> dict[str, Json]:
        """Return it as it is kept."""
        return {
            "start": instant_text(self.start),
            "end": instant_text(self.end),
            "group": dict(self.group),
            "name": self.name,
            "card": dict(self.card),
            "quantity": quantity_text(self.quantity),
            "details": [each.json() for each in self.details],
            "foreign_minor": self.foreign_minor,
        }

    @classmethod
    def of_json(cls, kept: Record) -> "Early":
        """Return what was kept."""
        return cls(
            parse_instant(kept["start"]),
            parse_instant(kept["end"]),
            tuple(sorted(cast(dict[str, str], kept["group"]).items())),
            str(kept["name"]),
            cast(Record, kept["card"]),
            exact(str(kept["quantity"])),
            tuple(map(Detail.of_json, cast(list[Record], kept["details"]))),
            cast("int | None", kept["foreign_minor"]),
        )

    @classmethod
    def of_line(cls, line: Record) -> "Early":
        """Return what a line of an early document bills: of an edited one, what its edit says."""
        children = cast(list[Record], line["children"])
        edited = not children and line["managed_by"] == "manual"
        card, fx = cast(Record, line["rate_card"]), cast("Record | None", line["fx"])
        return cls(
            parse_instant(line["period_start"]),
            parse_instant(line["period_end"]),
            tuple(sorted(cast(dict[str, str], card.get("group", {})).items())),
            str(line["name"]),
            card,
            exact(str(line["quantity"])),
            (Detail.of_edited(line),) if edited else tuple(map(Detail.of_child, children)),
            None if fx is None else cast(int, fx["from_amount_minor"]),
        )


def details_of(rated: Rated, card: PlanPrice, reductions: Iterable[Reduction]) -> list[Detail]:
    """Return what was rated by a rate card with some discounts, in their order."""
    told: list[Record] = [each.json() for each in reductions]
    if card.terms.maximum is not None:
        told.append({"type": "maximum", "amount": quantity_text(card.terms.maximum)})
    return [_detail(line, told) for line in rated.lines]


def taken_off(details: Sequence[Detail], reduction: Reduction, minor: int) -> list[Detail]:
    """Return details with so much taken off what is left of them, by largest remainder."""
    if not minor:
        return list(details)
    nets = [Fraction(max(0, each.net_minor)) for each in details]
    return [
        replace(each, discounts=(*each.discounts, {**reduction.json(), "amount_minor": share}))
        if share
        else each
        for each, share in zip(details, allocate(minor, nets), strict=True)
    ]


def _detail(line: RatedLine, told: Sequence[Record]) -> Detail:
    """Return a rated line; its shares are those of its discounts in order, then the maximum."""
    pairs = zip(told, line.shares, strict=True) if line.shares else ()
    discounts = tuple({**what, "amount_minor": share} for what, share in pairs if share)
    return Detail(line.component, line.quantity, line.unit_amount, line.amount_minor, discounts)


def less(details: Iterable[Detail], before: Iterable[Detail]) -> list[Detail]:
    """Return what is left of details once others are billed (rule 11), in the order of rule 17.

    What is the same on both sides is no line.
    """
    billed = merged(before)
    left = []
    for each in details:
        past = billed.pop(each.key, None)
        rest = each if past is None else each.plus(past, -1)
        if past is None or not rest.is_nothing:
            left.append(rest)
    for gone in billed.values():
        left.append(Detail(gone.component, Fraction(0), gone.unit_amount, 0).plus(gone, -1))
    return sorted(left, key=lambda each: _place(each.component))


def merged(details: Iterable[Detail]) -> dict[tuple[Component, str], Detail]:
    """Return the sum of details by what they are matched by."""
    found: dict[tuple[Component, str], Detail] = {}
    for each in details:
        known = found.get(each.key)
        found[each.key] = each if known is None else known.plus(each)
    return found


def _place(component: Component) -> tuple[bool, int, bool]:
    return (
        component.kind is Kind.MINIMUM,
        component.tier or 0,
        component.kind is Kind.FLAT,
    )


def summed(one: Iterable[Record], other: Iterable[Record], sign: int = 1) -> tuple[Record, ...]:
    """Return discounts with those of another added, or taken off; what takes nothing is none."""
    sums: dict[bytes, dict[str, Json]] = {}
    for factor, discounts in ((1, one), (sign, other)):
        for each in discounts:
            told = sums.setdefault(
                canonical({**each, "amount_minor": 0}), dict(each, amount_minor=0)
            )
            minor = cast(int, told["amount_minor"]) + factor * cast(int, each["amount_minor"])
            told["amount_minor"] = minor
    return tuple(each for each in sums.values() if each["amount_minor"])
