"""Many invoices finalized at once by two finalizers that are shot meanwhile: fast, without a gap.

`make finalize` does it with ten thousand.
"""

import os
from contextlib import ExitStack
from time import monotonic

import pytest

from builders import usage
from fixtures_stack import StackMaker
from integration import shop
from integration.running import FINALIZER, METERING, PRICING, TICKER, RunningStack
from integration.traffic import Traffic
from oracle import Oracle
from pipeline.core.calendar import SECOND, Instant
from pipeline.stores.clock import wall_clock
from pipeline.stores.postgres.documents import documents_count
from pipeline.workers.supervisor import Supervisor

INVOICES = int(os.environ.get("TALEA_INVOICES", "400"))
CYCLE_S, PATIENCE_S = 10, 60.0 + INVOICES / 50
FINALIZED_S_MAX = 60.0
SHOTS = (0.2, 0.4, 0.6, 0.8)
"""Shares of the documents after which a finalizer is shot."""

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120 + INVOICES // 10)]


def test_two_finalizers_leave_no_gap_though_both_are_shot(make_stack: StackMaker) -> None:
    stack = make_stack()
    names = [f"c{number}" for number in range(INVOICES)]
    start = (wall_clock() // SECOND - 2 * CYCLE_S) * SECOND
    end = start + CYCLE_S * SECOND
    oracle = used(stack, names, start)
    stack.until(lambda: cuts(stack) == INVOICES, "every period is cut", PATIENCE_S)

    logs = [stack.around.settings.home / f"finalizer-{number}" for number in range(2)]
    both = [stack.supervise(FINALIZER, log) for log in logs]
    with ExitStack() as held:
        began = monotonic()
        for one in both:
            one.start()
            held.callback(one.stop)
        for number, share in enumerate(SHOTS):
            await_issued(stack, int(INVOICES * share))
            shoot(stack, both[number % 2])
        await_issued(stack, INVOICES)
        took_s = monotonic() - began

    print(f"{INVOICES} invoices finalized in {took_s:.1f} s, {INVOICES / took_s:.0f} a second")
    documents = stack.documents()
    assert [each.sealed.place for each in documents] == [*range(1, INVOICES + 1)]
    assert [each.sealed.number for each in documents] == [
        f"S-{place:06d}" for place in range(1, INVOICES + 1)
    ]
    assert stack.invoiced() == shop.bills(oracle, names, start, end, CYCLE_S)
    stack.close_the_books()
    assert took_s < FINALIZED_S_MAX


def used(stack: RunningStack, names: list[str], start: Instant) -> Oracle:
    """Let everybody use everything, then sell it to them for a period that is over by now."""
    traffic = Traffic(stack, Oracle(shop.METERS))
    stack.start(TICKER, METERING, PRICING)
    stack.apply(shop.meters())
    traffic.keyed(
        *(
            usage(name, value, meter=meter, time=start + (number % CYCLE_S) * SECOND, id=meter)
            for number, name in enumerate(names)
            for meter, value in (
                ("requests", "1"),
                ("gigabytes", f"{number}.125"),
                ("seats", f"{number % 7}"),
            )
        )
    )
    traffic.flush()
    stack.await_booked(PATIENCE_S)
    stack.apply(shop.catalog(names, start, start + CYCLE_S * SECOND, f"PT{CYCLE_S}S"))
    return traffic.oracle


def cuts(stack: RunningStack) -> int:
    """How many periods are cut."""
    row = stack.connection.execute("SELECT count(*) FROM cut").fetchone()
    assert row is not None
    return int(row[0])


def await_issued(stack: RunningStack, least: int) -> None:
    """Return once there are that many invoices."""
    stack.until(lambda: documents_count(stack.connection) >= least, f"{least} are issued")


def shoot(stack: RunningStack, supervisor: Supervisor) -> None:
    """SIGKILL the finalizer of a supervisor, which starts it again."""
    stack.until(lambda: bool(supervisor.pids()), "the finalizer runs")
    (pid,) = supervisor.pids().values()
    os.kill(pid, 9)
