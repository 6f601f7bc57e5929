"""A story: a shop that sells for as long as its load lasts, whatever happens meanwhile.

In the end it closes: every invoice of every period is the oracle's to the cent, every event has
one outcome, every seal holds.
"""

from dataclasses import dataclass
from random import Random

from integration import shop
from integration.load import Load
from integration.running import RunningStack
from integration.traffic import Traffic, check_books, customers_everywhere
from oracle import Oracle
from pipeline.core.calendar import SECOND, Instant
from pipeline.stores.clock import wall_clock

CYCLE_S = 10
SESSION_S = 6.0
"""After how long a silent metering worker loses its partitions: the least that brokers take."""
GENERATIONS = {"horizon_s": 18, "tolerance_s": 12}
"""So short that claims of several generations come and go while a load lasts."""


@dataclass
class Story:
    """A shop that is open; `load` sends while it is entered."""

    stack: RunningStack
    customers: list[str]
    start: Instant
    load: Load

    @property
    def traffic(self) -> Traffic:
        return self.load.traffic

    def close(self) -> None:
        """End every subscription behind the last usage, and hold everything against the oracle."""
        end, oracle = self.load.end, self.traffic.oracle
        self.stack.apply(_catalog(self.customers, self.start, end))
        periods = -(-(end - self.start) // (CYCLE_S * SECOND))
        self.stack.await_documents(periods * len(self.customers))
        for number in range(periods):
            begun = self.start + number * CYCLE_S * SECOND
            ended = min(begun + CYCLE_S * SECOND, end)
            expected = shop.bills(oracle, self.customers, begun, ended, CYCLE_S)
            assert self.stack.invoiced(ended) == expected
        counts = self.stack.close_the_books()
        check_books(self.stack, oracle)
        assert counts["pending"] == 0
        assert min(counts[name] for name in ("duplicate", "conflict", "late", "rejected")) > 0


def _catalog(customers: list[str], start: Instant, end: Instant | None) -> str:
    return shop.catalog(customers, start, end, f"PT{CYCLE_S}S", grace="PT4S")


def open_shop(stack: RunningStack, seed: int) -> Story:
    """Put a shop in force from now on."""
    customers = customers_everywhere(stack.around.partitions, each=2)
    start = wall_clock() // SECOND * SECOND
    stack.apply(_catalog(customers, start, None))
    oracle = Oracle(shop.METERS, late_before=start - 1800 * SECOND)
    return Story(stack, customers, start, Load(Traffic(stack, oracle), customers, Random(seed)))
