"""Decisions: what people decide in the story of one seed.

Owns: meters of every kind, plans whose prices keep changing, at once or from a date on, half-minute
cycles, customers and subscriptions that come, orders; which kinds of decisions a seed has.
Does not own: usage (story.py), what is agreed anew (agreements.py), when anybody decides (play.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import cast

from pipeline.catalog.changes import first_facts
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.catalog.tax_terms import CustomerTax, Engine, IssuerTax
from pipeline.core.calendar import SECOND, Instant, instant_text
from pipeline.core.identity import Json, partition_of
from pipeline.invoice.asking import billing_now
from pipeline.simulate.agreements import AGREED, CYCLES, SELDOM, Body, Latest, agreed
from pipeline.simulate.folding import catalog_of
from pipeline.simulate.offers import OFFERED, first_rates, offered
from pipeline.simulate.world import BEGIN, Streams

CUSTOMERS = ("acme", "globex", "hooli", "initech", "stark", "umbrella")
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
THRESHOLDS: Mapping[str, Json] = {"thresholds": {"at": ["40", "900"], "every": "4000"}}
HORIZON_S, TOLERANCE_S = 60, 5
PARENTS = {"acme": "parent", "globex": "parent", "hooli": "own"}
"""Who has a sub-account in some seeds, and who pays for that."""
UNHEARD_OF = "unheard-of"
"""The meter that is used before it is in force, if it ever is."""
_OTHER_METERS_MAX = 3
_SELDOM = 0.3


@dataclass(slots=True)
class Names:
    """Names that no other has."""

    given: Counter[str] = field(default_factory=Counter)

    def new(self, stem: str) -> str:
        """Return another name."""
        self.given[stem] += 1
        return f"{stem}-{self.given[stem]}"


KINDS: Mapping[str, float] = {
    "subscriptions": 60,
    "prices": 30,
    "rules": 60,
    "plans": 60,
    "meters": 90,
    "bills": 20,
    "orders": 40,
    **AGREED,
    **OFFERED,
}
"""What is decided, and about how many seconds go by before the next such decision."""


@dataclass(slots=True)
class Decisions:
    """Draws what somebody decides next. `meters` are those of this seed."""

    streams: Streams
    partitions: int
    names: Names
    meters: list[str] = field(init=False)
    early: bool = field(init=False)
    """Whether running periods are billed early, at will and at thresholds."""
    waits: bool = field(init=False)
    """Whether documents wait for the events that producers miss."""
    approving: Sequence[str] = field(init=False)
    """Whose documents wait for an approval."""
    sells: bool = field(init=False)
    """Whether some prices are of others, who are paid out."""
    taxes: bool = field(init=False)
    """Whether the issuer is taxed, and leaves that to an outside engine."""
    commits: bool = field(init=False)
    """Whether plans say what is to be spent at least."""
    accounts: Mapping[str, str] = field(init=False)
    """The parent of each sub-account."""
    customers: Sequence[str] = field(init=False)
    kinds: Mapping[str, float] = field(init=False)
    """What is decided in this seed."""
    currencies: Mapping[str, str] = field(default_factory=dict)
    """What customers are billed in who ask for it."""

    def __post_init__(self) -> None:
        """Draw what is metered, and what is played at all."""
        self.early = self.streams.of("early").random() < 0.3
        some = self.streams.of("accounts").random() < _SELDOM
        self.accounts = {self._beside(name): name for name in PARENTS if some}
        self.customers = (*CUSTOMERS, *self.accounts)
        self.waits = self.streams.of("waits").random() < _SELDOM
        asked = self.streams.of("approvals")
        self.approving = asked.sample(CUSTOMERS, 3) if asked.random() < _SELDOM else ()
        self.sells = self.streams.of("sold for others").random() < _SELDOM
        self.commits = self.streams.of("committing").random() < _SELDOM
        self.taxes = self.streams.of("taxed").random() < _SELDOM
        seldom = [*SELDOM, *OFFERED]
        left_out = {kind for kind in seldom if self.streams.of(f"any {kind}").random() > _SELDOM}
        self.kinds = {kind: each_s for kind, each_s in KINDS.items() if kind not in left_out}
        draw = self.streams.of("currencies")
        if "rates" in self.kinds:
            self.currencies = {name: draw.choice(["EUR", "JPY"]) for name in CUSTOMERS[::2]}
        random = self.streams.of("metered")
        others = sorted(METERS.keys() - {"calls", "gigabytes", UNHEARD_OF})
        few = random.sample(others, random.randint(1, _OTHER_METERS_MAX))
        self.meters = sorted(["calls", "gigabytes", *few])

    def first(self) -> list[NewFact]:
        """Return the facts that open the log, with something to sell."""
        random = self.streams.of("first")
        grace_s = random.randint(2, 12)
        return [
            *first_facts(self.partitions, HORIZON_S, TOLERANCE_S, grace_s, "2026.1"),
            self._issuer(),
            *(first_rates(self.streams.of("first rates")) if self.currencies else ()),
            *map(_meter, self.meters),
            self._plan(random, "gold"),
            self._plan(random, "silver"),
            *(self._customer(name) for name in CUSTOMERS[:4]),
            *(self._customer(name) for name in self.accounts),
            *(self._subscription(random, name, BEGIN) for name in CUSTOMERS[:3]),
            *(self._subscription(random, name, BEGIN) for name in self.accounts),
        ]

    def next(self, kind: str, known: Sequence[Fact], now: Instant) -> list[NewFact]:
        """Return what somebody decides next of a kind."""
        latest = {(fact.kind, fact.subject): fact.body for fact in known}
        random = self.streams.of(kind)
        match kind:
            case "subscriptions":
                name = random.choice(self.customers)
                there = (FactKind.CUSTOMER, name) in latest
                back = now + random.randint(-50, 20) * SECOND
                sold = self._subscription(random, name, back)
                return [*([] if there else [self._customer(name)]), sold]
            case "prices":
                plans = sorted(name for kind, name in latest if kind is FactKind.PLAN)
                return [self._repriced(random, latest[FactKind.PLAN, random.choice(plans)], now)]
            case "rules":
                rules = dict(latest[FactKind.RULES, "rules"], grace_s=random.randint(0, 15))
                return [NewFact(FactKind.RULES, "rules", rules)]
            case "plans":
                plan = self._plan(random, self.names.new("plan"))
                name = random.choice(CUSTOMERS[:4])
                return [plan, self._subscription(random, name, now, plan.subject)]
            case "bills":
                return _billed_early(random, known, now) if self.early else []
            case "orders":
                return [self._order(random, latest, now)]
            case kind if kind in AGREED:
                return agreed(kind, random, latest, now)
            case kind if kind in OFFERED:
                return offered(kind, random, latest, now, self.meters)
            case _:
                return self._meters(latest)

    def _meters(self, latest: Latest) -> list[NewFact]:
        """Return the meter that was unheard of; it is sold once it is there."""
        if (FactKind.METER, UNHEARD_OF) not in latest:
            return [_meter(UNHEARD_OF)]
        if UNHEARD_OF not in self.meters:
            self.meters.append(UNHEARD_OF)
        return []

    def _order(self, random: Random, latest: Latest, now: Instant) -> NewFact:
        """Return what somebody buys once, now and then told once more."""
        told = [body for (kind, _), body in latest.items() if kind is FactKind.ORDER]
        if told and random.random() < 0.2:
            return _fact(FactKind.ORDER, **random.choice(told))
        lines: list[Json] = [
            {**_price(name, None, type="flat", amount=_amount(random)), "quantity": quantity}
            for name in ("set-up", "hours")[: random.randint(1, 2)]
            for quantity in [random.choice(["1", "2.5", "3"])]
        ]
        return _fact(
            FactKind.ORDER,
            id=self.names.new("order"),
            customer=random.choice(sorted(n for kind, n in latest if kind is FactKind.CUSTOMER)),
            issuer="talea",
            currency=random.choice(["EUR", "EUR", "JPY"]),
            at=instant_text(now + random.randint(-30 * SECOND, 30 * SECOND)),
            payment_days=14,
            lines=lines,
        )

    def _plan(self, random: Random, name: str) -> NewFact:
        prices: list[Json] = [
            _price("base", None, type="flat", amount=_amount(random)[:4]),
            _price("traffic", "gigabytes", type="graduated", tiers=_tiers(random)),
        ]
        for meter in self.meters:
            if meter == "gigabytes":
                continue
            if random.random() < 0.3:
                prices.append(_price(meter, meter, type="graduated", tiers=_tiers(random)))
            else:
                prices.append(_price(meter, meter, type="unit", unit_amount=_amount(random)))
        return _fact(
            FactKind.PLAN,
            id=name,
            name=name.title(),
            issuer="talea",
            currency=random.choice(["EUR", "EUR", "JPY"]),
            cycle=random.choice([*CYCLES]),
            payment_days=14,
            prices=self._committed(
                [*map(self._termed, random.sample(prices, random.randint(2, len(prices))))]
            ),
            **(THRESHOLDS if self.early else {}),
        )

    def _termed(self, price: Json) -> Json:
        """Return a price, now and then with terms of tax."""
        random = self.streams.of("tax terms")
        if not self.taxes or random.random() < 0.5:
            return self._sold(price)
        code, inclusive = random.choice(["standard", "reduced", "digital"]), random.random() < 0.4
        if (code, inclusive) == ("standard", False):
            return self._sold(price)
        tax: Json = {"code": code, "inclusive": inclusive}
        return self._sold({**cast(Body, price), "tax": tax})

    def _sold(self, price: Json) -> Json:
        """Return a price, now and then as that of somebody else."""
        random = self.streams.of("sellers")
        if not self.sells or random.random() < 0.4:
            return price
        percent = random.choice(["0", "12.5", "20", "33.333", "100"])
        seller: Json = {"id": random.choice(["apps", "zoo"]), "commission_percent": percent}
        return {**cast(Body, price), "seller": seller}

    def _committed(self, prices: Sequence[Json], before: Sequence[Json] = ()) -> list[Json]:
        """Return prices with what is to be spent on all or some of them, now and then as before."""
        random = self.streams.of("commitments")
        if not self.commits or random.random() < 0.2:
            return [*prices]
        names = [str(cast(Body, price)["id"]) for price in prices]
        known = [each for each in before if _covers_some_of(names, each)]
        if known and random.random() < 0.5:
            return [*prices, *known]
        found: list[Json] = []
        for name in ("least", "floor")[: random.choice([1, 1, 2])]:
            some: Json = [*random.sample(names, random.randint(1, len(names)))]
            amount = f"{random.randint(1, 99) * 10 ** random.randint(0, 3)}"
            price = _price(name, None, type="flat", amount=amount)
            quantity = {} if random.random() < 0.7 else {"quantity": random.choice(["2", "3.5"])}
            found.append({**price, "covers": random.choice(["all", some]), **quantity})
        return [*prices, *map(self._termed, found)]

    def _repriced(self, random: Random, before: Body, now: Instant) -> NewFact:
        """Return a plan with other amounts, perhaps from a date on, perhaps with a price fewer."""
        body = dict(before)
        known = cast(list[Json], body["prices"])
        prices = [dict(cast(Body, price)) for price in known if not _commits(price)]
        if len(prices) > 1 and random.random() < 0.2:
            prices.pop(random.randrange(len(prices)))
        for each in prices:
            price = dict(cast(dict[str, Json], each["price"]))
            if price["type"] == "unit":
                price["unit_amount"] = _amount(random)
            elif price["type"] == "graduated" and random.random() < 0.3:
                price["tiers"] = _tiers(random)
            each["price"] = price
        sold = self._committed([*map(self._termed, prices)], [*filter(_commits, known)])
        body.pop("effective", None)
        if random.random() < 0.5:
            body["effective"] = instant_text(now + random.randint(-60, 60) * SECOND)
        return NewFact(FactKind.PLAN, str(body["id"]), {**body, "prices": sold})

    def _issuer(self) -> NewFact:
        own: dict[str, Json] = {"completeness": "hold"} if self.waits else {}
        if self.taxes:
            engine = self.streams.of("engine").choice([Engine.OUTSIDE, Engine.OUTSIDE_ALWAYS])
            own["tax"] = IssuerTax("DE", engine=engine).body()
        return _fact(FactKind.ISSUER, id="talea", name="Talea", number_prefix="T-", **own)

    def _beside(self, parent: str) -> str:
        """Return the name of a sub-account that is in its parent's partition."""
        home = partition_of(parent, self.partitions)
        names = (f"{parent}.{number}" for number in count(1))
        return next(name for name in names if partition_of(name, self.partitions) == home)

    def _customer(self, name: str) -> NewFact:
        parent = self.accounts.get(name)
        billed = self.currencies.get(parent or name)  # a sub-account has its parent's
        own: dict[str, Json] = {"currency": billed} if billed else {}
        if name in self.approving:
            own["approval"] = True
        if self.taxes and self.streams.of("at home").random() < 0.5:
            own["tax"] = CustomerTax("DE").body()
        if parent:
            own |= {"parent": parent, "payer": PARENTS[parent]}
        return _fact(FactKind.CUSTOMER, id=name, time_zone="UTC", profile={}, **own)

    def _subscription(
        self, random: Random, customer: str, start: Instant, plan: str = ""
    ) -> NewFact:
        return _fact(
            FactKind.SUBSCRIPTION,
            id=self.names.new("sub"),
            customer=customer,
            plan=plan or random.choice(["gold", "silver"]),
            start=instant_text(start + random.randint(-9_000_000, 9_000_000)),
            end=None,
        )


