"""Consumer groups by librdkafka: who is in one, where it stands, setting it elsewhere.

Owns: how a group's offsets are read and written.  Does not own: which (workers).
Law: an offset is set where the broker says so of that very partition: "the group is not empty"
comes partition by partition, inside an answer that succeeded.
"""

from collections.abc import Callable, Iterable, Mapping
from time import monotonic, sleep
from typing import TypeVar

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
)
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin._group import ConsumerGroupDescription

from pipeline.core.errors import ServerFailed
from pipeline.stores.kafka import admin

T = TypeVar("T")

_ANSWER_S = 20.0
_RETRY_S = 0.25
_PASSING = (
    KafkaError.NON_EMPTY_GROUP,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.NOT_COORDINATOR,
    KafkaError._TIMED_OUT,
)


def answered(ask: Callable[[], T], pause: Callable[[float], None] = sleep) -> T:
    """Return an answer about a group; of a broker that just started it may take a few questions."""
    deadline = monotonic() + _ANSWER_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or monotonic() > deadline:
                raise
        pause(_RETRY_S)


def group_members(bootstrap: str, group: str) -> int:
    """Return how many members a group has; 0 where there is no such group.

    Raises:
        ServerFailed: the broker does not answer.

    """
    found = _described(bootstrap, group)
    return len(found.members) if found else 0


def is_shared_out(bootstrap: str, group: str, members: int) -> bool:
    """Return whether a group has so many members, and each of them its partitions.

    Raises:
        ServerFailed: the broker does not answer.

    """
    found = _described(bootstrap, group)
    return (
        found is not None
        and found.state is ConsumerGroupState.STABLE
        and len(found.members) == members
    )


def _described(bootstrap: str, group: str) -> ConsumerGroupDescription | None:
    client = admin(bootstrap)  # must outlive its answers
    try:
        found: ConsumerGroupDescription = answered(
            lambda: client.describe_consumer_groups([group])[group].result(_ANSWER_S)
        )
        return found
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return None
        raise ServerFailed(f"Kafka does not describe group {group} ({error})") from None


def group_offsets(
    bootstrap: str, group: str, topic: str, partitions: Iterable[int]
) -> dict[int, int]:
    """Return the offset a group reads each partition on from; -1 where it never committed one.

    Raises:
        ServerFailed: the broker does not answer.

    """
    client = admin(bootstrap)
    asked = ConsumerGroupTopicPartitions(group, [Place(topic, number) for number in partitions])
    try:
        found = answered(
            lambda: client.list_consumer_group_offsets([asked])[group].result(_ANSWER_S)
        )
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return dict.fromkeys((place.partition for place in asked.topic_partitions or ()), -1)
        raise ServerFailed(f"Kafka does not say where group {group} stands ({error})") from None
    return {place.partition: max(place.offset, -1) for place in found.topic_partitions or ()}


def set_group_offsets(
    bootstrap: str,
    group: str,
    topic: str,
    offsets: Mapping[int, int],
    patience_s: float,
    waiting: Callable[[int], None],
) -> None:
    """Let a group read partitions on from other offsets, once its last member is gone.

    `waiting` is called with the number of members for as long as there are any.

    Raises:
        ServerFailed: the group is not empty within `patience_s`, or the broker refuses.

    """
    left, deadline = dict(offsets), monotonic() + patience_s
    while left:
        refused = _set_once(bootstrap, group, topic, left)
        left = {number: left[number] for number in refused}
        if not left:
            return
        worst = next(iter(refused.values()))
        members = group_members(bootstrap, group)
        if worst.code() not in _PASSING or monotonic() > deadline:
            raise ServerFailed(
                f"group {group} was not set to other offsets ({worst.str()}): it has {members}"
                " members; stop the metering workers that do not stand still by themselves"
            )
        waiting(members)
        sleep(_RETRY_S)


def _set_once(
    bootstrap: str, group: str, topic: str, offsets: Mapping[int, int]
) -> dict[int, KafkaError]:
    """Ask once; return what was not done, and why."""
    places = [Place(topic, number, offset) for number, offset in sorted(offsets.items())]
    client = admin(bootstrap)
    try:
        asked = client.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
        answered = asked[group].result(_ANSWER_S).topic_partitions
    except KafkaException as error:
        return dict.fromkeys(offsets, error.args[0])
    done = {place.partition for place in answered or () if place.error is None}
    refused = {place.partition: place.error for place in answered or () if place.error}
    unanswered = KafkaError(KafkaError._TIMED_OUT, "the broker said nothing of it")
    return {n: refused.get(n, unanswered) for n in offsets if n not in done}
