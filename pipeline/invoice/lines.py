"""Line items: one record for every kind of line, children and parents alike.

Owns: the fields of a line and how a rated price fills them. Absent values are null, so that
content has one shape for ever.
Law: children sum to their parent in all seven totals.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import cast

from pipeline.catalog.currencies import tax_point
from pipeline.catalog.periods import ServicePeriod
from pipeline.catalog.rate_cards import PlanPrice
from pipeline.core.calendar import Instant, instant_text, parse_instant
from pipeline.core.identity import Json, canonical, derived_id
from pipeline.core.money import Money, minor_digits
from pipeline.core.quantity import exact, quantity_text
from pipeline.invoice.details import Detail, Early, Record
from pipeline.invoice.fees import Fee, Reason
from pipeline.invoice.totals import Totals
from pipeline.meter.meters import Meter
from pipeline.meter.scope import Pairs
from pipeline.rate import Component, PercentagePrice, Position

Line = dict[str, Json]


@dataclass(frozen=True, slots=True, order=True)
class LineKey:
    """What a line bills, once for ever: a price of a subscription from `start` on.

    Of one group of its usage, where the price tells any apart. Or a line of an order, of no
    subscription.
    """

    subscription: str
    price: str
    start: Instant
    group: Pairs = ()

    @property
    def source_id(self) -> str:
        """The subscription item, or the line of an order."""
        return f"{self.subscription}/{self.price}" if self.subscription else self.price

    @classmethod
    def of_line(cls, line: Mapping[str, Json]) -> "LineKey":
        """Return the key of a line in content."""
        subscription = str(line["subscription"] or "")
        card = cast(dict[str, dict[str, str]], line["rate_card"] or {})
        price = str(card.get("by_hand") or line["source_id"])
        price = price.removeprefix(f"{subscription}/") if subscription else price
        group = tuple(sorted(card.get("group", {}).items()))
        return cls(subscription, price, parse_instant(line["period_start"]), group)


COMMITMENT = "commitment"
"""The category of a line that tops up what others come to."""


@dataclass(frozen=True, slots=True)
class TopUp:
    """What a commitment tops up, in minor units: its least, less what counts for it, if above 0.

    Less what an earlier document topped up of the same period. `fx`: how its least was exchanged.
    """

    lacks_minor: int
    least_minor: int
    spent_minor: int
    fx: Record | None = None


_BLANK: Line = {
    "id": None,
    "type": "charge",
    "line_kind": None,
    "category": "regular",
    "name": None,
    "description": None,
    "status": "valid",
    "managed_by": "subscription",
    "source_type": "subscription_item",
    "source_id": None,
    "subscription": None,
    "meter": None,
    "sku": None,
    "quantity": None,
    "unit_amount": None,
    "amount_minor": None,
    "subtotal_minor": None,
    "total_minor": None,
    "currency": None,
    "payment_term": "in_arrears",
    "invoice_at": None,
    "tax_amount_minor": None,
    "tax_code": None,
    "tax_jurisdiction": None,
    "period_start": None,
    "period_end": None,
    "metered_quantity": None,
    "pre_line_quantity": None,
    "metadata": None,
    "external_reference": None,
    "reason_code": None,
    "fx": None,
    "rate_card": None,
    "totals": None,
}
"""Every field but the lists: each line has lists of its own."""


def _line(**known: Json) -> Line:
    """Return a line with every field; what is not known is null."""
    line = {**_BLANK, "discounts": [], "resource_ids": [], "children": [], **known}
    if len(line) != _FIELDS:
        raise KeyError(f"a line has no {sorted(known.keys() - _BLANK.keys())}")
    return line


_FIELDS = len(_BLANK) + 3


_REMEMBERED = 1 << 12
"""Ids, half a kilobyte each with what they are of: those that are composed again and again. What
is retold keeps its own (retold.py)."""


@lru_cache(maxsize=_REMEMBERED)
def document_id_of(payer: str, currency: str, cut: str, issuer: str) -> str:
    """Return the id of a document, known before there is one; `cut` is its instant or its cause."""
    return derived_id("inv", payer, currency, cut, issuer)


def money_fields(unit_amount: Fraction, currency: str, totals: Totals) -> Line:
    """Return the fields of a line that tell money."""
    scale = 10 ** minor_digits(currency)
    unit_minor, rest = divmod(unit_amount.numerator * scale, unit_amount.denominator)
    return {
        "unit_amount": quantity_text(unit_amount),
        "amount_minor": None if rest else unit_minor,
        "subtotal_minor": totals.amount + totals.charges_total,
        "total_minor": totals.total,
        "currency": currency,
        "totals": totals.json(),
    }


def card_told(key: LineKey, served: ServicePeriod, card: PlanPrice) -> Line:
    """Return a rate card as its lines tell it."""
    return {
        "plan" if key.subscription else "order": served.plan.id,
        "id": card.id,
        "meter": card.meter,
        "price": dict(card.configured),
        **({} if card.currency is None else {"currency": card.currency}),
        **card.terms_json(),
        **({} if card.tax is None else {"tax": card.tax.body()}),
        **({} if card.seller is None else {"seller": card.seller.body()}),
        **card.scope.json(),
        **card.covers_json(),
        **({"group": dict(key.group)} if card.scope.group_by else {}),
    }


def tax_point_of(line: Mapping[str, Json]) -> Instant:
    """Return the tax point of a line in content.

    The last instant of what was served; of a fee in advance, an order or a line by hand the moment
    it falls due.
    """
    at_once = line["payment_term"] == "in_advance" or line["source_type"] != "subscription_item"
    return tax_point(parse_instant(line["invoice_at"]), in_advance=at_once)


def _source_fields(key: LineKey, served: ServicePeriod, card: PlanPrice) -> Line:
    ordered: Line = {"managed_by": "manual", "source_type": "order_line_item"}
    return {
        **({} if key.subscription else ordered),
        "payment_term": card.terms.payment_term.value,
        "source_id": key.source_id,
        "subscription": key.subscription or None,
        "invoice_at": instant_text(served.due),
        "period_start": instant_text(served.period.start),
        "period_end": instant_text(served.period.end),
        "rate_card": card_told(key, served, card),
    }


@lru_cache(maxsize=_REMEMBERED)
def _line_id(document_id: str, key: LineKey, component: str) -> str:
    start = instant_text(key.start)
    group = [canonical(dict(key.group)).decode()] if key.group else []
    return derived_id("line", document_id, key.subscription, key.price, start, component, *group)


def line_id_in(document_id: str, line: Mapping[str, Json]) -> str:
    """Return the id that a line, which is no detailed one, has in another document."""
    component = "unused" if line["reason_code"] == Reason.UNUSED.value else "flat"
    if line["line_kind"] == "usage_based":
        component = "usage"
    return _line_id(document_id, LineKey.of_line(line), component)


def _named(card: PlanPrice, key: LineKey) -> str:
    """Return the name of a line: of a group with the values that tell it apart."""
    known = dict(key.group)
    told = [
        f"{name} {known[name]}" if name in known else f"no {name}" for name in card.scope.group_by
    ]
    return f"{card.name} ({', '.join(told)})" if told else card.name


def flat_line(
    document_id: str,
    key: LineKey,
    served: ServicePeriod,
    card: PlanPrice,
    fee: Fee,
    reason: Reason | None,
) -> tuple[Line, Totals]:
    """Return the line of a flat fee for one service period or a part of it, or of a credit."""
    totals = Totals.of(amount=fee.amount_minor, discounts=fee.discount_minor)
    credit = reason is Reason.UNUSED
    line = _line(
        id=_line_id(document_id, key, "unused" if credit else "flat"),
        type="credit" if credit else "charge",
        line_kind="flat_fee",
        name=fee.name,
        description=fee.name if reason is None else f"{fee.name}, {reason.value}",
        quantity=fee.quantity,
        discounts=[dict(each) for each in fee.discounts],
        reason_code=None if reason is None else reason.value,
        **money_fields(exact(fee.unit_amount), served.plan.currency, totals),
        **{**_source_fields(key, served, card), "rate_card": dict(fee.card)},
        fx=None if fee.fx is None else dict(fee.fx),
    )
    return line, totals


def top_up_line(
    document_id: str,
    key: LineKey,
    served: ServicePeriod,
    card: PlanPrice,
    found: TopUp,
) -> tuple[Line, Totals]:
    """Return the line of a commitment: once what its prices lack of it, as a charge.

    It stands there also where they lack nothing, for its period is billed then.
    """
    currency, totals = served.plan.currency, Totals.of(charges=found.lacks_minor)
    unit_amount = Fraction(found.lacks_minor, 10 ** minor_digits(currency))
    least, spent = (Money(n, currency).text for n in (found.least_minor, found.spent_minor))
    line = _line(
        id=_line_id(document_id, key, "flat"),
        line_kind="flat_fee",
        category=COMMITMENT,
        name=card.name,
        description=f"{card.name}, at least {least}: {spent} spent",
        quantity="1",
        **money_fields(unit_amount, currency, totals),
        **_source_fields(key, served, card),
        fx=None if found.fx is None else dict(found.fx),
    )
    return line, totals


def usage_line(
    document_id: str,
    key: LineKey,
    served: ServicePeriod,
    card: PlanPrice,
    meter: Meter,
    quantities: tuple[Fraction, Fraction],
    details: Sequence[Detail],
    before_minor: int | None = None,
    position: Position | None = None,
    gone: Early | None = None,
) -> tuple[Line, Totals]:
    """Return the line of a usage-based price: the parent, its detailed lines as children.

    `quantities`: what it bills, and what earlier lines of its period did. `before_minor`: what it
    comes to in the currency that the price is from. `position` is where it stands among those of
    its period, where other documents have some; `gone` what it gives back of early ones.
    """
    used, before = quantities
    used_text, name, currency = quantity_text(used), _named(card, key), served.plan.currency
    source = _source_fields(key, served, card)
    if gone is not None:
        source |= {
            "type": "credit",
            "reason_code": Reason.UNUSED.value,
            "rate_card": dict(gone.card),
        }
    children: list[Json] = []
    apart = named_apart((each.component, each.unit_amount) for each in details)
    for (text, component), each in zip(apart, details, strict=True):
        children.append(
            _line(
                id=_line_id(document_id, key, f"usage/{component}"),
                line_kind="flat_fee",
                name=f"{name}: {text}",
                description=f"{name}: {text}",
                status="detailed",
                meter=meter.id,
                quantity=quantity_text(each.quantity),
                discounts=[dict(discount) for discount in each.discounts],
                **money_fields(each.unit_amount, currency, each.totals),
                **source,
            )
        )
    totals = Totals.sum(each.totals for each in details)
    line = _line(
        id=_line_id(document_id, key, "usage"),
        line_kind="usage_based",
        name=name,
        description=f"{name}, {used_text} {meter.unit}",
        meter=meter.id,
        quantity=used_text,
        metered_quantity=used_text,
        pre_line_quantity=quantity_text(before),
        **money_fields(_unit_of(card, details, used, totals, currency), currency, totals),
        **source,
        fx=_fx(card, before_minor, totals),
        children=children,
    )
    if position is not None:  # only then: what is not split has the bytes it always had
        line |= {"status": "split", "line_position": position.value}
    return line, totals


def named_apart(details: Iterable[tuple[Component, Fraction]]) -> Iterator[tuple[str, str]]:
    """Yield of each detail its component and what tells it from the others of the line.

    Volume may bill one tier and give another back: both are of the component `usage`.
    """
    told: set[str] = set()
    for component, unit_amount in details:
        text = component.text
        yield text, f"{text}/{quantity_text(unit_amount)}" if text in told else text
        told.add(text)


def ids_of_usage(
    document_id: str, key: LineKey, details: Iterable[tuple[Component, Fraction]]
) -> list[str]:
    """Return the id that a usage-based line has, then those of its children."""
    children = [f"usage/{apart}" for _, apart in named_apart(details)]
    return [_line_id(document_id, key, each) for each in ("usage", *children)]


def id_of_fee(document_id: str, key: LineKey) -> str:
    """Return the id of the line of a flat fee that is no credit."""
    return _line_id(document_id, key, "flat")


def _fx(card: PlanPrice, before_minor: int | None, totals: Totals) -> Line | None:
    if card.fx is None or before_minor is None:
        return None
    return card.fx.json(before_minor, totals.amount)


def _unit_of(
    card: PlanPrice, details: Sequence[Detail], used: Fraction, totals: Totals, currency: str
) -> Fraction:
    """Return one unit amount for the whole line.

    That of its only detailed line, or amount / quantity where there are several (0 at
    quantity 0), or where the one counts something else: events, or units converted. Packages and
    blocks are told as they always were.
    """
    if len(details) == 1:
        (only,) = details
        alike = not card.terms.configured and not isinstance(card.price, PercentagePrice)
        if alike or only.quantity == used:
            return only.unit_amount
    if used == 0:
        return Fraction(0)
    scale: int = 10 ** minor_digits(currency)
    return Fraction(totals.amount, scale) / used
