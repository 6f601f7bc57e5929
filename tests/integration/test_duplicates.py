"""Whatever is sent again counts once; whatever is not the same is not lost for it."""

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.running import RunningStack
from integration.traffic import Traffic, check_books, customers_everywhere
from oracle import Oracle
from pipeline.collect.event import UsageEvent
from pipeline.core.calendar import SECOND, Instant
from pipeline.dedupe.sequences import RECENT_MAX
from pipeline.stores.clock import wall_clock

pytestmark = pytest.mark.servers


@dataclass
class Market:
    """A shop that is open, its traffic, and what had become of it when a test began."""

    stack: RunningStack
    traffic: Traffic
    customers: list[str]
    start: Instant
    before: Counter[str] = field(default_factory=Counter)

    def events(self, name: str, count: int = 20) -> list[UsageEvent]:
        """New usage of everybody, under ids that begin with a name."""
        return [
            usage(who, f"{n}.25", meter=meter, time=wall_clock(), id=f"{name}-{meter}-{n}")
            for who in self.customers
            for meter in shop.METERS
            for n in range(count)
        ]

    def in_sequence(self, count: int = 30) -> list[UsageEvent]:
        """New usage of one customer, without ids."""
        who = self.customers[0]
        return [usage(who, str(n), meter="gigabytes", time=wall_clock()) for n in range(count)]

    def outcomes(self) -> dict[str, int]:
        """Hold the books against the oracle; return what became of this test's events."""
        self.traffic.flush()
        self.stack.await_drained()
        check_books(self.stack, self.traffic.oracle)
        return dict(self.traffic.oracle.outcomes - self.before)


@pytest.fixture(scope="module")
def open_market(make_shared_stack: StackMaker) -> Market:
    stack = make_shared_stack()
    customers = customers_everywhere(stack.around.partitions)
    start = wall_clock() // SECOND * SECOND
    stack.start()
    stack.apply(shop.catalog(customers, start, None))
    return Market(stack, Traffic(stack, Oracle(shop.METERS)), customers, start)


@pytest.fixture
def market(open_market: Market) -> Market:
    open_market.before = open_market.traffic.oracle.outcomes.copy()
    return open_market


def test_an_event_twice_in_one_batch(market: Market) -> None:
    events = market.events("twice")

    market.traffic.keyed(*events, *events[::2], *events[::4])

    assert market.outcomes() == {"fresh": 240, "duplicate": 180}


def test_an_event_again_in_another_batch(market: Market) -> None:
    events = market.events("again")

    market.traffic.keyed(*events[:150])
    market.traffic.keyed(*events[100:], *events[:10])
    market.traffic.keyed(*reversed(events))

    assert market.outcomes() == {"fresh": 240, "duplicate": 50 + 10 + 240}


def test_a_batch_resent_to_the_byte(market: Market) -> None:
    keyed = market.traffic.keyed(*market.events("resent"))
    sequenced = market.traffic.sequenced(0, *market.in_sequence(), epoch="resent")

    for _ in range(3):
        market.traffic.again(*keyed, sequenced)

    assert market.outcomes() == {"fresh": 240 + 30, "duplicate": 3 * (240 + 30)}


def test_a_sequence_out_of_order_whose_gap_is_filled(market: Market) -> None:
    events, traffic = market.in_sequence(90), market.traffic

    traffic.sequenced(60, *events[60:], epoch="order")
    late = traffic.sequenced(20, *events[20:50], epoch="order")
    traffic.sequenced(0, *events[:20], epoch="order")
    assert market.outcomes() == {"fresh": 80}

    traffic.sequenced(50, *events[50:60], epoch="order")
    traffic.again(late)
    assert market.outcomes() == {"fresh": 90, "duplicate": 30}


def test_a_place_of_a_sequence_with_another_payload(market: Market) -> None:
    events, traffic = market.in_sequence(40), market.traffic
    other = [replace(event, value=event.value + 1) for event in events]

    traffic.sequenced(0, *events, epoch="payload")
    traffic.sequenced(0, *other, epoch="payload")
    traffic.sequenced(30, *other, epoch="payload")

    assert market.outcomes() == {"fresh": 40, "conflict": 80}


def test_part_of_a_sequence_that_is_long_past(market: Market) -> None:
    events, traffic = market.in_sequence(10), market.traffic

    first, *_ = [traffic.sequenced(10 * n, *events, epoch="past") for n in range(RECENT_MAX + 6)]
    traffic.again(first)
    traffic.sequenced(5, *events[:3], epoch="past")

    assert market.outcomes() == {"fresh": 10 * (RECENT_MAX + 6), "duplicate": 13}


def test_another_epoch_begins_its_places_anew(market: Market) -> None:
    events = market.in_sequence()

    for epoch in ("monday", "tuesday"):
        market.traffic.sequenced(0, *events, epoch=epoch)
    market.traffic.sequenced(0, *events, epoch="monday", producer="another host")

    assert market.outcomes() == {"fresh": 90}


def test_a_key_with_another_payload_is_a_conflict_and_the_first_stays(market: Market) -> None:
    events = market.events("conflict")
    other = [
        replace(events[0], value=events[0].value + 1),
        replace(events[1], time=events[1].time + 1),
        replace(events[2], meter="seats"),
        replace(events[3], dimensions={"zone": "eu"}),
    ]

    market.traffic.keyed(*events)
    market.traffic.keyed(*other)
    market.traffic.keyed(*other, *events[:4])

    assert market.outcomes() == {"fresh": 240, "conflict": 8, "duplicate": 4}


def test_one_id_of_two_customers_or_two_sources_is_two_events(market: Market) -> None:
    one, two = market.customers[:2]
    event = usage(one, "1", meter="gigabytes", time=wall_clock(), id="shared")

    for who in (one, two):
        for source in ("shop", "warehouse"):
            market.traffic.keyed(replace(event, customer=who, source=source))

    assert market.outcomes() == {"fresh": 4}


def test_in_the_end_every_invoice_is_the_oracles(market: Market) -> None:
    market.traffic.keyed(*market.events("last"))
    market.outcomes()
    end = (wall_clock() // SECOND + 1) * SECOND

    market.stack.apply(shop.catalog(market.customers, market.start, end))
    market.stack.await_documents(len(market.customers))

    expected = shop.bills(market.traffic.oracle, market.customers, market.start, end)
    assert market.stack.invoiced() == expected
    assert market.stack.close_the_books()["pending"] == 0
