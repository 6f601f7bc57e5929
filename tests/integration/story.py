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

CYCLE_S, GRACE_S = 10, 4
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
    cycle_s: int = CYCLE_S
    grace_s: int = GRACE_S

    @property
    def traffic(self) -> Traffic:
        return self.load.traffic

    def periods(self) -> list[tuple[Instant, Instant]]:
        """Begin and end of every period, up to the end of all usage."""
        cycle, end = self.cycle_s * SECOND, self.load.end
        return [(at, min(at + cycle, end)) for at in range(self.start, end, cycle)]

    def end(self) -> None:
        """End every subscription behind the last usage; return once every period is invoiced."""
        self.stack.apply(self.catalog(self.load.end))
        self.stack.await_documents(len(self.periods()) * len(self.customers))

    def close(self) -> None:
        """End, and hold everything against the oracle."""
        self.end()
        oracle = self.traffic.oracle
        for begun, ended in self.periods():
            expected = shop.bills(oracle, self.customers, begun, ended, self.cycle_s)
            assert self.stack.invoiced(ended) == expected
        counts = self.stack.close_the_books()
        check_books(self.stack, oracle)
        assert counts["pending"] == 0
        assert min(counts[name] for name in ("duplicate", "conflict", "late", "rejected")) > 0

    def catalog(self, end: Instant | None = None) -> str:
        """What the shop sells, up to an end."""
        cycle, grace = f"PT{self.cycle_s}S", f"PT{self.grace_s}S"
        return shop.catalog(self.customers, self.start, end, cycle, grace=grace)


def open_shop(
    stack: RunningStack, seed: int, *, cycle_s: int = CYCLE_S, grace_s: int = GRACE_S
) -> Story:
    """Put a shop in force from now on."""
    customers = customers_everywhere(stack.around.partitions, each=2)
    start = wall_clock() // SECOND * SECOND
    oracle = Oracle(shop.METERS, late_before=start - 1800 * SECOND)
    load = Load(Traffic(stack, oracle), customers, Random(seed))
    story = Story(stack, customers, start, load, cycle_s, grace_s)
    stack.apply(story.catalog())
    return story
