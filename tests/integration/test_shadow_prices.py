"""Shadow prices on real servers: beside live drafts, guarded, promoted at an edge, taken back.

On a test clock, so that what is expected of each day is known to the cent.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from builders import usage
from integration import shop
from integration.commands import talea
from integration.nursery import Nursery
from integration.running import FINALIZER, METERING, PARTITIONS, PRICING, RunningStack, bare
from integration.traffic import Traffic, customers_everywhere
from oracle import Oracle, per_unit
from pipeline.bootstrap import set_up
from pipeline.core.calendar import DAY, SECOND, Instant, instant_text, parse_instant
from pipeline.embedded import Servers
from pipeline.stores.postgres.facts import fact_head
from pipeline.stores.postgres.shadow_prices import changes_beside, follow_candidate
from pipeline.workers.timekeeping import keeping, settle

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

BEGAN = parse_instant("2027-03-01T00:00:00Z")
HOUR = 3600 * SECOND
CHEAP, DEAR = "0.1275", "0.2275"
DECIDED = ("--actor", "ada", "--reason", "agreed")


@dataclass
class Shop:
    """The tests' shop, billed by the day, on a clock that is moved."""

    stack: RunningStack
    folder: Path
    customers: list[str] = field(default_factory=lambda: customers_everywhere(PARTITIONS))
    traffic: Traffic = field(init=False)
    _sent: int = 0

    def __post_init__(self) -> None:
        self.traffic = Traffic(self.stack, Oracle(shop.METERS))
        self.stack.apply(self.catalog)

    @property
    def catalog(self) -> str:
        return shop.catalog(self.customers, BEGAN, None, "P1D", grace="PT1H")

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def use(self, day: int, hour: int, each: str) -> None:
        """Everybody uses something, each another multiple of it."""
        for times, customer in enumerate(self.customers, start=1):
            self._sent += 1
            at, value = BEGAN + day * DAY + hour * HOUR, str(int(each) * times)
            event = usage(customer, value, meter="gigabytes", time=at, id=f"e{self._sent}")
            self.traffic.keyed(event)
        self.traffic.flush()

    def until(self, day: int, hour: int) -> None:
        """Move the clock; return once all is billed that is due."""
        with keeping(self.stack.around) as keeper:
            for _ in keeper.advance(BEGAN + day * DAY + hour * HOUR, 6 * HOUR):
                pass
        settle(self.stack.around, lambda _booked, _of: None)

    def bills(self, day: int) -> dict[str, int]:
        """What everybody owes for a day by the prices that hold at first."""
        start = BEGAN + day * DAY
        return shop.bills(self.traffic.oracle, self.customers, start, start + DAY, 86_400)

    def more(self, *days: int) -> dict[str, int]:
        """What everybody pays more for days by the dearer price."""
        starts = [BEGAN + day * DAY for day in days]
        return {name: sum(self._more(name, at) for at in starts) for name in self.customers}

    def _more(self, name: str, start: Instant) -> int:
        used = self.traffic.oracle.quantity(name, "gigabytes", start, start + DAY)
        return per_unit(DEAR, used) - per_unit(CHEAP, used)

    def told(self, *arguments: str) -> Any:
        ran = talea(self.stack, "shadow", *arguments, "--json")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def beside(self, name: str) -> dict[str, int]:
        found = changes_beside(self.stack.connection, name)
        return {each.name: each.difference_minor for each in found}

    def billed_live(self) -> object:
        """All that must not change while others rate."""
        query = "SELECT count(*) FROM dirty"
        return (
            fact_head(self.stack.connection),
            self.stack.drafts(),
            self.stack.documents(),
            self.stack.connection.execute(query).fetchone(),
        )


@contextmanager
def opened(servers: Servers, nursery: Nursery, folder: Path) -> Iterator[Shop]:
    with RunningStack.over(set_up(bare(servers, folder, {}), BEGAN), nursery) as stack:
        stack.start(METERING, PRICING, FINALIZER)
        yield Shop(stack, folder)


def differences(told: Any) -> dict[str, int]:
    return {each["customer"]: each["difference_minor"] for each in told["customers"]}


def test_other_prices_are_rated_beside_promoted_at_an_edge_and_taken_back(
    servers: Servers, nursery: Nursery, tmp_path: Path
) -> None:
    with opened(servers, nursery, tmp_path) as shopping:
        same = shopping.file("same.yaml", shopping.catalog)
        dear = shopping.file("dear.yaml", shopping.catalog.replace(CHEAP, DEAR))
        shopping.use(0, 2, "40")
        shopping.until(0, 12)
        rated_beside(shopping, same, dear)
        guarded(shopping, dear)
        promoted(shopping)
        taken_back(shopping)
        shopping.stack.close_the_books()


