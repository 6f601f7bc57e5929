"""Offers: what is decided beside plans in the story of one seed.

Owns: prepaid credits, promotion codes, price books, rates of exchange, lines by hand.
Does not own: plans (decisions.py), what is agreed of a subscription (agreements.py).
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from random import Random
from typing import cast

from pipeline.catalog.by_hand import HandLine, LineType
from pipeline.catalog.facts import FactKind, NewFact
from pipeline.catalog.hand_rules import own_price
from pipeline.core.calendar import SECOND, Instant, instant_text
from pipeline.core.identity import Json
from pipeline.core.quantity import quantity_text
from pipeline.simulate.agreements import Body, Latest

OFFERED: Mapping[str, float] = {"credits": 5, "codes": 12, "books": 15, "rates": 15, "lines": 12}
"""What is offered in some seeds, and about how many seconds go by before the next offer."""


def offered(
    kind: str, random: Random, latest: Latest, now: Instant, meters: Sequence[str]
) -> list[NewFact]:
    """Return what somebody offers next; `meters` are those of the seed."""
    match kind:
        case "credits":
            return [_credit(random, latest, now, meters)]
        case "codes":
            return _code(random, latest, now)
        case "books":
            return _book(random, latest)
        case "lines":
            return [_line_by_hand(random, latest, now)]
        case _:
            return [_rate(*random.choice(PAIRS), random.choice(_DAYS), random)]


def _credit(random: Random, latest: Latest, now: Instant, meters: Sequence[str]) -> NewFact:
    """Return a credit, or that what is left of one is void."""
    known = [body for (kind, _), body in latest.items() if kind is FactKind.CREDIT]
    if known and random.random() < 0.15:
        told = random.choice(known)
        void = {"id": told["id"], "customer": told["customer"]}
        return NewFact(FactKind.CREDIT_VOID, str(told["id"]), void)
    starts, currency = now + random.randint(-40, 20) * SECOND, random.choice(["EUR", "EUR", "JPY"])
    length = random.choice([None, random.randint(1, 60 * SECOND)])
    whole, cents = random.randint(1, random.choice([60, 6_000, 600_000])), random.randint(0, 99)
    name = f"credit-{len(known) + 1}"
    body: dict[str, Json] = {
        "id": name,
        "customer": random.choice(_payers(latest)),
        "issuer": "talea",
        "currency": currency,
        "amount": f"{whole}" if currency == "JPY" else f"{whole}.{cents:02d}",
        "starts": instant_text(starts),
        "expires": None if length is None else instant_text(starts + length),
        "priority": random.randint(0, 2),
        "meters": _any_or(random, random.choice(meters)),
        "plans": _any_or(random, random.choice(_names(latest, FactKind.PLAN))),
    }
    return NewFact(FactKind.CREDIT, name, body)


def _any_or(random: Random, *names: str) -> Json:
    """Return these alone, or any at all."""
    return [*names] if random.random() < 0.3 else []


def _names(latest: Latest, wanted: FactKind) -> list[str]:
    return sorted(name for kind, name in latest if kind is wanted)


def _payers(latest: Latest) -> list[str]:
    known = ((name, body) for (kind, name), body in latest.items() if kind is FactKind.CUSTOMER)
    return sorted(name for name, body in known if body.get("payer") != "parent")


def _line_by_hand(random: Random, latest: Latest, now: Instant) -> NewFact:
    """Return a line that somebody adds to whatever document comes next."""
    name = f"line-{1 + sum(kind is FactKind.HAND_LINE for kind, _ in latest)}"
    kind = random.choice([LineType.CHARGE, LineType.FEE, LineType.CREDIT, LineType.ADJUSTMENT])
    quantity, amount = Fraction(random.randint(1, 30), 4), Fraction(random.randint(1, 9999), 1000)
    unit = -amount if kind.gives_back else amount
    line = HandLine(
        id=name,
        customer=random.choice(_payers(latest)),
        issuer="talea",
        currency=random.choice(["EUR", "JPY"]),
        at=now + random.randint(-30, 30) * SECOND,
        type=kind,
        card=own_price(name, name.title(), unit, quantity),
        quantity=quantity,
    )
    return NewFact(FactKind.HAND_LINE, name, line.body())


def _code(random: Random, latest: Latest, now: Instant) -> list[NewFact]:
    """Return another code, or that a subscription has one."""
    known = [body for (kind, _), body in latest.items() if kind is FactKind.PROMOTION]
    if len(known) < 2 or random.random() < 0.2:
        return [_promotion(random, latest, f"code-{len(known) + 1}")]
    code, name = random.choice(known), random.choice(_names(latest, FactKind.SUBSCRIPTION))
    subject = f"{code['id']}/{name}"
    if (FactKind.REDEMPTION, subject) in latest:
        return []
    body: dict[str, Json] = {
        "promotion": code["id"],
        "customer": latest[FactKind.SUBSCRIPTION, name]["customer"],
        "subscription": name,
        "at": instant_text(now),
        **{key: code[key] for key in ("discount", "plans", "prices")},
    }
    return [NewFact(FactKind.REDEMPTION, subject, body)]


def _promotion(random: Random, latest: Latest, name: str) -> NewFact:
    """Return a code: for some cycles or for ever, off all that is billed or off some of it."""
    lasts: dict[str, Json] = random.choice(
        [{"duration": "repeating", "cycles": f"{random.randint(1, 3)}"}, {"duration": "forever"}]
    )
    percent = random.choice(["10", "12.5", "33.3", "100"])
    limits: dict[str, Json] = dict.fromkeys(
        ("currency", "starts", "ends", "redemptions_max", "per_customer_max")
    )
    body: dict[str, Json] = {
        "id": name,
        "discount": {"type": "percentage", "percent": percent, **lasts},
        **limits,
        "plans": _any_or(random, random.choice(_names(latest, FactKind.PLAN))),
        "prices": _any_or(random, "traffic", "calls"),
    }
    return NewFact(FactKind.PROMOTION, name, body)


def _book(random: Random, latest: Latest) -> list[NewFact]:
    """Return a book of a plan's prices, on for some; or one that is switched, on or off."""
    known = _names(latest, FactKind.BOOK)
    if not known or (len(known) < 3 and random.random() < 0.4):
        name = f"book-{len(known) + 1}"
        return [_priced(random, latest, name), _switched(random, latest, name, on=True)]
    on = random.random() < 0.6
    return [_switched(random, latest, random.choice(known), on=on)]


