"""Rate cards: the prices of a plan as a sheet has them, with the terms beside them.

Owns: what a card may say, alone and of its meter.
Does not own: the rest of the sheet (sheet.py), price models and terms (rate).
Law: a card that has no problem here can be rated, whatever usage there is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import cast

from pipeline.catalog.card_shapes import LISTED, PLAN_PRICE, PRICES, SELLER
from pipeline.catalog.commitments import read_covers, term_faults
from pipeline.catalog.fields import (
    parse_commission,
    parse_currency,
    parse_id,
    parse_text,
    parse_value,
)
from pipeline.catalog.rate_cards import OF_MONEY, PlanPrice
from pipeline.catalog.sellers import Seller
from pipeline.catalog.tax_entries import read_tax_terms
from pipeline.catalog.yaml import Entry, Problem, Value, as_json, joined, line_at, shown
from pipeline.core.calendar import SECOND, Duration
from pipeline.core.identity import Json
from pipeline.core.money import is_currency
from pipeline.core.quantity import quantity_text
from pipeline.meter.meters import Aggregation, Meter
from pipeline.meter.scope import Scope
from pipeline.rate import (
    NO_TERMS,
    TERMS_KEYS,
    DynamicPrice,
    Fault,
    FaultCode,
    FixedDiscount,
    FlatPrice,
    GraduatedPercentagePrice,
    MatrixPrice,
    PercentagePrice,
    Price,
    Reduction,
    Terms,
    parse_price,
    parse_terms,
    quantity_max,
)

_OF_MONEY = (PercentagePrice, GraduatedPercentagePrice, DynamicPrice)
_MEND = {
    FaultCode.MISSING: "add it",
    FaultCode.UNKNOWN_KEY: "remove it, or use another type",
    FaultCode.BAD_NUMBER: "write it like 0.25",
    FaultCode.BAD_CHOICE: "use one of these",
    FaultCode.WRONG_TYPE: "write the entries under it",
    FaultCode.NOT_POSITIVE: "write a number above 0",
    FaultCode.NEGATIVE: "write 0 or more",
    FaultCode.TOO_LARGE: "keep fewer",
    FaultCode.TIER_ORDER: "sort the tiers, up_to of the last may be null",
    FaultCode.TIER_MIXED: "remove it, or the block",
    FaultCode.MINIMUM_ABOVE_MAXIMUM: "lower it, or raise the maximum",
    FaultCode.EVENTS_FORBIDDEN: "remove it",
    FaultCode.CELL_SIZE: "write one for each",
    FaultCode.DUPLICATE_KEY: "remove one",
    FaultCode.UNFIT: "remove it",
    FaultCode.UNREACHABLE: "remove it",
}


def read_card(
    entry: Entry, name: str, cycle: Duration, currency: str, meters: Mapping[str, Meter]
) -> PlanPrice | None:
    """Return a rate card; None, or one to be thrown away, beside its problems."""
    entry.close(*PLAN_PRICE.keys)
    label = entry.needed("name", parse_text, "")
    _check_currency(entry, currency)
    meter_id = entry.optional("meter", parse_id, None)
    scope, tax, seller = _scope(entry), read_tax_terms(entry), read_seller(entry)
    covers = read_covers(entry)
    value = entry.value("price")
    if value is None:
        entry.missing("price")
        return None
    price, configured = _price(entry, value)
    terms = _terms(entry, price)
    metered = entry.value("meter") is not None
    if isinstance(price, FlatPrice) and metered:
        entry.note("meter", "a flat price bills no usage: remove meter, or use another type")
    elif price and not isinstance(price, FlatPrice) and not metered:
        entry.note("meter", "required, because this type of price bills usage: add meter")
    if price is None:
        return None
    if isinstance(price, MatrixPrice):
        scope = Scope(scope.where, tuple(sorted({*scope.group_by, *price.dimensions})))
    card = PlanPrice(name, label, meter_id, price, configured, scope, terms, tax=tax, seller=seller)
    card = replace(card, covers=covers)
    card = replace(card, currencies=_listed(entry, card, currency))
    for key, fault in (*_apart_faults(card), *term_faults(card, entry.filled())):
        entry.note(key, fault)
    for key, fault in meter_faults(meters.get(meter_id or ""), cycle, currency, card):
        entry.note(key, fault)
    return card


def read_seller(entry: Entry) -> Seller | None:
    """Return whose goods a price or a plan sells."""
    told = entry.inner("seller")
    if told is None:
        return None
    told.close(*SELLER.keys)
    name = told.needed("id", parse_id, "")
    return Seller(name, told.needed("commission", parse_commission, Fraction(0)))


def _listed(entry: Entry, card: PlanPrice, own: str) -> dict[str, PlanPrice]:
    """Return what a card is in other currencies than its plan's."""
    opened = entry.inner("currencies")
    found: dict[str, PlanPrice] = {}
    if opened is not None and isinstance(card.price, _OF_MONEY):
        told = "the usage is money itself, which no list exchanges"
        entry.note("currencies", f"{told}: remove it, a rate under fx_rates does")
    for currency in [] if opened is None else opened.filled():
        each = opened.inner(currency) if opened is not None else None
        if each is None:
            continue
        each.close(*LISTED.keys)
        try:
            if parse_currency(currency) == own:
                each.note("price", f"{own} is the plan's own currency: remove it, use price")
        except ValueError as error:
            each.problems.append(Problem(each.path, each.line, str(error)))
        listed = _listed_card(each, card)
        if listed is not None:
            found[currency] = listed
    return found


