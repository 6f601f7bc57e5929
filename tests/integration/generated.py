"""A generated shop: every price model in plans of every kind of cycle, sold since some while, with
usage by key and in sequence, repeats, usage that comes late and reversals, so that notes follow.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from textwrap import indent
from time import monotonic
from typing import Any

from builders import usage
from integration.running import FINALIZER, METERING, PRICING, TICKER, RunningStack
from pipeline.catalog.facts import FactKind
from pipeline.collect.batch import Mode, pack_events
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import DAY, SECOND, Instant, instant_text
from pipeline.core.identity import partition_of
from pipeline.stores.clock import wall_clock
from pipeline.stores.codec import encode_batch
from pipeline.stores.postgres.facts import read_facts
from price_oracle import CATALOG

CYCLES = {"hours": ("PT6H", 5), "days": ("P1D", 14), "weeks": ("P1W", 36), "months": ("P1M", 70)}
"""Cycle of each plan, and since how many days it is sold."""
DOCUMENTS_A_CUSTOMER = (20 + 14 + 5 + 2) / 4
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
HORIZON_S = 100 * 86_400
BITE = 500
_METERS = """
rules: {grace: PT1S}
issuers: [{id: shop, name: The Shop, number_prefix: G-}]
meters:
  - {id: calls, aggregation: sum, unit: call, window: PT1S, dimensions: [region]}
  - {id: money, aggregation: sum, unit: EUR, window: PT1S, points: true}