def _priced(random: Random, latest: Latest, name: str) -> NewFact:
    plan = random.choice(_names(latest, FactKind.PLAN))
    cards = cast(list[Body], latest[FactKind.PLAN, plan]["prices"])
    some = random.sample(cards, random.randint(1, len(cards)))
    prices: list[Json] = [{**card, "price": _other_price(random, card)} for card in some]
    told: Json = {"id": plan, "prices": prices}
    return NewFact(FactKind.BOOK, name, {"id": name, "name": name, "plans": [told]})


def _other_price(random: Random, card: Body) -> Json:
    amount = f"{random.randint(0, 9)}.{random.randint(0, 999):03d}"
    if card["meter"] is None:
        return {"type": "flat", "amount": amount}
    return {"type": "unit", "unit_amount": amount}


def _switched(random: Random, latest: Latest, book: str, *, on: bool) -> NewFact:
    customers = _names(latest, FactKind.CUSTOMER)
    listed: list[Json] = [*random.sample(customers, random.randint(0, 2))]
    body: dict[str, Json] = {
        "book": book,
        "on": on,
        "share": random.choice(["0", "30", "62.5", "100"]),
        "customers": listed,
    }
    return NewFact(FactKind.BOOK_SWITCH, book, body)


PAIRS = (("EUR", "JPY", Fraction(160)), ("JPY", "EUR", Fraction(1, 160)))
"""Currencies, and about what one of the first is worth in the second."""
_DAYS = ("2026-02-28", "2026-03-01")
"""The day before the story begins, and its own."""


def first_rates(random: Random) -> list[NewFact]:
    """Return a rate of each pair that counts from before the story on."""
    return [_rate(*pair, _DAYS[0], random) for pair in PAIRS]


def _rate(base: str, quote: str, about: Fraction, day: str, random: Random) -> NewFact:
    rate = quantity_text(about * Fraction(random.randint(900, 1100), 1000))
    body = {"from": base, "to": quote, "date": day, "rate": rate, "source": "a bank"}
    return NewFact(FactKind.FX_RATE, f"{base}/{quote}/{day}", body)
