"""A replay of a copy of the log makes the same documents, byte for byte: over other partitions and
batches, by other workers.
"""

import pytest

from fixtures_stack import StackMaker
from integration.replays import replayed
from integration.running import wipe_claims
from integration.story import GENERATIONS, SESSION_S, open_shop
from pipeline.stores.kafka import admin, partition_counts

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

ASKED = {
    "fewer": ("--partitions", "3", "--workers", "3"),
    "more": ("--partitions", "7", "--workers", "2", "--batch-events", "37"),
}


def test_other_partitions_batches_and_workers_make_the_same(make_stack: StackMaker) -> None:
    stack = make_stack(session_s=SESSION_S, **GENERATIONS)
    stack.start()
    story = open_shop(stack, seed=11, cycle_s=5, grace_s=2)
    with story.load:
        stack.until(lambda: len(story.periods()) > 1, "a second period is sold")
    story.close()
    wipe_claims(stack.around)

    counts, documents = stack.counts(), len(stack.documents())
    assert documents >= len(story.customers)
    for name, asked in ASKED.items():
        with replayed(stack, name, *asked) as ran:
            assert (ran["identical"], ran["differing"], ran["documents"]) == (True, [], documents)
            assert counts.fresh <= ran["events"] <= counts.offered - counts.late - counts.rejected
    left = partition_counts(admin(stack.around.kafka))
    assert [each for each in left if each.startswith(f"{stack.around.stack.prefix}replay")] == []
    assert len(stack.documents()) == documents
