"""Workers shot in the middle of a load: every total is the oracle's, to the last digit."""

import signal
from contextlib import ExitStack

import pytest

from fixtures_stack import StackMaker
from integration.published import await_published, check_published
from integration.running import BILLING, FINALIZER, METERING, PRICING, PUBLISHER, TICKER
from integration.story import GENERATIONS, SESSION_S, open_shop
from pipeline.workers.supervisor import default_workers

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

SHOTS = ([METERING], [PRICING], [METERING, TICKER, PRICING], [FINALIZER, METERING])


def test_sigkill_of_every_worker_changes_no_total(make_stack: StackMaker) -> None:
    stack = make_stack(session_s=SESSION_S, **GENERATIONS)
    stack.start(*BILLING, PUBLISHER)
    story = open_shop(stack, seed=1)

    with story.load:
        stack.await_booked()
        for shot in SHOTS:
            for kind in (*shot, PUBLISHER):
                stack.kill(kind)
            stack.await_booked()
        stack.kill(PRICING)

    story.close()
    await_published(stack)
    check_published(stack)


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
        stack.until(lambda: stack.members() == 2, "both share the partitions again")
        stack.signal(frozen, signal.SIGSTOP)
        stack.until(lambda: stack.members() == 1, "the other one takes them all over")
        stack.await_booked()
        stack.signal(frozen, signal.SIGCONT)
        stack.await_booked()

    story.close()


def test_two_pricing_workers_of_the_same_partitions_book_once(make_stack: StackMaker) -> None:
    """Each finds the cursor where it did not leave it, stops, and starts anew from there."""
    stack = make_stack(**GENERATIONS)
    stack.start()
    story = open_shop(stack, seed=3)
    logs = stack.around.settings.home / "second"
    second = stack.supervise(PRICING, logs)

    def met() -> bool:
        told = stack.said(PRICING) + (logs / f"{PRICING.label}.log").read_text()
        return "another worker books it" in told

    with ExitStack() as held:
        second.start()
        held.callback(second.stop)
        with story.load:
            stack.until(met, "the two meet")
            stack.await_booked()

    story.close()