def rated_beside(shopping: Shop, same: str, dear: str) -> None:
    """The unchanged catalog differs by nothing, the dearer one to the cent, drafts and invoices."""
    live = shopping.billed_live()
    zero = dict.fromkeys(shopping.customers, 0)
    assert differences(shopping.told("start", "same", "--catalog", same, "--once")) == zero
    told = shopping.told("start", "dear", "--catalog", dear, "--once")
    assert differences(told) == shopping.more(0)
    assert (told["drafts"], told["documents"]) == (len(shopping.customers), 0)
    assert shopping.billed_live() == live
    with ThreadPoolExecutor(1) as follower:
        ran = follower.submit(talea, shopping.stack, "shadow", "start", "dear")
        shopping.stack.until(lambda: is_followed(shopping, "dear"), "it is followed")
        shopping.use(0, 11, "3")
        more = shopping.more(0)
        shopping.stack.until(lambda: shopping.beside("dear") == more, "the flush is rated beside")
        assert talea(shopping.stack, "shadow", "stop", "dear").returncode == 0
        assert ran.result().returncode == 0
    shopping.until(1, 3)
    assert shopping.stack.invoiced(BEGAN + DAY) == shopping.bills(0)
    told = shopping.told("status", "dear")
    assert (differences(told), told["documents"]) == (shopping.more(0), len(shopping.customers))


def is_followed(shopping: Shop, name: str) -> bool:
    with shopping.stack.around.database.session("look") as session:
        return not follow_candidate(session, name)


def guarded(shopping: Shop, dear: str) -> None:
    """What breaks a limit says so, and is not promoted."""
    asked = ("--more-than", "1", "--share-max", "50", "--total-max", "1000")
    shopping.use(1, 2, "50")
    shopping.stack.await_drained()
    ran = talea(shopping.stack, "shadow", "start", "tight", "--catalog", dear, *asked)
    assert ran.returncode == 1, ran.stderr
    assert "100 % of the customers (4 of 4) pay more by over 1 %: at most 50 % may" in ran.stderr
    ran = talea(shopping.stack, "shadow", "promote", "tight", *DECIDED)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "tight broke a limit" in ran.stderr


def promoted(shopping: Shop) -> None:
    """The day that runs is billed by the old prices, the next by the new ones."""
    told = shopping.told("promote", "dear", *DECIDED)
    assert told["effective"] == instant_text(BEGAN + 2 * DAY)
    shopping.until(2, 3)
    shopping.use(2, 2, "60")
    shopping.until(3, 3)
    assert shopping.stack.invoiced(BEGAN + 2 * DAY) == shopping.bills(1)
    more = shopping.more(2)
    dear = {name: cheap + more[name] for name, cheap in shopping.bills(2).items()}
    assert shopping.stack.invoiced(BEGAN + 3 * DAY) == dear


def taken_back(shopping: Shop) -> None:
    """The old prices hold again, and notes bring what was issued to them, once."""
    stack, more = shopping.stack, shopping.more(2)
    shopping.use(3, 2, "70")
    told = shopping.told("rollback", "dear", *DECIDED)
    affected = [d for d in stack.documents() if d.instant == BEGAN + 3 * DAY]
    assert {each["number"] for each in told["invoices"]} == {d.sealed.number for d in affected}
    assert told["by_cause"] == {"price_revision": {"EUR": -sum(more.values())}}
    assert (len(told["facts"]), told["left_to_you"]) == (1, [])
    again = shopping.told("rollback", "dear", *DECIDED)
    assert (again["facts"], again["diff_id"]) == ([], told["diff_id"])

    asked = ("notes", "dear", *DECIDED, "--diff")
    assert talea(stack, "shadow", *asked, "diff_of_another").returncode == 2
    issued = len(stack.documents())
    applied = shopping.told(*asked, told["diff_id"])
    assert applied["total_minor"] == {"EUR": -sum(more.values())}
    notes = stack.await_documents(issued + len(affected))[issued:]
    totals: dict[str, Any] = {each.payer: each.content["totals"] for each in notes}
    assert {name: each["total_minor"] for name, each in totals.items()} == {
        name: -minor for name, minor in more.items()
    }
    assert shopping.told(*asked, told["diff_id"])["already"] is True
    shopping.until(4, 3)
    assert stack.invoiced(BEGAN + 4 * DAY) == shopping.bills(3)
