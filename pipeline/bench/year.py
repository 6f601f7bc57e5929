"""A year on a test clock: who subscribes to what in which zone, what they use, when prices change.

Owns: the catalog of the year, its usage.
Does not own: the clock (workers/timekeeping.py), any amount (the stack; verified against the log).
Law: one number of customers and one start make one year.

Customers are on cycles of every kind (days, weeks, months, quarters, a year; hours that no
calendar knows), counted from their start or by the calendar, in zones that move their clocks by an
hour or by half of one, in spring, in autumn, in Ramadan, or never.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from pipeline.catalog.sheet import Sheet, parse_sheet
from pipeline.collect.batch import Mode, pack_events
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import DAY, Duration, Instant, cycle_edge, instant_text
from pipeline.core.errors import BrokenInvariant
from pipeline.core.identity import partition_of
from pipeline.stores.codec import encode_batch
from pipeline.workers.timekeeping import Message

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "America/Santiago",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Europe/London",
)
CYCLES = {"day": "P1D", "hours": "PT36H", "week": "P1W", "month": "P1M", "quarter": "P3M"}
_OF_A_HUNDRED = (("day", 1), ("hours", 2), ("week", 8), ("quarter", 28), ("year", 38))
"""Up to which of a hundred customers each cycle goes; the rest are on months."""
_USES_OF_TEN = 4
"""In so many of ten steps a customer uses something."""

_PLAN = """
  - id: {cycle}
    name: By the {cycle}
    issuer: year
    currency: EUR
    cycle: {length}{effective}
    prices:
      - {{id: seats, name: Seats, price: {{type: flat, amount: "12"}}, payment_term: in_advance}}
      - id: calls
        name: Calls
        meter: calls
        price:
          type: graduated
          tiers: [{{up_to: "5000", unit_amount: "{unit}"}}, {{unit_amount: "0.0035"}}]
      - id: storage
        name: Storage, peak
        meter: storage
        price:
          type: volume
          tiers: [{{up_to: "500", unit_amount: "0.02", flat_amount: "1"}}, {{unit_amount: "0.018"}}]
        minimum: "2"
"""


@dataclass(slots=True)
class Year:
    """The year of so many customers, from an instant on; `months` of it."""

    customers: int
    start: Instant
    partitions: int
    months: int = 12
    _chance: Random = field(default_factory=lambda: Random(2026))
    _events: int = 0

    @property
    def half(self) -> Instant:
        """When prices change."""
        return cycle_edge(self.start, Duration(0, 15, 0), self.months, "UTC")

    @property
    def end(self) -> Instant:
        """When the year is over, in every zone, and its last usage was waited for."""
        return cycle_edge(self.start, Duration(1, 0, 0), self.months, "UTC") + DAY

    @property
    def events(self) -> int:
        """How many were made so far."""
        return self._events

    def sheet(self) -> Sheet:
        """Return the catalog that the year begins with."""
        sold = "".join(self._subscription(number) for number in range(self.customers))
        profiles = "".join(
            f"  - {{id: {_name(number)}, time_zone: {ZONES[number % len(ZONES)]},"
            f" profile: {{name: Customer {number}}}}}\n"
            for number in range(self.customers)
        )
        text = (
            "rules: {grace: PT1H}\n"
            "issuers: [{id: year, name: The Year Ltd, number_prefix: Y-}]\n"
            "meters:\n"
            "  - {id: calls, aggregation: sum, unit: call, window: PT15M}\n"
            "  - {id: storage, aggregation: max, unit: GB, window: PT15M}\n"
            f"plans:{_plans('0.004', '')}"
            f"customers:\n{profiles}subscriptions:\n{sold}"
        )
        return _parsed(text)

    def dearer(self) -> Sheet:
        """Return what is another from half of the year on."""
        return _parsed(f"plans:{_plans('0.0045', f'{chr(10)}    effective: {_text(self.half)}')}")

    def _subscription(self, number: int) -> str:
        """Return what one bought: begun on another day and hour each, some of it changed."""
        start = self.start + (number % 28) * DAY + (number % 24) * DAY // 24
        terms = [
            f"id: s-{number}",
            f"customer: {_name(number)}",
            f"plan: {_cycle_of(number)}",
            f"start: {_text(start)}",
            f"quantities: {{seats: '{1 + number % 5}'}}",
        ]
        if number % 2 and _cycle_of(number) not in ("hours", "year"):
            terms.append("anchor: calendar")
        if number % 10 == 3:
            at = _text(start + 100 * DAY)
            terms.append(f"changes: [{{at: {at}, quantities: {{seats: '9'}}}}]")
        if number % 10 == 5:
            from_, to = _text(start + 150 * DAY), _text(start + 171 * DAY)
            terms.append(f"pauses: [{{start: {from_}, end: {to}}}]")
        if number % 20 == 7:
            terms.append(f"end: {_text(start + 210 * DAY)}")
        return f"  - {{{', '.join(terms)}}}\n"

    def used(self, start: Instant, end: Instant) -> Iterator[Message]:
        """Yield what was used in (start, end], as it is sent before the tick at its end."""
        homes: dict[int, list[UsageEvent]] = {}
        for number in range(self.customers):
            if self._chance.randrange(10) < _USES_OF_TEN:
                home = partition_of(_name(number), self.partitions)
                homes.setdefault(home, []).append(self._event(number, start, end))
        for partition, events in sorted(homes.items()):
            batch = pack_events(events, Mode.KEYED, "", "", 0)
            yield Message(partition, encode_batch(batch), batch.event_count)

    def _event(self, number: int, start: Instant, end: Instant) -> UsageEvent:
        self._events += 1
        meter = "storage" if self._events % 4 == 0 else "calls"
        value = Decimal(self._chance.randrange(1, 200_000)) / 1000
        time = start + 1 + self._chance.randrange(end - start)
        return UsageEvent(_name(number), meter, time, value, str(self._events), "year")


def _plans(unit: str, effective: str) -> str:
    lengths = {**CYCLES, "year": "P1Y"}
    return "".join(
        _PLAN.format(cycle=cycle, length=length, unit=unit, effective=effective)
        for cycle, length in lengths.items()
    )


def _cycle_of(number: int) -> str:
    place = number % 100
    return next((cycle for cycle, until in _OF_A_HUNDRED if place < until), "month")


def _name(number: int) -> str:
    return f"customer-{number:04d}"


def _text(instant: Instant) -> str:
    return instant_text(instant)


def _parsed(text: str) -> Sheet:
    found = parse_sheet(text)
    if isinstance(found, Sheet):
        return found
    raise BrokenInvariant(f"the year's own catalog: {found[0]}")