"""


@dataclass
class GeneratedShop:
    """So many customers and events; `live_s`: seconds that the stack worked on what is replayed."""

    stack: RunningStack
    customers: Sequence[str]
    events: int
    patience_s: float
    chance: Random = field(default_factory=lambda: Random(9))
    now: Instant = field(default_factory=lambda: wall_clock() // SECOND * SECOND)
    live_s: float = 0.0
    end: str = "null"
    _earliest: dict[str, UsageEvent] = field(default_factory=dict)
    _number: int = 0
    _places: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._places = {name: place for place, name in enumerate(self.customers)}

    def plan(self, name: str) -> str:
        return [*CYCLES][self._places[name] % len(CYCLES)]

    def start(self, name: str) -> Instant:
        """Not at a round time: customers begin at odd seconds."""
        return self.now - CYCLES[self.plan(name)][1] * DAY + self._places[name] * 61 * SECOND

    def catalog(self) -> str:
        plans = "".join(
            f"\n  - id: {plan}\n    name: {plan.title()}\n    issuer: shop\n"
            f"    currency: EUR\n    cycle: {cycle}\n"
            f"    prices:{indent(CATALOG, '    ')}"
            for plan, (cycle, _) in CYCLES.items()
        )
        profiles = "".join(
            f"\n  - {{id: {name}, time_zone: {ZONES[number % 3 % len(ZONES)]}}}"
            for number, name in enumerate(self.customers)
        )
        sold = "".join(map(self._sold, self.customers))
        return f"{_METERS}plans:{plans}\ncustomers:{profiles}\nsubscriptions:{sold}\n"

    def _sold(self, name: str) -> str:
        changed = instant_text(self.start(name) + 2 * DAY + 7 * SECOND)
        more = f", changes: [{{at: {changed}, quantities: {{seats: 5}}}}]"
        return (
            f"\n  - {{id: s-{name}, customer: {name}, plan: {self.plan(name)},"
            f" start: {instant_text(self.start(name))}, end: {self.end}"
            f"{more if self._places[name] % 3 == 0 else ''}}}"
        )

    def event(self, name: str) -> UsageEvent:
        """Usage at any time since a customer came."""
        self._number += 1
        time = self.chance.randrange(self.start(name), self.now)
        region = self.chance.choice(("eu", "us", "asia"))
        value = f"{self.chance.randrange(60)}.{self.chance.randrange(1000):03}"
        key = str(self._number)
        if self._number % 2:
            return usage(name, value, meter="calls", time=time, id=key, region=region)
        return usage(name, value, meter="money", time=time, id=key)

    def open(self) -> None:
        """Let everything be used, then sold; return once what is past is invoiced."""
        stack = self.stack
        stack.apply(_METERS)
        stack.start(TICKER)
        for _ in self.sent():
            pass
        stack.producer.flush()
        with self.timed():
            stack.start(METERING, PRICING)
            stack.await_booked(self.patience_s)
            stack.apply(self.catalog())
            stack.start(FINALIZER)
            least = int(len(self.customers) * DOCUMENTS_A_CUSTOMER)
            stack.await_documents(least, self.patience_s)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count as work of the stack; what it only waits for, it is not."""
        began = monotonic()
        yield
        self.live_s += monotonic() - began

    def sent(self) -> Iterator[None]:
        """Send all usage in batches of one partition; every tenth batch comes twice."""
        homes: dict[int, list[str]] = {}
        for name in self.customers:
            homes.setdefault(partition_of(name, self.stack.around.partitions), []).append(name)
        places = dict.fromkeys(homes, 0)
        for number in range(self.events // BITE):
            home = [*homes][number % len(homes)]
            few = [self.event(self.chance.choice(homes[home])) for _ in range(BITE)]
            if number // len(homes) % 3:
                batch = pack_events(few, Mode.KEYED, "", "", 0)
                for event in few:
                    known = self._earliest.setdefault(event.customer, event)
                    if event.time < known.time:
                        self._earliest[event.customer] = event
            else:
                batch = pack_events(few, Mode.SEQUENCED, "host", "e1", places[home])
                places[home] += BITE
            message = encode_batch(batch)
            for _ in range(2 if number % 10 == 0 else 1):
                self.stack.producer.send(self.stack.log, home, message, event_count=BITE)
            yield

    def correct(self) -> None:
        """Of one customer usage comes late, of the next the earliest usage is taken back."""
        stack, back = self.stack, 0
        for place, name in enumerate(self.customers):
            first = self._earliest.get(name)
            if place % 2 and first is not None:
                self._send(replace(first, reversed_at=self.now))
                back += 1
            else:
                self._send(self.event(name))
        stack.producer.flush()
        with self.timed():
            stack.await_booked(self.patience_s)
            stack.until(lambda: self._matches() >= back, "reversals are matched")

    def _send(self, event: UsageEvent) -> None:
        home = partition_of(event.customer, self.stack.around.partitions)
        message = encode_batch(pack_events([event], Mode.KEYED, "", "", 0))
        self.stack.producer.send(self.stack.log, home, message, event_count=1)

    def _matches(self) -> int:
        told = (f for f in read_facts(self.stack.connection, 0) if f.kind is FactKind.MATCH)
        return sum(len(str(fact.body["matches"]).split()) for fact in told)

    def close(self) -> None:
        """End everything; return once all of it is invoiced, notes and all."""
        end = wall_clock() // SECOND * SECOND + 2 * SECOND
        self.end = instant_text(end)
        self.stack.apply(self.catalog())
        asked = "SELECT count(DISTINCT payer) FROM cut WHERE prepared AND instant_us = %s"
        waiting = (
            "SELECT (SELECT count(*) FROM cut WHERE NOT prepared) + (SELECT count(*) FROM prepared)"
        )

        def over() -> bool:
            (ended,) = self.stack.connection.execute(asked, [end]).fetchone() or (0,)
            (left,) = self.stack.connection.execute(waiting).fetchone() or (1,)
            return (ended, left) == (len(self.customers), 0)

        self.stack.until(lambda: wall_clock() > end, "the end is there")
        with self.timed():
            self.stack.until(over, "everything is invoiced", self.patience_s)

    def p99_s(self, samples: int) -> float:
        """Seconds within which 99 of 100 events are in the books, told one by one."""
        name, stack = self.customers[0], self.stack
        home, found = partition_of(name, stack.around.partitions), list[float]()
        for _ in range(samples):
            message = encode_batch(pack_events([self.event(name)], Mode.KEYED, "", "", 0))
            began = monotonic()
            offset = stack.write(home, message, 1)
            stack.until(lambda: stack.offsets()[home] >= offset, "an event is booked")  # noqa: B023
            found.append(monotonic() - began)
        return sorted(found)[-(samples // 100) - 1]

    def shapes(self) -> tuple[set[str], set[str], int]:
        """Kinds, prices and number of what was issued."""
        contents: list[Any] = [each.content for each in self.stack.documents()]
        cards = (line["rate_card"] for each in contents for line in each["lines"])
        prices = {card["id"] for card in cards if card}
        return {each["kind"] for each in contents}, prices, len(contents)
