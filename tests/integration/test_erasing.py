"""A consumer group whose members died is deleted at once: nobody waits for their sessions."""

from collections.abc import Callable
from secrets import token_hex
from time import monotonic

import pytest
from confluent_kafka import Consumer
from confluent_kafka.cimpl import NewTopic

from pipeline.embedded import Servers
from pipeline.stores.erasing import delete_group, delete_topics
from pipeline.stores.groups import group_members
from pipeline.stores.kafka import admin

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

SESSION_MS = 45_000
"""Longer than anybody waits for an answer of a group."""


def joined(kafka: str, group: str, topic: str, number: int) -> Consumer:
    """A static member that does not say when it goes, as one that is killed."""
    member = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": group,
            "group.instance.id": f"{number}",
            "session.timeout.ms": SESSION_MS,
            "log_level": 2,
        }
    )
    member.subscribe([topic])
    return member


def polled_until(member: Consumer, holds: Callable[[], object]) -> None:
    deadline = monotonic() + 30
    while not holds():
        assert monotonic() < deadline
        member.poll(0.1)


def test_members_that_died_and_one_that_died_joining_keep_no_group(servers: Servers) -> None:
    kafka, group = servers.kafka, f"t{token_hex(4)}"
    client = admin(kafka)  # must outlive its answers
    client.create_topics([NewTopic(group, 2, 1)])[group].result(20)
    try:
        first = joined(kafka, group, group, 1)
        polled_until(first, first.assignment)
        second = joined(kafka, group, group, 2)
        polled_until(second, lambda: group_members(kafka, group) == 2)
        first.close()
        second.close()
        assert group_members(kafka, group) == 2

        delete_group(kafka, group)
        assert group_members(kafka, group) == 0
        delete_group(kafka, group)
    finally:
        delete_topics(kafka, [group])
