"""Where the publisher puts a record: topic, partition, and how long it stays there."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from pipeline.core.identity import partition_of
from pipeline.invoice.published import Record, Shelf
from pipeline.topology import (
    BILLING_DRAFT_INVOICES,
    BILLING_DRAFT_LINES,
    BILLING_INVOICES,
    Stack,
    Topic,
)
from pipeline.workers.publisher import BITE, Pace, placed


@pytest.mark.parametrize(
    ("shelf", "topic", "policy"),
    [
        (Shelf.DRAFTS, BILLING_DRAFT_INVOICES, "compact"),
        (Shelf.LINES, BILLING_DRAFT_LINES, "compact"),
        (Shelf.ISSUED, BILLING_INVOICES, "delete"),
    ],
)
def test_a_record_goes_to_its_owners_partition_and_stays(
    shelf: Shelf, topic: Topic, policy: str
) -> None:
    sent = placed(Record(shelf, "acme", "key-1", b"value"), Stack("eu."), 64)

    assert sent == (f"eu.{topic.name}", partition_of("acme", 64), b"key-1", b"value")
    assert (topic.config["cleanup.policy"], topic.config["retention.ms"]) == (policy, "-1")
    assert topic.per_log


def test_a_tombstone_goes_where_the_value_went() -> None:
    stack, value = Stack(), Record(Shelf.LINES, "café", "line-1", b"value")
    gone = Record(Shelf.LINES, "café", "line-1", None)

    assert placed(gone, stack, 8) == (*placed(value, stack, 8)[:3], None)


@pytest.mark.parametrize(
    ("published", "took_s", "rested_s"),
    [(0, 0.001, 0.1), (1, 0.01, 0.1), (BITE - 1, 3, 0.1), (BITE, 0.04, 0.04), (BITE, 3, 0.1)],
    ids=["nothing", "one", "nearly a bite", "a bite in no time", "a slow bite"],
)
def test_a_publisher_rests_as_long_as_it_worked_but_not_longer_than_it_may(
    published: int, took_s: float, rested_s: float
) -> None:
    names = [f"inv_{number}" for number in range(published)]
    assert Pace(0.1, 2.0).rest_s(names, 5.0, 5.0 + took_s) == pytest.approx(rested_s)


STEP_S = 0.05


def sent_s(pace: Pace, steps: Sequence[Sequence[str]]) -> list[float]:
    """When each of these steps ended, where each takes as long and rests as it is told."""
    now_s, found = 100.0, []
    for published in steps:
        now_s += STEP_S
        found.append(now_s)
        now_s += pace.rest_s(published, now_s - STEP_S, now_s)
    return found


def bites(count: int, drafts: int) -> list[list[str]]:
    """Bites of drafts that come round after round."""
    return [[f"inv_{(at * BITE + n) % drafts}" for n in range(BITE)] for at in range(count)]


def test_many_drafts_that_are_rated_all_the_time_are_published_once_in_a_while() -> None:
    rounds, of = 4, 4
    ends = sent_s(Pace(0.1, 2.0), bites(rounds * of, of * BITE))
    first = ends[::of]
    # The first of a round is sent, and then they rest: so it is the second round that waits.
    assert [b - a for a, b in pairwise(first)] == pytest.approx([0.4, 2.0, 2.0])
    assert sent_s(Pace(0.1, 0.0), bites(16, of * BITE))[-1] == pytest.approx(100 + 31 * STEP_S)


def test_a_backlog_of_drafts_is_published_without_a_pause() -> None:
    assert sent_s(Pace(0.1, 2.0), bites(60, 60 * BITE))[-1] == pytest.approx(100 + 119 * STEP_S)


def test_few_drafts_are_published_whenever_they_are_rated() -> None:
    few = [[f"inv_{number}" for number in range(BITE // 2 - 1)]] * 30
    assert sent_s(Pace(0.1, 2.0), few)[-1] == pytest.approx(100 + 30 * STEP_S + 29 * 0.1)


def test_a_draft_that_is_rated_no_more_holds_up_nobody_and_others_are_paced_still() -> None:
    rounds = bites(80, 4 * BITE)
    steps = [["inv_gone", *rounds[0][1:]], *rounds[1:]]
    pauses = [b - a > 4 * STEP_S for a, b in pairwise(sent_s(Pace(0.1, 2.0), steps))]
    assert sum(pauses[40:]) >= 9
