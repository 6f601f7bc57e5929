"""Workers shot in the middle of a load: every total is the oracle's, to the last digit."""

import signal
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from time import monotonic

import pytest

from fixtures_stack import StackMaker
from integration import shop
from integration.load import Load
from integration.running import FINALIZER, METERING, PRICING, TICKER, RunningStack
from integration.traffic import Traffic, check_books, customers_everywhere
from oracle import Oracle
from pipeline.core.calendar import SECOND, Instant
from pipeline.stores.clock import wall_clock
from pipeline.workers.supervisor import Supervisor, default_workers

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

CYCLE_S = 10
SESSION_S = 6.0
GENERATIONS = {"horizon_s": 18, "tolerance_s": 12}
"""So short that claims of three generations come and go while the load lasts."""


@dataclass
class Story:
    """A shop that stays open for as long as its load lasts."""

    stack: RunningStack
    customers: list[str]
    start: Instant
    load: Load

    @property
    def oracle(self) -> Oracle:
        return self.load.traffic.oracle

    def check(self) -> None:
        """The shop closes: every invoice is the oracle's, every event is accounted for."""
        end = self.load.end
        self.stack.apply(catalog(self.customers, self.start, end))
        periods = -(-(end - self.start) // (CYCLE_S * SECOND))
        self.stack.await_documents(periods * len(self.customers))
        for number in range(periods):
            begun = self.start + number * CYCLE_S * SECOND
            ended = min(begun + CYCLE_S * SECOND, end)
            expected = shop.bills(self.oracle, self.customers, begun, ended, CYCLE_S)
            assert self.stack.invoiced(ended) == expected
        counts = self.stack.close_the_books()
        check_books(self.stack, self.oracle)
        assert counts["pending"] == 0
        assert min(counts[name] for name in ("duplicate", "conflict", "late", "rejected")) > 0


def catalog(customers: list[str], start: Instant, end: Instant | None) -> str:
    return shop.catalog(customers, start, end, f"PT{CYCLE_S}S", grace="PT4S")


def open_shop(stack: RunningStack, seed: int) -> Story:
    """Put a shop in force from now on."""
    customers = customers_everywhere(stack.around.partitions, each=2)
    start = wall_clock() // SECOND * SECOND
    stack.apply(catalog(customers, start, None))
    oracle = Oracle(shop.METERS, late_before=start - 1800 * SECOND)
    return Story(stack, customers, start, Load(Traffic(stack, oracle), customers, Random(seed)))


def test_sigkill_of_every_worker_changes_no_total(make_stack: StackMaker) -> None:
    stack = make_stack(session_s=SESSION_S, **GENERATIONS)
    stack.start()
    story = open_shop(stack, seed=1)

    with story.load:
        stack.await_booked()
        for shot in ([METERING], [PRICING], [METERING, TICKER, PRICING], [FINALIZER, METERING]):
            for kind in shot:
                stack.kill(kind)
            stack.await_booked()
        stack.kill(PRICING)

    story.check()


def test_two_metering_workers_one_killed_one_frozen_and_thawed(make_stack: StackMaker) -> None:
    """The frozen one loses its partitions, wakes as a zombie and finishes what it had begun."""
    stack = make_stack(session_s=SESSION_S, **GENERATIONS)
    workers = default_workers(metering=2)
    stack.start(*workers)
    frozen, killed = (kind for kind in workers if kind.name == "metering")
    story = open_shop(stack, seed=2)

    with story.load:
        stack.await_booked()
        stack.kill(killed)
        stack.await_booked()
        stack.signal(frozen, signal.SIGSTOP)
        stopped = monotonic()
        stack.await_booked()
        stack.until(lambda: monotonic() > stopped + SESSION_S + 2, "its session is over")
        stack.signal(frozen, signal.SIGCONT)
        stack.await_booked()

    story.check()


def test_two_pricing_workers_of_the_same_partitions_book_once(make_stack: StackMaker) -> None:
    """Each finds the cursor where it did not leave it, stops, and starts anew from there."""
    stack = make_stack(**GENERATIONS)
    stack.start()
    story = open_shop(stack, seed=3)
    logs = stack.around.settings.home / "second"
    second = Supervisor(stack.around, [PRICING], logs)

    def met() -> bool:
        told = stack.said(PRICING) + (logs / "pricing-0.log").read_text()
        return "another worker books it" in told

    with ExitStack() as held:
        second.start()
        held.callback(second.stop)
        with story.load:
            stack.until(met, "the two meet")
            stack.await_booked()

    story.check()