def _listed_card(each: Entry, card: PlanPrice) -> PlanPrice | None:
    value = each.value("price")
    if value is None:
        each.missing("price")
        return None
    price, configured = _price(each, value)
    if price is None:
        return None
    if type(price) is not type(card.price):
        each.note("price.type", "another type than the plan's: use the same")
    terms = _terms(each, price)
    shared = {key: told for key, told in card.terms_json().items() if key not in OF_MONEY}
    if not terms.discounts and card.terms.discounts:
        if any(isinstance(one.discount, FixedDiscount) for one in card.terms.discounts):
            told = "required, because the card takes off so much of its own currency"
            each.note("discounts", f"{told}: add discounts")
        shared["discounts"] = card.terms_json()["discounts"]
    whole = parse_terms({**shared, **terms.configured}, price, each.path)
    if isinstance(whole, tuple):
        return None  # a fault of the card itself, told there
    return replace(card, price=price, configured=configured, terms=whole)


def read_reduction(entry: Entry, key: str) -> tuple[Reduction, Mapping[str, Json]] | None:
    """Return a discount that stands by itself, and as given; None beside its problems."""
    value = entry.value(key)
    if value is None:
        entry.missing(key)
        return None
    given, path = as_json(value), joined(entry.path, key)
    terms = parse_terms({"discounts": [given]}, None, path)
    if not isinstance(terms, tuple):
        return terms.discounts[0], cast(Mapping[str, Json], given)
    for fault in terms:
        told = replace(fault, path=fault.path.replace(f"{path}.discounts[0]", path, 1))
        entry.problems.append(_problem(told, path, value))
    return None


def meter_faults(
    meter: Meter | None, cycle: Duration, currency: str, card: PlanPrice
) -> Iterator[tuple[str, str]]:
    """Yield what of a card does not fit its meter, by key; nothing where no meter is known."""
    if meter is None:
        return
    fault = window_fault(meter, cycle)
    if fault:
        yield "meter", fault
    currencies = {meter.unit, currency} if isinstance(card.price, _OF_MONEY) else set()
    if len(currencies) > 1 and all(map(is_currency, currencies)):
        told = f"{meter.id} counts {meter.unit}, and the plan is in {currency}"
        yield "meter", f"{told}: this price is of the plan's currency, use another meter"
    if isinstance(card.price, PercentagePrice):
        yield from _event_faults(meter, card.price)
    kept, scope = ", ".join(meter.dimensions) or "none", card.scope
    matrix = card.price.dimensions if isinstance(card.price, MatrixPrice) else ()
    for key, names in (
        ("filter", [name for name, _ in scope.where]),
        ("group_by", [name for name in scope.group_by if name not in matrix]),
        ("price.dimensions", matrix),
    ):
        for name in names:
            if name not in meter.dimensions:
                told = f"{meter.id} does not keep dimension {shown(name)}, it keeps {kept}"
                yield key, f"{told}: use one of these, or make a new meter"


def _event_faults(meter: Meter, price: PercentagePrice) -> Iterator[tuple[str, str]]:
    """Yield why a meter cannot tell the single events that a price looks at."""
    if not price.looks_at_events:
        return
    if meter.aggregation is not Aggregation.SUM:
        told = f"the price looks at single events, and {meter.id} is not their sum"
        yield "meter", f"{told}: use a meter that sums"
    elif price.needs_amounts and not meter.points:
        told = f"the price looks at single events, and {meter.id} keeps none"
        yield "meter", f"{told}: make a new meter with points: true"


