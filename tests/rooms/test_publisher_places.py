"""Where the publisher puts a record: topic, partition, and how long it stays there."""

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
from pipeline.workers.publisher import BITE, placed, rest_s


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
    [(0, 0.001, 0.1), (1, 0.01, 0.1), (BITE - 1, 3, 0.1), (BITE, 0.25, 0.75), (BITE, 3, 1)],
    ids=["nothing", "one", "nearly a bite", "a bite", "a slow bite"],
)
def test_a_publisher_rests_three_times_as_long_as_it_worked_but_not_longer_than_it_may(
    published: int, took_s: float, rested_s: float
) -> None:
    assert rest_s(published, took_s, 0.1) == rested_s
