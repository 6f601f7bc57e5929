"""The story of one seed: what people decide, and what agents and strangers send.

Owns: a catalog of half-minute cycles that keeps changing, usage that comes in every order.
Does not own: when (play.py), what must become of it (auditor.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import cast

from pipeline.catalog.changes import first_facts
from pipeline.catalog.facts import Fact, FactKind, NewFact
from pipeline.collect.batch import Mode, pack_events
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, Instant, instant_text
from pipeline.core.identity import Json, partition_of
from pipeline.simulate.log import Kept
from pipeline.simulate.world import BEGIN
from pipeline.stores.codec import encode_batch

CUSTOMERS = ("acme", "globex", "hooli", "initech", "stark", "umbrella")
METERS = {"calls": ("count", 10), "gigabytes": ("sum", 15), "peak": ("max", 30)}
"""Aggregation and window in seconds, by meter."""
HORIZON_S, TOLERANCE_S = 60, 5


@dataclass(frozen=True, slots=True)
class Sent:
    """What a message says, as its sender meant it; no events: nobody can read it."""

    events: Sequence[UsageEvent] = ()
    producer: str = ""
    epoch: str = ""
    first: int = 0


@dataclass(slots=True)
class Story:
    """Draws what happens next. `sent` knows every message by its bytes."""

    random: Random
    partitions: int
    sent: dict[bytes, Sent] = field(default_factory=dict)
    _events: list[UsageEvent] = field(default_factory=list)
    _records: list[tuple[int, Kept]] = field(default_factory=list)
    _places: dict[tuple[str, str, int], int] = field(default_factory=dict)
    _named: int = 0

    # --- facts ---

    def first(self) -> list[NewFact]:
        """Return the facts that open the log, with something to sell."""
        grace_s = self.random.randint(2, 12)
        return [
            *first_facts(self.partitions, HORIZON_S, TOLERANCE_S, grace_s, "2026.1"),
            _fact(FactKind.ISSUER, id="talea", name="Talea", number_prefix="T-"),
            *(self._meter(name) for name in METERS),
            self._plan("gold"),
            self._plan("silver"),
            *(self._customer(name) for name in CUSTOMERS[:4]),
            *(self._subscription(name, BEGIN) for name in CUSTOMERS[:3]),
        ]

    def decide(self, known: Sequence[Fact], now: Instant) -> list[NewFact]:
        """Return what somebody decides next."""
        latest = {(fact.kind, fact.subject): fact.body for fact in known}
        subscribed = [body for (kind, _), body in latest.items() if kind is FactKind.SUBSCRIPTION]
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
                return [self._repriced(latest[FactKind.PLAN, self.random.choice(plans)])]
            case 5:
                rules = dict(latest[FactKind.RULES, "rules"], grace_s=self.random.randint(0, 15))
                return [NewFact(FactKind.RULES, "rules", rules)]
            case _:
                plan = self._plan(self._name("plan"))
                name = self.random.choice(CUSTOMERS[:4])
                return [plan, self._subscription(name, now, plan.subject)]

    def _name(self, stem: str) -> str:
        self._named += 1
        return f"{stem}-{self._named}"

    def _amount(self) -> str:
        return f"{self.random.randint(0, 9)}.{self.random.randint(0, 9999):04d}"

    def _meter(self, name: str) -> NewFact:
        aggregation, window_s = METERS[name]
        dimensions: list[Json] = ["region"] if name == "gigabytes" else []
        return _fact(
            FactKind.METER,
            id=name,
            aggregation=aggregation,
            unit="unit",
            window_s=window_s,
            dimensions=dimensions,
        )

    def _plan(self, name: str) -> NewFact:
        tiers: list[Json] = [
            {"up_to": "7.5", "unit_amount": self._amount(), "flat_amount": self._amount()},
            {"up_to": "20", "unit_amount": self._amount(), "flat_amount": "0"},
            {"up_to": None, "unit_amount": self._amount(), "flat_amount": self._amount()},
        ]
        prices: list[Json] = [
            _price("base", None, type="flat", amount=self._amount()[:4]),
            _price("calls", "calls", type="unit", unit_amount=self._amount()),
            _price("traffic", "gigabytes", type="graduated", tiers=tiers),
            _price("peak", "peak", type="unit", unit_amount=self._amount()),
        ]
        return _fact(
            FactKind.PLAN,
            id=name,
            name=name.title(),
            issuer="talea",
            currency=self.random.choice(["EUR", "EUR", "JPY"]),
            cycle=self.random.choice(["PT30S", "PT45S", "PT1M"]),
            payment_days=14,
            prices=self.random.sample(prices, self.random.randint(2, 4)),
        )

    def _repriced(self, before: object) -> NewFact:
        """Return a plan with other amounts, perhaps with a price fewer."""
        body = dict(cast(dict[str, Json], before))
        prices = [dict(price) for price in cast(list[dict[str, Json]], body["prices"])]
        if len(prices) > 1 and self.random.random() < 0.2:
            prices.pop(self.random.randrange(len(prices)))
        for each in prices:
            price = dict(cast(dict[str, Json], each["price"]))
            if price["type"] == "unit":
                price["unit_amount"] = self._amount()
            each["price"] = price
        return NewFact(FactKind.PLAN, str(body["id"]), {**body, "prices": list(prices)})

    def _customer(self, name: str) -> NewFact:
        return _fact(FactKind.CUSTOMER, id=name, time_zone="UTC", profile={})

    def _subscription(self, customer: str, start: Instant, plan: str = "") -> NewFact:
        name = self._name("sub")
        return _fact(
            FactKind.SUBSCRIPTION,
            id=name,
            customer=customer,
            plan=plan or self.random.choice(["gold", "silver"]),
            start=instant_text(start + self.random.randint(-9_000_000, 9_000_000)),
            end=None,
        )

    # --- usage ---

    def message(self, now: Instant) -> tuple[int, Kept]:
        """Return the next record of the usage log and its partition."""
        draw = self.random.random()
        if draw < 0.08 and self._records:
            return self.random.choice(self._records[-30:])  # a resend, however late
        partition = self.random.randrange(self.partitions)
        if draw < 0.13:
            return self._noise(partition, now)
        if draw < 0.38:
            return self._sequenced(partition, now)
        return self._keyed(partition, now)

    def _keyed(self, partition: int, now: Instant) -> tuple[int, Kept]:
        events = [self._event(partition, now) for _ in range(self.random.randint(1, 5))]
        home = [
            e for e in self._events[-60:] if partition_of(e.customer, self.partitions) == partition
        ]
        if home and self.random.random() < 0.35:  # the same events in another batch
            events += self.random.sample(home, min(len(home), self.random.randint(1, 3)))
        if home and self.random.random() < 0.1:
            events.append(self._other_payload(self.random.choice(home)))
        self.random.shuffle(events)
        self._events += events
        return self._kept(partition, Sent(events), Mode.KEYED)

    def _sequenced(self, partition: int, now: Instant) -> tuple[int, Kept]:
        events = [self._event(partition, now, "") for _ in range(self.random.randint(1, 4))]
        key = (self.random.choice(["host-1", "host-2"]), self.random.choice("ab"), partition)
        first = self._places.get(key, 0)
        self._places[key] = first + len(events)
        if self.random.random() < 0.1:  # this one overtakes, or is lost
            kept = self._kept(partition, Sent(events, *key[:2], first), Mode.SEQUENCED)
            return kept if self.random.random() < 0.5 else self._sequenced(partition, now)
        return self._kept(partition, Sent(events, *key[:2], first), Mode.SEQUENCED)

    def _event(self, partition: int, now: Instant, source: str = "shop") -> UsageEvent:
        own = [name for name in CUSTOMERS if partition_of(name, self.partitions) == partition]
        customer = self.random.choice(own or CUSTOMERS)  # without own: of the wrong partition
        meter = self.random.choice(sorted(METERS))
        dimensions = {"region": self.random.choice("ab")} if meter == "gigabytes" else {}
        value = Decimal(self.random.randint(0, 9_999)).scaleb(-self.random.randint(0, 3))
        return UsageEvent(
            customer,
            meter if self.random.random() < 0.98 else "unheard-of",
            now + self._lateness(),
            value,
            self._name("event") if source else "",
            source,
            dimensions,
        )

    def _lateness(self) -> Instant:
        """Return how far event time lies from now: mostly near, now and then at an edge."""
        draw = self.random.random()
        if draw < 0.7:
            return self.random.randint(-12 * SECOND, SECOND)
        if draw < 0.92:
            return self.random.randint(-HORIZON_S * SECOND, 0)
        if draw < 0.97:
            return self.random.randint(-2 * HORIZON_S * SECOND, -HORIZON_S * SECOND)
        return self.random.randint(TOLERANCE_S * SECOND, 2 * TOLERANCE_S * SECOND)

    def _other_payload(self, event: UsageEvent) -> UsageEvent:
        return UsageEvent(
            event.customer,
            event.meter,
            event.time + self.random.choice([0, 7 * SECOND]),
            event.value + 1,
            event.id,
            event.source,
            event.dimensions,
        )

    def _kept(self, partition: int, sent: Sent, mode: Mode) -> tuple[int, Kept]:
        batch = pack_events(sent.events, mode, sent.producer, sent.epoch, sent.first)
        message = encode_batch(batch)
        self.sent[message] = sent
        record = (partition, Kept(message, batch.event_count))
        self._records.append(record)
        return record

    def _noise(self, partition: int, now: Instant) -> tuple[int, Kept]:
        """Return what breaks a rule: bytes, a header that lies, another's customer."""
        match self.random.randrange(3):
            case 0:
                header = self.random.choice([None, 0, 3])
                return partition, Kept(self.random.randbytes(20), header)
            case 1:
                _, kept = self._keyed(partition, now)
                return partition, Kept(kept.value, self.random.choice([None, 1, 99]))
            case _:
                home, kept = self._keyed(partition, now)
                return (home + 1) % self.partitions, kept


def _fact(kind: FactKind, **body: Json) -> NewFact:
    return NewFact(kind, str(body["id"]), body)


def _price(name: str, meter: str | None, **price: Json) -> dict[str, Json]:
    return {"id": name, "name": name.title(), "meter": meter, "price": price}