def window_fault(meter: Meter, cycle: Duration) -> str | None:
    """Return why a meter's windows do not fit a cycle; None where they do.

    A calendar cycle snaps its edges to windows. Clock time must fit by itself, or cycles would
    differ by a window from one to the next.
    """
    if cycle.seconds * SECOND % meter.window_us == 0:
        return None
    return (
        f"the windows of {meter.id} ({meter.window_us // SECOND} s) do not divide the plan's"
        f" cycle ({cycle.seconds} s of clock time): choose a cycle of whole windows"
    )


def note_repeats(entry: Entry, key: str, texts: Sequence[str]) -> None:
    """Note each text that stands twice in a list."""
    for twice in sorted({each for each in texts if texts.count(each) > 1}):
        entry.note(key, f"{shown(twice)} stands here twice: remove one")


def _apart_faults(card: PlanPrice) -> Iterator[tuple[str, str]]:
    """Yield the terms that would hold for each group by itself: nobody means that."""
    if not card.scope.group_by:
        return
    fixed = any(isinstance(each.discount, FixedDiscount) for each in card.terms.discounts)
    for key, given in (
        ("usage_discount", bool(card.terms.usage_discount)),
        ("maximum", card.terms.maximum is not None),
        ("minimum", card.terms.minimum is not None),
        ("discounts", fixed),
    ):
        if given:
            what = "a fixed discount" if key == "discounts" else f"the {key}".replace("_", " ")
            mend = "remove it, or what tells groups apart"
            yield key, f"{what} would count for each group by itself: {mend}"


def _check_currency(entry: Entry, currency: str) -> None:
    told = entry.optional("currency", parse_currency, currency)
    if told != currency and currency:
        message = f"{told} is not the plan's currency {currency}, and a plan bills in one"
        entry.note("currency", f"{message}: remove it, or make a plan in {told}")


def _scope(entry: Entry) -> Scope:
    """Return which usage of its meter a price bills, and by what it is told apart."""
    chosen = entry.inner("filter")
    where = [] if chosen is None else [_choice(chosen, key) for key in sorted(chosen.filled())]
    group_by = entry.texts("group_by", parse_text)
    note_repeats(entry, "group_by", group_by)
    for key in ("filter", "group_by"):
        if entry.value(key) is not None and entry.value("meter") is None:
            entry.note(key, f"there is no usage to tell apart: add meter, or remove {key}")
    return Scope(tuple(where), tuple(sorted(group_by)))


def _choice(chosen: Entry, key: str) -> tuple[str, tuple[str, ...]]:
    before = len(chosen.problems)
    values = chosen.texts(key, parse_value)
    note_repeats(chosen, key, values)
    if not values and len(chosen.problems) == before:
        chosen.note(key, "holds no value: name one, or remove it")
    return key, tuple(sorted(values))


def _price(entry: Entry, value: Value) -> tuple[Price | None, dict[str, Json]]:
    """Return a price and as given; None beside its problems."""
    path = joined(entry.path, "price")
    opened = Entry(value, path, entry.problems)
    given = as_json(value)
    if not isinstance(given, dict):
        return None, {}
    if not opened.needed("type", _price_type, ""):
        return None, given
    price = parse_price(given, path)
    if isinstance(price, tuple):
        entry.problems += (_problem(fault, path, value) for fault in price)
        return None, given
    bound = quantity_max(price)
    if bound is not None:
        last = f"tiers[{len(opened.items('tiers')) - 1}].up_to"
        message = f"a quantity above {quantity_text(bound)} has no price"
        opened.note(last, f"{message}: make up_to of the last tier null")
    return price, given


def _terms(entry: Entry, price: Price | None) -> Terms:
    """Return the terms of a card; none beside their problems."""
    values = {key: value for key in TERMS_KEYS if (value := entry.value(key)) is not None}
    given = {key: as_json(value) for key, value in values.items()}
    terms = parse_terms(given, price, entry.path)
    if not isinstance(terms, tuple):
        return terms
    for fault in terms:
        key = fault.path.removeprefix(entry.path).lstrip(".").split(".")[0].split("[")[0]
        entry.problems.append(_problem(fault, joined(entry.path, key), values[key]))
    return NO_TERMS


def _problem(fault: Fault, path: str, value: Value) -> Problem:
    """Return a fault below the path of a value, with its line and how to mend it."""
    mend = f": {_MEND[fault.code]}" if fault.code in _MEND else ""
    line = line_at(value, fault.path.removeprefix(path))
    return Problem(fault.path, line, f"{fault.message}{mend}")


def _price_type(text: str) -> str:
    if text in PRICES:
        return text
    raise ValueError(f"{shown(text)} is no type of price: use one of {', '.join(PRICES)}")
