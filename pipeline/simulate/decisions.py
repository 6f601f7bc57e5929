"""Decisions: what people decide in the story of one seed.

Owns: meters of every kind, plans whose prices keep changing, at once or from a date on, half-minute
cycles, customers and subscriptions that come and end.
Does not own: usage (story.py), when anybody decides (play.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import cast

from pipeline.catalog.changes import first_facts
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.core.calendar import SECOND, Instant, instant_text
from pipeline.core.identity import Json
from pipeline.simulate.world import BEGIN

CUSTOMERS = ("acme", "globex", "hooli", "initech", "stark", "umbrella")
Body = Mapping[str, Json]
METERS: Mapping[str, Body] = {
    "calls": {"aggregation": "count", "window_s": 10},
    "gigabytes": {"aggregation": "sum", "window_s": 15, "dimensions": ["region"]},
    "peak": {"aggregation": "max", "window_s": 30},
    "crest": {"aggregation": "max", "window_s": 30, "points": True},
    "mean": {"aggregation": "average", "window_s": 15},
    "level": {"aggregation": "latest", "window_s": 15, "dimensions": ["region"]},
    "users": {"aggregation": "unique_count", "window_s": 15, "of": "user"},
    "delay": {"aggregation": "percentile", "window_s": 10, "percent": "62.5"},
    "burst": {"aggregation": "window_percentile", "window_s": 15, "percent": "75"},
    "disk": {
        "aggregation": "time_weighted",
        "window_s": 15,
        "per_s": 60,
        "dimensions": ["region"],
    },
    "unheard-of": {"aggregation": "sum", "window_s": 10},
}
"""Every meter that a seed may have, as its fact tells it."""
DIMENSIONS: Mapping[str, Sequence[str]] = {"region": "ab", "user": "xyz"}
HORIZON_S, TOLERANCE_S = 60, 5
UNHEARD_OF = "unheard-of"
"""The meter that is used before it is in force, if it ever is."""
_OTHER_METERS_MAX = 3


@dataclass(slots=True)
class Names:
    """Names that no other has."""

    given: int = 0

    def new(self, stem: str) -> str:
        """Return another name."""
        self.given += 1
        return f"{stem}-{self.given}"


@dataclass(slots=True)
class Decisions:
    """Draws what somebody decides next. `meters` are those of this seed."""

    random: Random
    partitions: int
    names: Names
    meters: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Draw what is metered."""
        others = sorted(METERS.keys() - {"calls", "gigabytes", UNHEARD_OF})
        few = self.random.sample(others, self.random.randint(1, _OTHER_METERS_MAX))
        self.meters = sorted(["calls", "gigabytes", *few])

    def first(self) -> list[NewFact]:
        """Return the facts that open the log, with something to sell."""
        grace_s = self.random.randint(2, 12)
        return [
            *first_facts(self.partitions, HORIZON_S, TOLERANCE_S, grace_s, "2026.1"),
            _fact(FactKind.ISSUER, id="talea", name="Talea", number_prefix="T-"),
            *map(_meter, self.meters),
            self._plan("gold"),
            self._plan("silver"),
            *(self._customer(name) for name in CUSTOMERS[:4]),
            *(self._subscription(name, BEGIN) for name in CUSTOMERS[:3]),
        ]

    def next(self, known: Sequence[Fact], now: Instant) -> list[NewFact]:
        """Return what somebody decides next."""
        latest = {(fact.kind, fact.subject): fact.body for fact in known}
        subscribed = [body for (kind, _), body in latest.items() if kind is FactKind.SUBSCRIPTION]
        if (FactKind.METER, UNHEARD_OF) in latest and UNHEARD_OF not in self.meters:
            self.meters.append(UNHEARD_OF)  # sold once it is there: what is drawn may be lost
        if self.random.random() < 0.1 and UNHEARD_OF not in self.meters:
            return [_meter(UNHEARD_OF)]
        match self.random.randrange(7):
            case 0:
                name = self.random.choice(CUSTOMERS)
                there = (FactKind.CUSTOMER, name) in latest
                back = now + self.random.randint(-50, 20) * SECOND
                return [*([] if there else [self._customer(name)]), self._subscription(name, back)]
            case 1 | 2:
                body = dict(self.random.choice(subscribed))
                end = now + self.random.randint(-40, 60) * SECOND
                start = cast(str, body["start"])
                ended = None if self.random.random() < 0.2 else instant_text(end)
                body["end"] = ended if ended is None or ended > start else None
                return [NewFact(FactKind.SUBSCRIPTION, str(body["id"]), body)]
            case 3 | 4:
                plans = sorted(name for kind, name in latest if kind is FactKind.PLAN)
                return [self._repriced(latest[FactKind.PLAN, self.random.choice(plans)], now)]
            case 5:
                rules = dict(latest[FactKind.RULES, "rules"], grace_s=self.random.randint(0, 15))
                return [NewFact(FactKind.RULES, "rules", rules)]
            case _:
                plan = self._plan(self.names.new("plan"))
                name = self.random.choice(CUSTOMERS[:4])
                return [plan, self._subscription(name, now, plan.subject)]

    def _amount(self) -> str:
        return f"{self.random.randint(0, 9)}.{self.random.randint(0, 9999):04d}"

    def _plan(self, name: str) -> NewFact:
        prices: list[Json] = [
            _price("base", None, type="flat", amount=self._amount()[:4]),
            _price("traffic", "gigabytes", type="graduated", tiers=self._tiers()),
        ]
        for meter in self.meters:
            if meter == "gigabytes":
                continue
            if self.random.random() < 0.3:
                prices.append(_price(meter, meter, type="graduated", tiers=self._tiers()))
            else:
                prices.append(_price(meter, meter, type="unit", unit_amount=self._amount()))
        return _fact(
            FactKind.PLAN,
            id=name,
            name=name.title(),
            issuer="talea",
            currency=self.random.choice(["EUR", "EUR", "JPY"]),
            cycle=self.random.choice(["PT30S", "PT45S", "PT1M"]),
            payment_days=14,
            prices=self.random.sample(prices, self.random.randint(2, len(prices))),
        )

    def _tiers(self) -> list[Json]:
        return [
            {"up_to": "7.5", "unit_amount": self._amount(), "flat_amount": self._amount()},
            {"up_to": "20", "unit_amount": self._amount(), "flat_amount": "0"},
            {"up_to": None, "unit_amount": self._amount(), "flat_amount": self._amount()},
        ]

    def _repriced(self, before: Body, now: Instant) -> NewFact:
        """Return a plan with other amounts, perhaps from a date on, perhaps with a price fewer."""
        body = dict(before)
        prices = [dict(price) for price in cast(list[dict[str, Json]], body["prices"])]
        if len(prices) > 1 and self.random.random() < 0.2:
            prices.pop(self.random.randrange(len(prices)))
        for each in prices:
            price = dict(cast(dict[str, Json], each["price"]))
            if price["type"] == "unit":
                price["unit_amount"] = self._amount()
            elif price["type"] == "graduated" and self.random.random() < 0.3:
                price["tiers"] = self._tiers()
            each["price"] = price
        body.pop("effective", None)
        if self.random.random() < 0.5:
            body["effective"] = instant_text(now + self.random.randint(-60, 60) * SECOND)
        return NewFact(FactKind.PLAN, str(body["id"]), {**body, "prices": list(prices)})

    def _customer(self, name: str) -> NewFact:
        return _fact(FactKind.CUSTOMER, id=name, time_zone="UTC", profile={})

    def _subscription(self, customer: str, start: Instant, plan: str = "") -> NewFact:
        return _fact(
            FactKind.SUBSCRIPTION,
            id=self.names.new("sub"),
            customer=customer,
            plan=plan or self.random.choice(["gold", "silver"]),
            start=instant_text(start + self.random.randint(-9_000_000, 9_000_000)),
            end=None,
        )


def _meter(name: str) -> NewFact:
    return _fact(FactKind.METER, id=name, unit="unit", **{"dimensions": [], **METERS[name]})


def _fact(kind: FactKind, **body: Json) -> NewFact:
    return NewFact(kind, str(body["id"]), body)


def _price(name: str, meter: str | None, **price: Json) -> dict[str, Json]:
    return {"id": name, "name": name.title(), "meter": meter, "price": price}