def _commits(price: Json) -> bool:
    return "covers" in cast(Body, price)


def _covers_some_of(names: Sequence[str], commitment: Json) -> bool:
    covers = cast(Body, commitment)["covers"]
    return covers == "all" or {*cast(list[str], covers)} <= {*names}


def _amount(random: Random) -> str:
    return f"{random.randint(0, 9)}.{random.randint(0, 9999):04d}"


def _tiers(random: Random) -> list[Json]:
    return [
        {"up_to": "7.5", "unit_amount": _amount(random), "flat_amount": _amount(random)},
        {"up_to": "20", "unit_amount": _amount(random), "flat_amount": "0"},
        {"up_to": None, "unit_amount": _amount(random), "flat_amount": _amount(random)},
    ]


def _billed_early(random: Random, known: Sequence[Fact], now: Instant) -> list[NewFact]:
    """Have a subscription's usage billed, where it is served."""
    catalog = catalog_of(known)
    try:
        return [billing_now(catalog, random.choice(sorted(catalog.subscriptions)), now).told()]
    except ValueError:
        return []


def _meter(name: str) -> NewFact:
    return _fact(FactKind.METER, id=name, unit="unit", **{"dimensions": [], **METERS[name]})


def _fact(kind: FactKind, **body: Json) -> NewFact:
    return NewFact(kind, str(body["id"]), body)


def _price(name: str, meter: str | None, **price: Json) -> dict[str, Json]:
    return {"id": name, "name": name.title(), "meter": meter, "price": price}
